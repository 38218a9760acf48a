"""What happens to queued events when the interpreter ends."""

import atexit
import logging
import multiprocessing
from multiprocessing.util import Finalize, register_after_fork

from synapse_rs import _background, _core

FLUSH_AT_EXIT_S = 5.0
"""How long the end of the process may be held up for events that Redis does not have yet."""

_log = logging.getLogger("synapse_rs")


def _flush() -> None:
    try:
        for failure in _core.flush_all(FLUSH_AT_EXIT_S):
            _log.error("events were lost at exit: %s", failure)
    finally:
        # No thread must come back to an interpreter that is being torn down.
        _core.stop()
        _background.end()


def _finalize() -> None:
    # With a high priority: before multiprocessing's own queues end.
    Finalize(None, _flush, exitpriority=100)


def install() -> None:
    """Flushes at the end of this process and, likewise, of its children (those of `multiprocessing` skip `atexit`)."""
    atexit.register(_flush)
    # A forked child of multiprocessing first empties its list of finalizers, then calls these.
    register_after_fork(_finalize, lambda finalize: finalize())
    if multiprocessing.parent_process() is not None:
        _finalize()
