"""`Consumer.run`: every event gets to a handler, whatever the handlers do."""

import asyncio
import os
import signal
import threading
from typing import Any

import pytest

import synapse_rs
from harness.consuming import STREAM, consumer, dead, pending, publish, run_until
from harness.redis_server import RedisServer
from harness.wait import eventually
from synapse_rs import Event, Reject, Retry, Unavailable


async def test_what_a_handler_raises_says_what_becomes_of_the_event(redis_server: RedisServer) -> None:
    publish(redis_server, range(6))
    calls: dict[str, list[int]] = {}

    async def handle(event: Event) -> None:
        await asyncio.sleep(0)
        tries = calls.setdefault(event["version"], [])
        tries.append(event.deliveries)
        match event["version"], len(tries):
            case "1", n if n < 3:
                raise Retry(0.001)
            case "2", _:
                raise Reject("hopeless")
            case "3", _:
                raise KeyError("always")
            case "4", n if n < 8:
                raise Unavailable(0.001)

    await run_until(
        consumer(redis_server, max_deliveries=3),
        handle,
        lambda: len(dead(redis_server)) == 2 and len(calls) == 6 and pending(redis_server) == 0,
    )
    assert calls["1"] == [1, 2, 3]
    assert calls["3"] == [1, 2, 3]
    assert calls["4"] == [1] * 8, "what is unavailable counts as no attempt"
    assert dead(redis_server) == {"2": ("rejected", "hopeless"), "3": ("max_deliveries", "KeyError: 'always'")}


async def test_several_at_once_and_in_order_per_key(redis_server: RedisServer) -> None:
    publish(redis_server, range(60))
    at_work: set[str] = set()
    most = 0
    order: dict[str, list[int]] = {}

    async def handle(event: Event) -> None:
        nonlocal most
        assert event["model_name"] not in at_work
        at_work.add(event["model_name"])
        most = max(most, len(at_work))
        await asyncio.sleep(0.001)
        at_work.discard(event["model_name"])
        if event["version"] == "6" and event.deliveries < 3:
            raise RuntimeError
        order.setdefault(event["model_name"], []).append(int(event["version"]))

    await run_until(
        consumer(redis_server, concurrency=8, ordered_by="model_name"),
        handle,
        lambda: sum(map(len, order.values())) == 60 and pending(redis_server) == 0,
    )
    assert most == 3
    assert order == {f"m{key}": list(range(key, 60, 3)) for key in range(3)}


async def test_sync_handlers_run_side_by_side_and_one_that_hangs_has_failed(redis_server: RedisServer) -> None:
    publish(redis_server, range(8))
    together = threading.Barrier(2)
    hang = threading.Event()
    done: list[str] = []

    def handle(event: Event) -> None:
        if event["version"] in {"0", "1"} and event.deliveries == 1:
            together.wait(10)
        if event["version"] == "2":
            hang.wait(60)
        done.append(event["version"])

    await run_until(
        consumer(redis_server, concurrency=2, handler_timeout=0.5, max_deliveries=2),
        handle,
        lambda: len(done) == 7 and pending(redis_server) == 0,
    )
    hang.set()
    assert dead(redis_server) == {"2": ("max_deliveries", "TimeoutError: the handler took longer than 0.5 s")}


async def test_an_async_handler_that_hangs_is_cancelled(redis_server: RedisServer) -> None:
    publish(redis_server, range(3))
    cancelled = 0

    async def handle(event: Event) -> None:
        nonlocal cancelled
        if event["version"] == "1":
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                cancelled += 1
                raise

    await run_until(
        consumer(redis_server, handler_timeout=0.02, max_deliveries=2), handle, lambda: len(dead(redis_server)) == 1
    )
    assert cancelled == 2


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_in_order_after_the_handler_at_work(redis_server: RedisServer, number: signal.Signals) -> None:
    publish(redis_server, range(5))
    handled: list[str] = []

    async def handle(event: Event) -> None:
        if event["version"] == "2":
            os.kill(os.getpid(), number)
            await asyncio.sleep(0.05)
        handled.append(event["version"])

    before = signal.getsignal(number)
    consumer(redis_server).run(handle)
    assert signal.getsignal(number) == before
    assert handled == ["0", "1", "2"]
    assert pending(redis_server) == 2
    with redis_server.client() as client:
        left = client.xpending_range(STREAM, "cyrex-runtime", "-", "+", 5)
    for entry in left:
        assert entry["time_since_delivered"] >= 30_000, "to be claimed at once"
        assert entry["times_delivered"] == 0, "no handler has seen it"


class Mute(Exception):
    """An error that can't say what it is."""

    def __str__(self) -> str:
        raise RuntimeError


def bad(number: int) -> None:
    """Raises what can go wrong in raising."""
    match number:
        case 0:
            raise Retry(-1)
        case 1:
            raise Unavailable(None)  # type: ignore[arg-type]
        case 2:
            raise RuntimeError("\ud800")
        case 3:
            raise Mute
        case 4:
            next(iter(()))
        case 5:
            raise Reject(ValueError("so"))
        case 6:
            raise asyncio.CancelledError


