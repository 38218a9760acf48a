"""What publishing an event costs, beside redis-py and redis-benchmark in the same run. `make bench-publish`.

Every contender writes the same eleven-field inference event to a private Redis with `MAXLEN ~ 1000000`. They take
turns; medians of several rounds are printed. "events/s" is until Redis has acknowledged all of them. "caller us"
is the CPU time of the calling thread per event, "process us" that of the whole process, with our writer's thread.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import hiredis
import redis
import redis.asyncio

import rounds
import synapse_rs
from harness.redis_server import RedisServer
from inference import EVENT, KEYWORDS, MAXLEN, STREAM, publish_thousands

PIPELINE = 200
OUTSTANDING = 1_000
BENCHMARK_CLIENTS, BENCHMARK_PIPELINE = 8, 64


@dataclass(frozen=True)
class Cost:
    """What one run cost, per event."""

    per_second: float
    caller_us: float | None
    process_us: float | None


Contender = Callable[[str, list[str], int], None]
"""Publishes so many events to a URL; redis-py's are given the entry's fields as they stand in Redis."""


def timed(contender: Contender, server: RedisServer, fields: list[str], events: int) -> Cost:
    """Runs a contender once and checks that Redis has all that it says."""
    with server.client() as client:
        client.delete(STREAM)
        client.config_resetstat()
    wall, caller, process = time.perf_counter(), time.thread_time(), time.process_time()
    contender(server.url, fields, events)
    wall, caller, process = time.perf_counter() - wall, time.thread_time() - caller, time.process_time() - process
    with server.client() as client:
        written = int(client.info("commandstats")["cmdstat_xadd"]["calls"])
    if written != events:
        raise RuntimeError(f"{contender.__name__}: Redis has taken {written} of {events} events")
    if contender is redis_benchmark:
        return Cost(events / wall, None, None)
    return Cost(events / wall, caller / events * 1e6, process / events * 1e6)


def publish_keywords(url: str, _: list[str], events: int) -> None:
    """`publish_inference` in a loop."""
    with synapse_rs.Publisher(url, source="cyrex", maxlen=MAXLEN) as publisher:
        publish = publisher.publish_inference
        for _number in range(events):
            publish(**KEYWORDS)
        publisher.flush(timeout=60)


def publish_dict(url: str, _: list[str], events: int) -> None:
    """`publish` in a loop."""
    with synapse_rs.Publisher(url, source="cyrex", maxlen=MAXLEN) as publisher:
        publish = publisher.publish
        for _number in range(events):
            publish(STREAM, EVENT)
        publisher.flush(timeout=60)


def publish_many(url: str, _: list[str], events: int) -> None:
    """`publish_many` of a thousand at a time."""
    publish_thousands(url, events)


def send_awaited(url: str, _: list[str], events: int) -> None:
    """`await send(...)`, a thousand at a time."""

    async def run() -> None:
        async with synapse_rs.Publisher(url, source="cyrex", maxlen=MAXLEN) as publisher:
            for _number in range(events // OUTSTANDING):
                receipts = [publisher.send(STREAM, EVENT) for _ in range(OUTSTANDING)]
                for receipt in receipts:
                    await receipt

    asyncio.run(run())


def redis_sync(url: str, fields: list[str], events: int) -> None:
    """redis-py, one `xadd` after the other."""
    entry: dict[Any, Any] = dict(zip(fields[::2], fields[1::2], strict=True))
    with redis.Redis.from_url(url) as client:
        for _number in range(events):
            client.xadd(STREAM, entry, maxlen=MAXLEN, approximate=True)


def redis_async(url: str, fields: list[str], events: int) -> None:
    """redis.asyncio, each `xadd` awaited."""

    async def run() -> None:
        entry: dict[Any, Any] = dict(zip(fields[::2], fields[1::2], strict=True))
        async with redis.asyncio.Redis.from_url(url) as client:
            for _number in range(events):
                await client.xadd(STREAM, entry, maxlen=MAXLEN, approximate=True)

    asyncio.run(run())


def redis_pipeline(url: str, fields: list[str], events: int) -> None:
    """redis-py, pipelines of 200."""
    entry: dict[Any, Any] = dict(zip(fields[::2], fields[1::2], strict=True))
    with redis.Redis.from_url(url) as client:
        for _number in range(events // PIPELINE):
            with client.pipeline(transaction=False) as pipeline:
                for _ in range(PIPELINE):
                    pipeline.xadd(STREAM, entry, maxlen=MAXLEN, approximate=True)
                pipeline.execute()


def redis_benchmark(url: str, fields: list[str], events: int) -> None:
    """redis-benchmark sending the same bytes: what Redis can take."""
    port = url.rsplit(":", 1)[1]
    shape = ["-c", str(BENCHMARK_CLIENTS), "-P", str(BENCHMARK_PIPELINE), "-n", str(events), "-q"]
    entry = ["XADD", STREAM, "MAXLEN", "~", str(MAXLEN), "*", *fields]
    subprocess.run(["redis-benchmark", "-p", port, *shape, *entry], check=True, stdout=subprocess.DEVNULL)


PEER = "redis-benchmark -c 8 -P 64"
CONTENDERS: dict[str, tuple[Contender, int]] = {
    PEER: (redis_benchmark, 400_000),
    "synapse_rs publish_inference": (publish_keywords, 400_000),
    "synapse_rs publish(dict)": (publish_dict, 400_000),
    "synapse_rs publish_many": (publish_many, 400_000),
    "synapse_rs await send, 1,000 out": (send_awaited, 100_000),
    "redis-py pipeline(200)": (redis_pipeline, 40_000),
    "redis-py xadd, sync": (redis_sync, 8_000),
    "redis-py xadd, asyncio": (redis_async, 8_000),
}


def entry_as_written(server: RedisServer) -> list[str]:
    """The fields and values of an entry that our publisher wrote, so that all send the same bytes."""
    publish_dict(server.url, [], 1)
    return [text for pair in server.entries(STREAM)[0][1].items() for text in pair]


def main() -> None:
    """Runs all contenders and prints the table."""
    times = rounds.asked_for("Publishing beside redis-py and redis-benchmark.")
    with RedisServer() as server:
        fields = entry_as_written(server)
        size = sum(map(len, fields))
        print(
            f"Publishing an event of {len(fields) // 2} fields and {size} bytes; medians of {times} rounds in turn; ",
            end="",
        )
        print(f"{os.cpu_count()} cores, redis-py {redis.__version__} with hiredis {hiredis.__version__}\n")
        contenders = {
            name: partial(timed, contender, server, fields, events) for name, (contender, events) in CONTENDERS.items()
        }
        results = rounds.in_turn(contenders, times)
    columns = [
        rounds.Column[Cost]("events/s", lambda cost: cost.per_second),
        rounds.Column[Cost]("caller us", lambda cost: cost.caller_us, ".2f"),
        rounds.Column[Cost]("process us", lambda cost: cost.process_us, ".2f"),
    ]
    rounds.print_table(results, columns, rounds.Ratio("of redis-benchmark", PEER, lambda cost: cost.per_second))


if __name__ == "__main__":
    main()
