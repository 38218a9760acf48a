"""Consuming: events are handed over at least once, and acknowledged after they were handled."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, Self

from synapse_rs import _background, _core
from synapse_rs.answers import describe, printable
from synapse_rs.decoding import decoder
from synapse_rs.errors import Closed
from synapse_rs.events import Event
from synapse_rs.handling import run, until_interrupted

if TYPE_CHECKING:
    from typing_extensions import TypeVar

    T = TypeVar("T", default=Event)
else:
    from typing import TypeVar

    T = TypeVar("T")

_MAX_CONCURRENCY = 10_000

_YIELD_EVERY = 100
"""After so many events at the latest a loop lets others run: with events always at hand it would never wait."""


class Batch(Sequence[T]):
    """Events in stream order; going on to the next batch acknowledges those of this one that did not fail."""

    def __init__(self, subscription: _core.Subscription, events: list[Event], items: list[T]) -> None:
        self._subscription = subscription
        self._events = events
        self._items = items

    def fail(self, event: T, reason: str, delay: float | None = None) -> None:
        """Says that one event failed: it is delivered again, the others are acknowledged.

        Raises:
            ValueError: The event is not of this batch.
        """
        for item, own in zip(self._items, self._events, strict=True):
            if item is event:
                own._delivery.fail(printable(reason), delay)
                return
        raise ValueError(f"the event is not of this batch: {event!r}")

    def __getitem__(self, index: Any) -> Any:
        return self._items[index]

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[T]:
        return iter(self._items)

    def _ack(self) -> None:
        self._subscription.ack_all(self._events)

    def _release(self) -> None:
        for event in self._events:
            event._delivery.release()

    def _fail(self, reason: str) -> None:
        for event in self._events:
            event._delivery.fail(reason, 0.0)


class Consumer(Generic[T]):
    """A member of a consumer group.

        async with Consumer(url, group="cyrex-runtime", streams=["model-events"]) as events:
            async for event in events:
                load(event["model_name"])

    Going on to the next event acknowledges the last one. Leaving the loop gives it back, to be delivered again; an
    exception that leaves the `async with` is a failed delivery. Entries that hold no event are skipped, those that
    can't be decoded go to `<stream>:dlq` with the reason.

    Args:
        url: The address of Redis.
        group: The consumer group; created where it is missing.
        streams: The streams to read.
        start: Where a group that is created begins: `0` (all there is), `$` (from now on) or an entry id.
        max_deliveries: After so many failed deliveries an event goes to the dead letters.
        backoff: The first and the longest delay before a failed event is delivered again, in seconds.
        concurrency: How many events `run` handles at once.
        ordered_by: A field, or a dotted path such as `data.task_id`: of the events of a stream with the same value
            there, one is handled after the other, in order, within this process; one that fails holds up those
            behind it, and no others. A batch has at most one of them.
        where: Only events that fulfil this condition, as in `tail`; the others are acknowledged.
        handler_timeout: A handler of `run` that takes more seconds has failed.
        broadcast: Every such consumer gets every event, and no group is used. With a `group` the position is kept
            under that name; without one it begins at `start` each time, and `positions` tells where it has got to.
        decode_as: Builds what loops and handlers get from an event's fields: a dataclass, a class with
            `model_validate`, or a function of the fields. Events that it refuses go to the dead letters.
        batch: How many entries are read at once at most; so many wait in this process to be handled.
        max_in_hand_bytes: So many bytes of events may be in memory before reading waits.
        min_idle: After so many seconds without a sign of life another consumer's events are taken over.

    Raises:
        ValueError: On entering: a setting can't work.
        ConnectionFailed: On entering: Redis can't be reached. Later failures are waited out.
    """

    def __init__(
        self,
        url: str = "redis://localhost:6379",
        *,
        group: str = "",
        streams: Sequence[str],
        start: str = "0",
        max_deliveries: int = 5,
        backoff: tuple[float, float] = (0.1, 30.0),
        concurrency: int = 1,
        ordered_by: str | None = None,
        where: Mapping[str, Any] | None = None,
        handler_timeout: float | None = None,
        broadcast: bool = False,
        decode_as: Callable[..., T] | None = None,
        batch: int = 500,
        max_in_hand_bytes: int = 64 * 1024 * 1024,
        min_idle: float = 30.0,
    ) -> None:
        if isinstance(streams, str):
            raise ValueError(f"streams is {streams!r}, expected a list of names")  # noqa: TRY004
        if not 1 <= concurrency <= _MAX_CONCURRENCY:
            raise ValueError(f"concurrency is {concurrency}, expected 1 to {_MAX_CONCURRENCY}")
        if handler_timeout is not None and not handler_timeout > 0:
            raise ValueError(f"handler_timeout is {handler_timeout}, expected more than 0 seconds, or None")
        _background.refresh_level()
        self._url = url
        self._condition = None if where is None else dict(where)
        self._concurrency = concurrency
        self._handler_timeout = handler_timeout
        self._decode = decoder(decode_as)
        self._settings: dict[str, Any] = {
            "group": group,
            "streams": list(streams),
            "broadcast": broadcast,
            "start": start,
            "ordered_by": ordered_by,
            "batch": batch,
            "max_in_hand_bytes": max_in_hand_bytes,
            "min_idle": min_idle,
            "max_deliveries": max_deliveries,
            "backoff": tuple(backoff),
        }
        self._subscription: _core.Subscription | None = None
        self._process = os.getpid()
        # What loops have handed out and not settled: to be failed if an exception ends the consumer.
        self._handed_out: dict[int, Batch[T]] = {}

    async def __aenter__(self) -> Self:
        self._subscription = await _core.Subscription.open(self._url, condition=self._condition, **self._settings)
        self._process = os.getpid()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None, /
    ) -> None:
        if isinstance(error, Exception):
            for batch in self._handed_out.values():
                batch._fail(describe(error))
        await self.close()

    async def close(self) -> None:
        """Stops reading, gives back what was not handled, and leaves the group."""
        subscription, self._subscription = self._subscription, None
        if subscription is not None:
            await subscription.close()

    def __aiter__(self) -> AsyncIterator[T]:
        return self._each()

    async def _each(self) -> AsyncIterator[T]:
        async for batch in self._batches(1):
            yield batch[0]

    def batches(self, max_events: int = 500) -> AsyncIterator[Batch[T]]:
        """Hands over many events at once, at most `max_events`.

        Leaving the loop gives the whole batch back; its events then come one by one, so that one that can't be
        handled does not stop the others.

        Raises:
            ValueError: `max_events` is less than 1.
        """
        if max_events < 1:
            raise ValueError(f"max_events is {max_events}, expected at least 1")
        return self._batches(max_events)

    async def _batches(self, max_events: int) -> AsyncIterator[Batch[T]]:
        subscription = self._open()
        at_once = 0
        while True:
            batch = self._take(max_events)
            if batch is None:
                at_once = 0
                if not await subscription.ready():
                    return
                continue
            self._handed_out[id(batch)] = batch
            try:
                yield batch
            except BaseException:
                batch._release()
                raise
            finally:
                self._handed_out.pop(id(batch), None)
            batch._ack()
            at_once += len(batch)
            if at_once >= _YIELD_EVERY:
                at_once = 0
                await asyncio.sleep(0)

    def _take(self, max_events: int) -> "Batch[T] | None":
        """Events that are ready, decoded; those that can't be go to the dead letters."""
        if self._subscription is None:
            return None
        subscription = self._open()
        while events := subscription.take(max_events, singly=True):
            if self._decode is None:
                items: list[Any] = events
            else:
                items, decoded = [], []
                for event in events:
                    try:
                        items.append(self._decode(event))
                    except Exception as error:
                        event._delivery.reject_undecodable(describe(error))
                    else:
                        decoded.append(event)
                events = decoded
            if events:
                return Batch(subscription, events, items)
        return None

    def run(self, handler: Callable[[T], Awaitable[object] | object]) -> None:
        """Hands every event to `handler`, sync or async, until the process is interrupted (SIGINT, SIGTERM).

        Then it takes no more, waits for the handlers that are at work, gives back the rest and returns; a second
        signal interrupts it. An exception is a failed delivery; `Retry`, `Reject` and `Unavailable` say what is to be
        done instead. Sync handlers run in threads of their own.
        """
        asyncio.run(self._run(handler, until_interrupted()))

    async def run_async(self, handler: Callable[[T], Awaitable[object] | object]) -> None:
        """Like `run`, within a running event loop, until it is cancelled or `close` is called."""
        await self._run(handler, contextlib.nullcontext(asyncio.Event()))

    async def _run(
        self,
        handler: Callable[[T], Awaitable[object] | object],
        stopping: contextlib.AbstractContextManager[asyncio.Event],
    ) -> None:
        async with self:
            with stopping as stop:
                await run(self, handler, self._concurrency, self._handler_timeout, stop)

    def stats(self) -> dict[str, int]:
        """What this consumer has done so far, and what it has in hand."""
        return self._open().stats()

    def positions(self) -> dict[str, str]:
        """Up to which entry each stream is settled, as far as it came to this consumer."""
        return self._open().positions()

    def _open(self) -> _core.Subscription:
        if self._subscription is None:
            raise Closed("the consumer is not open; use it in `async with`")
        if self._process != os.getpid():
            raise Closed("the consumer belongs to the process that forked this one; open one here")
        return self._subscription
