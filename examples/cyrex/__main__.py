"""Publishes inference traffic and shows each second what flows.

python -m cyrex [--redis URL] [--rate 200 | --trace file.csv --speed 10]
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import synapse_rs
from cyrex import trace
from cyrex.traffic import Arrival, Traffic

if TYPE_CHECKING:
    from collections.abc import Iterable

FLUSH_S = 5.0


@dataclass
class Second:
    """What was published since the last line was printed."""

    events: Counter[str] = field(default_factory=Counter)
    latencies_ms: list[float] = field(default_factory=list)
    users: set[str] = field(default_factory=set)
    failed: int = 0
    dollars: float = 0.0

    def add(self, arrival: Arrival) -> None:
        """Counts one more."""
        event = arrival.event
        self.events[arrival.stream] += 1
        if event.get("user_id"):
            self.users.add(event["user_id"])
        if arrival.stream == "inference-events":
            self.latencies_ms.append(event["latency_ms"])
            self.failed += not event["success"]
            self.dollars += event.get("cost", 0.0)

    def line(self, published: int, queued: int) -> str:
        """One line for people."""
        others = sum(self.events.values()) - self.events["inference-events"]
        latency = f"p50 {median(self.latencies_ms):6.0f} ms" if self.latencies_ms else "no request   "
        return (
            f"{time.strftime('%H:%M:%S')}  {self.events['inference-events']:5d} inferences  {self.failed:3d} failed"
            f"  {latency}  {len(self.users):4d} users  ${self.dollars:7.4f}  {others:3d} other events"
            f"  | in Redis {published:,}" + (f", queued {queued:,}" if queued else "")
        )


async def publish(publisher: synapse_rs.Publisher, arrivals: Iterable[Arrival], speed: float) -> None:
    """Publishes each event when its time has come; prints a line a second."""
    second, start = Second(), time.monotonic()
    next_line = start + 1
    for arrival in arrivals:
        due = start + arrival.at_s / speed
        while (now := time.monotonic()) < due or now >= next_line:
            if now >= next_line:
                stats = publisher.stats()
                print(second.line(stats["published"], stats["queued"]), flush=True)
                second, next_line = Second(), next_line + 1
            await asyncio.sleep(max(0.0, min(due, next_line) - time.monotonic()))
        publisher.publish(arrival.stream, arrival.event)  # returns at once; nothing to await
        second.add(arrival)


async def run(options: argparse.Namespace) -> int:
    """Publishes until the traffic ends or somebody stops it; exit status."""
    arrivals = trace.read(options.trace) if options.trace else Traffic(options.rate, options.seed)
    publisher = synapse_rs.Publisher(options.redis, source="cyrex")
    try:
        await publisher.connect_async(timeout=FLUSH_S)
        publishing = asyncio.create_task(publish(publisher, arrivals, options.speed))
        for stop in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(stop, publishing.cancel)
        with suppress(asyncio.CancelledError):
            await publishing
        await publisher.flush_async(timeout=FLUSH_S)
        print(f"cyrex: {publisher.stats()['published']:,} events published, all of them in Redis")
    except (synapse_rs.SynapseError, trace.InvalidTrace) as error:
        print(f"cyrex: {error}", file=sys.stderr)
        return 1
    finally:
        publisher.close()
    return 0


def options(arguments: list[str] | None = None) -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(prog="cyrex", description="A demo orchestrator that publishes its inferences.")
    parser.add_argument("--redis", metavar="URL", default=os.environ.get("REDIS_URL", "redis://127.0.0.1:6379"))
    parser.add_argument("--rate", type=float, default=200.0, help="events a second on average (default: 200)")
    parser.add_argument("--seed", type=int, help="makes the same traffic each time")
    parser.add_argument("--trace", type=Path, metavar="FILE", help="replay this CSV instead of making traffic up")
    parser.add_argument("--speed", type=float, default=1.0, help="this many times faster (default: 1)")
    parsed = parser.parse_args(arguments)
    if parsed.rate <= 0 or parsed.speed <= 0:
        parser.error("--rate and --speed are above 0")
    if parsed.trace and not parsed.trace.is_file():
        parser.error(f"--trace {parsed.trace}: no such file")
    return parsed


if __name__ == "__main__":
    sys.exit(asyncio.run(run(options())))
