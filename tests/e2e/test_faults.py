"""What clients see when the gateway or Redis is killed; `docs/faults.md` says the same in words."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any

import pytest

from harness.client import EventSource, NodeSocketIo, WebSocket
from harness.flow import STREAM, Flow
from harness.gateway import Gateway
from harness.wait import eventually

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.client import Client
    from harness.redis_server import RedisServer

BETWEEN_FAULTS = 300
"""Events that flow before each fault and after the last."""


def numbers(client: Client) -> list[int]:
    """The numbers of the flow's events as they came to a client."""
    return [int(event["request_id"]) for event in client.events()]


def wait_to_pass(flow: Flow, count: int = BETWEEN_FAULTS) -> None:
    """Waits until this many more events have been accepted."""
    enough = flow.published + count
    eventually(f"{count} more events to be accepted", lambda: flow.published >= enough)


def wait_for_more(client: Client, count: int = BETWEEN_FAULTS) -> None:
    """Waits until this many more events have come."""
    enough = len(client.events()) + count
    client.wait_for(f"{count} more events", lambda _: client.count() >= enough)


@pytest.fixture
def rounds(soak: bool) -> int:
    """How often something is killed."""
    return 40 if soak else 2


@pytest.mark.timeout(1200)
def test_after_kill_9_of_the_gateway_a_resuming_client_has_all_and_others_go_on(
    redis_server: RedisServer, gateway: Gateway, until_end: Callable[[Any], Any], rounds: int
) -> None:
    resuming = until_end(WebSocket(gateway)).connected()
    returning = until_end(NodeSocketIo(gateway, query="/?resume=1")).connected()
    plain = until_end(NodeSocketIo(gateway)).connected()
    flow = until_end(Flow(redis_server.url))
    for times in range(rounds):
        wait_for_more(resuming)
        gateway.kill()
        wait_to_pass(flow)
        gateway.start()
        resuming.connected(times + 2)
        returning.connected(times + 2)
        plain.connected(times + 2)
    wait_for_more(plain)
    flow.stop()

    entries = [id_ for id_, _ in redis_server.entries(STREAM)]
    assert len(entries) == flow.published
    resuming.wait_for_ids(entries[-1:])
    returning.wait_for_ids(entries[-1:])
    plain.wait_for_ids(entries[-1:])
    for client in (resuming, returning):
        assert numbers(client) == list(range(flow.published)), "nothing missing, nothing twice, in order"
    assert returning.recovered() == [False] + [True] * rounds
    came = numbers(plain)
    assert came == sorted(set(came)), "nothing twice, in order"
    assert len(came) < flow.published, "a client that does not resume has missed what flowed meanwhile"


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL], ids=["SIGTERM", "SIGKILL"])
def test_redis_stopped_and_started_during_publishing_loses_nothing_and_owns_up_to_repeats(
    durable_redis: RedisServer, until_end: Callable[[Any], Any], rounds: int, how: signal.Signals
) -> None:
    gateway = until_end(Gateway(durable_redis.url))
    clients = [until_end(kind(gateway)).connected() for kind in (WebSocket, NodeSocketIo, EventSource)]
    flow = until_end(Flow(durable_redis.url))
    for _ in range(rounds):
        wait_for_more(clients[0])
        durable_redis.stop(how)
        wait_to_pass(flow)
        durable_redis.start()
    wait_for_more(clients[0])
    stats = flow.stop()

    entries = durable_redis.entries(STREAM)
    numbered = {(fields["event_id"], int(fields["request_id"])) for _, fields in entries}
    assert len(numbered) == flow.published, "a repeat has the same event_id"
    assert len(entries) - flow.published <= int(str(stats["possible_duplicates"])), "every repeat is owned up to"
    assert (stats["failed"], stats["queued"]) == (0, 0)
    in_redis = [int(fields["request_id"]) for _, fields in entries]
    assert list(dict.fromkeys(in_redis)) == list(range(flow.published)), "in order but for the repeats"
    for client in clients:
        client.wait_for_ids([entries[-1][0]])
        assert client.ids() == {STREAM: [id_ for id_, _ in entries]}, "nothing missing, nothing twice, in order"
        assert not any(line["is"] == "disconnected" for line in client.said), "clients stay connected meanwhile"
