"""What stock clients see when the gateway ends; `docs/faults.md` says the same in words.

What a crowd of clients sees while something breaks is in `test_gateway_faults.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from harness.client import NodeSocketIo, WebSocket
from harness.flow import STREAM, Flow

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.client import Client
    from harness.gateway import Gateway
    from harness.redis_server import RedisServer

BETWEEN_FAULTS = 300
"""Events that flow before each fault and after the last."""


def numbers(client: Client) -> list[int]:
    """The numbers of the flow's events as they came to a client."""
    return [int(event["request_id"]) for event in client.events()]


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
        flow.wait_to_pass(BETWEEN_FAULTS)
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
