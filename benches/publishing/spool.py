"""How fast events go to disk while Redis is away, and from there to Redis when it is back.

Beside the first: appending as many bytes to a file, synced as often; `spool-load` measures both, with events that are
queued already, as the publisher's writer is faster than Python can call it. Beside the second: publishing as many
events that never see a disk. Afterwards every event is looked for in Redis, and each must be in its place.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from harness.redis_server import RedisServer
from harness.service import binary
from harness.wait import eventually
from publishing import ours
from publishing.numbered import check_all, publish
from rounds import Column, Ratio, print_table

if TYPE_CHECKING:
    import synapse_rs

EVENTS = 1_000_000
NEWER = 1_000
"""Events published while the others leave the disk; they come behind."""
MAXLEN = 2 * EVENTS
PATIENCE_S = 300.0
ROUNDS = 5

PLAIN, WRITER, APPEND = "plain append", "by the writer, Redis away", "as Python publishes, Redis away"
LIVE, DRAIN = "straight to Redis", "from the disk, Redis back"


@dataclass(frozen=True)
class Rate:
    """What one run achieved."""

    per_second: float
    bytes_per_second: float | None = None


def live() -> Rate:
    """Events that Redis takes at once."""
    with RedisServer() as server, ours.publisher(server.url, maxlen=MAXLEN) as publisher:
        start = time.perf_counter()
        publish(publisher, range(EVENTS))
        publisher.flush(timeout=PATIENCE_S)
        return Rate(EVENTS / (time.perf_counter() - start))


def outage(folder: Path) -> tuple[Rate, Rate]:
    """Events published while Redis is away, and taken by it afterwards."""
    with RedisServer() as server:
        server.stop()
        with ours.publisher(server.url, maxlen=MAXLEN, spool_dir=folder) as publisher:
            start = time.perf_counter()
            publish(publisher, range(EVENTS))
            eventually("all events to be on disk", lambda: spooled(publisher) == EVENTS, PATIENCE_S)
            appending = time.perf_counter() - start
            size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
            server.start()
            draining = drain(publisher)
        with server.client() as client:
            check_all(client, EVENTS + NEWER)
    return Rate(EVENTS / appending, size / appending), Rate((EVENTS + NEWER) / draining)


def spooled(publisher: synapse_rs.Publisher) -> int:
    """How many events are on disk."""
    return int(publisher.stats()["spooled"])


def drain(publisher: synapse_rs.Publisher) -> float:
    """Publishes some more and waits until Redis has all; the seconds since it took the first."""
    publish(publisher, range(EVENTS, EVENTS + NEWER))
    eventually("the first event to arrive", lambda: publisher.stats()["published"] > 0, PATIENCE_S)
    start = time.perf_counter()
    publisher.flush(timeout=PATIENCE_S)
    return time.perf_counter() - start


def appended(folder: Path) -> tuple[Rate, Rate]:
    """Events that were queued, brought to disk by the writer; and as many bytes appended to a file."""
    command = [str(binary("spool-load")), "--folder", str(folder), "--events", str(EVENTS)]
    report = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    by_writer, plain = report["spool_seconds"], report["append_seconds"]
    return Rate(EVENTS / by_writer, report["bytes"] / by_writer), Rate(EVENTS / plain, report["bytes"] / plain)


def print_spool() -> None:
    """Runs each a few times in turn and prints both tables."""
    results: dict[str, list[Rate]] = defaultdict(list)
    for _ in range(ROUNDS):
        with tempfile.TemporaryDirectory(prefix="synapse-spool-") as name:
            by_writer, plain = appended(Path(name))
        with tempfile.TemporaryDirectory(prefix="synapse-spool-") as name:
            published, drained = outage(Path(name))
        rates = {PLAIN: plain, WRITER: by_writer, APPEND: published, DRAIN: drained}
        rates[LIVE] = live()
        for what, rate in rates.items():
            results[what].append(rate)
    print(f"\n{EVENTS:,} events by way of the disk, medians of {ROUNDS} rounds in turn, all found in Redis in order")
    columns = [
        Column[Rate]("events/s", lambda rate: rate.per_second),
        Column[Rate]("MB/s", lambda rate: rate.bytes_per_second and rate.bytes_per_second / 1e6),
    ]
    for rows, title in (((PLAIN, WRITER, APPEND), "of plain append"), ((LIVE, DRAIN), "of straight")):
        ratio = Ratio[Rate](title, rows[0], lambda rate: rate.per_second)
        print_table({what: results[what] for what in rows}, columns, ratio)
