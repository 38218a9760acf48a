"""A crowd of clients while something breaks: each gets every event once, in order, whatever became of its connection.

What they got is compared with what is in the streams. `docs/faults.md` says the same in words.
"""

from __future__ import annotations

import signal
import time
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest

from harness.crowd import (
    READ_AHEAD_BYTES,
    READ_BYTES,
    Arrival,
    Crowd,
    OverEvents,
    came_back,
    faults_of,
    late_s,
    returned,
    truth_of,
)
from harness.flow import EVENTS, Flow
from harness.gateway import Gateway
from harness.wait import PATIENCE_S, eventually
from harness.wire import Wire

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from harness.crowd import Truth
    from harness.redis_server import RedisServer

STREAMS = tuple(EVENTS)
PAUSE_S = 0.02
"""Between two events: what a hundred clients in Python take with ease."""
NEAR, FAR = 66, 33
"""Clients whose network is whole, and those behind a wire."""
BETWEEN = 40
"""Events that flow before and after each fault."""
REMEMBERED = 30
"""Events in the gateway's memory, where it is to be less than what clients miss."""
GATEWAY_GROUP = "realtime-gateway"
ONLOOKERS = f"synapse:onlookers:{GATEWAY_GROUP}"


def flow_over(redis: RedisServer, **more: object) -> Flow:
    """A flow over all streams, as fast as a crowd can take."""
    return Flow(redis.url, STREAMS, pause_s=PAUSE_S, more=more)


class Pause:
    """Something that lasts for so long, whatever else is done meanwhile."""

    def __init__(self, length_s: float) -> None:
        """From now on."""
        self._length_s = length_s
        self._end = time.monotonic() + length_s

    def wait(self) -> None:
        """Waits for its end."""
        left_s = self._length_s + PATIENCE_S
        eventually(f"{self._length_s} s to be over", lambda: time.monotonic() >= self._end, left_s)


def wait_for_metric(gateway: Gateway, name: str, least: float, patience_s: float = PATIENCE_S, **labels: str) -> None:
    """Waits until a metric has come so far."""
    eventually(f"{name} {labels} to be {least}", lambda: gateway.metric(name, **labels) >= least, patience_s)


def assert_undisturbed(crowd: Crowd) -> None:
    """Nobody in the crowd has lost its connection."""
    assert {str(member): member.ended_by for member in crowd.members if member.ended_by} == {}


def assert_recovered(crowd: Crowd) -> None:
    """Whoever came back was told that nothing is missing."""
    assert {str(member): member.recovered for member in crowd.members if not all(member.recovered)} == {}


# === the judge ===

TRUTH: Truth = {"model-events": ["1-0", "2-0", "2-1", "3-0"], "platform-events": ["2-0"]}


@pytest.mark.parametrize(
    ("came", "fault"),
    [
        (["1-0", "2-0", "3-0"], "1 of 4 missing, first 2-1"),
        (["1-0", "2-0", "2-1"], "1 of 4 missing, first 3-0"),
        (["1-0", "2-0", "2-1", "2-0", "3-0"], "1 of 4 more than once, first 2-0"),
        (["1-0", "2-1", "2-0", "3-0"], "not in the order of the stream"),
        (["1-0", "2-0", "2-1", "3-0", "4-0"], "1 of 4 not in the stream, first 4-0"),
    ],
    ids=["a gap", "the last one missing", "a repeat", "out of order", "made up"],
)
def test_the_judge_sees_what_is_wrong(came: list[str], fault: str) -> None:
    other = [Arrival("platform-events", "2-0", 0)]
    assert faults_of([*other, *(Arrival("model-events", id_, 0) for id_ in came)], TRUTH) == [f"model-events: {fault}"]
    whole = [Arrival("model-events", id_, 0) for id_ in TRUTH["model-events"]]
    assert faults_of([*whole, *other], TRUTH) == []
    assert faults_of(whole, TRUTH) == ["platform-events: 1 of 1 missing, first 2-0"]


# === Redis ===

