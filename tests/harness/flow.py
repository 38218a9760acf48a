"""A stream of numbered events that goes on while things break."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Self

import synapse_rs

if TYPE_CHECKING:
    from types import TracebackType

STREAM = "inference-events"
PAUSE_S = 0.002


class Flow:
    """Publishes events numbered from 0 in their `request_id`, a few hundred a second, until it is stopped."""

    def __init__(self, redis_url: str) -> None:
        """Starts publishing on a thread of its own."""
        self.published = 0
        self._stop = threading.Event()
        self._error: BaseException | None = None
        self._publisher = synapse_rs.Publisher(redis_url, source="flow")
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            while not self._stop.wait(PAUSE_S):
                number = str(self.published)
                self._publisher.publish_inference(model_name="m", version="1", latency_ms=1.0, request_id=number)
                self.published += 1
        except BaseException as error:
            self._error = error

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
