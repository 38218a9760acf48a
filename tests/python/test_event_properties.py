"""What goes in comes out, raw and decoded; what can not be written leaves nothing."""

import asyncio
import math
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import synapse_rs
from harness.redis_server import RedisServer

STREAM = "things"
KNOWN = {"event", "timestamp", "source", "event_id", "correlation_id", "traceparent", "user_id", "_strings"}
"""Fields with a meaning of their own on every stream, and the codec's own."""
ADDED = ("timestamp", "source", "event_id")

examples = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
characters = st.characters(exclude_categories=["Cs"])
names = st.text(characters, min_size=1, max_size=20).filter(lambda name: name not in KNOWN and "," not in name)
looks_like = st.sampled_from(
    ["", "12345", "-1", "1.5", "1e5", "true", "false", "null", "[1]", '{"a": 1}', '"x"', "nan", " 1"]
)
texts = st.text(characters, max_size=30) | looks_like
integers = st.integers(-(2**63), 2**64 - 1)
floats = st.floats(allow_nan=False, allow_infinity=False)
json = st.recursive(
    st.none() | st.booleans() | integers | floats | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(characters, max_size=8), inner, max_size=4),
    max_leaves=8,
)
events = st.dictionaries(names, json, max_size=8)
invalid = st.one_of(
    st.tuples(
        names, st.sampled_from([math.nan, math.inf, -math.inf, 2**64, -(2**63) - 1, b"x", {1}, object(), "\ud800"])
    ),
    st.tuples(names, st.sampled_from([[math.nan], {"a": [b"x"]}, {1: 2}, {"a": 2**64}])),
    st.tuples(st.sampled_from(["", "x" * 257, "_strings"]), st.just("a text")),
    st.tuples(st.just("a,b"), st.just("12345")),
)


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


@pytest.fixture(scope="module")
def publisher(server: RedisServer) -> Iterator[synapse_rs.Publisher]:
    with synapse_rs.Publisher(server.url, source="properties") as publisher:
        yield publisher


async def decoded(url: str) -> dict[str, Any]:
    """The first event of the stream, as a reader sees it."""
    async with asyncio.timeout(20):
        async for event in synapse_rs.tail(url, [STREAM], after="0"):
            return dict(event)
    raise AssertionError


def same(left: Any, right: Any) -> bool:
    """Equal, and of the same types: `1`, `1.0` and `True` are three things."""
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(same, left, right))
    return type(left) is type(right) and bool(left == right)


@examples
@given(fields=events)
def test_what_goes_in_comes_out(server: RedisServer, publisher: synapse_rs.Publisher, fields: dict[str, Any]) -> None:
    with server.client() as client:
        client.delete(STREAM)
    receipt = publisher.send(STREAM, {"event": "thing", **fields})
    entry = receipt.result(timeout=20)
    with server.client() as client:
        ((found, raw),) = client.xrange(STREAM)
    present = {name: value for name, value in fields.items() if value is not None}
    assert found == entry
    assert raw.keys() - {"_strings"} == present.keys() | {"event", *ADDED}
    for name, value in present.items():
        if isinstance(value, str):
            assert raw[name] == value, "texts stand as they are"
    event = asyncio.run(decoded(server.url))
    added = {name: event.pop(name) for name in ADDED}
    assert added["source"] == "properties"
    assert same(event, {"event": "thing", **present}), event


@examples
@given(fields=events, wrong=invalid)
def test_what_can_not_be_written_leaves_nothing(
    server: RedisServer, publisher: synapse_rs.Publisher, fields: dict[str, Any], wrong: tuple[str, Any]
) -> None:
    with server.client() as client:
        client.delete(STREAM)
    name, value = wrong
    with pytest.raises(synapse_rs.InvalidEvent):
        publisher.publish(STREAM, {"event": "thing", **fields, name: value})
    with pytest.raises(ValueError, match="none was published"):
        publisher.publish_many(STREAM, [{"event": "thing"}, {"event": "thing", name: value}])
    publisher.flush()
    with server.client() as client:
        assert client.exists(STREAM) == 0
