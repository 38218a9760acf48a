"""What Python accepts reaches its stream; what is wrong is said, and leaves nothing behind."""

import asyncio
import dataclasses
import datetime
import enum
import math
import multiprocessing
import os
import pathlib
import signal
import subprocess
import sys
import threading
import uuid
from typing import Any

import pydantic
import pytest
import redis

import synapse_rs
from harness.children import publish_one
from harness.redis_server import RedisServer
from harness.wait import eventually

STREAM = "inference-events"


def entries(server: RedisServer, stream: str = STREAM) -> list[dict[str, str]]:
    with redis.Redis(port=server.port, decode_responses=True) as client:
        return [fields for _, fields in client.xrange(stream)]


def inference(**fields: Any) -> dict[str, Any]:
    return {"event": "inference-complete", "model_name": "m", "version": "1", "latency_ms": 1.5} | fields


def test_an_inference_is_readable_in_the_stream(redis_server: RedisServer) -> None:
    with synapse_rs.Publisher(redis_server.url, source="cyrex") as publisher:
        publisher.publish_inference(
            model_name="m", version="2.0", latency_ms=45, user_id="42", tokens_used=123, confidence=0.92, region="eu"
        )
    (entry,) = entries(redis_server)
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
    assert [(e["event"], e["success"]) for e in entries(redis_server)] == [("inference-failed", "false")] * 2


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
    (entry,) = entries(redis_server, "platform-events")
    assert (entry["event"], entry["data"]) == ("user-login", '{"ip":"::1","n":[1]}')


def test_values_of_other_classes_are_written_as_what_they_stand_for(redis_server: RedisServer) -> None:
    identity = uuid.uuid4()
    event = inference(
        when=datetime.date(2026, 11, 23), identity=identity, priority=Priority.HIGH, pair=(1, 2), nothing=None,
        looks="007", truth=True, deep={"at": datetime.date(2026, 1, 1), "none": None},
    )  # fmt: skip
    with synapse_rs.Publisher(redis_server.url) as publisher:
        publisher.publish(STREAM, event)
    (entry,) = entries(redis_server)
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
    assert entries(redis_server) == []


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
    assert entries(redis_server) == []


def test_many_events_keep_their_order(redis_server: RedisServer) -> None:
    with synapse_rs.Publisher(redis_server.url) as publisher:
        assert publisher.publish_many(STREAM, [inference(n=n) for n in range(3000)]) == 3000
    assert [int(e["n"]) for e in entries(redis_server)] == list(range(3000))


def test_a_receipt_gives_the_entry_id(redis_server: RedisServer) -> None:
    with synapse_rs.Publisher(redis_server.url) as publisher:
        receipt = publisher.send(STREAM, inference())
        entry = receipt.result(timeout=5)
        assert receipt.done()
    with redis.Redis(port=redis_server.port, decode_responses=True) as client:
        assert client.xinfo_stream(STREAM)["last-generated-id"] == entry


async def test_thousands_of_receipts_are_awaited(redis_server: RedisServer) -> None:
    async with synapse_rs.Publisher(redis_server.url) as publisher:
        ids = await asyncio.gather(*[publisher.send(STREAM, inference(n=n)) for n in range(5000)])
    assert len(set(ids)) == 5000
    assert ids == sorted(ids, key=lambda entry: tuple(map(int, entry.split("-"))))


async def test_a_receipt_can_be_awaited_by_many(redis_server: RedisServer) -> None:
    async def outcome(receipt: synapse_rs.Receipt) -> str:
        return await receipt

    with synapse_rs.Publisher(redis_server.url) as publisher:
        receipt = publisher.send(STREAM, inference())
        found = await asyncio.wait_for(asyncio.gather(outcome(receipt), outcome(receipt)), 10)
    assert found[0] == found[1] == receipt.result()


def test_waiting_for_a_receipt_can_be_interrupted() -> None:
    def interrupt() -> None:
        signal.raise_signal(signal.SIGINT)

    publisher = synapse_rs.Publisher("redis://127.0.0.1:1")
    receipt = publisher.send(STREAM, inference())
    timer = threading.Timer(0.2, interrupt)
    # Whoever runs the tests in the background has Python start with the signal ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    timer.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            receipt.result(timeout=20)
    finally:
        signal.signal(signal.SIGINT, before)
    timer.join()
    with pytest.raises(synapse_rs.DeliveryError):
        publisher.close(timeout=0.1)


def test_receipts_work_in_one_loop_after_another(redis_server: RedisServer) -> None:
    async def once() -> str:
        return await publisher.send(STREAM, inference())

    with synapse_rs.Publisher(redis_server.url) as publisher:
        ids = [asyncio.run(once()) for _ in range(3)]
    assert len(set(ids)) == 3


async def test_a_receipt_of_a_refused_event_says_why(redis_server: RedisServer) -> None:
    with redis.Redis(port=redis_server.port) as client:
        client.set("taken", "x")
    publisher = synapse_rs.Publisher(redis_server.url)
    with pytest.raises(synapse_rs.DeliveryError, match="WRONGTYPE"):
        await publisher.send("taken", {"event": "x"})
    with pytest.raises(synapse_rs.DeliveryError, match="given up"):
        await publisher.flush_async()
    await publisher.close_async()


async def test_a_full_queue_raises_in_a_loop_and_is_waited_for_by_publish_async(redis_server: RedisServer) -> None:
    redis_server.stop()
    publisher = synapse_rs.Publisher(redis_server.url, queue_events=10)
    for n in range(10):
        publisher.publish(STREAM, inference(n=n))
    with pytest.raises(synapse_rs.QueueFull, match="10 events"):
        publisher.publish(STREAM, inference())
    waiting = asyncio.ensure_future(publisher.publish_async(STREAM, inference(n=10)))
    await asyncio.to_thread(redis_server.start)
    await waiting
    await publisher.close_async()
    assert [int(e["n"]) for e in entries(redis_server)] == list(range(11))


