"""The whole chain: an event is published over HTTP, goes through the hub, Redis and the gateway to a Socket.IO client.

So many events are on their way at any time: one is until the client has it. `gateway-load` publishes them, each on a
connection of its own that stays open, and is the client. `make bench-chain`
"""

from __future__ import annotations

import json
import os
import subprocess
from statistics import median
from typing import Any

from harness.gateway import Gateway, binary
from harness.hub import Hub
from harness.redis_server import RedisServer
from rounds import asked_for

PAYLOADS_KIB = (1, 8, 32)
IN_FLIGHT = (1, 10, 50)

Run = dict[str, Any]
"""What `gateway-load` reports."""


def chain(payload_kib: int, in_flight: int) -> Run:
    """One run, on processes of its own."""
    quiet = {"RUST_LOG": "warn"}
    with (
        RedisServer() as redis,
        redis.client() as client,
        Hub(redis.url, quiet) as hub,
        Gateway(redis.url, quiet) as gateway,
    ):
        where = ["--hub", f"127.0.0.1:{hub.port}", "--gateway", f"127.0.0.1:{gateway.port}"]
        command = [str(binary("gateway-load")), "chain", *where]
        command += ["--payload-bytes", str(payload_kib * 1024), "--in-flight", str(in_flight)]
        for pid in (hub.pid, client.info()["process_id"], gateway.pid):
            command += ["--pid", str(pid)]
        report: Run = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
        return report


def line(payload_kib: int, in_flight: int, runs: list[Run]) -> str:
    """A line of the table."""
    per_second = median(run["events"] / run["seconds"] for run in runs)
    cells = [f"{payload_kib:>4} KiB{in_flight:>10}{per_second:>12,.0f}{per_second * payload_kib / 1024:>8,.0f}"]
    cells += [f"{median(run[name] for run in runs):>8.2f}" for name in ("p50_ms", "p99_ms")]
    cells += [f"{median(run['cpu_seconds'][n] / run['events'] for run in runs) * 1e6:>9.0f}" for n in range(3)]
    cells += [f"{max(run[name] for run in runs):>9,}" for name in ("lost", "doubled")]
    return "  " + "".join(cells)


def main() -> None:
    """Runs the matrix and prints it."""
    rounds = asked_for("From an HTTP request to a Socket.IO client.", rounds=3)
    print("HTTP, synapse-hub, Redis, synapse-gateway, one Socket.IO client: ", end="")
    print(f"medians of {rounds} rounds, {os.cpu_count()} cores; CPU per event of each process\n")
    print("   payload in flight    events/s   MiB/s  p50 ms  p99 ms   hub us redis us  gate us     lost  doubled")
    for payload_kib in PAYLOADS_KIB:
        for in_flight in IN_FLIGHT:
            runs = [chain(payload_kib, in_flight) for _ in range(rounds)]
            print(line(payload_kib, in_flight, runs), flush=True)


if __name__ == "__main__":
    main()
