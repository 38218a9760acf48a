"""How fast events go to disk while Redis is away, and from there to Redis when it is back.

Beside the first: appending as many bytes to a file, synced as often. Beside the second: publishing as many events
that never see a disk. Afterwards every event is looked for in Redis, and each must be in its place.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from harness.redis_server import RedisServer
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
SYNC_S = 0.2
CHUNK_BYTES = 512 * 1024
PATIENCE_S = 300.0
ROUNDS = 3

PLAIN, APPEND = "plain append", "to the disk, Redis away"
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


def outage(folder: Path) -> tuple[int, Rate, Rate]:
    """Events published while Redis is away, and taken by it afterwards: their bytes on disk, and how fast both went."""
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
    return size, Rate(EVENTS / appending, size / appending), Rate((EVENTS + NEWER) / draining)


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


def plain_append(folder: Path, size: int) -> Rate:
    """As many bytes appended to a file in large pieces, synced as often as the spool is."""
    # No disk stores these in less.
    chunk = os.urandom(CHUNK_BYTES)
    file = os.open(folder / "plain", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    start = synced = time.perf_counter()
    left = size
    while left > 0:
        left -= os.write(file, chunk[:left])
        if time.perf_counter() - synced >= SYNC_S:
            os.fdatasync(file)
            synced = time.perf_counter()
    os.fdatasync(file)
    took = time.perf_counter() - start
    os.close(file)
    return Rate(EVENTS / took, size / took)


def print_spool() -> None:
    """Runs each a few times in turn and prints both tables."""
    results: dict[str, list[Rate]] = defaultdict(list)
    for _ in range(ROUNDS):
        with tempfile.TemporaryDirectory(prefix="synapse-spool-") as name:
            folder = Path(name)
            size, appended, drained = outage(folder)
            rates = {APPEND: appended, DRAIN: drained, PLAIN: plain_append(folder, size)}
        rates[LIVE] = live()
        for what, rate in rates.items():
            results[what].append(rate)
    print(f"\n{EVENTS:,} events by way of the disk, medians of {ROUNDS} rounds in turn, all found in Redis in order")
    columns = [
        Column[Rate]("events/s", lambda rate: rate.per_second),
        Column[Rate]("MB/s", lambda rate: rate.bytes_per_second and rate.bytes_per_second / 1e6),
    ]
    for rows, title in (((PLAIN, APPEND), "of plain append"), ((LIVE, DRAIN), "of straight")):
        ratio = Ratio[Rate](title, rows[0], lambda rate: rate.per_second)
        print_table({what: results[what] for what in rows}, columns, ratio)
