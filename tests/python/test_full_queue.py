"""What is done with an event that finds the queue full."""

import asyncio
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

import synapse_rs
from harness.events import STREAM, fields_on, inference
from harness.redis_server import RedisServer
from harness.wait import eventually

NOWHERE = "redis://127.0.0.1:1"


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
    assert [int(e["n"]) for e in fields_on(redis_server)] == list(range(11))


async def test_waiting_for_room_can_be_cancelled(redis_server: RedisServer) -> None:
    redis_server.stop()
    publisher = synapse_rs.Publisher(redis_server.url, queue_events=1)
    publisher.publish(STREAM, inference(n=0))
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(publisher.publish_async(STREAM, inference(n=1)), 0.05)
    await asyncio.to_thread(redis_server.start)
    await publisher.close_async()
    assert [int(e["n"]) for e in fields_on(redis_server)] == [0]


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
    with pytest.raises(synapse_rs.QueueFull):
        dropping.send(STREAM, inference())
    for publisher in (waiting, dropping):
        with pytest.raises(synapse_rs.DeliveryError, match="connection refused"):
            publisher.close(timeout=0.1)


def test_a_caller_that_waits_lets_others_run_and_goes_on_when_there_is_room(redis_server: RedisServer) -> None:
    redis_server.stop()
    publisher = synapse_rs.Publisher(redis_server.url, queue_events=1, on_full="wait")
    publisher.publish(STREAM, inference(n=0))

    def start() -> None:
        eventually("redis is missed", lambda: publisher.stats()["lost_connections"] > 1)
        redis_server.start()

    # Redis ends with the thread that starts it.
    with ThreadPoolExecutor(1) as others:
        started = others.submit(start)
        publisher.publish(STREAM, inference(n=1))
        started.result()
        publisher.close()
        assert [int(e["n"]) for e in fields_on(redis_server)] == [0, 1]


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


@pytest.fixture
def interrupted() -> Iterator[None]:
    """A SIGINT in a moment, as from the keyboard."""
    # Whoever runs the tests in the background has Python start with the signal ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    timer = threading.Timer(0.2, signal.raise_signal, [signal.SIGINT])
    timer.start()
    yield
    timer.join()
    signal.signal(signal.SIGINT, before)


WAITS: dict[str, Callable[[synapse_rs.Publisher], Any]] = {
    "room": lambda publisher: publisher.publish(STREAM, inference()),
    "receipt": lambda publisher: publisher.send("others", inference()).result(timeout=20),
    "flush": lambda publisher: publisher.flush(timeout=20),
    "close": lambda publisher: publisher.close(timeout=20),
}


@pytest.mark.usefixtures("interrupted")
@pytest.mark.parametrize("wait", WAITS)
def test_every_wait_can_be_interrupted(wait: str) -> None:
    publisher = synapse_rs.Publisher(NOWHERE, queue_events=1 if wait == "room" else 10, on_full="wait", timeout=20)
    publisher.publish(STREAM, inference())
    with pytest.raises(KeyboardInterrupt):
        WAITS[wait](publisher)
    with pytest.raises(synapse_rs.DeliveryError):
        publisher.close(timeout=0)


def test_an_interrupted_close_goes_on_behind(redis_server: RedisServer, interrupted: None) -> None:  # noqa: ARG001
    redis_server.stop()
    publisher = synapse_rs.Publisher(redis_server.url)
    receipt = publisher.send(STREAM, inference())
    with pytest.raises(KeyboardInterrupt):
        publisher.close(timeout=20)
    with pytest.raises(synapse_rs.Closed):
        publisher.publish(STREAM, inference())
    redis_server.start()
    assert receipt.result(timeout=20)


def test_whoever_waits_for_room_hears_that_the_publisher_was_closed() -> None:
    publisher = synapse_rs.Publisher(NOWHERE, queue_events=1, timeout=20)
    publisher.publish(STREAM, inference())

    def close() -> None:
        with pytest.raises(synapse_rs.DeliveryError):
            publisher.close(timeout=0)

    closing = threading.Timer(0.1, close)
    closing.start()
    with pytest.raises(synapse_rs.Closed):
        publisher.publish(STREAM, inference())
    closing.join()
