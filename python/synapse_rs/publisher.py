"""Publishing: events are accepted at once, and sent by one background thread per process."""

import logging
from types import TracebackType
from typing import Self, TypedDict

from synapse_rs import _core
from synapse_rs.errors import SynapseError

_log = logging.getLogger("synapse_rs")


class PublisherStats(TypedDict):
    """What a publisher has done in this process so far, and what waits."""

    queued: int
    """Events that wait to be written to Redis."""
    in_flight: int
    """Events written, and not acknowledged."""
    outstanding_bytes: int
    """Bytes of those queued and in flight."""
    published: int
    """Events that Redis has."""
    retried: int
    """Events sent again, since the connection broke or Redis refused them for the moment."""
    spooled: int
    """Events on disk that Redis does not have yet."""
    spooled_bytes: int
    """Bytes of theirs."""
    spool_error: str | None
    """Why the spool takes no events for now."""
    failed: int
    """Events given up: Redis refuses them for good, or the publisher ended first."""
    dropped: int
    """Events for which there was no room, with `on_full="drop"`."""
    possible_duplicates: int
    """Of those retried: sent again without knowing whether they had arrived; their `event_id` is the same."""
    lost_connections: int
    """Connections that ended or did not come to be."""
    last_error: str | None
    """Why events wait, or why the last one was given up."""


class Publisher(_core.Publisher):
    """Accepts events and has them sent to Redis, in order per stream.

    All settings but the address are keywords; only bad settings raise. Nothing connects before the first
    event: `connect` says earlier what is wrong. What was accepted survives failures of Redis and of the
    network for as long as the process lives.

    A context manager, sync and async: leaving it closes the publisher. Left by an exception, that one goes on, and
    what closing could not send is logged.

    Args:
        url: `redis://`, or `rediss://` with TLS; a user, a password and a database's number may be in it.
        source: The name of this program, for events that have no `source` of their own.
        maxlen: How many entries a stream may have, about; older ones are trimmed. 0 for any number.
        stream_maxlen: The same for single streams, by name.
        queue_events: How many events may be accepted and not acknowledged.
        queue_bytes: How many bytes they may have.
        on_full: What is done with an event that finds the queue full. `"wait"` for up to `timeout`, `"raise"` a
            `QueueFull`, `"drop"` and count it, or wait until the `"spool"` takes some of the queue. By default
            `"spool"` with a `spool_dir`; otherwise `"wait"`, but `"raise"` in a thread whose event loop is running.
        spool_dir: A directory for events that Redis can't take, to survive this process. None by default.
        spool_bytes: How many bytes may wait there.
        on_error: Called with a stream, an event and an error for each event that is given up, from a thread of its
            own. Not async; it may publish.
        linger: How many seconds to wait for more events before those there are are sent to an idle server.
        timeout: How many seconds to wait for room in the queue.
        response_timeout: How many seconds a server may leave events unanswered before the connection counts as lost,
            at least 0.1.
        max_batch_bytes: How many bytes are sent at once at most, unless one event has more.
        max_entry_bytes: How many bytes an event may have.
        max_fields: How many fields an event may have.

    Raises:
        ValueError: A setting is out of its range, or the spool's directory can't be used.
        TypeError: A setting is of the wrong type.
    """

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None, /
    ) -> None:
        try:
            self.close()
        except SynapseError as failure:
            if error is None:
                raise
            _log_at_exit(failure, error)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None, /
    ) -> None:
        try:
            await self.close_async()
        except SynapseError as failure:
            if error is None:
                raise
            _log_at_exit(failure, error)


def _log_at_exit(failure: SynapseError, error: BaseException) -> None:
    """Not raised: that would hide the error of the body, or that its task was cancelled."""
    _log.error("events were lost when a publisher was closed after %s: %s", type(error).__name__, failure)