def test_a_full_queue_waits_or_drops_as_told(redis_server: RedisServer) -> None:
    redis_server.stop()
    waiting = synapse_rs.Publisher(redis_server.url, queue_events=1, timeout=0.05)
    waiting.publish(STREAM, inference())
    with pytest.raises(synapse_rs.QueueFull):
        waiting.publish(STREAM, inference())
    dropping = synapse_rs.Publisher(redis_server.url, queue_events=1, on_full="drop")
    for _ in range(3):
        dropping.publish(STREAM, inference())
    assert dropping.stats()["dropped"] == 2
    for publisher in (waiting, dropping):
        with pytest.raises(synapse_rs.DeliveryError, match="connection refused"):
            publisher.close(timeout=0.1)


def test_many_events_that_fill_the_queue_say_how_many_were_accepted(redis_server: RedisServer) -> None:
    redis_server.stop()
    raising = synapse_rs.Publisher(redis_server.url, queue_events=2, on_full="raise")
    with pytest.raises(synapse_rs.QueueFull, match="2 of the 5 events were accepted"):
        raising.publish_many(STREAM, [inference() for _ in range(5)])
    dropping = synapse_rs.Publisher(redis_server.url, queue_events=3, on_full="drop")
    assert dropping.publish_many(STREAM, [inference() for _ in range(5)]) == 3
    for publisher in (raising, dropping):
        with pytest.raises(synapse_rs.DeliveryError):
            publisher.close(timeout=0)


def test_publish_async_without_a_loop_publishes_nothing(redis_server: RedisServer) -> None:
    with (
        synapse_rs.Publisher(redis_server.url) as publisher,
        pytest.raises(RuntimeError, match="no running event loop"),
    ):
        publisher.publish_async(STREAM, inference())
    assert entries(redis_server) == []


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
        assert [int(e["n"]) for e in entries(redis_server, f"s{thread_number}")] == list(range(500))


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
        ({"spool_dir": "/proc/nowhere"}, 'spool_dir is "/proc/nowhere", where nothing can be written'),
        ({"spool_dir": pathlib.Path(__file__)}, "spool_dir"),
        ({"spool_bytes": 10}, "spool_bytes"),
        ({"source": ""}, "source"),
    ],
)
def test_only_bad_settings_raise_at_the_start(settings: dict[str, Any], word: str) -> None:
    with pytest.raises(ValueError, match=word):
        synapse_rs.Publisher(**settings)


def test_what_is_queued_is_sent_when_the_interpreter_ends(redis_server: RedisServer) -> None:
    program = (
        "import sys, synapse_rs\n"
        "publisher = synapse_rs.Publisher(sys.argv[1])\n"
        "for n in range(1000): publisher.publish('numbers', {'event': 'n', 'n': n})\n"
    )
    subprocess.run([sys.executable, "-c", program, redis_server.url], check=True, timeout=30)
    assert len(entries(redis_server, "numbers")) == 1000


def test_the_interpreter_ends_in_time_without_redis_and_says_what_was_lost() -> None:
    program = "import synapse_rs\nsynapse_rs.Publisher('redis://127.0.0.1:1').publish('numbers', {'event': 'n'})\n"
    ended = subprocess.run([sys.executable, "-c", program], check=True, timeout=30, capture_output=True, text=True)
    assert "1 events are not acknowledged" in ended.stderr


def test_the_interpreter_ends_well_while_other_threads_read(redis_server: RedisServer) -> None:
    program = """
import asyncio, sys, threading, time, synapse_rs
url = sys.argv[1]
async def read():
    async for _ in synapse_rs.tail(url, ["busy"]):
        pass
for _ in range(4):
    threading.Thread(target=lambda: asyncio.run(read()), daemon=True).start()
publisher, end = synapse_rs.Publisher(url), time.monotonic() + 0.5
while time.monotonic() < end:
    publisher.publish("busy", {"event": "x"})
"""
    for _ in range(8):
        ended = subprocess.run([sys.executable, "-c", program, redis_server.url], check=False, timeout=30)
        assert ended.returncode == 0


def test_parent_and_forked_child_each_send_their_own(redis_server: RedisServer) -> None:
    publisher = synapse_rs.Publisher(redis_server.url)
    publisher.publish("parent", {"event": "before"})
    publisher.flush()
    child = os.fork()
    if child == 0:
        try:
            publisher.publish("child", {"event": "in-child"})
            publisher.flush()
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    publisher.publish("parent", {"event": "after"})
    publisher.close()
    assert [e["event"] for e in entries(redis_server, "child")] == ["in-child"]
    assert [e["event"] for e in entries(redis_server, "parent")] == ["before", "after"]


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_children_of_multiprocessing_flush_at_their_end(redis_server: RedisServer, method: str) -> None:
    synapse_rs.Publisher(redis_server.url).publish("parent", {"event": "x"})
    context: Any = multiprocessing.get_context(method)
    process = context.Process(target=publish_one, args=(redis_server.url,))
    process.start()
    process.join(30)
    assert process.exitcode == 0
    assert len(entries(redis_server, "numbers")) == 1


def test_stats_tell_what_happened(redis_server: RedisServer) -> None:
    publisher = synapse_rs.Publisher(redis_server.url)
    assert publisher.stats()["published"] == 0
    publisher.publish(STREAM, inference())
    eventually("it is published", lambda: publisher.stats()["published"] == 1)
    assert publisher.stats()["queued"] == publisher.stats()["in_flight"] == 0
    publisher.close()
