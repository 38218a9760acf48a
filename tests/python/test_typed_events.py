"""The platform's own events by keyword: what is given stands in the entry as the schema has it."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import pytest

import synapse_rs
from harness.events import fields_on

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.redis_server import RedisServer

ADDED = {"timestamp", "source", "event_id"}

INFERENCE = {
    "model_name": "m",
    "version": "2.0",
    "latency_ms": 45,
    "user_id": "42",
    "request_id": "req_1",
    "tokens_used": 123,
    "cost": 0.00042,
    "confidence": 1,
    "success": True,
}
MODEL_READY = {
    "model_name": "m",
    "version": "2.0",
    "registry_path": "s3://models/m",
    "metadata": {"by": "helox"},
    "metrics": {"accuracy": 0.953},
    "model_type": "classifier",
    "accuracy": 0.953,
    "size_mb": 12,
}
TRAINING = {
    "model_name": "m",
    "experiment_id": "exp-7",
    "status": "running",
    "step": 1200,
    "progress": 0.24,
    "metrics": {"loss": 0.4312, "tokens": [1, 2]},
    "training_run_request_id": "req-3",
}
PLATFORM = {
    "event": "user-login",
    "service": "auth",
    "action": "login",
    "user_id": "007",
    "organization_id": "acme",
    "data": {"ip": "::1"},
}
AGI_DECISION = {
    "decision_type": "scale",
    "action": {"replicas": 3},
    "target_service": "gateway",
    "reasoning": "load",
    "confidence": 0.5,
}
ERROR = {"error_type": "Timeout", "error_message": "no answer", "context": {"after_s": 3}}


@pytest.mark.parametrize(
    ("target", "keywords", "written"),
    [
        (
            ("publish_inference", "inference-events", "inference-complete"),
            INFERENCE,
            {"latency_ms": "45.0", "tokens_used": "123", "cost": "0.00042", "confidence": "1.0", "success": "true"},
        ),
        (
            ("publish_model_ready", "model-events", "model-ready"),
            MODEL_READY,
            {"metadata": '{"by":"helox"}', "metrics": '{"accuracy":0.953}', "accuracy": "0.953", "size_mb": "12.0"},
        ),
        (
            ("publish_training", "training-events", "training-progress"),
            TRAINING,
            {"step": "1200", "progress": "0.24", "metrics": '{"loss":0.4312,"tokens":[1,2]}'},
        ),
        (("publish_platform", "platform-events", "user-login"), PLATFORM, {"data": '{"ip":"::1"}'}),
        (
            ("publish_agi_decision", "agi-decisions", "agi-decision"),
            AGI_DECISION,
            {"action": '{"replicas":3}', "confidence": "0.5"},
        ),
        (("publish_error", "error-events", "error"), ERROR, {"context": '{"after_s":3}'}),
    ],
)
def test_every_keyword_is_written_as_its_type(
    redis_server: RedisServer, target: tuple[str, str, str], keywords: dict[str, Any], written: dict[str, str]
) -> None:
    method, stream, event = target
    with synapse_rs.Publisher(redis_server.url) as publisher:
        publish: Callable[..., None] = getattr(publisher, method)
        taken = set(inspect.signature(publish).parameters) - {"extra"}
        assert set(keywords) | {"event", "error"} >= taken, "a keyword is not tried here"
        publish(**keywords, correlation_id="c-1", extra_list=[1, None])
        publish(**keywords, **dict.fromkeys(taken - set(keywords)))
    more, plain = fields_on(redis_server, stream)
    expected = {**keywords, **written, "event": event}
    assert {name: value for name, value in plain.items() if name not in ADDED} == expected
    assert more.keys() - plain.keys() == {"correlation_id", "extra_list"}
    assert more["extra_list"] == "[1,null]"


def test_training_events_are_named_in_full_by_the_last_word_or_by_what_is_given(redis_server: RedisServer) -> None:
    with synapse_rs.Publisher(redis_server.url) as publisher:
        for event in ("training-started", "checkpoint", "training.completed", "complete", None):
            publisher.publish_training(model_name="m", event=event)
        publisher.publish_training(model_name="m", error="nan loss")
        publisher.publish_training(model_name="m", error="slow", event="progress")
    names = [fields["event"].removeprefix("training-") for fields in fields_on(redis_server, "training-events")]
    assert names == ["started", "checkpoint", "complete", "complete", "progress", "failed", "progress"]


@pytest.mark.parametrize(
    ("method", "keywords", "words"),
    [
        ("publish_inference", INFERENCE | {"latency_ms": "fast"}, "latency_ms"),
        ("publish_inference", INFERENCE | {"success": "yes"}, "success"),
        ("publish_inference", INFERENCE | {"model_name": None}, "model_name is missing"),
        ("publish_model_ready", MODEL_READY | {"metrics": [1]}, "metrics is a list, expected an object"),
        ("publish_model_ready", MODEL_READY | {"checkpoint_path": "x"}, "registry_path is given twice"),
        ("publish_training", TRAINING | {"event": "finished"}, 'event is "finished", expected one of training-started'),
        ("publish_training", TRAINING | {"event": 5}, "event is 5, expected a string"),
        ("publish_training", TRAINING | {"step": 1.5}, "step"),
        ("publish_platform", PLATFORM | {"event": ""}, "has no name"),
        ("publish_platform", PLATFORM | {"event": None}, "event is None"),
        ("publish_platform", PLATFORM | {"user_id": 7}, "user_id is the number 7"),
        ("publish_agi_decision", AGI_DECISION | {"action": "scale"}, "action"),
        ("publish_agi_decision", AGI_DECISION | {"event": "agi-choice"}, "event is given twice"),
        ("publish_error", ERROR | {"error_message": ValueError("x")}, r"error_message is ValueError\('x'\)"),
    ],
)
def test_a_wrong_keyword_is_named_and_leaves_nothing(
    redis_server: RedisServer, method: str, keywords: dict[str, Any], words: str
) -> None:
    with (
        synapse_rs.Publisher(redis_server.url) as publisher,
        pytest.raises(synapse_rs.InvalidEvent, match=words),
    ):
        getattr(publisher, method)(**keywords)
    with redis_server.client() as client:
        assert client.dbsize() == 0


def test_required_keywords_are_required() -> None:
    publisher: Any = synapse_rs.Publisher("redis://127.0.0.1:1")
    for method, missing in {
        "publish_inference": "model_name.*version.*latency_ms",
        "publish_model_ready": "model_name.*version",
        "publish_training": "model_name",
        "publish_platform": "event.*service.*action",
        "publish_error": "error_type.*error_message",
    }.items():
        with pytest.raises(TypeError, match=f"missing .*{missing}"):
            getattr(publisher, method)()
