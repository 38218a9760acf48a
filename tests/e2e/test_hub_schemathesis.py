"""The hub does what its own description says, whatever it is asked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from harness.hub import Hub
from harness.schemathesis import attack
from harness.tokens import SECRET, token

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.redis_server import RedisServer

SCOPES = "streams:read events:publish dlq:manage"
# A cancelled replay is still told of, and a stream that is not there is no fault of the request.
NOT_CHECKED = "use_after_free,positive_data_acceptance"
# A replay of a stream onto itself doubles it: not for ever.
SETTINGS = {"MAXLEN": "500"}


@pytest.fixture
def streams(redis_server: RedisServer) -> None:
    """A stream with a group and dead letters, and a key that is no stream, for requests to find."""
    for n in range(3):
        redis_server.add("0", {"event": "x", "n": str(n)})
    letter = {"event": "x", "dlq_original_group": "0", "dlq_original_id": "1-0", "dlq_reason": "rejected"}
    redis_server.add("0:dlq", letter)
    with redis_server.client() as client:
        client.xgroup_create("0", "0", "0")
        client.set("text", "x")


@pytest.mark.timeout(1_100)
@pytest.mark.usefixtures("streams")
def test_the_hub_answers_as_it_says_with_a_key(
    redis_server: RedisServer, until_end: Callable[[Any], Any], soak: bool
) -> None:
    hub = until_end(Hub(redis_server.url, SETTINGS | {"JWT_SECRET": SECRET}))
    header = f"Authorization: Bearer {token('tester', scope=SCOPES, expires_in_s=3_600)}"
    attack(hub, 1_000 if soak else 60, "--header", header, "--exclude-checks", NOT_CHECKED)


@pytest.mark.timeout(1_100)
@pytest.mark.usefixtures("streams")
def test_the_hub_answers_as_it_says_without_a_key(
    redis_server: RedisServer, until_end: Callable[[Any], Any], soak: bool
) -> None:
    hub = until_end(Hub(redis_server.url, SETTINGS))
    attack(hub, 1_000 if soak else 60, "--exclude-checks", NOT_CHECKED)
