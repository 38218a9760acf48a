"""What a delivery and a connection cost the gateway, beside Socket.IO on Node and socketioxide; a herd that comes back.

All three read the same kind of stream from a Redis of their own and are loaded in turn by the same raw clients
(`gateway-load`), which run in a process of their own. The figure is deliveries per CPU-second of the server's
process, so that neither clients nor Redis count. Then: memory per idle connection; and how long it takes until
clients have what they missed that all come back at once to a gateway that was killed. `make bench-gateway`
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.gateway import Gateway, binary
from harness.process import Process
from harness.redis_server import RedisServer
from harness.wait import free_port
from rounds import Column, Ratio, in_turn, print_table
from storm import OPEN_LIMITS, allow_open_files, print_storm

if TYPE_CHECKING:
    from collections.abc import Callable

NODE = Path(__file__).parent / "peers" / "socketio-server.mjs"
OURS = "synapse-gateway"
IDLE = 10_000
# Node builds the frames of a whole burst before it sends the first; only a client that waits for longer has lost.
PATIENCE_S = 20
PARTS = ("deliveries", "idle", "storm")

Run = dict[str, Any]
"""What `gateway-load` reports."""


@dataclass(frozen=True)
class Load:
    """One table."""

    title: str
    arguments: tuple[str, ...]
    latency: bool = False
    interval: str = "0s"
    """`DELIVERY_INTERVAL`, which is ours alone."""


def load(title: str, clients: int, events: int, *more: str, latency: bool = False, interval: str = "0s") -> Load:
    """A load of so many clients and events."""
    return Load(title, ("--clients", str(clients), "--events", str(events), *more), latency, interval)


LOADS = (
    load("100 clients x 2,000 events", 100, 2_000),
    load("500 clients x 1,000 events", 500, 1_000),
    load("1,000 clients x 500 events", 1_000, 500),
    load("20,000 events, each to 1 of 500", 500, 20_000, "--to", "users"),
    load("1,000 events/s to 100 clients", 100, 5_000, "--rate", "1000", latency=True),
    load("The same, ours with DELIVERY_INTERVAL=10ms", 100, 5_000, "--rate", "1000", latency=True, interval="10ms"),
)


def measure(port: int, pid: int, redis: RedisServer, what: Load) -> Run:
    """Loads a server once."""
    where = ["--address", f"127.0.0.1:{port}", "--redis", redis.url, "--pid", str(pid)]
    command = [str(binary("gateway-load")), "deliver", *where, "--patience-s", str(PATIENCE_S), *what.arguments]
    report: Run = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    return report


def ours(what: Load) -> Run:
    """One run of the gateway."""
    settings = {**OPEN_LIMITS, "DELIVERY_INTERVAL": what.interval}
    with RedisServer() as redis, Gateway(redis.url, settings) as gateway:
        return measure(gateway.port, gateway.pid, redis, what)


def peer(command: list[str | Path], what: Load) -> Run:
    """One run of another server, which is given a port and a Redis."""
    port = free_port()
    with ExitStack() as stack:
        redis = stack.enter_context(RedisServer())
        server = stack.enter_context(Process([*command, str(port), redis.url]))
        Gateway.wait_until_ready(port, server)
        return measure(port, server.pid, redis, what)


def contenders(what: Load, socketioxide: str = "socketioxide-peer") -> dict[str, Callable[[], Run]]:
    """All that take this load, in the order of their turns."""
    return {
        OURS: partial(ours, what),
        "Socket.IO 4.8 on Node": partial(peer, ["node", NODE], what),
        "socketioxide 0.18": partial(peer, [binary(socketioxide)], what),
    }


def worst(name: str, runs: dict[str, list[Run]]) -> str:
    """The largest figure of each contender's rounds."""
    return ", ".join(f"{max(run[name] for run in rounds):,}" for rounds in runs.values())


def print_deliveries(rounds: int) -> None:
    """A table for each load."""
    print(f"Deliveries per CPU-second of the server's process; medians of {rounds} rounds in turn, ", end="")
    print(f"of what is lost and doubled the worst; {os.cpu_count()} cores")
    ratio = Ratio[Run]("CPU, times ours", OURS, lambda run: 1 / run["deliveries_per_cpu_second"])
    for what in LOADS:
        results = in_turn(contenders(what), rounds)
        columns = [Column[Run]("per CPU-s", lambda run: run["deliveries_per_cpu_second"])]
        if what.latency:
            columns += [
                Column[Run]("p50 ms", lambda run: run["latency_p50_ms"], ",.2f"),
                Column[Run]("p99 ms", lambda run: run["latency_p99_ms"], ",.2f"),
            ]
        print(f"\n{what.title}; lost {worst('lost', results)}; doubled {worst('doubled', results)}")
        print_table(results, columns, ratio)


def print_idle(rounds: int) -> None:
    """What connections take on which nothing is said."""
    # With the system's allocator it needs less memory, with ours less time.
    results = in_turn(contenders(load("idle", IDLE, 1), "socketioxide-plain"), rounds)
    print(f"\n{IDLE:,} idle Socket.IO connections over WebSocket: memory of the server's process")
    columns = [Column[Run]("KiB each", lambda run: run["idle_bytes_per_connection"] / 1024, ",.1f")]
    print_table(results, columns, Ratio[Run]("times ours", OURS, lambda run: run["idle_bytes_per_connection"]))


def main() -> None:
    """Runs what is asked for and prints it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=PARTS, action="append", help="this part alone; may be repeated")
    options = parser.parse_args()
    parts = options.only or PARTS
    allow_open_files()
    if "deliveries" in parts:
        print_deliveries(options.rounds)
    if "idle" in parts:
        print_idle(options.rounds)
    if "storm" in parts:
        print_storm(options.rounds)


if __name__ == "__main__":
    main()