OUTAGE_S = 10


@contextmanager
def away(redis: RedisServer, how: signal.Signals) -> Iterator[None]:
    """Has Redis stand still (SIGSTOP) or end; then it is back."""
    if how == signal.SIGSTOP:
        redis.pause()
        yield
        redis.go_on()
    else:
        redis.stop(how)
        yield
        redis.start()


@pytest.fixture
def rounds(soak: bool) -> int:
    """How often something breaks."""
    return 20 if soak else 1


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("how", [signal.SIGSTOP, signal.SIGTERM, signal.SIGKILL], ids=lambda how: how.name)
def test_redis_away_under_load_costs_clients_nothing_and_repeats_are_owned_up_to(
    durable_redis: RedisServer, until_end: Callable[[Any], Any], rounds: int, how: signal.Signals
) -> None:
    gateway = until_end(Gateway(durable_redis.url, {"HISTORY_EVENTS": f"{REMEMBERED}"}))
    wire = until_end(Wire(gateway.port))
    near, far = (until_end(Crowd(port, size)) for port, size in ((gateway.port, NEAR), (wire.port, FAR)))
    flow = until_end(flow_over(durable_redis))
    for times in range(1, rounds + 1):
        flow.wait_to_pass(BETWEEN)
        wire.die()
        wire.cut()
        flow.wait_to_pass(BETWEEN)
        noticed = gateway.metric("redis_reader_errors") + 1
        with away(durable_redis, how):
            pause = Pause(OUTAGE_S if how == signal.SIGSTOP else 0)
            # What these have missed is no longer in memory.
            wire.heal()
            wait_for_metric(gateway, "redis_reader_errors", noticed)
            wait_for_metric(gateway, "client_num_server_disconnects", 1, code="3005")
            flow.wait_to_pass(BETWEEN)
            pause.wait()
            assert gateway.get("/ready")[0] == 200, "an outage is no reason to send all clients elsewhere"
        far.wait_for("coming back", returned(times))
        wait_for_as_many(far, most(near))
    flow.wait_to_pass(BETWEEN)
    stats = flow.stop()

    truth = truth_of(durable_redis, STREAMS)
    for crowd in (near, far):
        crowd.judge(truth)
        assert_recovered(crowd)
    assert_undisturbed(near)
    assert gateway.metric("stream_entries_lost") == 0
    assert_published(durable_redis, flow, stats)


def assert_published(redis: RedisServer, flow: Flow, stats: dict[str, object]) -> None:
    """All that was accepted is in the streams, in order, but for repeats that the publisher owns up to."""
    entries = [fields for stream in STREAMS for _, fields in redis.entries(stream)]
    assert len({(fields["event_id"], fields["request_id"]) for fields in entries}) == flow.published
    assert len(entries) - flow.published <= int(str(stats["possible_duplicates"])), "every repeat is owned up to"
    assert (stats["failed"], stats["queued"]) == (0, 0)
    for at, stream in enumerate(STREAMS):
        numbers = dict.fromkeys(int(fields["request_id"]) for _, fields in redis.entries(stream))
        assert list(numbers) == list(range(at, flow.published, len(STREAMS))), "in order but for the repeats"


# === replicas ===


def test_clients_of_a_killed_replica_go_on_at_another_and_it_holds_nothing_back(
    redis_server: RedisServer, until_end: Callable[[Any], Any]
) -> None:
    replicas = [until_end(Gateway(redis_server.url)) for _ in range(2)]
    lost, left = replicas
    wire = until_end(Wire(*(replica.port for replica in replicas)))
    crowd = until_end(Crowd(wire.port, NEAR + FAR))
    flow = until_end(flow_over(redis_server))
    wait_for_replicas(redis_server, 2)
    flow.wait_to_pass(BETWEEN)
    moved = int(lost.metric("client_connections_inflight"))
    assert NEAR + FAR - moved == left.metric("client_connections_inflight")
    assert moved >= FAR, "the balancer gives each its share"
    lost.kill()
    crowd.wait_for("a connection", came_back)
    eventually("all to be there", lambda: left.metric("client_connections_inflight") == NEAR + FAR)
    flow.wait_to_pass(BETWEEN)
    wait_for_replicas(redis_server, 1)
    flow.stop()

    crowd.judge(truth_of(redis_server, STREAMS))
    assert_recovered(crowd)
    assert sum(len(member.ended_by) for member in crowd.members) == moved, "the others did not notice"
    for stream in STREAMS:
        eventually(f"the group of {stream} to stand at the end", partial(is_at_end, redis_server, stream))


