"""Today's Python clients, on the new core: the names, methods and signatures that existing services call.

A service changes one import and keeps its code:

    from synapse_rs.compat import StreamingClient, StreamTopics

What is otherwise than before, because it lost events: `publish` gives the entry's id once Redis has the event, and
sends it again by itself after a lost connection; a callback that fails has its event delivered again instead of
acknowledged; what a subscriber is given is decoded, so that numbers are numbers. Streams are trimmed by Synapse, never
below what a consumer group needs: `max_length` is accepted and not used. Each process has a name of its own in its
group: `consumer_name` is accepted and not used.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import os
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import aclosing
from enum import StrEnum
from typing import Any
from urllib.parse import quote

from synapse_rs.consumer import Consumer
from synapse_rs.events import Event  # noqa: TC001 - tells readers what callbacks are given
from synapse_rs.publisher import Publisher
from synapse_rs.reading import tail

__all__ = [
    "CyrexEventPublisher",
    "StreamTopics",
    "StreamingClient",
    "get_event_publisher",
    "shutdown_event_publisher",
]

_log = logging.getLogger("synapse_rs")

Callback = Callable[[dict[str, Any]], Any]
"""Is given each event; may be async."""


class StreamTopics(StrEnum):
    """The streams of the platform."""

    MODEL_EVENTS = "model-events"
    INFERENCE_EVENTS = "inference-events"
    PLATFORM_EVENTS = "platform-events"
    TRAINING_EVENTS = "training-events"
    AGI_DECISIONS = "agi-decisions"

    @classmethod
    def all(cls) -> list[str]:
        """Their names."""
        return [topic.value for topic in cls]


class StreamingClient:
    """Publishes to streams and subscribes to them, as modelkit's client does.

    Args:
        redis_url: `redis://`, or `rediss://` with TLS; the other settings are used without it.
        redis_host: Where Redis is.
        redis_port: Its port.
        redis_password: Its password, if it has one.
        source: The name of this program, for events that have no `source` of their own.
    """

    def __init__(
        self,
        redis_url: str | None = None,
        redis_host: str = "redis",
        redis_port: int = 6379,
        redis_password: str | None = None,
        *,
        source: str = "",
    ) -> None:
        """Connects to nothing yet."""
        secret = f":{quote(redis_password, safe='')}@" if redis_password else ""
        self._url = redis_url or f"redis://{secret}{redis_host}:{redis_port}"
        self._publisher = Publisher(self._url, source=source) if source else Publisher(self._url)
        self._stopping: set[asyncio.Event] = set()

    async def connect(self) -> None:
        """Says now what is wrong with the address or the password.

        Raises:
            ConnectionFailed: Redis can't be reached, or does not let us in.
        """
        await self._publisher.connect_async()

    async def disconnect(self) -> None:
        """Sends what is queued and closes the connection."""
        self.stop()
        await self._publisher.close_async()

    async def publish(self, topic: str, event: Mapping[str, Any], max_length: int | None = 10_000) -> str:
        """Publishes an event and gives its entry's id, once Redis has it.

        Raises:
            InvalidEvent: It can't be written: the message names the field.
            QueueFull: Too many wait for Redis.
            DeliveryError: Redis refuses it for good.
        """
        del max_length
        return await self._publisher.send(_name(topic), dict(event))

    async def subscribe(  # noqa: PLR0917 - as it is called today
        self,
        topic: str,
        callback: Callback | None = None,
        consumer_group: str | None = None,
        consumer_name: str | None = None,
        last_id: str = "0",
        block_ms: int = 1000,
    ) -> AsyncGenerator[dict[str, Any]]:
        """Yields the events of a stream, and calls back with each, until `stop`.

        With a group each event goes to one of its members and is acknowledged when the next one is asked for; one
        whose callback fails is delivered again. Without a group the events after `last_id` are read.
        """
        del consumer_name, block_ms
        stopping = asyncio.Event()
        self._stopping.add(stopping)
        try:
            if consumer_group is not None:
                async with (
                    Consumer(self._url, group=consumer_group, streams=[_name(topic)]) as events,
                    aclosing(_until(stopping, aiter(events))) as following,
                ):
                    async for event in following:
                        yield event
                        if not await _called(callback, event):
                            await event.nack()
            else:
                events_after = aiter(tail(self._url, [_name(topic)], after=last_id))
                async with aclosing(_until(stopping, events_after)) as following:
                    async for event in following:
                        yield event
                        await _called(callback, event)
        finally:
            self._stopping.discard(stopping)

    async def subscribe_async(
        self, topic: str, callback: Callback, consumer_group: str | None = None, consumer_name: str | None = None
    ) -> None:
        """Calls back with each event of a stream until `stop`."""
        async with aclosing(self.subscribe(topic, callback, consumer_group, consumer_name)) as events:
            async for _ in events:
                pass

    async def get_stream_info(self, topic: str) -> dict[str, Any]:
        """What `XINFO STREAM` says; redis-py has to be installed."""
        async with self._redis() as client:
            return dict(await client.xinfo_stream(_name(topic)))

    async def get_stream_length(self, topic: str) -> int:
        """How many entries a stream has; redis-py has to be installed."""
        async with self._redis() as client:
            return int(await client.xlen(_name(topic)))

    def _redis(self) -> Any:
        try:
            from redis import asyncio as redis  # noqa: PLC0415 - this package needs none
        except ImportError as error:
            raise ImportError("looking at a stream takes redis-py: pip install redis") from error
        return redis.from_url(self._url, decode_responses=True)

    def stop(self) -> None:
        """Ends all subscriptions; an event in hand is still handled."""
        for stopping in self._stopping:
            stopping.set()


class CyrexEventPublisher:
    """Publishes Cyrex's events, as its own publisher does; nothing waits for Redis.

    Redis is where `REDIS_URL` says, or `REDIS_HOST`, `REDIS_PORT` and `REDIS_PASSWORD`.
    """

    def __init__(self) -> None:
        """Connects to nothing yet."""
        self._client = StreamingClient(
            os.environ.get("REDIS_URL"),
            os.environ.get("REDIS_HOST", "redis"),
            int(os.environ.get("REDIS_PORT", "6379")),
            os.environ.get("REDIS_PASSWORD"),
            source="cyrex",
        )
        self._publisher = self._client._publisher
        self._group = os.environ.get("SYNAPSE_MODEL_EVENTS_GROUP", "cyrex-runtime")

    async def connect(self) -> None:
        """Says now what is wrong with the address or the password."""
        await self._client.connect()

    async def disconnect(self) -> None:
        """Sends what is queued and closes the connection."""
        await self._client.disconnect()

    async def publish_inference(  # noqa: PLR0917 - as it is called today
        self,
        model_name: str,
        version: str,
        latency_ms: float,
        user_id: str | None = None,
        request_id: str | None = None,
        tokens_used: int | None = None,
        cost: float | None = None,
        confidence: float | None = None,
    ) -> None:
        """Publishes that a model has answered."""
        await self._publish(
            StreamTopics.INFERENCE_EVENTS,
            {
                "event": "inference-complete",
                "model_name": model_name,
                "version": version,
                "latency_ms": latency_ms,
                "user_id": user_id,
                "request_id": request_id,
                "tokens_used": tokens_used,
                "cost": cost,
                "confidence": confidence,
                "success": True,
            },
        )

    async def publish_inference_event(self, event: Any) -> None:
        """Publishes an inference event: a model of pydantic, a dataclass or a dict."""
        await self._publish(StreamTopics.INFERENCE_EVENTS, event)

    async def publish_platform_event(self, event: Any) -> None:
        """Publishes a platform event: a model of pydantic, a dataclass or a dict."""
        await self._publish(StreamTopics.PLATFORM_EVENTS, event)

    async def publish_agi_decision(self, decision: Mapping[str, Any]) -> None:
        """Publishes a decision."""
        await self._publish(StreamTopics.AGI_DECISIONS, {"event": "agi-decision", **decision})

    async def publish_model_status(self, model_name: str, status: str, **kwargs: Any) -> None:
        """Publishes what a model does."""
        fields = {"event": "model-status", "model_name": model_name, "status": status, **kwargs}
        await self._publish(StreamTopics.MODEL_EVENTS, fields)

    async def publish_error(self, error: Exception, context: Mapping[str, Any]) -> None:
        """Publishes that something has gone wrong."""
        fields = {
            "event": "error",
            "error_type": type(error).__name__,
            "error_message": str(error),
            "context": dict(context),
        }
        await self._publish("error-events", fields)

    async def subscribe_to_model_events(self, callback: Callback | None = None) -> AsyncGenerator[dict[str, Any]]:
        """Yields each `model-ready` event, and calls back with every event of the stream."""
        events = self._client.subscribe(StreamTopics.MODEL_EVENTS, callback, self._group)
        async with aclosing(events) as subscription:
            async for event in subscription:
                if event.get("event") == "model-ready":
                    yield event

    async def _publish(self, topic: str, event: Any) -> None:
        await self._publisher.publish_async(_name(topic), event)


_publisher: CyrexEventPublisher | None = None


async def get_event_publisher() -> CyrexEventPublisher:
    """The publisher of this process, connected when it is first asked for."""
    global _publisher  # noqa: PLW0603 - one per process is what callers expect
    if _publisher is None:
        _publisher = CyrexEventPublisher()
        await _publisher.connect()
    return _publisher


async def shutdown_event_publisher() -> None:
    """Sends what is queued and closes the publisher of this process."""
    global _publisher
    publisher, _publisher = _publisher, None
    if publisher is not None:
        await publisher.disconnect()


def _name(topic: str) -> str:
    return str(getattr(topic, "value", topic))


async def _called(callback: Callback | None, event: Event) -> bool:
    """Whether the callback, if there is one, has not failed."""
    if callback is None:
        return True
    try:
        answer = callback(event)
        if inspect.isawaitable(answer):
            await answer
    except Exception:
        _log.exception("a callback failed for %s of %s", event.id, event.stream)
        return False
    return True


async def _until(stopping: asyncio.Event, events: AsyncIterator[Event]) -> AsyncGenerator[Event]:
    """The events until there is a stop; asking for one acknowledges the last."""
    stop = asyncio.ensure_future(stopping.wait())
    following: asyncio.Future[Event] | None = None
    try:
        while not stopping.is_set():
            following = asyncio.ensure_future(anext(events))
            await asyncio.wait({following, stop}, return_when=asyncio.FIRST_COMPLETED)
            if not following.done():
                return
            try:
                event = following.result()
            except StopAsyncIteration:
                return
            yield event
    finally:
        stop.cancel()
        if following is not None and not following.done():
            following.cancel()
            await asyncio.wait({following})
