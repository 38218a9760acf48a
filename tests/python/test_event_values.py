"""Events of any accepted class, and values of any class in them; what is wrong is named and leaves nothing behind."""

import dataclasses
import datetime
import enum
import math
import uuid
from typing import Any

import pydantic
import pytest

import synapse_rs
from harness.events import STREAM, fields_on, inference
from harness.redis_server import RedisServer


class Priority(enum.Enum):
    HIGH = "high"


@dataclasses.dataclass
class Login:
    event: str
    service: str
    action: str
    data: dict[str, Any]


class Model(pydantic.BaseModel):
    event: str
    service: str
    action: str
    data: dict[str, Any]


@pytest.mark.parametrize("kind", [dict, Login, Model])
def test_dicts_dataclasses_and_models_are_events(redis_server: RedisServer, kind: Any) -> None:
    with synapse_rs.Publisher(redis_server.url) as publisher:
        publisher.publish(
            "platform-events", kind(event="user-login", service="auth", action="login", data={"ip": "::1", "n": [1]})
        )
    (entry,) = fields_on(redis_server, "platform-events")
    assert (entry["event"], entry["data"]) == ("user-login", '{"ip":"::1","n":[1]}')


def test_values_of_other_classes_are_written_as_what_they_stand_for(redis_server: RedisServer) -> None:
    identity = uuid.uuid4()
    event = inference(
        when=datetime.date(2026, 11, 23), identity=identity, priority=Priority.HIGH, pair=(1, 2), nothing=None,
        looks="007", truth=True, deep={"at": datetime.date(2026, 1, 1), "none": None},
    )  # fmt: skip
    with synapse_rs.Publisher(redis_server.url) as publisher:
        publisher.publish(STREAM, event)
    (entry,) = fields_on(redis_server)
    assert entry["when"] == "2026-11-23"
    assert entry["identity"] == str(identity)
    assert entry["priority"] == "high"
    assert entry["pair"] == "[1,2]"
    assert entry["deep"] == '{"at":"2026-01-01","none":null}'
    assert entry["truth"] == "true"
    assert "nothing" not in entry


@pytest.mark.parametrize(
    ("event", "words"),
    [
        ({"model_name": "m"}, ["event", "missing"]),
        ({"event": "inference-complete", "model_name": "m", "version": "1"}, ["latency_ms", "missing"]),
        (inference(latency_ms="fast"), ["latency_ms", "fast"]),
        (inference(latency_ms=math.nan), ["latency_ms", "finite"]),
        (inference(user_id=7), ["user_id", "7"]),
        (inference(tokens_used=-1), ["tokens_used", "-1"]),
        (inference(huge=2**70), ["huge", "64 bits"]),
        (inference(thing=object()), ["thing", "object"]),
        (inference(deep={"x": math.inf}), ["deep", "finite"]),
        (inference(deep={1: 2}), ["deep", "key 1"]),
        (inference(_strings="x"), ["_strings", "reserved"]),
        (dict[Any, Any](inference()) | {1: 2}, ["1", "not a string"]),
        (inference(big="x" * (1 << 20)), ["1048576"]),
        ([1], ["[1]", "dict"]),
        ("text", ["text", "dict"]),
    ],
)
def test_a_wrong_event_is_named_and_leaves_nothing(redis_server: RedisServer, event: Any, words: list[str]) -> None:
    with synapse_rs.Publisher(redis_server.url) as publisher:
        with pytest.raises(synapse_rs.InvalidEvent) as raised:
            publisher.publish(STREAM, event)
        with pytest.raises(ValueError, match=r"event 1 of the list.*none was published"):
            publisher.publish_many(STREAM, [inference(), event])
    assert all(word in str(raised.value) for word in words), raised.value
    assert fields_on(redis_server) == []


def test_a_value_that_contains_itself_is_refused(redis_server: RedisServer) -> None:
    loop: dict[str, Any] = {}
    loop["loop"] = loop
    with synapse_rs.Publisher(redis_server.url) as publisher, pytest.raises(synapse_rs.InvalidEvent, match="nested"):
        publisher.publish(STREAM, inference(loop=loop))


class ItsOwnItem:
    """Stands for itself, as a `MagicMock` does."""

    def item(self) -> Any:
        return self


class Many:
    """As NumPy's arrays do."""

    def item(self) -> Any:
        raise ValueError("can only convert an array of size 1")


@pytest.mark.parametrize(
    ("value", "words"),
    [(ItsOwnItem(), "nested"), (Many(), "array of size 1"), ("\ud800", "surrogate"), (["\ud800"], "surrogate")],
)
def test_a_value_that_stands_for_nothing_is_named(redis_server: RedisServer, value: Any, words: str) -> None:
    with (
        synapse_rs.Publisher(redis_server.url) as publisher,
        pytest.raises(synapse_rs.InvalidEvent, match=f"(?s)field region.*{words}"),
    ):
        publisher.publish(STREAM, inference(region=value))
    assert fields_on(redis_server) == []