def wait_for_replicas(server: RedisServer, count: int) -> None:
    """Waits until Redis knows of so many, and keeps nothing of others."""
    with server.client() as redis:
        known = partial(redis.zcard, ONLOOKERS)
        kept = partial(redis.keys, f"{ONLOOKERS}:*")
        eventually(f"{count} replicas", lambda: known() == count and len(cast("list[str]", kept())) == count)


def is_at_end(server: RedisServer, stream: str) -> bool:
    """Whether the gateways' group has read the whole stream, and holds nothing and nobody."""
    with server.client() as redis:
        (group,) = cast("list[dict[str, Any]]", redis.xinfo_groups(stream))
        last = cast("dict[str, Any]", redis.xinfo_stream(stream))["last-generated-id"]
    assert (group["name"], group["pending"], group["consumers"]) == (GATEWAY_GROUP, 0, 0)
    return (group["last-delivered-id"], group["lag"]) == (last, 0)


# === the network ===


@pytest.mark.parametrize("heals", [True, False], ids=["heals", "breaks"])
def test_a_network_that_is_dead_for_5_seconds_leaves_no_gap(
    redis_server: RedisServer, gateway: Gateway, until_end: Callable[[Any], Any], heals: bool
) -> None:
    wire = until_end(Wire(gateway.port))
    near, far = (until_end(Crowd(port, size)) for port, size in ((gateway.port, NEAR), (wire.port, FAR)))
    flow = until_end(flow_over(redis_server))
    flow.wait_to_pass(BETWEEN)
    wire.die()
    pause = Pause(5)
    flow.wait_to_pass(BETWEEN)
    pause.wait()
    assert most(far) < least(near), "it is dead"
    if not heals:
        assert wire.cut() == FAR
    wire.heal()
    far.wait_for("a connection", returned(0 if heals else 1))
    flow.wait_to_pass(BETWEEN)
    flow.stop()

    truth = truth_of(redis_server, STREAMS)
    for crowd in (near, far):
        crowd.judge(truth)
        assert_recovered(crowd)
    assert_undisturbed(near)
    if heals:
        assert_undisturbed(far)


def wait_for_as_many(crowd: Crowd, count: int) -> None:
    """Waits until this many events have come to each."""
    crowd.wait_for(f"{count} events", lambda member: len(member.arrivals) >= count, patience_s=PATIENCE_S * 4)


def least(crowd: Crowd) -> int:
    """How many events came to the one to whom the fewest came."""
    return min(len(member.arrivals) for member in crowd.members)


def most(crowd: Crowd) -> int:
    """How many events came to the one to whom the most came."""
    return max(len(member.arrivals) for member in crowd.members)


