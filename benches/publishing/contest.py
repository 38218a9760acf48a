"""Who acknowledges how many events a second, and what that costs the caller: all contenders in turn."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import rounds
from inference import STREAM
from publishing import ours, peers

if TYPE_CHECKING:
    from harness.redis_server import RedisServer

LIMIT = "redis-benchmark -c 8 -P 64"
CONTENDERS: dict[str, tuple[ours.Contender, int]] = {
    LIMIT: (peers.redis_benchmark, 400_000),
    "synapse_rs publish_inference": (ours.publish_keywords, 400_000),
    "synapse_rs publish(dict)": (ours.publish_dict, 400_000),
    "synapse_rs publish(dataclass)": (ours.publish_dataclass, 200_000),
    "synapse_rs publish(pydantic)": (ours.publish_model, 200_000),
    "synapse_rs publish_many": (ours.publish_many, 400_000),
    "synapse_rs await send, 1,000 out": (ours.send_awaited, 100_000),
    "redis-py pipeline(200), sync": (peers.redis_pipeline, 20_000),
    "redis-py pipeline(200), asyncio": (peers.redis_pipeline_async, 20_000),
    "redis.asyncio, 50 gathered": (peers.redis_gathered, 8_000),
    "redis-py xadd, sync": (peers.redis_sync, 8_000),
    "redis-py xadd, asyncio": (peers.redis_async, 6_000),
    "Cyrex today: pydantic, asyncio": (peers.cyrex_today, 5_000),
    "FastStream publish(stream=...)": (peers.faststream, 5_000),
}
"""With how many events each: enough for a figure, few enough for the patience of who waits for the slow ones."""


@dataclass(frozen=True)
class Cost:
    """What one run cost, per event."""

    per_second: float
    caller_us: float | None
    process_us: float | None


def timed(name: str, server: RedisServer, fields: list[str]) -> Cost:
    """Runs a contender once and checks that Redis has all that it says."""
    contender, events = CONTENDERS[name]
    with server.client() as client:
        client.delete(STREAM)
        client.config_resetstat()
    wall, caller, process = time.perf_counter(), time.thread_time(), time.process_time()
    contender(server.url, fields, events)
    wall, caller, process = time.perf_counter() - wall, time.thread_time() - caller, time.process_time() - process
    with server.client() as client:
        written = int(client.info("commandstats")["cmdstat_xadd"]["calls"])
    if written != events:
        raise RuntimeError(f"{name}: Redis has taken {written} of {events} events")
    if name == LIMIT:
        return Cost(events / wall, None, None)
    return Cost(events / wall, caller / events * 1e6, process / events * 1e6)


def print_contest(server: RedisServer, fields: list[str], times: int) -> None:
    """Runs all contenders so many times and prints the medians."""
    results = rounds.in_turn({name: partial(timed, name, server, fields) for name in CONTENDERS}, times)
    columns = [
        rounds.Column[Cost]("events/s", lambda cost: cost.per_second),
        rounds.Column[Cost]("caller us", lambda cost: cost.caller_us, ".2f"),
        rounds.Column[Cost]("process us", lambda cost: cost.process_us, ".2f"),
    ]
    rounds.print_table(results, columns, rounds.Ratio("of redis-benchmark", LIMIT, lambda cost: cost.per_second))
