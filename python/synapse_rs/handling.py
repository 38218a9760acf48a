"""Handing events to a handler, several at a time, until the process is interrupted."""

import asyncio
import contextlib
import inspect
import logging
import queue
import signal
import threading
from collections.abc import Awaitable, Callable, Iterator
from typing import TYPE_CHECKING, Any

from synapse_rs.answers import Reject, Retry, Unavailable, describe, printable

if TYPE_CHECKING:
    from synapse_rs.consumer import Batch, Consumer

Handler = Callable[[Any], Awaitable[object] | object]

_Outcome = tuple[object, BaseException | None]
"""What a handler gave back, or what it raised."""

_log = logging.getLogger("synapse_rs")


async def run(
    consumer: "Consumer[Any]", handler: Handler, concurrency: int, limit: float | None, stop: asyncio.Event
) -> None:
    """Handles events with so many workers until `stop` is set, the task is cancelled or the consumer is closed."""
    # In the thread of the loop a sync handler would hold up the others, its own time limit, and signals.
    in_threads = not _is_async(handler)
    workers = [_Worker(consumer, handler, limit, in_threads, stop) for _ in range(concurrency)]
    async with asyncio.TaskGroup() as group:
        for worker in workers:
            group.create_task(worker.run())


def _is_async(handler: Handler) -> bool:
    return inspect.iscoroutinefunction(handler) or inspect.iscoroutinefunction(getattr(handler, "__call__", None))  # noqa: B004


@contextlib.contextmanager
def until_interrupted() -> Iterator[asyncio.Event]:
    """An event that SIGINT and SIGTERM set; a second one of them does what it did before."""
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def restore() -> None:
        for number, handler in before.items():
            loop.remove_signal_handler(number)
            signal.signal(number, handler)

    def interrupt() -> None:
        restore()
        stop.set()

    for number in before:
        loop.add_signal_handler(number, interrupt)
    try:
        yield stop
    finally:
        if not stop.is_set():
            restore()


class _Worker:
    """Handles one event after the other."""

    def __init__(
        self,
        consumer: "Consumer[Any]",
        handler: Handler,
        limit: float | None,
        in_threads: bool,
        stop: asyncio.Event,
    ) -> None:
        self._consumer = consumer
        self._handler = handler
        self._limit = limit
        self._stop = stop
        self._thread = _HandlerThread() if in_threads else None

    async def run(self) -> None:
        stopped = asyncio.create_task(self._stop.wait())
        try:
            while not self._stop.is_set():
                subscription = self._consumer._subscription
                if subscription is None:
                    return
                batch = self._consumer._take(1)
                if batch is not None:
                    await self._handle(batch)
                    # With events always at hand nobody else would get to run.
                    await asyncio.sleep(0)
                    continue
                ready = asyncio.ensure_future(subscription.ready())
                await asyncio.wait((ready, stopped), return_when=asyncio.FIRST_COMPLETED)
                if not ready.done():
                    ready.cancel()
                elif not ready.result():
                    return
        finally:
            stopped.cancel()
            if self._thread is not None:
                self._thread.end()

    async def _handle(self, batch: "Batch[Any]") -> None:
        """One event, until it is known what becomes of it; unsettled if the process is interrupted meanwhile."""
        delivery = batch._events[0]._delivery
        while not self._stop.is_set():
            try:
                await self._attempt(batch[0])
            except Unavailable as unavailable:
                batch._subscription.pause(unavailable.after)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._stop.wait(), unavailable.after)
                continue
            except Retry as retry:
                delivery.fail(printable(retry.reason), retry.after)
            except Reject as reject:
                delivery.reject(printable(reject.reason))
            except asyncio.CancelledError as error:
                task = asyncio.current_task()
                if task is not None and task.cancelling():
                    raise
                # Not of this task: the handler awaited something that was cancelled.
                delivery.fail(describe(error))
            except Exception as error:
                _log.warning("an event of %s failed: %s", delivery.stream, delivery.id, exc_info=error)
                delivery.fail(describe(error))
            else:
                delivery.ack()
            return

    async def _attempt(self, item: Any) -> None:
        try:
            async with asyncio.timeout(self._limit) as watch:
                answer = await self._thread.call(self._handler, item) if self._thread else self._handler(item)
                if inspect.isawaitable(answer):
                    await answer
        except TimeoutError:
            if not watch.expired():
                raise
            if self._thread is not None:
                # It can't be interrupted: it is left to itself, and another takes its place.
                self._thread.end()
                self._thread = _HandlerThread()
            raise TimeoutError(f"the handler took longer than {self._limit} s") from None


class _HandlerThread:
    """A thread that calls sync handlers, one at a time; a daemon, so that one that hangs does not hold up the end."""

    def __init__(self) -> None:
        self._calls: queue.SimpleQueue[tuple[Handler, Any, asyncio.Future[_Outcome]] | None] = queue.SimpleQueue()
        self._loop = asyncio.get_running_loop()
        threading.Thread(target=self._run, name="synapse-handler", daemon=True).start()

    async def call(self, handler: Handler, item: Any) -> object:
        answer: asyncio.Future[_Outcome] = self._loop.create_future()
        self._calls.put((handler, item, answer))
        result, error = await answer
        if error is not None:
            # A StopIteration becomes a RuntimeError here, as in every coroutine.
            raise error
        return result

    def end(self) -> None:
        self._calls.put(None)

    def _run(self) -> None:
        while call := self._calls.get():
            handler, item, answer = call
            try:
                result = handler(item)
            except BaseException as error:
                self._tell(answer, None, error)
            else:
                self._tell(answer, result, None)

    def _tell(self, answer: "asyncio.Future[_Outcome]", result: object, error: BaseException | None) -> None:
        def settle() -> None:
            # Nobody may wait any more: the handler's time was over.
            if not answer.done():
                answer.set_result((result, error))

        # The loop has ended: nobody waits any more.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(settle)