@pytest.mark.timeout(900)
def test_a_network_dead_for_longer_than_ping_and_memory_leaves_no_gap(
    redis_server: RedisServer, until_end: Callable[[Any], Any], soak: bool
) -> None:
    cut_s, pings = (300, {}) if soak else (0, {"PING_INTERVAL": "2s", "PING_TIMEOUT": "2s"})
    gateway = until_end(Gateway(redis_server.url, {"HISTORY_EVENTS": f"{REMEMBERED}", **pings}))
    wire = until_end(Wire(gateway.port))
    near, far = (until_end(Crowd(port, size)) for port, size in ((gateway.port, NEAR), (wire.port, FAR)))
    flow = until_end(flow_over(redis_server))
    flow.wait_to_pass(BETWEEN)
    wire.die()
    pause = Pause(cut_s)
    # A listener is not pinged, and what is sent to it the wire's own system takes.
    pinged = sum(not isinstance(member, OverEvents) for member in far.members)
    wait_for_metric(gateway, "client_num_server_disconnects", pinged, PATIENCE_S * 3, code="3002")
    flow.wait_to_pass(BETWEEN)
    pause.wait()
    read_before = xranges(redis_server)
    assert wire.cut() == FAR
    wire.heal()
    far.wait_for("coming back", returned(1))
    flow.wait_to_pass(BETWEEN)
    flow.stop()

    truth = truth_of(redis_server, STREAMS)
    for crowd in (near, far):
        crowd.judge(truth, patience_s=PATIENCE_S + cut_s)
        assert_recovered(crowd)
    assert xranges(redis_server) - len(STREAMS) - read_before >= FAR, "it was read from Redis"


def xranges(server: RedisServer) -> int:
    """How often a range of entries was asked for."""
    with server.client() as redis:
        stats = cast("dict[str, dict[str, int]]", redis.info("commandstats"))
    return stats.get("cmdstat_xrange", {}).get("calls", 0)


# === clients that do not read ===

OUTBOX_BYTES = 256 << 10
FILLER_BYTES = 32 << 10
CROWD, STALLED = 60, 6
SYSTEM_BYTES = int(Path("/proc/sys/net/ipv4/tcp_wmem").read_text().split()[2])
"""What the system takes from the gateway for a client that does not read."""
ENOUGH_BYTES = SYSTEM_BYTES + 4 * READ_BYTES + 2 * READ_AHEAD_BYTES + 16 * FILLER_BYTES + 2 * OUTBOX_BYTES
"""More than all buffers between the gateway and a client that does not read."""


def test_one_in_ten_that_stalls_is_sent_away_and_the_others_do_not_notice(
    redis_server: RedisServer, until_end: Callable[[Any], Any]
) -> None:
    gateway = until_end(Gateway(redis_server.url, {"OUTBOX_BYTES": f"{OUTBOX_BYTES}", "HISTORY_BYTES": "1MiB"}))
    crowd = until_end(Crowd(gateway.port, CROWD))
    stalled, others = crowd.members[:STALLED], crowd.members[STALLED:]
    soon, late = stalled[: STALLED // 2], stalled[STALLED // 2 :]
    assert len({type(member) for member in soon}) == len({type(member) for member in late}) == 3
    flow = until_end(flow_over(redis_server, filler="x" * FILLER_BYTES))
    crowd.wait_for("what flows", lambda member: len(member.arrivals) >= BETWEEN)
    crowd.stall(stalled)
    calm = {member: len(member.arrivals) for member in others}
    enough = max(calm.values()) + ENOUGH_BYTES // FILLER_BYTES
    crowd.wait_for("more than all buffers hold", lambda member: len(member.arrivals) >= enough, others)
    # Those who read again in time are told why they are sent away.
    crowd.go_on(soon)
    crowd.wait_for("being sent away", lambda member: member.ended_by, soon)
    assert [member.ended_by for member in soon] == [[3001]] * len(soon)
    # The others are not waited for.
    flow.pause_s *= 10
    wait_for_metric(gateway, "client_num_server_disconnects", STALLED, code="3001")
    crowd.go_on(late)
    crowd.wait_for("coming back", returned(1), stalled)
    flow.stop()

    crowd.judge(truth_of(redis_server, STREAMS))
    assert_recovered(crowd)
    assert {str(member): member.ended_by for member in others if member.ended_by} == {}
    assert gateway.metric("client_num_server_disconnects", code="3001") == STALLED
    for part in (0.5, 0.99):
        usual = late_s((arrival for member in others for arrival in member.arrivals[: calm[member]]), part)
        beside = late_s((arrival for member in others for arrival in member.arrivals[calm[member] :]), part)
        assert beside < 5 * usual + 0.25, "nobody waits for those who stall"
