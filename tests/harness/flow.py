"""Streams of numbered events that go on while things break."""

from __future__ import annotations

import itertools
import threading
from typing import TYPE_CHECKING, Self

import synapse_rs
from harness.wait import eventually

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType

STREAM = "inference-events"
PAUSE_S = 0.002
EVENTS: dict[str, dict[str, object]] = {
    "inference-events": {"event": "inference-complete", "model_name": "m", "version": "1", "latency_ms": 1.0},
    "model-events": {"event": "model-updated", "model_name": "m"},
    "platform-events": {"event": "user-login", "service": "auth", "action": "login"},
}
"""What flows, by stream: for everyone."""


class Flow:
    """Publishes events numbered from 0 in their `request_id`, a few hundred a second, until it is stopped."""

    def __init__(
        self,
        redis_url: str,
        streams: Sequence[str] = (STREAM,),
        *,
        pause_s: float = PAUSE_S,
        more: Mapping[str, object] | None = None,
    ) -> None:
        """Starts publishing on a thread of its own, to each stream in turn, with these fields more."""
        self.published = 0
        self.pause_s = pause_s
        self._more = dict(more or {})
        self._streams = itertools.cycle(streams)
        self._stop = threading.Event()
        self._error: BaseException | None = None
        self._publisher = synapse_rs.Publisher(redis_url, source="flow")
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            while not self._stop.wait(self.pause_s):
                stream = next(self._streams)
                self._publisher.publish(stream, {**EVENTS[stream], **self._more, "request_id": str(self.published)})
                self.published += 1
        except BaseException as error:
            self._error = error

    def wait_to_pass(self, count: int) -> None:
        """Waits until this many more events have been accepted."""
        enough = self.published + count
        eventually(f"{count} more events to be accepted", lambda: self._error or self.published >= enough)

    def stop(self) -> dict[str, object]:
        """Ends it, waits until Redis has all of it, and gives the publisher's statistics."""
        self._stop.set()
        self._thread.join()
        if self._error is not None:
            raise self._error
        self._publisher.flush(timeout=30)
        stats = dict(self._publisher.stats())
        self._publisher.close()
        return stats

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        self._publisher.close()
