"""Clients that come back when what they missed is no longer in the streams are told so, and only then."""

from __future__ import annotations

import os
import signal
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from harness.crowd import KINDS, Crowd, OverSocketIo, returned, truth_of
from harness.flow import EVENTS
from harness.gateway import Gateway
from harness.wait import eventually
from harness.wire import Wire

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.crowd import Truth
    from harness.redis_server import RedisServer

STREAMS = tuple(EVENTS)
REMEMBERED = 30
"""Events in the gateway's memory: less than clients miss."""


def add(redis: RedisServer, count: int) -> Truth:
    """Adds so many events to each stream; their ids."""
    event = {stream: {name: str(value) for name, value in fields.items()} for stream, fields in EVENTS.items()}
    ids = [(stream, redis.add(stream, event[stream])) for _ in range(count) for stream in STREAMS]
    return {stream: [id_ for of, id_ in ids if of == stream] for stream in STREAMS}


def trim(server: RedisServer, keep: int) -> Truth:
    """Trims each stream to its last entries; what is left."""
    with server.client() as redis:
        for stream in STREAMS:
            redis.xtrim(stream, maxlen=keep, approximate=False)
    return truth_of(server, STREAMS)


def joined(*parts: Truth) -> Truth:
    """What came one after the other."""
    return {stream: [id_ for part in parts for id_ in part[stream]] for stream in STREAMS}


def test_clients_are_told_when_what_they_missed_was_trimmed_and_only_then(
    redis_server: RedisServer, until_end: Callable[[Any], Any]
) -> None:
    gateway = until_end(Gateway(redis_server.url, {"HISTORY_EVENTS": f"{REMEMBERED}"}))
    wire = until_end(Wire(gateway.port))
    near, far = (until_end(Crowd(port, len(KINDS) * 3)) for port in (gateway.port, wire.port))
    seen = add(redis_server, 5)
    for crowd in (near, far):
        crowd.wait_for_all(seen)
    with redis_server.client() as redis:
        find = partial(redis.keys, "synapse:gateway:pid:*")
        eventually("what is found again to be kept", lambda: len(cast("list[str]", find())) == 6)

    # What they have seen is trimmed but for its last, and nothing else.
    wire.die()
    wire.cut()
    missed = add(redis_server, 2 * REMEMBERED)
    trim(redis_server, keep=2 * REMEMBERED + 1)
    wire.heal()
    for crowd in (near, far):
        crowd.judge(joined(seen, missed))
    assert [member.recovered for member in far.members] == [[True, True]] * len(far.members)

    # And more than that.
    wire.die()
    wire.cut()
    gone_and_kept = add(redis_server, 2 * REMEMBERED)
    near.wait_for_all(gone_and_kept)
    kept = trim(redis_server, keep=REMEMBERED)
    wire.heal()
    far.wait_for("coming back", returned(2))
    assert [member.recovered for member in far.members] == [[True, True, False]] * len(far.members)
    last = add(redis_server, 1)
    near.judge(joined(seen, missed, gone_and_kept, last))
    # Who finds nothing again by Socket.IO begins anew; the others get what is left, here more than memory holds.
    anew = [member for member in far.members if isinstance(member, OverSocketIo)]
    others = [member for member in far.members if member not in anew]
    far.judge(joined(seen, missed, last), anew)
    far.judge(joined(seen, missed, kept, last), others)
    assert gateway.metric("client_recover", recovered="no") >= len(far.members)


def test_clients_are_told_when_the_gateway_itself_was_too_late(
    redis_server: RedisServer, gateway: Gateway, until_end: Callable[[Any], Any]
) -> None:
    crowd = until_end(Crowd(gateway.port, len(KINDS)))
    seen = add(redis_server, 5)
    crowd.wait_for_all(seen)
    os.kill(gateway.pid, signal.SIGSTOP)
    add(redis_server, 100)
    trim(redis_server, keep=10)
    os.kill(gateway.pid, signal.SIGCONT)
    last = {stream: ids[-1] for stream, ids in add(redis_server, 1).items()}
    crowd.wait_for("the last event or bad news", lambda member: member.latest == last or not member.recovered[-1])
    lost = sum(gateway.metric("stream_entries_lost", stream=stream) for stream in STREAMS)
    assert lost > 0, "nothing is lost in silence"
    crowd.wait_for("being told", lambda member: not member.recovered[-1])
    assert [member.ended_by for member in crowd.members] == [[3004]] * len(crowd.members)
