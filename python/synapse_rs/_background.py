"""Threads of Python's behind the native module's: they may wait for the interpreter, which that one must not."""

import _thread
import logging
import sys
import time
import traceback
from collections.abc import Callable
from typing import Any

from synapse_rs import _core

END_TIMEOUT_S = 1.0
"""How long the end of the process may be held up by handlers of the log."""

COUNT_EVERY_S = 10.0
"""How often at most it is logged how many more times an `on_error` failed."""

_TRACE = 5
"""Finer than `logging.DEBUG`; the core knows such a level."""

_log = logging.getLogger("synapse_rs.publisher")


def _start(run: Callable[..., None], *arguments: Any) -> None:
    """Starts a thread that does not hold up the end of the process.

    Not by `threading.Thread`: its locks may be held by this very thread, where a finalizer publishes. And never a
    greenlet of gevent's in place of a thread: that would hold up all others.
    """
    monkey = sys.modules.get("gevent.monkey")
    start = monkey.get_original("_thread", "start_new_thread") if monkey else _thread.start_new_thread
    start(run, arguments)


def hand_over_records() -> None:
    """Has what the core logs handed to loggers from now on."""
    _start(_hand_over_records)


def _hand_over_records() -> None:
    while (taken := _core.take_records()) is not None:
        records, left_out = taken
        for record in records:
            _hand_over(record)
        if left_out:
            _log.warning("%d records of the log were left out: there were too many at once", left_out)
        refresh_level()


def end() -> None:
    """Hands over what is left: there will be no more."""
    _core.end_records(END_TIMEOUT_S)
    # Where no thread ever started, nobody has come for them.
    _hand_over_records()


def _hand_over(given: tuple[int, str, str | None, int, str, float]) -> None:
    level, name, path, line, text, at = given
    try:
        logger = logging.getLogger(name)
        if not logger.isEnabledFor(level):
            return
        record = logger.makeRecord(name, level, path or "", line, text, (), None)
        record.created = at
        record.msecs = at % 1 * 1000
        record.threadName = "synapse-io"
        logger.handle(record)
    except Exception:  # a filter's or a handler's own
        traceback.print_exc()


def refresh_level() -> None:
    """Has records made from the level on that some logger of ours wants, and always from `INFO` on."""
    known = list(logging.root.manager.loggerDict.items())
    loggers = [logger for name, logger in known if f"{name}.".startswith("synapse_rs.")]
    wanted = (level for level in (_TRACE, logging.DEBUG) if any(_wants(logger, level) for logger in loggers))
    _core.set_record_level(next(wanted, logging.INFO))


def _wants(logger: object, level: int) -> bool:
    return isinstance(logger, logging.Logger) and logger.isEnabledFor(level)


def tell_of_given_up(letters: _core.Letters) -> None:
    """Has the function of `on_error` told of a publisher's events that are given up, until it has ended."""
    _start(_tell_of_given_up, letters)


class _Failures:
    """Failures of an `on_error` in a row: the first is logged with its traceback, the others are counted."""

    def __init__(self) -> None:
        self._is_failing = False
        self._untold = 0
        self._told_at = 0.0

    def failed(self, stream: str, error: Exception) -> None:
        if self._is_failing:
            self._untold += 1
            if time.monotonic() - self._told_at >= COUNT_EVERY_S:
                self.tell()
            return
        self._is_failing = True
        self._told_at = time.monotonic()
        _log.exception("on_error failed for an event of %s that was given up: %s", stream, error)

    def succeeded(self) -> None:
        if self._is_failing:
            self.tell()
            self._is_failing = False

    def tell(self) -> None:
        """Logs how many have not been told of."""
        if self._untold:
            _log.error("on_error failed for %d more events that were given up", self._untold)
        self._untold = 0
        self._told_at = time.monotonic()


def _tell_of_given_up(letters: _core.Letters) -> None:
    failures = _Failures()
    while (taken := letters.take()) is not None:
        _tell(*taken, failures)
        # Nothing of the function is held while waiting: it may hold the publisher that is to go.
        del taken
    failures.tell()


def _tell(
    function: Callable[[str, dict[str, Any], Exception], object] | None,
    events: list[tuple[str, dict[str, Any], Exception]],
    left_out: int,
    failures: _Failures,
) -> None:
    if function is None:
        left_out += len(events)
        events = []
    for stream, event, error in events:
        try:
            function(stream, event, error)  # type: ignore[misc]
        except BaseException:
            failures.failed(stream, error)
        else:
            failures.succeeded()
    if left_out:
        _log.error("on_error was not told of %d events that were given up: too many at once, or it is gone", left_out)
