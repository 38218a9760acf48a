"""What a publisher accepts reaches its stream, from any thread; bad settings and a closed publisher say so."""

import datetime
import math
import pathlib
import threading
import uuid
from typing import Any

import pytest

import synapse_rs
from harness.events import STREAM, fields_on, inference
from harness.redis_server import RedisServer
from harness.wait import eventually


def test_an_inference_is_readable_in_the_stream(redis_server: RedisServer) -> None:
    with synapse_rs.Publisher(redis_server.url, source="cyrex") as publisher:
        publisher.publish_inference(
            model_name="m", version="2.0", latency_ms=45, user_id="42", tokens_used=123, confidence=0.92, region="eu"
        )
    (entry,) = fields_on(redis_server)
    assert uuid.UUID(entry.pop("event_id")).version == 7
    stamp = datetime.datetime.fromisoformat(entry.pop("timestamp"))
    assert abs(stamp - datetime.datetime.now(datetime.UTC)) < datetime.timedelta(minutes=1)
    assert entry == {
        "event": "inference-complete",
        "model_name": "m",
        "version": "2.0",
        "latency_ms": "45.0",
        "user_id": "42",
        "tokens_used": "123",
        "confidence": "0.92",
        "success": "true",
        "region": "eu",
        "source": "cyrex",
    }


def test_an_error_makes_a_failed_inference(redis_server: RedisServer) -> None:
    with synapse_rs.Publisher(redis_server.url) as publisher:
        publisher.publish_inference(model_name="m", version="1", latency_ms=1.0, error="out of memory")
        publisher.publish_inference(model_name="m", version="1", latency_ms=1.0, success=False)
    assert [(e["event"], e["success"]) for e in fields_on(redis_server)] == [("inference-failed", "false")] * 2


def test_many_events_keep_their_order(redis_server: RedisServer) -> None:
    with synapse_rs.Publisher(redis_server.url) as publisher:
        assert publisher.publish_many(STREAM, [inference(n=n) for n in range(3000)]) == 3000
    assert [int(e["n"]) for e in fields_on(redis_server)] == list(range(3000))


def test_threads_publish_side_by_side(redis_server: RedisServer) -> None:
    with synapse_rs.Publisher(redis_server.url) as publisher:

        def work(thread: int) -> None:
            for n in range(500):
                publisher.publish(f"s{thread}", inference(n=n))

        threads = [threading.Thread(target=work, args=(t,)) for t in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    for thread_number in range(4):
        assert [int(e["n"]) for e in fields_on(redis_server, f"s{thread_number}")] == list(range(500))


def test_publish_async_without_a_loop_publishes_nothing(redis_server: RedisServer) -> None:
    with (
        synapse_rs.Publisher(redis_server.url) as publisher,
        pytest.raises(RuntimeError, match="no running event loop"),
    ):
        publisher.publish_async(STREAM, inference())
    assert fields_on(redis_server) == []


def test_a_closed_publisher_says_so(redis_server: RedisServer) -> None:
    publisher = synapse_rs.Publisher(redis_server.url)
    publisher.close()
    publisher.close()
    with pytest.raises(synapse_rs.Closed):
        publisher.publish(STREAM, inference())


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"url": "http://localhost"}, "http"),
        ({"url": "localhost:6379"}, "redis://"),
        ({"url": "redis-sentinel://a/b"}, "not supported yet"),
        ({"queue_events": 0}, "queue_events"),
        ({"linger": -1.0}, "linger"),
        ({"timeout": math.nan}, "timeout"),
        ({"on_full": "explode"}, "explode"),
        ({"on_full": "spool"}, "spool_dir"),
        ({"spool_dir": "/proc/nowhere"}, "spool_dir: .*/proc/nowhere"),
        ({"spool_dir": pathlib.Path(__file__)}, "spool_dir"),
        ({"spool_bytes": 10}, "spool_bytes"),
        ({"source": ""}, "source"),
    ],
)
def test_only_bad_settings_raise_at_the_start(settings: dict[str, Any], word: str) -> None:
    with pytest.raises(ValueError, match=word):
        synapse_rs.Publisher(**settings)


def test_stats_tell_what_happened(redis_server: RedisServer) -> None:
    publisher = synapse_rs.Publisher(redis_server.url)
    assert publisher.stats()["published"] == 0
    publisher.publish(STREAM, inference())
    eventually("it is published", lambda: publisher.stats()["published"] == 1)
    assert publisher.stats()["queued"] == publisher.stats()["in_flight"] == 0
    publisher.close()
