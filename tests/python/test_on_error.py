"""`on_error` is told of every event that is given up, and of what it does wrong the log is."""

import asyncio
import gc
import logging
import subprocess
import sys
import threading
import weakref
from typing import Any

import pytest

import synapse_rs
from harness.events import STREAM, fields_on, inference
from harness.redis_server import RedisServer
from harness.wait import eventually

NOWHERE = "redis://127.0.0.1:1"

Told = list[tuple[str, dict[str, Any], Exception]]


def close_failing(publisher: synapse_rs.Publisher) -> None:
    with pytest.raises(synapse_rs.DeliveryError):
        publisher.close(timeout=0)


def test_an_event_that_redis_refuses_is_told_of(redis_server: RedisServer) -> None:
    told: Told = []
    with redis_server.client() as client:
        client.set("taken", "x")
    publisher = synapse_rs.Publisher(redis_server.url, on_error=lambda *given: told.append(given))
    publisher.publish("taken", {"event": "thing", "zip": "12345", "n": 5, "data": {"a": [1]}})
    publisher.publish(STREAM, inference())
    eventually("on_error is told", lambda: told)
    with pytest.raises(synapse_rs.DeliveryError, match="1 events were given up"):
        publisher.close()
    ((stream, event, error),) = told
    assert stream == "taken"
    assert {name: event[name] for name in ("event", "zip", "n", "data", "source")} == {
        "event": "thing", "zip": "12345", "n": 5, "data": {"a": [1]}, "source": "python",
    }  # fmt: skip
    assert isinstance(error, synapse_rs.DeliveryError)
    assert "WRONGTYPE" in str(error)
    assert len(fields_on(redis_server)) == 1


def test_what_is_left_at_the_end_is_told_of_before_close_returns() -> None:
    told: Told = []
    publisher = synapse_rs.Publisher(NOWHERE, on_error=lambda *given: told.append(given))
    publisher.publish_many(STREAM, [inference(n=n) for n in range(100)])
    close_failing(publisher)
    assert [event["n"] for _, event, _ in told] == list(range(100))
    assert all("the publisher ended" in str(error) for _, _, error in told)


async def test_it_is_told_before_close_async_returns() -> None:
    told: Told = []
    publisher = synapse_rs.Publisher(NOWHERE, on_error=lambda *given: told.append(given))
    publisher.publish(STREAM, inference())
    with pytest.raises(synapse_rs.DeliveryError):
        await publisher.close_async(timeout=0)
    assert len(told) == 1


