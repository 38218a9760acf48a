"""Publishing: events are accepted at once, and sent by one background thread per process."""

from types import TracebackType
from typing import Self

from synapse_rs import _core


class Publisher(_core.Publisher):
    """Accepts events and has them sent to Redis, in order per stream.

    All settings but the address are keywords; only bad settings raise. Nothing connects before the first
    event: `connect` says earlier what is wrong. What was accepted survives failures of Redis and of the
    network for as long as the process lives.

    A context manager, sync and async: leaving it closes the publisher.
    """

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None, /
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None, /
    ) -> None:
        await self.close_async()
