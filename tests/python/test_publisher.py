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
        ({"source": "x" * 513}, "source has 513 bytes, expected at most 512"),
        ({"maxlen": -1}, "maxlen is -1, expected a whole number from 0"),
        ({"maxlen": 2**64}, r"maxlen is 18446744073709551616, expected .* below 2\*\*64"),
        ({"queue_bytes": 10}, "queue_bytes is 10, expected a whole number from 1024"),
        ({"stream_maxlen": {"": 1}}, "stream_maxlen has 0 bytes, expected the name of a stream"),
        ({"stream_maxlen": {"s" * 513: 1}}, "stream_maxlen has 513 bytes"),
        ({"stream_maxlen": {"s": -1}}, r'stream_maxlen\["s"\] is -1, expected a whole number'),
        ({"spool_dir": ""}, "spool_dir is '': .*empty"),
        ({"response_timeout": 0.01}, "response_timeout is 0.01, expected seconds from 0.1"),
        ({"timeout": 1e300}, "timeout is 1e300, expected"),
    ],
)
def test_only_bad_settings_raise_at_the_start(settings: dict[str, Any], word: str) -> None:
    with pytest.raises(ValueError, match=word):
        synapse_rs.Publisher(**settings)


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"url": 5}, "url is 5, expected an address"),
        ({"source": None}, "source is None, expected the name of this program"),
        ({"maxlen": 1.5}, "maxlen is 1.5, expected a whole number"),
        ({"linger": "0"}, "linger is '0', expected a number of seconds"),
        ({"stream_maxlen": 5}, "stream_maxlen is 5, expected a dict"),
        ({"stream_maxlen": {1: 1}}, "a name in stream_maxlen is 1, expected the name of a stream"),
        ({"stream_maxlen": {"s": "x"}}, r"stream_maxlen\[\"s\"\] is 'x', expected a whole number"),
        ({"on_full": 5}, 'on_full is 5, expected "wait"'),
        ({"spool_dir": 5}, "spool_dir is 5, expected the path of a directory"),
    ],
)
def test_a_setting_of_the_wrong_type_is_named(settings: dict[str, Any], text: str) -> None:
    with pytest.raises(TypeError, match=text):
        synapse_rs.Publisher(**settings)


@pytest.mark.parametrize("method", ["publish", "send", "publish_many", "publish_async"])
async def test_a_stream_of_the_wrong_type_is_named(method: str) -> None:
    publisher = synapse_rs.Publisher()
    with pytest.raises(TypeError, match="stream is None, expected the name of a stream"):
        getattr(publisher, method)(None, inference())
    with pytest.raises(TypeError, match="timeout is 'x', expected a number of seconds"):
        publisher.flush("x")  # type: ignore[arg-type]


def test_a_relative_spool_dir_stays_where_it_was(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "here")
    publisher = synapse_rs.Publisher("redis://127.0.0.1:1", spool_dir="spool")
    monkeypatch.chdir(tmp_path / "there")
    publisher.publish(STREAM, inference())
    publisher.close(timeout=0.1)
    assert list((tmp_path / "here" / "spool").iterdir())
    assert not (tmp_path / "there" / "spool").exists()


def test_stats_tell_what_happened(redis_server: RedisServer) -> None:
    publisher = synapse_rs.Publisher(redis_server.url)
    assert publisher.stats()["published"] == 0
    publisher.publish(STREAM, inference())
    eventually("it is published", lambda: publisher.stats()["published"] == 1)
    assert publisher.stats()["queued"] == publisher.stats()["in_flight"] == 0
    publisher.close()


@pytest.mark.parametrize("cls", [synapse_rs.Publisher, synapse_rs.Receipt])
def test_every_public_member_is_documented(cls: type) -> None:
    members = [name for name in dir(cls) if not name.startswith("_")]
    assert len(members) >= 2
    assert [name for name in members if not getattr(cls, name).__doc__] == []
