"""Tasks: nothing of them is lost or doubled, whatever happens to the service, its database and Redis."""

from __future__ import annotations

import http.client
import json
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from harness.postgres_server import PostgresServer
from harness.tasks import STREAM, Tasks, change, events_on, make, names
from harness.wait import eventually

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from harness.redis_server import RedisServer


def test_without_redis_tasks_work_and_their_events_follow_in_order(
    durable_redis: RedisServer, tmp_path: Path, database: dict[str, str], until_end: Callable[[Tasks], Tasks]
) -> None:
    tasks = until_end(Tasks(durable_redis.url, tmp_path, database))
    make(tasks, "t")
    eventually("the first event", lambda: names(durable_redis, "t") == ["task-created"])
    durable_redis.stop()
    for n in range(50):
        assert change(tasks, "t", {"n": n})[0] == 200
    assert tasks.get("/ready")[0] == 200
    eventually("the gauge", lambda: "synapse_tasks_events_waiting 50" in tasks.get("/metrics")[1])
    tasks.kill()
    tasks.start()
    assert change(tasks, "t", {"status": "completed"})[0] == 200
    durable_redis.start()
    expected = ["task-created", *["task-updated"] * 50, "task-completed"]
    eventually("all events", lambda: names(durable_redis, "t") == expected)
    numbers = [event["data"]["changes"]["n"] for event in events_on(durable_redis)["t"][1:-1]]
    assert numbers == list(range(50))


def test_an_asker_who_hangs_up_leaves_no_event_behind(
    tasks: Tasks, redis_server: RedisServer, database: dict[str, str]
) -> None:
    body = json.dumps({"taskId": "t", "userId": "u", "taskData": {}})
    head = f"POST /tasks HTTP/1.1\r\nHost: 127.0.0.1:{tasks.port}\r\nContent-Type: application/json\r\n"
    for attempt in range(50):
        with socket.create_connection(("127.0.0.1", tasks.port)) as client:
            client.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode())
        if attempt % 10 == 9 and tasks.ask("GET", "/tasks/t")[0] == 200:
            break
    # PostgreSQL may have undone each of them.
    if not database or tasks.ask("GET", "/tasks/t")[0] == 200:
        eventually("its event", lambda: names(redis_server, "t") == ["task-created"])


def test_of_a_task_nothing_gets_past_what_redis_refuses(
    durable_redis: RedisServer, tmp_path: Path, database: dict[str, str], until_end: Callable[[Tasks], Tasks]
) -> None:
    tasks = until_end(Tasks(durable_redis.url, tmp_path, database))
    durable_redis.stop()
    make(tasks, "t")
    for n in range(300):
        assert change(tasks, "t", {"n": n})[0] == 200
    tasks.kill()
    durable_redis.start()
    with durable_redis.client() as client:
        # In and out again under the relay's feet.
        over = threading.Event()

        def swap() -> None:
            while not over.is_set():
                client.eval("redis.call('RENAME', KEYS[1], 'aside') redis.call('SET', KEYS[1], 'x')", 1, STREAM)
                client.eval("redis.call('RENAME', 'aside', KEYS[1])", 1, STREAM)

        client.xadd(STREAM, {"created": "now"})
        with ThreadPoolExecutor(1) as threads:
            swapping = threads.submit(swap)
            tasks.start()
            eventually("refusals", lambda: "synapse_tasks_events_refused_total" in tasks.get("/metrics")[1])
            over.set()
            swapping.result()

    def numbers() -> list[int]:
        return [event["data"].get("version", 1) for event in events_on(durable_redis)["t"]]

    eventually("all events", lambda: len(numbers()) == 301)
    assert numbers() == list(range(1, 302))


def test_what_redis_refuses_is_tried_until_it_takes_it(tasks: Tasks, redis_server: RedisServer) -> None:
    with redis_server.client() as client:
        client.set(STREAM, "no stream")
        make(tasks, "t")
        assert change(tasks, "t", {"status": "completed"})[0] == 200
        eventually("a refusal", lambda: "synapse_tasks_events_refused_total" in tasks.get("/metrics")[1])
        client.delete(STREAM)
    eventually("both events", lambda: names(redis_server, "t") == ["task-created", "task-completed"])


