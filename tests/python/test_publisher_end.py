"""A publisher that goes, by `close` or with the last reference, leaves nothing behind and loses nothing."""

import asyncio
import gc
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

import synapse_rs
from harness.events import STREAM, fields_on, inference
from harness.redis_server import RedisServer
from harness.wait import eventually


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def threads() -> int:
    return len(list(Path("/proc/self/task").iterdir()))


@pytest.mark.parametrize("how", ["close", "close_async", "drop"])
def test_two_hundred_publishers_leave_no_thread_and_no_socket(redis_server: RedisServer, how: str) -> None:
    told: list[Any] = []

    def one(n: int) -> None:
        publisher = synapse_rs.Publisher(redis_server.url, on_error=lambda *given: told.append(given))
        publisher.publish(STREAM, inference(n=n))
        if how == "close":
            publisher.close()
        elif how == "close_async":
            asyncio.run(_close(publisher))

    one(-1)
    gc.collect()
    eventually("the first one has gone", lambda: len(fields_on(redis_server)) == 1)
    files, tasks = open_files(), threads()
    for n in range(200):
        one(n)
    eventually("all have arrived", lambda: len(fields_on(redis_server)) == 201)
    eventually("their sockets are closed", lambda: open_files() <= files + 1)
    eventually("their threads have ended", lambda: threads() <= tasks + 1)
    with redis_server.client() as client:
        eventually("redis sees no connection of theirs", lambda: len(client.client_list()) <= 3)
    assert told == []


async def _close(publisher: synapse_rs.Publisher) -> None:
    await publisher.close_async()


def test_what_a_dropped_publisher_had_accepted_arrives_when_redis_comes_back(redis_server: RedisServer) -> None:
    redis_server.stop()
    publisher = synapse_rs.Publisher(redis_server.url)
    publisher.publish_many(STREAM, [inference(n=n) for n in range(1000)])
    receipt = publisher.send(STREAM, inference(n=1000))
    files = open_files()
    del publisher
    gc.collect()
    redis_server.start()
    assert receipt.result(timeout=20)
    assert [int(e["n"]) for e in fields_on(redis_server)] == list(range(1001))
    eventually("its socket is closed", lambda: open_files() <= files + 2)


def test_what_a_dropped_publisher_had_accepted_arrives_at_the_interpreters_end(redis_server: RedisServer) -> None:
    program = (
        "import sys, synapse_rs\n"
        "for n in range(100): synapse_rs.Publisher(sys.argv[1]).publish('numbers', {'event': 'n', 'n': n})\n"
    )
    subprocess.run([sys.executable, "-c", program, redis_server.url], check=True, timeout=60)
    assert sorted(int(e["n"]) for e in fields_on(redis_server, "numbers")) == list(range(100))


class Last:
    """Publishes as its last act; in a cycle, so that it is the garbage collector who calls."""

    def __init__(self, publisher: synapse_rs.Publisher, n: int) -> None:
        self.publisher, self.n, self.itself = publisher, n, self

    def __del__(self) -> None:
        self.publisher.publish(STREAM, inference(n=self.n))


def test_finalizers_and_collections_publish(redis_server: RedisServer) -> None:
    with synapse_rs.Publisher(redis_server.url) as publisher, synapse_rs.Publisher(redis_server.url) as other:

        def collected(phase: str, _: dict[str, int]) -> None:
            other.publish("collections", {"event": phase})

        gc.callbacks.append(collected)
        try:
            for n in range(100):
                Last(publisher, n)
                # Not only here: also wherever an encoder allocates what the collector counts.
                publisher.publish("others", inference(made=[[] for _ in range(100)]))
            gc.collect()
        finally:
            gc.callbacks.remove(collected)
    assert sorted(int(e["n"]) for e in fields_on(redis_server)) == list(range(100))
    assert len(fields_on(redis_server, "collections")) >= 2


class Publishing:
    """A value that publishes while it is written."""

    def __init__(self, publisher: synapse_rs.Publisher) -> None:
        self.publisher = publisher

    def isoformat(self) -> str:
        self.publisher.publish(STREAM, inference(from_within=True))
        gc.collect()
        return "now"


def test_an_event_whose_value_publishes_is_accepted_behind_it(redis_server: RedisServer) -> None:
    with synapse_rs.Publisher(redis_server.url) as publisher:
        publisher.publish(STREAM, inference(at=Publishing(publisher), other=1))
    inner, outer = fields_on(redis_server)
    assert inner["from_within"] == "true"
    assert (outer["at"], outer["other"]) == ("now", "1")


def test_the_first_event_may_come_from_many_threads(redis_server: RedisServer) -> None:
    for _ in range(20):
        publisher = synapse_rs.Publisher(redis_server.url)
        barrier = threading.Barrier(8)

        def first(publisher: synapse_rs.Publisher = publisher, barrier: threading.Barrier = barrier) -> None:
            barrier.wait()
            publisher.publish(STREAM, inference())

        starting = [threading.Thread(target=first) for _ in range(8)]
        for thread in starting:
            thread.start()
        for thread in starting:
            thread.join()
        publisher.close()
        assert publisher.stats()["published"] == 8
    assert len(fields_on(redis_server)) == 160


def test_after_the_flush_at_exit_a_publisher_says_so(redis_server: RedisServer) -> None:
    program = """
import atexit, sys
def late():
    for use in (old, synapse_rs.Publisher(sys.argv[1])):
        try:
            use.publish("numbers", {"event": "late"})
        except synapse_rs.Closed as error:
            print("closed:", error)
    old.close()
    old.flush()
atexit.register(late)  # before the package registers its own: it is called after it
import synapse_rs
old = synapse_rs.Publisher(sys.argv[1])
old.publish("numbers", {"event": "early"})
"""
    ended = subprocess.run(
        [sys.executable, "-c", program, redis_server.url], check=True, timeout=60, capture_output=True, text=True
    )
    assert ended.stdout.count("closed: ") == 2, ended
    assert ended.stderr == ""
    assert [e["event"] for e in fields_on(redis_server, "numbers")] == ["early"]


def test_a_subinterpreter_is_told_that_it_can_not_have_the_module() -> None:
    program = """
import _xxsubinterpreters as interpreters
import synapse_rs
try:
    interpreters.run_string(interpreters.create(), "import synapse_rs")
except interpreters.RunFailedError as error:
    print(error)
"""
    if sys.version_info >= (3, 13):
        pytest.skip("the module that makes subinterpreters has another name there")
    ended = subprocess.run([sys.executable, "-c", program], check=True, timeout=60, capture_output=True, text=True)
    assert "synapse_rs can't be imported in a subinterpreter" in ended.stdout