def test_what_the_interpreter_leaves_behind_is_told_of() -> None:
    program = (
        "import synapse_rs\n"
        "def told(stream, event, error): print(stream, event['n'])\n"
        "publisher = synapse_rs.Publisher('redis://127.0.0.1:1', on_error=told)\n"
        "publisher.publish('numbers', {'event': 'n', 'n': 7})\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], check=True, timeout=60, capture_output=True, text=True)
    assert ended.stdout == "numbers 7\n"


def test_it_may_publish_and_close(redis_server: RedisServer) -> None:
    with redis_server.client() as client:
        client.set("taken", "x")
    ended = threading.Event()

    def to_another(stream: str, event: dict[str, Any], error: Exception) -> None:
        publisher.publish(f"{stream}:failed", event | {"why": str(error)})
        with pytest.raises(synapse_rs.DeliveryError, match="1 events were given up"):
            publisher.flush()
        publisher.close()
        ended.set()

    publisher = synapse_rs.Publisher(redis_server.url, on_error=to_another)
    publisher.publish("taken", {"event": "thing"})
    assert ended.wait(30)
    (event,) = fields_on(redis_server, "taken:failed")
    assert "WRONGTYPE" in event["why"]


def test_its_exception_is_logged(redis_server: RedisServer, caplog: pytest.LogCaptureFixture) -> None:
    calls: list[int] = []

    def failing(_stream: str, event: dict[str, Any], _error: Exception) -> None:
        calls.append(event["n"])
        if event["n"] == 0:
            raise SystemExit("no more of this")
        raise ValueError("what a day")

    with redis_server.client() as client:
        client.set("taken", "x")
    publisher = synapse_rs.Publisher(redis_server.url, on_error=failing)
    publisher.publish_many("taken", [{"event": "thing", "n": n} for n in range(300)])
    eventually("it is told of all", lambda: len(calls) == 300)
    close_failing(publisher)

    def failures() -> list[logging.LogRecord]:
        return [record for record in caplog.records if "on_error failed" in record.message]

    eventually("the others are counted", lambda: len(failures()) == 2)
    first, others = failures()
    assert first.exc_info
    assert isinstance(first.exc_info[1], SystemExit)
    assert first.name == "synapse_rs.publisher"
    assert "WRONGTYPE" in first.message
    assert others.message == "on_error failed for 299 more events that were given up"
    assert not others.exc_info


def test_what_is_too_much_at_once_is_counted_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    told: Told = []
    publisher = synapse_rs.Publisher(NOWHERE, on_error=lambda *given: told.append(given))
    publisher.publish_many(STREAM, [inference()] * 30_000)
    close_failing(publisher)
    counts = [record.args for record in caplog.records if "was not told" in record.message]
    assert 10_000 <= len(told) < 30_000
    assert sum(args[0] for args in counts if isinstance(args, tuple) and isinstance(args[0], int)) == 30_000 - len(told)


def test_a_slow_one_holds_nothing_up(redis_server: RedisServer) -> None:
    with redis_server.client() as client:
        client.set("taken", "x")
    called, go_on = threading.Event(), threading.Event()

    def slow(*_: Any) -> None:
        called.set()
        go_on.wait(30)

    publisher = synapse_rs.Publisher(redis_server.url, on_error=slow)
    publisher.publish("taken", {"event": "thing"})
    assert called.wait(30)
    assert publisher.send(STREAM, inference()).result(timeout=10)
    go_on.set()
    with pytest.raises(synapse_rs.DeliveryError, match="given up"):
        publisher.close()


class Owner:
    """Is told of what its own publisher gives up: a cycle, through the native module."""

    def __init__(self, url: str) -> None:
        self.publisher = synapse_rs.Publisher(url, on_error=self.told)

    def told(self, *_: Any) -> None:
        pass


def test_a_publisher_and_who_is_told_are_collected_together(redis_server: RedisServer) -> None:
    owner = Owner(redis_server.url)
    owner.publisher.publish(STREAM, inference())
    gone = weakref.ref(owner)
    before = threading.active_count()
    del owner
    gc.collect()
    assert gone() is None
    eventually("the event has arrived", lambda: fields_on(redis_server))
    assert threading.active_count() <= before


async def told_async(*_: Any) -> None:
    await asyncio.sleep(0)


class ToldAsync:
    async def __call__(self, *_: Any) -> None:
        await asyncio.sleep(0)


@pytest.mark.parametrize("function", ["log", told_async, ToldAsync()])
def test_only_a_plain_function_can_be_told(function: Any) -> None:
    with pytest.raises(ValueError, match=r"on_error is .*, expected a function, not async"):
        synapse_rs.Publisher(NOWHERE, on_error=function)


def test_without_it_the_log_says_so_once(redis_server: RedisServer, caplog: pytest.LogCaptureFixture) -> None:
    with redis_server.client() as client:
        client.set("taken", "x")
    publisher = synapse_rs.Publisher(redis_server.url)
    publisher.publish_many("taken", [{"event": "thing"}] * 100)
    eventually("all are refused", lambda: publisher.stats()["failed"] == 100)
    close_failing(publisher)
    eventually("it is logged", lambda: "refuses it for good" in caplog.text)
    lines = [record for record in caplog.records if "refuses it for good" in record.message]
    assert len(lines) == 1
    assert lines[0].levelno == logging.ERROR
