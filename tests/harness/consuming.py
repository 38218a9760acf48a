"""A consumer of numbered events, and what became of them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

import synapse_rs
from harness.wait import eventually

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.redis_server import RedisServer

STREAM = "model-events"


def publish(server: RedisServer, numbers: range) -> None:
    with synapse_rs.Publisher(server.url) as publisher:
        events = [{"event": "model-ready", "model_name": f"m{n % 3}", "version": str(n)} for n in numbers]
        publisher.publish_many(STREAM, events)


def consumer(server: RedisServer, **settings: Any) -> synapse_rs.Consumer[Any]:
    defaults = {"group": "cyrex-runtime", "streams": [STREAM], "backoff": (0.01, 0.01)}
    return synapse_rs.Consumer(server.url, **{**defaults, **settings})


def dead(server: RedisServer) -> dict[str, tuple[str, str]]:
    with server.client() as client:
        return {f["version"]: (f["dlq_reason"], f["dlq_error"]) for _, f in client.xrange(f"{STREAM}:dlq")}


def pending(server: RedisServer) -> int:
    with server.client() as client:
        return int(client.xinfo_groups(STREAM)[0]["pending"])


async def run_until(
    consumer: synapse_rs.Consumer[Any], handler: Callable[[Any], object], over: Callable[[], bool]
) -> None:
    """Runs a handler until something is true."""
    running = asyncio.create_task(consumer.run_async(handler))
    over_or_ended = asyncio.create_task(asyncio.to_thread(eventually, "the handler is through", over))
    await asyncio.wait((running, over_or_ended), return_when=asyncio.FIRST_COMPLETED)
    assert not running.done(), running
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await over_or_ended
