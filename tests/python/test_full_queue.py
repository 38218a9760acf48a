"""What is done with an event that finds the queue full."""

import asyncio

import pytest

import synapse_rs
from harness.events import STREAM, fields_on, inference
from harness.redis_server import RedisServer


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
