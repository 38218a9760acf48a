"""With a directory to keep events in, a full queue and the process's end lose nothing."""

import asyncio
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

import synapse_rs
from harness.events import STREAM, fields_on, inference
from harness.redis_server import RedisServer
from harness.wait import eventually


def spooling(url: str, spool: Path, **settings: object) -> synapse_rs.Publisher:
    return synapse_rs.Publisher(url, spool_dir=spool, **({"queue_events": 100} | settings))  # type: ignore[arg-type]


def test_a_full_queue_goes_to_disk_and_comes_back_in_order(redis_server: RedisServer, tmp_path: Path) -> None:
    redis_server.stop()
    publisher = spooling(redis_server.url, tmp_path)
    for n in range(1000):
        publisher.publish(STREAM, inference(n=n))
    stats = publisher.stats()
    assert stats["spooled"] >= 900
    assert stats["spooled_bytes"] > 100_000
    redis_server.start()
    for n in range(1000, 1100):
        publisher.publish(STREAM, inference(n=n))
    publisher.flush(timeout=30)
    assert publisher.stats()["spooled"] == 0
    publisher.close()
    assert [int(e["n"]) for e in fields_on(redis_server)] == list(range(1100))


async def test_a_loop_waits_for_the_disk_as_well(redis_server: RedisServer, tmp_path: Path) -> None:
    redis_server.stop()
    async with spooling(redis_server.url, tmp_path, queue_events=10) as publisher:
        for n in range(100):
            publisher.publish(STREAM, inference(n=n))
        assert publisher.stats()["spooled"] >= 90
        await asyncio.to_thread(redis_server.start)
    assert len(fields_on(redis_server)) == 100


async def test_a_loop_does_not_wait_for_a_disk_that_is_full(redis_server: RedisServer, tmp_path: Path) -> None:
    redis_server.stop()
    publisher = spooling(redis_server.url, tmp_path, queue_events=100, spool_bytes=1_048_576, timeout=60)

    def publish_until_full() -> None:
        for n in range(10_000):
            publisher.publish(STREAM, inference(n=n))

    def is_full() -> None:
        with pytest.raises(synapse_rs.QueueFull, match="limit"):
            publish_until_full()

    is_full()
    begun = time.monotonic()
    for _ in range(20):
        is_full()
    assert time.monotonic() - begun < 30, "each would have waited a minute"
    with pytest.raises(synapse_rs.DeliveryError):
        await publisher.close_async(timeout=0)


def test_what_one_process_left_the_next_one_sends(redis_server: RedisServer, tmp_path: Path) -> None:
    redis_server.stop()
    program = (
        "import sys, synapse_rs\n"
        "publisher = synapse_rs.Publisher(sys.argv[1], spool_dir=sys.argv[2])\n"
        "for n in range(100): publisher.publish('numbers', {'event': 'n', 'n': n})\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program, redis_server.url, tmp_path],
        check=True, timeout=60, capture_output=True, text=True,
    )  # fmt: skip
    assert "lost at exit" not in ended.stderr
    redis_server.start()
    with spooling(redis_server.url, tmp_path) as publisher:
        publisher.publish("numbers", {"event": "n", "n": 100})
        publisher.flush(timeout=20)
    assert [int(e["n"]) for e in fields_on(redis_server, "numbers")] == list(range(101))


def test_a_full_spool_says_so(tmp_path: Path) -> None:
    publisher = spooling("redis://127.0.0.1:1", tmp_path, spool_bytes=1 << 20, timeout=0.5)
    full = rf"spool {tmp_path} made no room: .*limit of 1048576.*of the 10000 events were accepted"
    with pytest.raises(synapse_rs.QueueFull, match=full):
        publisher.publish_many(STREAM, [inference(text="x" * 1000)] * 10_000)
    assert "limit of 1048576" in str(publisher.stats()["spool_error"])
    with pytest.raises(synapse_rs.DeliveryError):
        publisher.close(timeout=0)


def test_nothing_is_taken_before_the_first_event_and_processes_share_a_directory(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    redis_server.stop()
    spool = tmp_path / "made" / "here"
    publisher = spooling(redis_server.url, spool)
    assert list(spool.iterdir()) == []
    child = os.fork()
    try:
        for n in range(200):
            publisher.publish("child" if child == 0 else "parent", {"event": "n", "n": n})
    finally:
        if child == 0:
            publisher.close(timeout=0)
            os._exit(0)
    os.waitpid(child, 0)
    redis_server.start()
    publisher.close(timeout=20)
    with spooling(redis_server.url, spool) as next_one:
        next_one.publish("parent", {"event": "n", "n": 200})
        next_one.flush(timeout=20)
    assert [int(e["n"]) for e in fields_on(redis_server, "parent")] == list(range(201))
    assert [int(e["n"]) for e in fields_on(redis_server, "child")] == list(range(200))


def test_a_receipt_of_an_event_left_on_disk_says_where_it_is(tmp_path: Path) -> None:
    publisher = spooling("redis://127.0.0.1:1", tmp_path)
    receipt = publisher.send(STREAM, inference())
    publisher.close(timeout=0)
    with pytest.raises(synapse_rs.DeliveryError, match=rf"spool {tmp_path}"):
        receipt.result(timeout=5)


def test_a_publisher_that_is_collected_leaves_nothing_unsent(redis_server: RedisServer, tmp_path: Path) -> None:
    redis_server.stop()
    publisher = spooling(redis_server.url, tmp_path)
    publisher.publish(STREAM, inference())
    del publisher
    redis_server.start()
    with spooling(redis_server.url, tmp_path) as other:
        other.publish("others", {"event": "x"})
        other.flush(timeout=20)
        eventually("it has arrived", lambda: fields_on(redis_server))
