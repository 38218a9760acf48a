"""How fast events get from the streams into each store, and what that costs.

A backlog of inferences is on the stream; `synapse-analytics` reads, encodes, stores and acknowledges it. Beside it, in
the same run: what the server takes of the same points if it is sent nothing but bodies that were encoded and compressed
beforehand, and what Python's own SQLite takes of the same rows. Rounds alternate; medians are printed. All share the
machine's cores: where the service, Redis and the store keep them busy, the store alone has more of them.
"""

from __future__ import annotations

import argparse
import gzip
import itertools
import os
import sqlite3
import statistics
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from http.client import HTTPConnection
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import synapse_rs
from harness.analytics import Analytics
from harness.events import STREAM
from harness.point_server import DATABASE, InfluxDb, PointServer, VictoriaMetrics
from harness.redis_server import RedisServer

if TYPE_CHECKING:
    from collections.abc import Iterator

BATCH = 5_000
USERS = 10_000
MODELS = 5
PATIENCE_S = 600.0
LOOK_EVERY_S = 0.1


class Figures(NamedTuple):
    """What one round took."""

    points_per_s: float
    cpu_us: float
    """Of the service, for each point; 0 where it is not the service's."""
    rss_mib: float
    """Of the service at the end."""
    busy: float
    """Which part of the machine's cores the service, Redis and the store kept busy; 0 where that is not known."""


def events(count: int) -> Iterator[dict[str, Any]]:
    """Inferences with all their fields."""
    for n in range(count):
        yield {
            "event": "inference-complete",
            "model_name": f"model-{n % MODELS}",
            "version": "2.0",
            "user_id": str(n * 7 % USERS),
            "request_id": f"req_{n}",
            "latency_ms": 45.2 + n % 1_000 / 7,
            "tokens_used": n % 4_096,
            "cost": n % 4_096 * 1e-5,
            "confidence": 0.92,
            "success": True,
        }


def cpu_s(pid: int) -> float:
    """CPU time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def rss_mib(pid: int) -> float:
    """Memory of a process."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1]) / 1024


def ours(redis: RedisServer, count: int, server: PointServer | None) -> Figures:
    """The service drains the backlog into a store."""
    with redis.client() as client, tempfile.TemporaryDirectory(prefix="synapse-analytics-") as folder:
        client.xgroup_create(STREAM, "analytics-service", id="$")
        settings = {"RUST_LOG": "warn", **({"INFLUXDB_URL": server.url} if server else {})}
        with Analytics(redis.url, Path(folder), settings) as service:
            # It waits at the end of the stream; now all of that is before it.
            others = [client.info()["process_id"], *([server.pid] if server else [])]
            before, before_others = cpu_s(service.pid), sum(map(cpu_s, others))
            began = time.perf_counter()
            client.xgroup_setid(STREAM, "analytics-service", "0")
            # Its read that waits is woken by what is new alone.
            client.xadd(STREAM, {"event": "wake"})
            while service.stored() < count:
                # Asked more often it would measure that.
                time.sleep(LOOK_EVERY_S)
                if time.perf_counter() - began > PATIENCE_S:
                    raise TimeoutError(service.tail())
            took = time.perf_counter() - began
            own = cpu_s(service.pid) - before
            busy = (own + sum(map(cpu_s, others)) - before_others) / took / (os.cpu_count() or 1)
            figures = Figures(count / took, own / count * 1e6, rss_mib(service.pid), busy)
            service.stop()
        client.xgroup_destroy(STREAM, "analytics-service")
    return figures


def lines(count: int) -> list[bytes]:
    """The same points as compressed bodies."""
    start = time.time_ns() // 1_000_000 * 1_000_000
    text = [
        f"inference_metrics,model_name={e['model_name']},user_id={e['user_id']},version={e['version']} "
        f"latency_ms={e['latency_ms']},confidence={e['confidence']},cost={e['cost']},tokens_used={e['tokens_used']}i,"
        f"success=true,event_time={start + n * 1_000}i {start + n * 20_000}"
        for n, e in enumerate(events(count))
    ]
    return [gzip.compress("\n".join(text[at : at + BATCH]).encode(), 1) for at in range(0, count, BATCH)]


