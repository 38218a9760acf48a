"""How long a single call takes: of a publisher whose writer sleeps, of one whose writer has just been woken.

After a pause the processor's caches hold other things, which is most of what a call takes then; what waking any
thread takes is measured beside it.
"""

from __future__ import annotations

import os
import selectors
import threading
import time
from typing import TYPE_CHECKING

import redis

from inference import EVENT, STREAM
from publishing import ours, peers

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

CALLS = 500
PAUSE_S = 0.002
"""Long enough for the writer's thread, and the core it ran on, to fall asleep."""


def duration_us(call: Callable[[], object]) -> float:
    """What one call takes, by the clock."""
    start = time.perf_counter_ns()
    call()
    return (time.perf_counter_ns() - start) / 1e3


def our_calls(url: str) -> tuple[list[float], list[float]]:
    """Pairs of calls after a pause: the first finds the writer asleep, the second awake."""
    asleep, awake = [], []
    with ours.publisher(url) as publisher:

        def publish() -> None:
            publisher.publish(STREAM, EVENT)

        publish()
        for _ in range(CALLS):
            publisher.flush(timeout=ours.PATIENCE_S)
            time.sleep(PAUSE_S)
            asleep.append(duration_us(publish))
            awake.append(duration_us(publish))
    return asleep, awake


def wake_ups() -> list[float]:
    """Waking a thread that sleeps in `epoll`, after the same pauses: less can't be had."""
    durations: list[float] = []
    with selectors.DefaultSelector() as selector:
        bell = os.eventfd(0)
        selector.register(bell, selectors.EVENT_READ)

        def sleep() -> None:
            while len(durations) < CALLS and selector.select():
                os.eventfd_read(bell)

        sleeper = threading.Thread(target=sleep)
        sleeper.start()
        for _ in range(CALLS):
            time.sleep(PAUSE_S)
            durations.append(duration_us(lambda: os.eventfd_write(bell, 1)))
        os.eventfd_write(bell, 1)
        sleeper.join()
    os.close(bell)
    return durations


def redis_calls(url: str, fields: list[str]) -> list[float]:
    """redis-py's `xadd` after the same pauses."""
    entry, durations = peers.pairs(fields), []
    with redis.Redis.from_url(url) as client:
        client.ping()
        for _ in range(CALLS):
            time.sleep(PAUSE_S)
            durations.append(duration_us(lambda: client.xadd(STREAM, entry, **peers.BOUNDED)))
    return durations


def percentile(durations: Sequence[float], percent: int) -> float:
    """The duration that so many of a hundred don't exceed."""
    return sorted(durations)[(len(durations) - 1) * percent // 100]


def print_lone_calls(url: str, fields: list[str]) -> None:
    """Times the calls and prints their percentiles."""
    asleep, awake = our_calls(url)
    theirs = redis_calls(url, fields)
    print(f"\nA lone call, {CALLS} of each, {PAUSE_S * 1e3:g} ms apart")
    print(f"  {'':<34}{'p50 us':>10}{'p99 us':>10}{'of xadd, p50':>15}")
    rows = {
        "publish, writer asleep": asleep,
        "publish, writer awake": awake,
        "waking a thread, for comparison": wake_ups(),
        "redis-py xadd, sync": theirs,
    }
    for name, durations in rows.items():
        p50, p99 = percentile(durations, 50), percentile(durations, 99)
        print(f"  {name:<34}{p50:>10.1f}{p99:>10.1f}{p50 / percentile(theirs, 50):>15.3f}", flush=True)
