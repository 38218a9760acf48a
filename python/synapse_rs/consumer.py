"""Consuming: events are handed over at least once, and acknowledged after they were handled."""

import asyncio
import inspect
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from types import TracebackType
from typing import Any, Self

from synapse_rs import _core
from synapse_rs.errors import Closed
from synapse_rs.events import Event


class Retry(Exception):
    """Raised by a handler: deliver the event again after this many seconds."""

    def __init__(self, after: float | None = None, reason: str = "retry") -> None:
        super().__init__(reason)
        self.after = after
        self.reason = reason


class Reject(Exception):
    """Raised by a handler: the event will never work; it goes to the dead letters."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Batch(Sequence[Event]):
    """Events in stream order; going on to the next batch acknowledges those of this one that did not fail."""

    def __init__(self, events: list[Event]) -> None:
        self._events = events
        self._failures: dict[int, str] = {}

    def fail(self, event: Event, reason: str) -> None:
        """Says that one event failed; it is delivered again, the others are acknowledged."""
        self._failures[id(event)] = reason

    def __getitem__(self, index: Any) -> Any:
        return self._events[index]

    def __len__(self) -> int:
        return len(self._events)

    def __iter__(self) -> Iterator[Event]:
        return iter(self._events)

    async def _settle(self) -> None:
        for event in self._events:
            reason = self._failures.get(id(event))
            if reason is None:
                await event.ack()
            else:
                await event.nack(reason=reason)

    def _release(self) -> None:
        for event in self._events:
            event._release()  # noqa: SLF001


class Consumer:
    """A member of a consumer group.

        async with Consumer(url, group="cyrex-runtime", streams=["model-events"]) as events:
            async for event in events:
                load(event["model_name"])

    Going on to the next event acknowledges the last one; leaving by `break` or by an exception gives it
    back, to be delivered again. Entries that hold no event are skipped, those that can't be decoded
    go to `<stream>:dlq` with the reason.

    Args:
        url: The address of Redis.
        group: The consumer group; created where it is missing.
        streams: The streams to read.
        start: Where a group that is created begins: `0` (all there is), `$` (from now on) or an entry id.
        batch: How many entries are read at once at most.
        min_idle: After so many seconds without a sign of life another consumer's events are taken over.
        max_deliveries: After so many failed deliveries an event goes to the dead letters.
        backoff: The first and the longest delay before a failed event is delivered again, in seconds.

    Raises:
        ValueError: A setting can't work.
        ConnectionFailed: On entering, if Redis can't be reached. Later failures are waited out.
    """

    def __init__(
        self,
        url: str = "redis://localhost:6379",
        *,
        group: str,
        streams: Sequence[str],
        start: str = "0",
        batch: int = 500,
        min_idle: float = 30.0,
        max_deliveries: int = 5,
        backoff: tuple[float, float] = (0.1, 30.0),
    ) -> None:
        if isinstance(streams, str):
            raise ValueError(f"streams is {streams!r}, expected a list of names")  # noqa: TRY004
        self._url = url
        self._settings: dict[str, Any] = {
            "group": group,
            "streams": list(streams),
            "start": start,
            "batch": batch,
            "min_idle": min_idle,
            "max_deliveries": max_deliveries,
            "backoff": backoff,
        }
        self._subscription: _core.Subscription | None = None
        # Read and not handed over yet; kept from one loop to the next.
        self._read: deque[Event] = deque()

    async def __aenter__(self) -> Self:
        self._subscription = await _core.Subscription.open(self._url, **self._settings)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None, /
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Stops reading, gives back what was not handled, and leaves the group."""
        subscription, self._subscription = self._subscription, None
        self._read.clear()
        if subscription is not None:
            await subscription.close()

    def __aiter__(self) -> AsyncIterator[Event]:
        return self._each()

    async def _each(self) -> AsyncIterator[Event]:
        while events := await self._next(1):
            try:
                yield events[0]
            except BaseException:
                events[0]._release()  # noqa: SLF001
                raise
            events[0]._acknowledge()  # noqa: SLF001

    async def batches(self, max_events: int = 500) -> AsyncIterator[Batch]:
        """Hands over many events at once, at most `max_events`.

        Leaving the loop, by `break` or by an exception, gives the whole batch back.
        """
        if max_events < 1:
            raise ValueError(f"max_events is {max_events}, expected at least 1")
        while events := await self._next(max_events):
            batch = Batch(events)
            try:
                yield batch
            except BaseException:
                batch._release()  # noqa: SLF001
                raise
            await batch._settle()  # noqa: SLF001

    async def _next(self, count: int) -> list[Event]:
        """At most `count` events; none once the consumer is closed."""
        subscription = self._open()
        while not self._read:
            if not await subscription.ready():
                return []
            for stream, entry, deliveries, fields in subscription.take():
                self._read.append(Event(fields, stream=stream, id=entry, deliveries=deliveries, settling=subscription))
        if self._subscription is not subscription:
            return []
        return [self._read.popleft() for _ in range(min(count, len(self._read)))]

    def run(self, handler: Callable[[Event], Awaitable[None] | None]) -> None:
        """Hands every event to `handler`, sync or async, until the process is interrupted.

        An exception is a failed delivery; `Retry` and `Reject` say what is to be done instead.
        """
        asyncio.run(self._run(handler))

    async def _run(self, handler: Callable[[Event], Awaitable[None] | None]) -> None:
        async with self:
            async for event in self:
                try:
                    answer = handler(event)
                    if inspect.isawaitable(answer):
                        await answer
                except Retry as retry:
                    await event.nack(retry.after, retry.reason)
                except Reject as reject:
                    await event.reject(reject.reason)
                except Exception as error:
                    await event.nack(reason=f"{type(error).__name__}: {error}")

    def _open(self) -> _core.Subscription:
        if self._subscription is None:
            raise Closed("the consumer is not open; use it in `async with`")
        return self._subscription
