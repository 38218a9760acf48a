"""What a delivery costs the gateway, beside Socket.IO on Node doing the same job.

Both read the same kind of stream from a Redis of their own and are loaded in turn by the same raw clients
(`gateway-load`), which run in a process of their own. The figure is deliveries per CPU-second of the server's
process, so that neither clients nor Redis count. `make bench-gateway`
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from harness.gateway import Gateway, binary
from harness.process import Process
from harness.redis_server import RedisServer
from harness.wait import free_port

PEER = Path(__file__).parent / "peers" / "socketio-server.mjs"
# The loopback address that every client comes from would otherwise be limited.
OPEN_LIMITS = {"MAX_CONNECTIONS": "20000", "MAX_CONNECTIONS_PER_ADDRESS": "20000"}


@dataclass(frozen=True)
class Load:
    """One column of the table."""

    title: str
    arguments: tuple[str, ...]
    latency: bool = False


def load(title: str, clients: int, events: int, *more: str, latency: bool = False) -> Load:
    """A load of so many clients and events."""
    return Load(title, ("--clients", str(clients), "--events", str(events), *more), latency)


LOADS = (
    load("100 clients x 2,000 events", 100, 2_000),
    load("500 clients x 1,000 events", 500, 1_000),
    load("1,000 clients x 500 events", 1_000, 500),
    load("20,000 events, each to 1 of 500", 500, 20_000, "--to", "users"),
    load("1,000 events/s to 100 clients", 100, 5_000, "--rate", "1000", latency=True),
)


def measure(port: int, pid: int, redis: RedisServer, what: Load) -> dict[str, Any]:
    """Loads a server once; what `gateway-load` reports."""
    where = ["--address", f"127.0.0.1:{port}", "--redis", redis.url, "--pid", str(pid)]
    command = [str(binary("gateway-load")), *where, *what.arguments]
    report: dict[str, Any] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    return report


def ours(what: Load) -> dict[str, Any]:
    """One run of the gateway."""
    with RedisServer() as redis, Gateway(redis.url, OPEN_LIMITS) as gateway:
        return measure(gateway.port, gateway.pid, redis, what)


def peer(what: Load) -> dict[str, Any]:
    """One run of Socket.IO on Node."""
    port = free_port()
    with ExitStack() as stack:
        redis = stack.enter_context(RedisServer())
        server = stack.enter_context(Process(["node", PEER, str(port), redis.url]))
        Gateway.wait_until_ready(port, server)
        return measure(port, server.pid, redis, what)


def figure(runs: list[dict[str, Any]], name: str) -> float:
    """The median of one figure over the runs."""
    return median(float(run[name]) for run in runs)


def row(name: str, runs: list[dict[str, Any]], what: Load) -> str:
    """One line of the table."""
    text = f"  {name:<22}{figure(runs, 'deliveries_per_cpu_second'):>14,.0f}"
    text += f"{max(run['lost'] for run in runs):>8,}{max(run['doubled'] for run in runs):>9,}"
    text += f"{figure(runs, 'idle_bytes_per_connection') / 1024:>13.1f}"
    if what.latency:
        text += f"   p50 {figure(runs, 'latency_p50_ms'):.2f} ms, p99 {figure(runs, 'latency_p99_ms'):.2f} ms"
    return text


def main() -> None:
    """Runs all loads and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    print(
        f"Deliveries per CPU-second of the server's process; medians of {rounds} rounds in turn; {os.cpu_count()} cores"
    )
    for what in LOADS:
        print(f"\n{what.title}\n  {'':<22}{'per CPU-s':>14}{'lost':>8}{'doubled':>9}{'KiB idle':>13}")
        results: tuple[list[dict[str, Any]], list[dict[str, Any]]] = ([], [])
        for _ in range(rounds):
            results[0].append(ours(what))
            results[1].append(peer(what))
        print(row("synapse-gateway", results[0], what))
        print(row("Socket.IO 4.8 on Node", results[1], what))
        ratios = [
            a["deliveries_per_cpu_second"] / b["deliveries_per_cpu_second"] for a, b in zip(*results, strict=True)
        ]
        print(f"  {'ratio':<22}{median(ratios):>14.1f}", flush=True)


if __name__ == "__main__":
    main()
