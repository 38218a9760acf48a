"""How others publish, and what Redis can take."""

from __future__ import annotations

import asyncio
import subprocess
from datetime import UTC, datetime
from typing import Any

import redis
import redis.asyncio
from faststream.redis import RedisBroker

from inference import EVENT, MAXLEN, STREAM, InferenceModel

PIPELINE = 200
CONNECTIONS = 50
BENCHMARK_CLIENTS, BENCHMARK_PIPELINE = 8, 64
BOUNDED: dict[str, Any] = {"maxlen": MAXLEN, "approximate": True}


def redis_benchmark(url: str, fields: list[str], events: int) -> None:
    """redis-benchmark sending the same bytes: what Redis can take."""
    port = url.rsplit(":", 1)[1]
    shape = ["-c", str(BENCHMARK_CLIENTS), "-P", str(BENCHMARK_PIPELINE), "-n", str(events), "-q"]
    command = ["XADD", STREAM, "MAXLEN", "~", str(MAXLEN), "*", *fields]
    subprocess.run(["redis-benchmark", "-p", port, *shape, *command], check=True, stdout=subprocess.DEVNULL)


def cyrex_today(url: str, _: list[str], events: int) -> None:
    """As Cyrex by modelkit's `StreamingClient`: a pydantic model becomes a dict of texts, its `xadd` is awaited."""
    event = InferenceModel(**EVENT)

    async def run() -> None:
        async with redis.asyncio.Redis.from_url(url, decode_responses=True) as client:
            for _number in range(events):
                stamped = {**event.model_dump(), "timestamp": datetime.now(UTC).isoformat(), "source": "cyrex"}
                texts: dict[Any, Any] = {name: "" if value is None else str(value) for name, value in stamped.items()}
                await client.xadd(STREAM, texts, **BOUNDED)

    asyncio.run(run())


def faststream(url: str, _: list[str], events: int) -> None:
    """FastStream's `publish(stream=...)`, awaited; it writes the event as one field of JSON."""
    event = InferenceModel(**EVENT)

    async def run() -> None:
        async with RedisBroker(url) as broker:
            for _number in range(events):
                await broker.publish(event, stream=STREAM, maxlen=MAXLEN)

    asyncio.run(run())


def redis_sync(url: str, fields: list[str], events: int) -> None:
    """redis-py, one `xadd` after the other."""
    entry = pairs(fields)
    with redis.Redis.from_url(url) as client:
        for _number in range(events):
            client.xadd(STREAM, entry, **BOUNDED)


def redis_async(url: str, fields: list[str], events: int) -> None:
    """redis.asyncio, each `xadd` awaited."""
    entry = pairs(fields)

    async def run() -> None:
        async with redis.asyncio.Redis.from_url(url) as client:
            for _number in range(events):
                await client.xadd(STREAM, entry, **BOUNDED)

    asyncio.run(run())


def redis_gathered(url: str, fields: list[str], events: int) -> None:
    """redis.asyncio, fifty connections, an `xadd` on each gathered with the others."""
    entry = pairs(fields)

    async def run() -> None:
        pool = redis.asyncio.BlockingConnectionPool.from_url(url, max_connections=CONNECTIONS)
        async with redis.asyncio.Redis.from_pool(pool) as client:
            for _number in range(events // CONNECTIONS):
                await asyncio.gather(*(client.xadd(STREAM, entry, **BOUNDED) for _ in range(CONNECTIONS)))

    asyncio.run(run())


def redis_pipeline(url: str, fields: list[str], events: int) -> None:
    """redis-py, pipelines of 200."""
    entry = pairs(fields)
    with redis.Redis.from_url(url) as client:
        for _number in range(events // PIPELINE):
            with client.pipeline(transaction=False) as pipeline:
                for _ in range(PIPELINE):
                    pipeline.xadd(STREAM, entry, **BOUNDED)
                pipeline.execute()


def redis_pipeline_async(url: str, fields: list[str], events: int) -> None:
    """redis.asyncio, pipelines of 200."""
    entry = pairs(fields)

    async def run() -> None:
        async with redis.asyncio.Redis.from_url(url) as client:
            for _number in range(events // PIPELINE):
                async with client.pipeline(transaction=False) as pipeline:
                    for _ in range(PIPELINE):
                        pipeline.xadd(STREAM, entry, **BOUNDED)
                    await pipeline.execute()

    asyncio.run(run())


def pairs(fields: list[str]) -> dict[Any, Any]:
    """Fields and values as redis-py takes them."""
    return dict(zip(fields[::2], fields[1::2], strict=True))
