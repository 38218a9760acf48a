"""Clients that all come back at once, to a gateway that was killed and started anew. Part of `make bench-gateway`.

Half of them speak Socket.IO, half WebSocket; each gives the position where it was. Events are appended while the
gateway is away and while they come back.
"""

from __future__ import annotations

import json
import resource
import subprocess
from statistics import median
from typing import Any

from harness.gateway import Gateway, binary
from harness.redis_server import RedisServer

CLIENTS = 10_000
MISSED = 500
# Each process has a socket for each connection, and some more files.
OPEN_FILES = CLIENTS + 1_000
# The loopback address that every client comes from would otherwise be limited.
OPEN_LIMITS = {"MAX_CONNECTIONS": "20000", "MAX_CONNECTIONS_PER_ADDRESS": "20000"}

Run = dict[str, Any]
"""What `gateway-load` reports."""


def allow_open_files() -> None:
    """Lets this process and those that it starts open as many files as the system lets them."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most != resource.RLIM_INFINITY and most < OPEN_FILES:
        raise RuntimeError(f"{CLIENTS:,} clients need {OPEN_FILES:,} open files, {most:,} are allowed: see ulimit -Hn")
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def storm(clients: int = CLIENTS, missed: int = MISSED) -> Run:
    """One herd."""
    with RedisServer() as redis, Gateway(redis.url, OPEN_LIMITS) as gateway:
        where = ["--address", f"127.0.0.1:{gateway.port}", "--redis", redis.url]
        command = [str(binary("gateway-load")), "storm", *where]
        command += ["--clients", str(clients), "--missed", str(missed)]
        # It says when all are connected, and at the end what came of it.
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as load:
            lines = iter(load.stdout or ())
            if next(lines, None):
                gateway.kill()
                gateway.start()
            line = next(lines, "")
        if load.returncode != 0:
            raise RuntimeError(f"gateway-load ended with status {load.returncode}\n{gateway.tail()}")
        report: Run = json.loads(line)
        return report


def print_storm(rounds: int) -> None:
    """How long it takes until all have what they missed."""
    runs = [storm() for _ in range(rounds)]
    print(f"\n{CLIENTS:,} clients come back at once with their positions, each of which has missed {MISSED} events")
    print(f"  all have them after {median(run['last_s'] for run in runs):.1f} s, ", end="")
    print(f"half of them after {median(run['median_s'] for run in runs):.1f} s; ", end="")
    print(f"the gateway was away for {median(run['away_s'] for run in runs):.2f} s (medians of {rounds} rounds)")
    worst = {name: max(run[name] for run in runs) for name in ("lost", "doubled", "failures", "breaks")}
    print(f"  recovered {min(run['recovered'] for run in runs):,}; at worst ", end="")
    print(", ".join(f"{name} {figure:,}" for name, figure in worst.items()))
    for failure in {run["failure"] for run in runs if run["failures"]}:
        print(f"  a failure: {failure}")