@pytest.mark.parametrize("in_thread", [False, True])
async def test_whatever_a_handler_raises_the_others_go_on(redis_server: RedisServer, in_thread: bool) -> None:
    publish(redis_server, range(8))
    done: list[str] = []

    def handle(event: Event) -> None:
        bad(int(event["version"]))
        done.append(event["version"])

    async def handle_async(event: Event) -> None:
        handle(event)

    await run_until(
        consumer(redis_server, max_deliveries=1),
        handle if in_thread else handle_async,
        lambda: len(dead(redis_server)) == 7 and pending(redis_server) == 0,
    )
    assert done == ["7"]
    letters = dead(redis_server)
    assert letters["0"] == ("max_deliveries", "ValueError: after is -1, expected seconds from 0")
    assert letters["2"] == ("max_deliveries", "RuntimeError: ?")
    assert letters["3"] == ("max_deliveries", "Mute")
    assert "StopIteration" in letters["4"][1]
    assert letters["5"] == ("rejected", "ValueError: so")


async def test_two_loops_share_a_consumer_and_one_may_be_cancelled(redis_server: RedisServer) -> None:
    async with consumer(redis_server) as events:
        for number in range(30):
            left, right = (asyncio.ensure_future(anext(aiter(events))) for _ in range(2))
            await asyncio.sleep(number % 3 / 1000)
            await asyncio.to_thread(publish, redis_server, range(number, number + 1))
            left.cancel()
            await asyncio.wait((left,))
            if left.cancelled():
                await (await asyncio.wait_for(right, 5)).ack()
            else:
                await left.result().ack()
                right.cancel()
                await asyncio.wait((right,))


def test_a_forked_child_does_not_take_its_parents_events(redis_server: RedisServer) -> None:
    publish(redis_server, range(3))

    async def parent() -> None:
        async with consumer(redis_server) as events:
            loop = aiter(events)
            await anext(loop)
            pid = os.fork()
            if pid == 0:
                status = 1
                try:
                    await anext(loop)
                except synapse_rs.Closed:
                    status = 0
                finally:
                    os._exit(status)
            _, status = await asyncio.to_thread(os.waitpid, pid, 0)
            assert os.waitstatus_to_exitcode(status) == 0
            assert (await anext(loop))["version"] == "1"

    asyncio.run(parent())


async def test_closing_ends_the_handlers(redis_server: RedisServer) -> None:
    publish(redis_server, range(3))
    events = consumer(redis_server)

    async def handle(event: Event) -> None:
        if event["version"] == "1":
            await events.close()

    await asyncio.wait_for(events.run_async(handle), 10)


async def test_an_exception_that_leaves_the_consumer_is_a_failed_delivery(redis_server: RedisServer) -> None:
    publish(redis_server, range(1))

    async def attempt() -> None:
        async with consumer(redis_server, max_deliveries=2) as events:
            async for event in events:
                raise RuntimeError(f"delivery {event.deliveries}")

    for number in (1, 2):
        with pytest.raises(RuntimeError, match=f"delivery {number}"):
            await attempt()
    assert dead(redis_server) == {"0": ("max_deliveries", "RuntimeError: delivery 2")}
    assert pending(redis_server) == 0


async def test_a_loop_with_events_always_at_hand_lets_others_run(redis_server: RedisServer) -> None:
    publish(redis_server, range(1000))
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            ticks += 1
            await asyncio.sleep(0)

    ticking = asyncio.create_task(tick())
    async with consumer(redis_server) as events:
        await asyncio.to_thread(eventually, "many are ready", lambda: events.stats()["ready"] >= 500)
        before = ticks
        taken = 0
        async for _ in events:
            taken += 1
            if taken == 450:
                break
    ticking.cancel()
    assert ticks - before >= 4


def test_bad_settings_are_named() -> None:
    for name, value in {"concurrency": 0, "handler_timeout": 0, "streams": "s"}.items():
        settings: dict[str, Any] = {name: value}
        with pytest.raises(ValueError, match=name):
            synapse_rs.Consumer(**{"group": "g", "streams": ["s"], **settings})


@pytest.mark.parametrize(
    "settings",
    [
        {"batch": 0},
        {"min_idle": -1},
        {"max_deliveries": 0},
        {"backoff": (2.0, 1.0)},
        {"ordered_by": "a..b"},
        {"where": {"": 1}},
        {"streams": ["s", "s"]},
        {"group": ""},
        {"start": "soon"},
        {"max_in_hand_bytes": 0},
    ],
    ids=lambda settings: next(iter(settings)),
)
async def test_bad_settings_of_the_core_are_named(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(settings))):
        async with synapse_rs.Consumer(**{"group": "g", "streams": ["s"], **settings}):
            pass


def test_an_event_can_be_made_to_try_a_handler_with() -> None:
    event = Event.of({"event": "model-ready", "model_name": "m"}, stream=STREAM, id="5-1", deliveries=3)
    assert (event.name, event.stream, event.id, event.deliveries, event.settled) == (
        "model-ready",
        STREAM,
        "5-1",
        3,
        True,
    )
    assert dict(event) == {"event": "model-ready", "model_name": "m"}
    assert repr(event).startswith("<Event model-ready model-events 5-1 {")
    with pytest.raises(ValueError, match="not an entry id"):
        Event.of({}, stream=STREAM, id="soon")
