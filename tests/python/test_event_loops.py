"""Receipts and publishers in several event loops, at once and one after the other, cancelled and closed."""

import asyncio
import gc
import threading
import weakref
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import uvloop

import synapse_rs
from harness.events import STREAM, fields_on, inference
from harness.redis_server import RedisServer
from harness.wait import eventually

NOWHERE = "redis://127.0.0.1:1"
LOOPS: list[Callable[[], asyncio.AbstractEventLoop]] = [asyncio.new_event_loop, uvloop.new_event_loop]


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def threads() -> int:
    return len(list(Path("/proc/self/task").iterdir()))


@pytest.fixture
def away() -> Iterator[synapse_rs.Publisher]:
    """A publisher without Redis: its receipts stay open."""
    publisher = synapse_rs.Publisher(NOWHERE)
    yield publisher
    with pytest.raises(synapse_rs.DeliveryError):
        publisher.close(timeout=0)


@pytest.mark.parametrize("new_loop", LOOPS)
def test_loops_of_many_threads_await_receipts_side_by_side(
    redis_server: RedisServer, new_loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    with synapse_rs.Publisher(redis_server.url) as publisher:

        async def work(thread: int) -> list[str]:
            found = []
            for _ in range(5):
                found += await asyncio.gather(*[publisher.send(f"s{thread}", inference(n=n)) for n in range(200)])
                await publisher.flush_async()
            return found

        def run(thread: int) -> list[str]:
            with asyncio.Runner(loop_factory=new_loop) as runner:
                return runner.run(work(thread))

        for thread in range(4):
            publisher.send(f"s{thread}", inference()).result(timeout=10)
        with ThreadPoolExecutor(4) as threads:
            found = list(threads.map(run, range(4)))
    for thread, ids in enumerate(found):
        assert ids == [entry for entry, _ in redis_server.entries(f"s{thread}")][1:]
        assert len(ids) == 1000


@pytest.mark.parametrize("new_loop", LOOPS)
def test_a_loop_that_is_closed_with_receipts_open_leaves_nothing(
    away: synapse_rs.Publisher,
    new_loop: Callable[[], asyncio.AbstractEventLoop],
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    async def leave_open() -> None:
        receipts = [away.send(STREAM, inference()) for _ in range(10)]
        waiting = [asyncio.ensure_future(_result(receipt)) for receipt in receipts]
        await asyncio.sleep(0)
        assert not any(future.done() for future in waiting)

    away.publish(STREAM, inference())
    eventually("redis is missed", lambda: "takes no events" in caplog.text)
    caplog.clear()
    loops = []
    before = open_files()
    for _ in range(10):
        with asyncio.Runner(loop_factory=new_loop) as runner:
            runner.run(leave_open())
            loops.append(weakref.ref(runner.get_loop()))
    gc.collect()
    assert open_files() <= before
    with pytest.raises(synapse_rs.DeliveryError):
        away.close(timeout=0)
    # What the receipts became was told by now, and nobody was there to hear it.
    gc.collect()
    assert [loop() for loop in loops] == [None] * 10
    assert caplog.records == []
    assert capfd.readouterr().err == ""


async def _result(receipt: synapse_rs.Receipt) -> str:
    return await receipt


def test_a_loop_closed_without_its_tasks_being_cancelled_lets_go_as_well(redis_server: RedisServer) -> None:
    with synapse_rs.Publisher(redis_server.url) as publisher:
        before = open_files()
        redis_server.stop()
        loop = asyncio.new_event_loop()
        futures: list[Any] = []

        async def begin() -> None:
            futures.append(next(publisher.send(STREAM, inference()).__await__()))

        loop.run_until_complete(begin())
        loop.close()
        redis_server.start()
        publisher.flush(timeout=20)
        assert not futures[0].done()
        assert asyncio.run(_send(publisher))
        futures.clear()
        gc.collect()
        eventually("the loops' sockets are closed", lambda: open_files() <= before + 2)


async def _send(publisher: synapse_rs.Publisher) -> str:
    return await publisher.send(STREAM, inference())


async def test_a_cancelled_receipt_changes_nothing_for_others(redis_server: RedisServer) -> None:
    redis_server.stop()
    publisher = synapse_rs.Publisher(redis_server.url)
    receipts = [publisher.send(STREAM, inference(n=n)) for n in range(10)]
    waiting = [asyncio.ensure_future(_result(receipt)) for receipt in receipts]
    await asyncio.sleep(0)
    for future in waiting[::2]:
        future.cancel()
    await asyncio.to_thread(redis_server.start)
    found = await asyncio.gather(*waiting, return_exceptions=True)
    assert [isinstance(result, asyncio.CancelledError) for result in found] == [True, False] * 5
    await publisher.close_async()
    assert [int(e["n"]) for e in fields_on(redis_server)] == list(range(10))
    assert [receipt.result() for receipt in receipts[1::2]] == found[1::2]


async def test_a_flush_that_is_cancelled_holds_nothing(redis_server: RedisServer) -> None:
    redis_server.stop()
    publisher = synapse_rs.Publisher(redis_server.url)
    publisher.publish(STREAM, inference())
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(publisher.flush_async(timeout=20), 0.05)
    await asyncio.to_thread(redis_server.start)
    await publisher.close_async()
    assert len(fields_on(redis_server)) == 1


@pytest.mark.parametrize("new_loop", LOOPS)
def test_a_loop_that_is_closed_before_its_answer_comes_is_not_an_error(
    away: synapse_rs.Publisher,
    new_loop: Callable[[], asyncio.AbstractEventLoop],
    capfd: pytest.CaptureFixture[str],
) -> None:
    flushing: list[Awaitable[None]] = []

    async def begin() -> None:
        away.publish(STREAM, inference())
        flushing.append(away.flush_async(timeout=0.1))

    loop = new_loop()
    loop.run_until_complete(begin())
    loop.close()
    # Begun later, and answered later, by the same thread.
    with pytest.raises(synapse_rs.DeliveryError):
        asyncio.run(_flush(away, timeout=0.2))
    assert "Traceback" not in capfd.readouterr().err


async def _flush(publisher: synapse_rs.Publisher, timeout: float) -> None:  # noqa: ASYNC109
    await publisher.flush_async(timeout=timeout)


def test_threads_and_loops_share_a_receipt(redis_server: RedisServer) -> None:
    redis_server.stop()
    publisher = synapse_rs.Publisher(redis_server.url)
    receipt = publisher.send(STREAM, inference())
    found: list[str] = []
    threads = [
        threading.Thread(target=lambda: found.append(receipt.result(timeout=20))),
        threading.Thread(target=lambda: found.append(asyncio.run(_result(receipt)))),
        threading.Thread(target=lambda: found.append(uvloop.run(_result(receipt)))),
    ]
    for thread in threads:
        thread.start()
    redis_server.start()
    for thread in threads:
        thread.join()
    publisher.close()
    assert found == [receipt.result()] * 3


async def test_what_has_no_result_gives_none(redis_server: RedisServer) -> None:
    async def result(awaitable: Awaitable[object]) -> object:
        return await awaitable

    publisher = synapse_rs.Publisher(redis_server.url, queue_events=1)
    full = [publisher.publish_async(STREAM, inference()) for _ in range(3)]
    assert [await result(one) for one in full] == [None] * 3
    for wait in (publisher.connect_async, publisher.flush_async, publisher.close_async):
        assert await result(wait()) is None


async def test_results_are_handed_over_by_few_threads(redis_server: RedisServer) -> None:
    publisher = synapse_rs.Publisher(redis_server.url)
    publisher.publish(STREAM, inference())
    waiting = [asyncio.ensure_future(publisher.flush_async()) for _ in range(1000)]
    for one in waiting[500:]:
        one.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    assert threads() < 100
    await publisher.close_async()


def test_one_completion_that_fails_leaves_none_of_the_others_waiting(redis_server: RedisServer) -> None:
    class Failing(asyncio.SelectorEventLoop):
        """Is interrupted once, right after it was told of an outcome."""

        fails = False

        def call_soon(  # type: ignore[override]
            self, callback: Any, *args: Any, context: Any = None
        ) -> asyncio.Handle:
            handle = super().call_soon(callback, *args, context=context)
            if self.fails and args and isinstance(args[0], asyncio.Future) and not isinstance(args[0], asyncio.Task):
                self.fails = False
                raise RuntimeError("interrupted")
            return handle

    async def work() -> None:
        receipts = [asyncio.ensure_future(_result(publisher.send(STREAM, inference()))) for _ in range(50)]
        loop.fails = True
        _, pending = await asyncio.wait(receipts, timeout=10)
        assert not pending

    errors: list[str] = []
    loop = Failing()
    loop.set_exception_handler(lambda _loop, context: errors.append(str(context.get("exception"))))
    with synapse_rs.Publisher(redis_server.url) as publisher:
        try:
            loop.run_until_complete(work())
        finally:
            loop.close()
    assert errors == ["interrupted"]