def test_leaving_under_load_it_publishes_what_was_committed_once(tasks: Tasks, redis_server: RedisServer) -> None:
    made: list[str] = []

    def work(worker: int) -> None:
        for n in range(100_000):
            task = f"w{worker}-{n}"
            try:
                status, _ = tasks.ask("POST", "/tasks", {"taskId": task, "userId": "u", "taskData": {}})
            except (OSError, http.client.HTTPException):
                return
            if status == 200:
                made.append(task)

    with ThreadPoolExecutor(8) as threads:
        workers = [threads.submit(work, worker) for worker in range(8)]
        eventually("some load", lambda: len(made) > 200)
        assert tasks.stop() == 0
        for worker in workers:
            worker.result()
    events = [json.loads(fields["data"])["task_id"] for _, fields in redis_server.entries(STREAM)]
    assert len(events) == len(set(events))
    assert set(made) <= set(events)


@pytest.mark.timeout(300)
def test_killed_under_load_it_loses_and_doubles_nothing(
    redis_server: RedisServer,
    tmp_path: Path,
    database: dict[str, str],
    until_end: Callable[[Tasks], Tasks],
    soak: bool,
) -> None:
    tasks = until_end(Tasks(redis_server.url, tmp_path, database))
    kills, changes = (30, 60) if soak else (5, 12)
    over = threading.Event()
    made: dict[str, int] = {}

    def work(worker: int) -> None:
        for n in range(100_000):
            if over.is_set():
                return
            task = f"w{worker}-{n}"
            status, answer = tasks.insist("POST", "/tasks", {"taskId": task, "userId": "u", "taskData": {"n": 0}})
            assert status == 200, answer
            for number in range(1, changes):
                body = {"userId": "u", "changes": {"n": number}}
                status, answer = tasks.insist("PUT", f"/tasks/{task}", body)
                assert (status, answer["version"]) == (200, number + 1)
            made[task] = changes

    with ThreadPoolExecutor(4) as threads:
        workers = [threads.submit(work, worker) for worker in range(4)]
        for kill in range(kills):
            eventually("more tasks", lambda kill=kill: len(made) > 3 * (kill + 1))  # type: ignore[misc]
            tasks.kill()
            tasks.start()
        over.set()
        for worker in workers:
            worker.result()
    for task, versions in made.items():
        found = tasks.ask("GET", f"/tasks/{task}/versions?limit=500")[1]
        assert [version["version"] for version in found] == list(range(versions, 0, -1))
        assert [version["metadata"]["n"] for version in found] == list(range(versions - 1, -1, -1))
    eventually("all events", lambda: sum(map(len, events_on(redis_server).values())) >= sum(made.values()))
    events = events_on(redis_server)
    assert events.keys() == made.keys()
    for task, versions in made.items():
        assert [event["event"] for event in events[task]] == ["task-created", *["task-updated"] * (versions - 1)]
        assert [event["data"].get("version", 1) for event in events[task]] == list(range(1, versions + 1))


def test_replicas_share_a_postgres_and_publish_each_event_when_one_dies(
    redis_server: RedisServer, tmp_path: Path, until_end: Callable[[Any], Any]
) -> None:
    settings = {"DATABASE_URL": until_end(PostgresServer()).url}
    replicas = [until_end(Tasks(redis_server.url, tmp_path / str(n), settings)) for n in range(2)]
    make(replicas[0], "t")
    for n in range(40):
        assert change(replicas[n % 2], "t", {"n": n})[0] == 200
    eventually("all events", lambda: len(events_on(redis_server)["t"]) == 41)
    # Whichever of them published.
    for replica in replicas:
        replica.kill()
        other = replicas[1 - replicas.index(replica)]
        before = len(events_on(redis_server)["t"])
        assert change(other, "t", {"n": before})[0] == 200
        eventually("the next event", lambda before=before: len(events_on(redis_server)["t"]) == before + 1)  # type: ignore[misc]
        replica.start()
    numbers = [event["data"]["version"] for event in events_on(redis_server)["t"][1:]]
    assert numbers == list(range(2, len(numbers) + 2))


def test_a_database_that_is_away_is_told_and_waited_for(
    redis_server: RedisServer, tmp_path: Path, until_end: Callable[[Any], Any]
) -> None:
    server = until_end(PostgresServer())
    settings = {"DATABASE_URL": server.url, "DATABASE_TIMEOUT": "1s"}
    tasks = until_end(Tasks(redis_server.url, tmp_path, settings))
    make(tasks, "t")
    server.kill()
    status, refusal = change(tasks, "t", {"n": 1})
    assert (status, refusal["code"]) == (503, "database_unavailable")
    assert "postgres" not in refusal["error"]
    server.start()
    eventually("the database to be back", lambda: change(tasks, "t", {"n": 2})[0] == 200)
    expected = ["task-created", "task-updated"]
    eventually("the events", lambda: names(redis_server, "t")[:2] == expected)
