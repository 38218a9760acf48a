"""How many tasks a second can be made, and how long each takes, with its event durably queued.

`tasks-load` makes them over HTTP, 32 at once. Beside ours: what SQLite does where every task is a transaction of its
own, synced, as a service without group commit would have it, without any HTTP. Afterwards every event is looked
for in Redis.
"""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import tempfile
import time
import uuid
from dataclasses import dataclass
from pathlib import Path

from harness.postgres_server import PostgresServer
from harness.redis_server import RedisServer
from harness.service import binary
from harness.tasks import Tasks
from harness.wait import eventually
from rounds import Column, Ratio, asked_for, in_turn, print_table

TASKS = 20_000
ALONE = 1_000
STREAM = "platform-events"
SQLITE, POSTGRES, PEER = "synapse-tasks, SQLite", "synapse-tasks, PostgreSQL", "a transaction per task, SQLite"


@dataclass(frozen=True)
class Run:
    """What one run achieved."""

    per_second: float
    p50_ms: float | None = None
    p99_ms: float | None = None
    server_us: float | None = None
    """CPU of the service per task."""


def cpu_s(pid: int) -> float:
    """What a process has used so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def ours(settings: dict[str, str]) -> Run:
    """Makes tasks and waits for their events."""
    with (
        RedisServer() as redis,
        tempfile.TemporaryDirectory(prefix="synapse-tasks-") as folder,
        Tasks(redis.url, Path(folder), {"RUST_LOG": "warn", **settings}) as tasks,
    ):
        before = cpu_s(tasks.pid)
        command = [str(binary("tasks-load")), "--address", f"127.0.0.1:{tasks.port}", "--tasks", str(TASKS)]
        report = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
        with redis.client() as client:
            eventually("every event to be in Redis", lambda: client.xlen(STREAM) >= TASKS)
            if len({fields["event_id"] for _, fields in client.xrange(STREAM)}) != TASKS:
                raise RuntimeError(f"not {TASKS} events in {STREAM}")
        used = cpu_s(tasks.pid) - before
    return Run(TASKS / report["seconds"], report["p50_ms"], report["p99_ms"], used / TASKS * 1e6)


def on_postgres() -> Run:
    """The same on a PostgreSQL of its own."""
    with PostgresServer() as server:
        return ours({"DATABASE_URL": server.url})


def alone() -> Run:
    """The same rows, each task committed and synced by itself."""
    durations = []
    with tempfile.TemporaryDirectory(prefix="synapse-tasks-") as folder:
        database = sqlite3.connect(Path(folder) / "peer.db", isolation_level=None)
        for pragma in ("journal_mode = WAL", "synchronous = FULL"):
            database.execute(f"PRAGMA {pragma}")
        database.execute("CREATE TABLE tasks (id TEXT PRIMARY KEY, state TEXT) WITHOUT ROWID")
        database.execute("CREATE TABLE versions (id TEXT, n INTEGER, state TEXT, PRIMARY KEY (id, n)) WITHOUT ROWID")
        database.execute("CREATE TABLE outbox (seq INTEGER PRIMARY KEY AUTOINCREMENT, event TEXT)")
        state = json.dumps({"title": "Summarise report", "description": "x" * 90, "status": "pending"})
        start = time.perf_counter()
        for _ in range(ALONE):
            begun, task = time.perf_counter(), str(uuid.uuid4())
            database.execute("BEGIN IMMEDIATE")
            database.execute("INSERT INTO tasks VALUES (?, ?)", (task, state))
            database.execute("INSERT INTO versions VALUES (?, 1, ?)", (task, state))
            database.execute("INSERT INTO outbox (event) VALUES (?)", (state + state,))
            database.execute("COMMIT")
            durations.append((time.perf_counter() - begun) * 1e3)
        seconds = time.perf_counter() - start
        database.close()
    durations.sort()
    return Run(ALONE / seconds, durations[ALONE // 2], durations[ALONE * 99 // 100])


def main() -> None:
    """Runs each in turn and prints the table."""
    rounds = asked_for("How many tasks a second can be made.", rounds=3)
    results = in_turn({PEER: alone, SQLITE: lambda: ours({}), POSTGRES: on_postgres}, rounds)
    print(f"\n{TASKS:,} tasks, 32 at once, medians of {rounds} rounds in turn, every event in Redis")
    columns = [
        Column[Run]("tasks/s", lambda run: run.per_second),
        Column[Run]("p50 ms", lambda run: run.p50_ms, ",.1f"),
        Column[Run]("p99 ms", lambda run: run.p99_ms, ",.1f"),
        Column[Run]("service us", lambda run: run.server_us, ",.0f"),
    ]
    print_table(results, columns, Ratio[Run]("of one by one", PEER, lambda run: run.per_second))


if __name__ == "__main__":
    main()
