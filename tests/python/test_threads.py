"""Threads that get in each other's way; without the GIL they do so between any two steps."""

import dataclasses
import sys
import sysconfig
import threading
from collections.abc import Callable
from typing import Any

import pytest

import synapse_rs
from harness.events import STREAM, fields_on, inference
from harness.redis_server import RedisServer

ROUNDS = 2_000


def side_by_side(*works: Callable[[], object]) -> None:
    """Runs each in a thread of its own, all from the same moment on; the first that raises fails the test."""
    barrier, raised = threading.Barrier(len(works)), list[BaseException]()

    def run(work: Callable[[], object]) -> None:
        barrier.wait()
        try:
            work()
        except BaseException as error:
            raised.append(error)

    threads = [threading.Thread(target=run, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if raised:
        raise raised[0]


@pytest.mark.skipif(not sysconfig.get_config_var("Py_GIL_DISABLED"), reason="this interpreter has a GIL")
def test_the_module_does_without_the_gil() -> None:
    assert not sys._is_gil_enabled()  # type: ignore[attr-defined,unused-ignore]  # noqa: SLF001 - has no other name


def test_a_dict_that_another_thread_changes_is_written_whole_or_refused(redis_server: RedisServer) -> None:
    event = inference(nested={"a": 1})
    accepted, refusals = 0, set[str]()

    def change() -> None:
        for n in range(ROUNDS):
            event[f"field{n % 50}"] = n
            event["nested"][f"field{n % 50}"] = n
            if n % 50 == 49:
                for name in [name for name in event if name.startswith("field")]:
                    del event[name]
                event["nested"].clear()

    def publish() -> None:
        nonlocal accepted
        for _ in range(ROUNDS):
            try:
                publisher.publish(STREAM, event)
            except synapse_rs.InvalidEvent as error:
                refusals.add(str(error))
            else:
                accepted += 1

    with synapse_rs.Publisher(redis_server.url) as publisher:
        side_by_side(change, publish)
    entries = fields_on(redis_server)
    assert len(entries) == accepted > 0
    assert refusals <= {"a dict was changed while it was written; publish a copy of it"}
    assert all(entry["event"] == "inference-complete" for entry in entries)


def test_an_object_that_another_thread_changes(redis_server: RedisServer) -> None:
    @dataclasses.dataclass
    class Thing:
        event: str = "thing"
        number: int = 0

    thing: Any = Thing()

    def change() -> None:
        for n in range(ROUNDS):
            thing.number = n
            thing.other = n
            del thing.other

    def publish() -> None:
        for _ in range(ROUNDS):
            publisher.publish("things", thing)

    with synapse_rs.Publisher(redis_server.url) as publisher:
        side_by_side(change, publish)
    assert len(fields_on(redis_server, "things")) == ROUNDS


def test_classes_that_come_and_go_in_many_threads(redis_server: RedisServer) -> None:
    def publish() -> None:
        for n in range(200):
            made = dataclasses.make_dataclass("Made", [("event", str), (f"field{n}", int)])
            publisher.publish("things", made("thing", n))

    with synapse_rs.Publisher(redis_server.url) as publisher:
        side_by_side(*[publish] * 4)
    entries = fields_on(redis_server, "things")
    assert sorted(name for entry in entries for name in entry if name.startswith("field")) == sorted(
        f"field{n}" for n in range(200) for _ in range(4)
    )


def test_publishers_that_come_and_go_in_many_threads(redis_server: RedisServer) -> None:
    def publish() -> None:
        for n in range(20):
            with synapse_rs.Publisher(redis_server.url) as publisher:
                publisher.send("things", {"event": "thing", "n": n}).result(timeout=20)

    side_by_side(*[publish] * 4)
    assert sorted(int(entry["n"]) for entry in fields_on(redis_server, "things")) == sorted([*range(20)] * 4)


def test_one_publisher_is_closed_while_others_publish(redis_server: RedisServer) -> None:
    """Each event is either refused or in the stream."""
    publisher = synapse_rs.Publisher(redis_server.url)
    accepted = [0] * 3

    def publish(thread: int) -> None:
        for _ in range(ROUNDS):
            try:
                publisher.publish(STREAM, inference())
            except synapse_rs.Closed:
                return
            accepted[thread] += 1

    publisher.publish(STREAM, inference())
    side_by_side(*[lambda thread=thread: publish(thread) for thread in range(3)], publisher.close)
    assert len(fields_on(redis_server)) == 1 + sum(accepted)
