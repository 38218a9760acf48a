"""Bad input: a clear word at the call, and nothing written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import synapse_rs
from harness.redis_server import RedisServer
from harness.wait import free_port

if TYPE_CHECKING:
    from collections.abc import Callable

GOOD: dict[str, Any] = {"event": "inference-complete", "model_name": "m", "version": "1", "latency_ms": 1.0}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"latency_ms": "fast"}, ["latency_ms", "fast"]),
        ({"latency_ms": None}, ["latency_ms"]),
        ({"latency_ms": float("nan")}, ["latency_ms", "NaN"]),
        ({"model_name": 7}, ["model_name"]),
        ({"tokens_used": -1}, ["tokens_used", "-1"]),
        ({"success": "maybe"}, ["success", "maybe"]),
        ({"event": ""}, ["event"]),
        ({"x" * 257: 1}, ["256"]),
        ({"prompt": "x" * (1 << 20)}, ["1048576"]),
        ({"when": object()}, ["when"]),
        ({f"field{n}": n for n in range(130)}, ["128"]),
    ],
    ids=lambda value: next(iter(value))[:20] if isinstance(value, dict) else "",
)
def test_an_event_of_the_wrong_shape_names_the_field_and_writes_nothing(
    redis_server: RedisServer, change: dict[str, Any], words: list[str]
) -> None:
    with synapse_rs.Publisher(redis_server.url, source="test") as publisher:
        with pytest.raises(synapse_rs.InvalidEvent) as raised:
            publisher.publish("inference-events", GOOD | change)
        assert all(word in str(raised.value) for word in words), raised.value
        assert isinstance(raised.value, ValueError)
        publisher.publish("inference-events", GOOD)
        publisher.flush(timeout=5)
    assert len(redis_server.entries("inference-events")) == 1


def unreachable() -> tuple[str, list[str]]:
    port = free_port()
    return f"redis://127.0.0.1:{port}", [f"127.0.0.1:{port}", "refused", "running"]


def no_password(redis: RedisServer) -> tuple[str, list[str]]:
    return f"redis://127.0.0.1:{redis.port}", ["password"]


def wrong_password(redis: RedisServer) -> tuple[str, list[str]]:
    return f"redis://:wrong@127.0.0.1:{redis.port}", ["password"]


@pytest.mark.parametrize("case", [no_password, wrong_password])
def test_connect_says_what_is_wrong_with_the_credentials(
    until_end: Callable[[Any], Any], case: Callable[[RedisServer], tuple[str, list[str]]]
) -> None:
    redis = until_end(RedisServer(password="right"))
    url, words = case(redis)
    says(url, [f"127.0.0.1:{redis.port}", *words])


def test_connect_says_that_nobody_answers() -> None:
    says(*unreachable())


def says(url: str, words: list[str]) -> None:
    """Checks that `connect` fails with all of these words, and without the password."""
    with synapse_rs.Publisher(url) as publisher, pytest.raises(synapse_rs.ConnectionFailed) as raised:
        publisher.connect(timeout=2)
    assert all(word in str(raised.value) for word in words), raised.value
    assert "wrong@" not in str(raised.value)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("localhost:6379", ["redis://"]),
        ("http://localhost", ["http", "redis://"]),
        ("redis://localhost/x", ["database"]),
        ("redis-sentinel://localhost/mymaster", ["not supported yet"]),
    ],
)
def test_a_wrong_url_is_refused_when_the_publisher_is_made(url: str, words: list[str]) -> None:
    with pytest.raises((synapse_rs.SynapseError, ValueError)) as raised:
        synapse_rs.Publisher(url)
    assert all(word in str(raised.value) for word in words), raised.value