def posts(server: PointServer, bodies: list[bytes], count: int) -> Figures:
    """Nothing but the bodies, on two connections."""
    left = iter(bodies)
    turn = threading.Lock()

    def send() -> None:
        connection = HTTPConnection("127.0.0.1", server.port, timeout=60)
        while True:
            with turn:
                body = next(left, None)
            if body is None:
                return connection.close()
            headers = {"Content-Encoding": "gzip"}
            connection.request("POST", f"/write?db={DATABASE}&precision=ns", body, headers)
            answer = connection.getresponse()
            answer.read()
            if answer.status != HTTPStatus.NO_CONTENT:
                raise RuntimeError(f"{server.program} answers {answer.status}")

    began = time.perf_counter()
    with ThreadPoolExecutor(2) as pool:
        for sending in [pool.submit(send) for _ in range(2)]:
            sending.result()
    return Figures(count / (time.perf_counter() - began), 0, 0, 0)


def rows(count: int) -> Figures:
    """Python's SQLite with the same rows, synced to the disk as ours, without the sums."""
    made = [
        (
            n,
            e["model_name"],
            e["version"],
            e["user_id"],
            e["latency_ms"],
            e["tokens_used"],
            e["confidence"],
            e["cost"],
            1,
            n,
        )
        for n, e in enumerate(events(count))
    ]
    with tempfile.TemporaryDirectory(prefix="synapse-analytics-") as folder:
        file = sqlite3.connect(Path(folder) / "peer.db", isolation_level=None)
        file.execute("PRAGMA journal_mode=WAL")
        file.execute("PRAGMA synchronous=FULL")
        file.execute("CREATE TABLE p (time INTEGER PRIMARY KEY, a, b, c, d, e, f, g, h, i)")
        began = time.perf_counter()
        for at in range(0, count, BATCH):
            file.execute("BEGIN")
            file.executemany("INSERT INTO p VALUES (?,?,?,?,?,?,?,?,?,?)", made[at : at + BATCH])
            file.execute("COMMIT")
        took = time.perf_counter() - began
        file.close()
    return Figures(count / took, 0, 0, 0)


def main() -> None:
    """Measures each store and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=300_000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    count = options.events
    measured: dict[str, list[tuple[Figures, Figures]]] = {}
    with RedisServer() as redis:
        with synapse_rs.Publisher(redis.url, source="bench") as publisher:
            made = iter(events(count))
            while part := list(itertools.islice(made, 10 * BATCH)):
                publisher.publish_many(STREAM, part)
            publisher.flush(timeout=PATIENCE_S)
        bodies = lines(count)
        for _ in range(options.rounds):
            for name, kind in (("InfluxDB 1", InfluxDb), ("VictoriaMetrics", VictoriaMetrics)):
                with kind() as server:
                    figures = ours(redis, count, server)
                # A new one: points that are there already cost less.
                with kind() as server:
                    if isinstance(server, InfluxDb):
                        server.ask(f"CREATE DATABASE {DATABASE}")
                    measured.setdefault(name, []).append((figures, posts(server, bodies, count)))
            measured.setdefault("embedded (SQLite)", []).append((ours(redis, count, None), rows(count)))
    print(f"\n{count:,} inferences of {USERS:,} users, from the stream into the store; medians of {options.rounds}")
    print(f"  {'':<20}{'points/s':>12}{'store alone':>14}{'ratio':>8}{'CPU µs/event':>15}{'MiB':>7}{'cores busy':>13}")
    for name, pairs in measured.items():
        mine = [figures for figures, _ in pairs]
        speed = statistics.median(figures.points_per_s for figures in mine)
        alone = statistics.median(peer.points_per_s for _, peer in pairs)
        cpu = statistics.median(figures.cpu_us for figures in mine)
        memory = max(figures.rss_mib for figures in mine)
        busy = statistics.median(figures.busy for figures in mine)
        row = f"{speed:>12,.0f}{alone:>14,.0f}{speed / alone:>8.2f}{cpu:>15.2f}{memory:>7.0f}{busy:>13.0%}"
        print(f"  {name:<20}{row}")


if __name__ == "__main__":
    main()
