"""Each process sends what it has accepted, however it came to be."""

import multiprocessing
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest

import synapse_rs
from harness.children import publish_one
from harness.events import fields_on
from harness.redis_server import RedisServer


def in_child(work: Callable[[], object]) -> int:
    """Runs this in a forked child; its exit status."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            work()
            status = 0
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_parent_and_forked_child_each_send_their_own(redis_server: RedisServer) -> None:
    publisher = synapse_rs.Publisher(redis_server.url)
    publisher.publish("parent", {"event": "before"})
    publisher.flush()

    def work() -> None:
        publisher.publish("child", {"event": "in-child"})
        publisher.flush()

    assert in_child(work) == 0
    publisher.publish("parent", {"event": "after"})
    publisher.close()
    assert [e["event"] for e in fields_on(redis_server, "child")] == ["in-child"]
    assert [e["event"] for e in fields_on(redis_server, "parent")] == ["before", "after"]


def test_a_chain_of_forks_shares_nothing_but_the_settings(redis_server: RedisServer) -> None:
    publisher = synapse_rs.Publisher(redis_server.url, source="chain")

    def work(depth: int) -> None:
        # Queued, and on its way while the next one is forked.
        for n in range(500):
            publisher.publish(f"depth-{depth}", {"event": "n", "n": n})
        if depth < 4:
            assert in_child(lambda: work(depth + 1)) == 0
        publisher.flush(timeout=20)
        assert publisher.stats()["published"] == 500

    work(0)
    publisher.close()
    ids = set()
    for depth in range(5):
        events = fields_on(redis_server, f"depth-{depth}")
        assert [int(e["n"]) for e in events] == list(range(500))
        assert {e["source"] for e in events} == {"chain"}
        ids |= {e["event_id"] for e in events}
    assert len(ids) == 2500


def test_forks_in_the_middle_of_traffic_find_no_lock_held(redis_server: RedisServer) -> None:
    publisher = synapse_rs.Publisher(redis_server.url)
    busy = True

    def traffic(thread: int) -> None:
        while busy:
            publisher.publish(f"parent-{thread}", {"event": "n"})
            publisher.send(f"parent-{thread}", {"event": "n"})
            publisher.stats()

    threads = [threading.Thread(target=traffic, args=(thread,)) for thread in range(3)]
    for thread in threads:
        thread.start()
    try:
        for n in range(20):
            others = synapse_rs.Publisher(redis_server.url)

            def work(n: int = n, others: synapse_rs.Publisher = others) -> None:
                publisher.publish("children", {"event": "n", "n": n})
                others.publish("children", {"event": "n", "n": n})
                publisher.close()
                others.close()

            assert in_child(work) == 0
    finally:
        busy = False
        for thread in threads:
            thread.join()
    publisher.close(timeout=20)
    assert sorted(int(e["n"]) for e in fields_on(redis_server, "children")) == sorted([*range(20), *range(20)])


def test_a_receipt_of_the_parent_says_so_in_the_child(redis_server: RedisServer) -> None:
    redis_server.stop()
    publisher = synapse_rs.Publisher(redis_server.url)
    receipt = publisher.send("parent", {"event": "n"})

    def work() -> None:
        for ask in (receipt.done, receipt.result, receipt.__await__):
            with pytest.raises(synapse_rs.DeliveryError, match="the process that forked this one"):
                ask()
        assert repr(receipt) == "<Receipt of another process>"

    assert in_child(work) == 0
    redis_server.start()
    assert receipt.result(timeout=20)
    publisher.close()


def test_a_child_drops_the_parents_publisher_without_ending_it(redis_server: RedisServer) -> None:
    publisher = synapse_rs.Publisher(redis_server.url)
    redis_server.stop()
    for n in range(100):
        publisher.publish("parent", {"event": "n", "n": n})
    held = [publisher]

    def work() -> None:
        held.clear()

    child = os.fork()
    if child == 0:
        del publisher
        held.clear()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    redis_server.start()
    publisher.close(timeout=20)
    assert [int(e["n"]) for e in fields_on(redis_server, "parent")] == list(range(100))


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_children_of_multiprocessing_flush_at_their_end(redis_server: RedisServer, method: str) -> None:
    synapse_rs.Publisher(redis_server.url).publish("parent", {"event": "x"})
    context: Any = multiprocessing.get_context(method)
    process = context.Process(target=publish_one, args=(redis_server.url,))
    process.start()
    process.join(30)
    assert process.exitcode == 0
    assert len(fields_on(redis_server, "numbers")) == 1


def test_a_forked_child_that_ends_as_python_does_flushes(redis_server: RedisServer) -> None:
    program = """
import os, sys, synapse_rs
publisher = synapse_rs.Publisher(sys.argv[1])
publisher.publish("numbers", {"event": "parent"})
child = os.fork()
publisher.publish("numbers", {"event": "child" if child == 0 else "parent"})
if child:
    os.waitpid(child, 0)
"""
    subprocess.run([sys.executable, "-c", program, redis_server.url], check=True, timeout=30)
    assert sorted(e["event"] for e in fields_on(redis_server, "numbers")) == ["child", "parent", "parent"]
