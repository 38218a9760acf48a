"""Receipts tell what became of an event, to threads and to event loops."""

import asyncio
import signal
import threading

import pytest
import redis

import synapse_rs
from harness.events import STREAM, inference
from harness.redis_server import RedisServer


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
