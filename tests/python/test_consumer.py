"""Python gets every event at least once, and what it does not finish is given back."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
import redis

import synapse_rs
from harness.redis_server import RedisServer
from harness.wait import eventually

STREAM = "model-events"


def publish(server: RedisServer, numbers: range) -> None:
    with synapse_rs.Publisher(server.url) as publisher:
        publisher.publish_many(
            STREAM, [{"event": "model-ready", "model_name": "m", "version": str(n)} for n in numbers]
        )


def consumer(server: RedisServer, **settings: Any) -> synapse_rs.Consumer:
    return synapse_rs.Consumer(server.url, **{"group": "cyrex-runtime", "streams": [STREAM], **settings})


def pending(server: RedisServer) -> int:
    with redis.Redis(port=server.port, decode_responses=True) as client:
        return int(client.xinfo_groups(STREAM)[0]["pending"])


async def take(events: AsyncIterator[synapse_rs.Event], count: int) -> list[synapse_rs.Event]:
    found: list[synapse_rs.Event] = []
    async for event in events:
        found.append(event)
        if len(found) == count:
            break
    return found


async def test_events_come_typed_and_in_order_and_going_on_acknowledges(redis_server: RedisServer) -> None:
    publish(redis_server, range(1000))
    async with consumer(redis_server) as events:
        found = await take(aiter(events), 1000)
        assert [event["version"] for event in found] == [str(n) for n in range(1000)]
        first = found[0]
        assert (first.name, first.stream, first.deliveries) == ("model-ready", STREAM, 1)
        await asyncio.to_thread(eventually, "all but the last are acknowledged", lambda: pending(redis_server) == 1)
    # Left by break: the last one is given back.
    assert pending(redis_server) == 1
    async with consumer(redis_server) as events:
        (again,) = await take(aiter(events), 1)
        assert (again.id, again.deliveries) == (found[-1].id, 2)
        await again.ack()
    assert pending(redis_server) == 0


async def test_an_exception_gives_the_event_back(redis_server: RedisServer) -> None:
    publish(redis_server, range(2))

    async def fail() -> None:
        async with consumer(redis_server) as events:
            async for _ in events:
                raise RuntimeError

    with pytest.raises(RuntimeError):
        await fail()
    with redis_server.client() as client:
        left = client.xpending_range(STREAM, "cyrex-runtime", "-", "+", 9)
    # Given back: somebody else may have them at once.
    assert [entry["time_since_delivered"] >= 30_000 for entry in left] == [True, True]


async def test_batches_are_acknowledged_but_for_those_that_failed(redis_server: RedisServer) -> None:
    publish(redis_server, range(10))
    seen: list[tuple[str, int]] = []
    async with consumer(redis_server, backoff=(0.01, 0.01)) as events:
        async for batch in events.batches(max_events=4):
            assert 1 <= len(batch) <= 4
            for event in batch:
                seen.append((event["version"], event.deliveries))
                if event["version"] == "5" and event.deliveries == 1:
                    batch.fail(event, "not this time")
            if ("5", 2) in seen:
                break
        assert sorted(v for v, n in seen if n == 1) == sorted(map(str, range(10)))


async def test_rejected_and_failing_events_go_to_the_dead_letters(redis_server: RedisServer) -> None:
    publish(redis_server, range(3))
    attempts = 0
    async with consumer(redis_server, max_deliveries=3, backoff=(0.01, 0.01)) as events:
        async for event in events:
            if event["version"] == "1":
                await event.reject("hopeless")
            elif event["version"] == "2":
                attempts += 1
                await event.nack(reason="again")
                if attempts == 3:
                    break
    with redis.Redis(port=redis_server.port, decode_responses=True) as client:
        dead = {f["version"]: (f["dlq_reason"], f["dlq_error"]) for _, f in client.xrange(f"{STREAM}:dlq")}
    assert dead == {"1": ("rejected", "hopeless"), "2": ("max_deliveries", "again")}
    assert pending(redis_server) == 0


async def test_a_cancelled_loop_gives_everything_back(redis_server: RedisServer) -> None:
    publish(redis_server, range(5))
    reached = asyncio.Event()

    async def work() -> None:
        async with consumer(redis_server) as events:
            async for _ in events:
                reached.set()
                await asyncio.Event().wait()

    task = asyncio.create_task(work())
    await reached.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert pending(redis_server) == 5
    async with consumer(redis_server) as events:
        assert len(await take(aiter(events), 5)) == 5


async def test_after_a_break_the_rest_comes_and_the_last_one_is_given_back(redis_server: RedisServer) -> None:
    publish(redis_server, range(5))
    async with consumer(redis_server, min_idle=0.5) as events:
        (first,) = await take(aiter(events), 1)
        rest = await asyncio.wait_for(take(aiter(events), 5), 10)
    assert [event["version"] for event in rest] == ["1", "2", "3", "4", "0"]
    assert (rest[-1].id, rest[-1].deliveries) == (first.id, 2)


async def test_after_an_exception_the_events_of_a_batch_come_one_by_one(redis_server: RedisServer) -> None:
    publish(redis_server, range(3))
    async with consumer(redis_server, min_idle=0.5) as events:

        async def fail() -> None:
            async for batch in events.batches():
                assert len(batch) == 3
                raise RuntimeError

        with pytest.raises(RuntimeError):
            await fail()
        again: list[list[tuple[str, int]]] = []
        async for batch in events.batches():
            again.append([(event["version"], event.deliveries) for event in batch])
            if len(again) == 3:
                break
        # Given back one by one as well, in an order that is the interpreter's.
        assert sorted(again) == [[("0", 2)], [("1", 2)], [("2", 2)]]


async def test_closing_ends_a_loop_that_waits_for_news(redis_server: RedisServer) -> None:
    async with consumer(redis_server) as events:
        loop = asyncio.create_task(take(aiter(events), 1))
        with redis.Redis(port=redis_server.port) as client:
            await asyncio.to_thread(
                eventually, "the consumer waits", lambda: int(client.info("clients")["blocked_clients"]) == 1
            )
        await asyncio.wait_for(events.close(), 4)
        assert await asyncio.wait_for(loop, 4) == []


async def test_waiting_for_news_can_be_cancelled(redis_server: RedisServer) -> None:
    async with consumer(redis_server) as events:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(anext(aiter(events)), 0.05)
        publish(redis_server, range(1))
        assert len(await take(aiter(events), 1)) == 1


async def test_a_wait_cancelled_as_an_event_comes_loses_nothing(redis_server: RedisServer) -> None:
    rounds = 200
    async with consumer(redis_server) as events:
        with synapse_rs.Publisher(redis_server.url) as publisher:
            found: list[str] = []
            for number in range(rounds):
                waiting = asyncio.ensure_future(anext(aiter(events)))
                await asyncio.sleep(0)
                event = {"event": "model-ready", "model_name": "m", "version": str(number)}
                await publisher.send(STREAM, event)
                # About when the event comes: now a little before, now a little after.
                await asyncio.sleep(number % 20 / 10_000)
                waiting.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    event_that_came = await waiting
                    found.append(event_that_came["version"])
                    await event_that_came.ack()
        left = await asyncio.wait_for(take(aiter(events), rounds - len(found)), 10)
    assert sorted(found + [event["version"] for event in left]) == sorted(map(str, range(rounds)))


async def test_a_consumer_without_redis_or_with_bad_settings_says_so() -> None:
    with pytest.raises(synapse_rs.ConnectionFailed, match="connection refused"):
        async with synapse_rs.Consumer("redis://127.0.0.1:1", group="g", streams=["s"]):
            pass
    with pytest.raises(ValueError, match="start"):
        async with synapse_rs.Consumer("redis://127.0.0.1:1", group="g", streams=["s"], start="soon"):
            pass
    with pytest.raises(ValueError, match="list"):
        synapse_rs.Consumer(group="g", streams="model-events")
    with pytest.raises(synapse_rs.Closed):
        await anext(aiter(synapse_rs.Consumer(group="g", streams=["s"])))


async def test_tail_sees_what_comes_and_what_was(redis_server: RedisServer) -> None:
    publish(redis_server, range(3))
    past = await take(synapse_rs.tail(redis_server.url, [STREAM], after="0"), 3)
    assert [event["version"] for event in past] == ["0", "1", "2"]
    since = await take(synapse_rs.tail(redis_server.url, [STREAM], after=past[0].id, where={"version": ["2", "9"]}), 1)
    assert since[0]["version"] == "2"
    live = synapse_rs.tail(redis_server.url, [STREAM])
    next_event = asyncio.ensure_future(anext(live))
    with redis.Redis(port=redis_server.port) as client:
        await asyncio.to_thread(
            eventually, "the tail waits", lambda: int(client.info("clients")["blocked_clients"]) == 1
        )
    publish(redis_server, range(7, 8))
    assert (await next_event)["version"] == "7"


async def test_a_tail_says_what_is_wrong_with_it() -> None:
    settings: list[dict[str, Any]] = [{"after": "soon"}, {"where": {"a": []}}, {"where": {"": 1}}]
    for bad in settings:
        with pytest.raises(ValueError, match=next(iter(bad))):
            await anext(synapse_rs.tail("redis://127.0.0.1:1", ["s"], **bad))
    with pytest.raises(ValueError, match="list"):
        await anext(synapse_rs.tail("redis://127.0.0.1:1", []))


async def test_a_tail_of_what_is_no_stream_says_so(redis_server: RedisServer) -> None:
    with redis.Redis(port=redis_server.port) as client:
        client.set("taken", "x")
    with pytest.raises(synapse_rs.SynapseError, match="WRONGTYPE"):
        await anext(synapse_rs.tail(redis_server.url, ["taken"], after="0"))
