"""Tasks: what they are, what becomes of them, and who may have a say in it."""

from __future__ import annotations

import subprocess
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from harness.redis_server import RedisServer
from harness.schemathesis import attack
from harness.service import binary
from harness.tasks import Tasks, change, events_on, make, names
from harness.tokens import SECRET, token
from harness.wait import eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


def test_each_change_is_a_version_with_who_why_and_the_whole_state(tasks: Tasks, redis_server: RedisServer) -> None:
    make(tasks, "t", title="Summarise", description="Q3", priority="high", tags=["a"])
    assert change(tasks, "t", {"status": "running"})[0] == 200
    assert change(tasks, "t", {"title": "Summarise it", "tags": None}, "clearer")[0] == 200
    status, last = change(tasks, "t", {"status": "completed"}, "done")
    assert (status, last["version"], last["taskId"], last["changedBy"]) == (200, 4, "t", "u")

    status, versions = tasks.ask("GET", "/tasks/t/versions")
    assert status == 200
    assert [version["version"] for version in versions] == [4, 3, 2, 1]
    assert [version["changeReason"] for version in versions] == ["done", "clearer", "Task updated", "Initial version"]
    assert all(version["changedBy"] == {"id": "u"} for version in versions)
    third = versions[1]
    assert third["metadata"] == {
        "title": "Summarise it",
        "description": "Q3",
        "priority": "high",
        "status": "in_progress",
    }
    assert sorted(third["changed"]) == ["tags", "title"]
    assert tasks.ask("GET", "/tasks/t/versions?limit=1")[1] == versions[:1]

    expected = ["task-created", "task-started", "task-updated", "task-completed"]
    eventually("the events", lambda: names(redis_server, "t") == expected)
    events = events_on(redis_server)["t"]
    assert all(event["user_id"] == "u" and event["service"] == "task-orchestrator" for event in events)
    assert events[0]["data"]["title"] == "Summarise"
    assert events[3]["data"]["result"]["version"] == 4


def test_a_failure_tells_its_reason_and_may_be_tried_again(tasks: Tasks, redis_server: RedisServer) -> None:
    make(tasks, "t")
    assert change(tasks, "t", {"status": "error"}, "timeout")[0] == 200
    status, refusal = change(tasks, "t", {"status": "completed"})
    assert (status, refusal["code"], refusal["field"]) == (409, "invalid_transition", "changes.status")
    assert "pending or in_progress" in refusal["error"]
    assert change(tasks, "t", {"status": "pending"})[0] == 200
    assert change(tasks, "t", {"status": "cancelled"})[0] == 200
    assert change(tasks, "t", {"status": "pending"})[0] == 409
    assert change(tasks, "t", {"status": "cancelled", "note": "as before"})[0] == 200
    expected = ["task-created", "task-failed", "task-updated", "task-updated", "task-updated"]
    eventually("the events", lambda: names(redis_server, "t") == expected)
    assert events_on(redis_server)["t"][1]["data"] == {"task_id": "t", "error": "timeout"}


def test_changes_at_once_share_no_number(tasks: Tasks) -> None:
    make(tasks, "t")
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda n: change(tasks, "t", {"n": n}), range(80)))
    assert sorted(answer["version"] for _, answer in answers) == list(range(2, 82))
    versions = tasks.ask("GET", "/tasks/t/versions?limit=500")[1]
    assert [version["version"] for version in versions] == list(range(81, 0, -1))
    last = tasks.ask("GET", "/tasks/t")[1]
    assert last["metadata"]["n"] == versions[0]["metadata"]["n"]


def test_a_circle_is_refused_whatever_its_length(tasks: Tasks) -> None:
    for n in range(40):
        make(tasks, f"t{n}")

    def depend(task: str, on: str) -> tuple[int, Any]:
        return tasks.ask("POST", "/dependencies", {"taskId": task, "dependsOn": on, "userId": "u"})

    for n in range(39):
        assert depend(f"t{n}", f"t{n + 1}")[0] == 200
    for task, on in (("t39", "t0"), ("t39", "t38"), ("t5", "t5")):
        status, refusal = depend(task, on)
        assert (status, refusal["code"]) == (409, "dependency_cycle")
    status, again = depend("t0", "t1")
    assert (status, again["dependsOnTaskId"]) == (200, "t1")
    assert [item["task"]["id"] for item in tasks.ask("GET", "/dependencies/t0")[1]] == ["t1"]


def test_two_dependencies_at_once_close_no_circle(tasks: Tasks) -> None:
    for n in range(20):
        make(tasks, f"a{n}")
        make(tasks, f"b{n}")

    def depend(pair: tuple[str, str]) -> int:
        body = {"taskId": pair[0], "dependsOn": pair[1], "userId": "u"}
        return tasks.ask("POST", "/dependencies", body)[0]

    with ThreadPoolExecutor(2) as threads:
        for n in range(20):
            assert sorted(threads.map(depend, [(f"a{n}", f"b{n}"), (f"b{n}", f"a{n}")])) == [200, 409]


def test_a_request_sent_again_has_its_effect_once(tasks: Tasks, redis_server: RedisServer) -> None:
    body = {"userId": "u", "taskData": {"title": "one"}}
    key = {"Idempotency-Key": "k"}
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda _: tasks.ask("POST", "/tasks", body, key), range(16)))
    assert {status for status, _ in answers} == {200}
    assert len({answer["taskId"] for _, answer in answers}) == 1
    assert len(tasks.ask("GET", "/tasks?userId=u")[1]["tasks"]) == 1
    status, refusal = tasks.ask("POST", "/tasks", {**body, "taskData": {"title": "two"}}, key)
    assert (status, refusal["code"], refusal["field"]) == (422, "idempotency_key_reused", "Idempotency-Key")
    eventually("the event", lambda: len(events_on(redis_server)) == 1)


def test_pages_have_each_task_once_newest_first(tasks: Tasks) -> None:
    for n in range(25):
        make(tasks, f"t{n}", user="u" if n % 5 else "v", priority="high" if n % 2 else "low")
    assert change(tasks, "t3", {"status": "completed"})[0] == 200
    found: list[str] = []
    cursor = ""
    while True:
        page = tasks.ask("GET", f"/tasks?userId=u&limit=7{cursor}")[1]
        found += [task["id"] for task in page["tasks"]]
        if page["nextCursor"] is None:
            break
        cursor = f"&cursor={page['nextCursor']}"
    assert found == [f"t{n}" for n in reversed(range(25)) if n % 5]
    assert len(tasks.ask("GET", "/tasks?limit=500")[1]["tasks"]) == 25
    assert [task["id"] for task in tasks.ask("GET", "/tasks?status=completed")[1]["tasks"]] == ["t3"]
    assert len(tasks.ask("GET", "/tasks?userId=v&priority=low")[1]["tasks"]) == 3


def test_pages_are_bounded_in_bytes(tasks: Tasks) -> None:
    large = "x" * 200_000
    for n in range(60):
        make(tasks, f"t{n}", note=large)
    pages: list[list[str]] = []
    cursor = ""
    while cursor is not None:
        page = tasks.ask("GET", f"/tasks?limit=500{cursor}")[1]
        pages.append([task["id"] for task in page["tasks"]])
        cursor = page["nextCursor"] and f"&cursor={page['nextCursor']}"
    assert max(map(len, pages)) < 20
    assert [task for page in pages for task in page] == [f"t{n}" for n in reversed(range(60))]
    for n in range(60):
        assert change(tasks, "t0", {"n": n})[0] == 200
    found: list[int] = []
    while not found or found[-1] > 1:
        before = f"&before={found[-1]}" if found else ""
        versions = tasks.ask("GET", f"/tasks/t0/versions?limit=500{before}")[1]
        assert 0 < len(versions) < 20
        found += [version["version"] for version in versions]
    assert found == list(range(61, 0, -1))


@pytest.mark.parametrize(
    ("method", "path", "body", "field"),
    [
        ("POST", "/tasks", {}, "userId"),
        ("POST", "/tasks", {"userId": "u"}, "taskData"),
        ("POST", "/tasks", {"userId": 7, "taskData": {}}, "userId"),
        ("POST", "/tasks", {"userId": "anonymous", "taskData": {}}, "userId"),
        ("POST", "/tasks", {"userId": "u", "taskData": {"description": "x" * (1 << 20)}}, "taskData.description"),
        ("POST", "/tasks", {"userId": "u", "taskData": {"title": "a\0b"}}, "taskData.title"),
        ("POST", "/tasks", {"userId": "u\0", "taskData": {}}, "userId"),
        ("POST", "/tasks", {"taskId": "x" * 300, "userId": "u", "taskData": {}}, "taskId"),
        ("POST", "/tasks", {"userId": "u", "taskData": {"status": "done"}}, "taskData.status"),
        ("POST", "/tasks", {"userId": "u", "taskData": {"number": 1 << 64}}, "taskData"),
        ("PUT", "/tasks/none", {"userId": "u", "changes": {}}, "id"),
        ("PUT", "/tasks/t", {"userId": "u", "changes": [1]}, "changes"),
        ("PUT", "/tasks/t", {"userId": "u", "changes": {"tags": {"a": ["\0"]}}}, "changes.tags"),
        ("GET", "/tasks/none", None, "id"),
        ("GET", "/tasks?limit=0", None, "limit"),
        ("GET", "/tasks?cursor=x", None, "cursor"),
        ("GET", "/tasks?status=done", None, "status"),
        ("GET", "/tasks/none/versions", None, "id"),
        ("POST", "/dependencies", {"taskId": "t", "dependsOn": "none", "userId": "u"}, "dependsOn"),
        (
            "POST",
            "/dependencies",
            {"taskId": "t", "dependsOn": "t", "userId": "u", "dependencyType": "x"},
            "dependencyType",
        ),
    ],
)
def test_a_refusal_names_the_field(method: str, path: str, body: Any, field: str, bad_input: Tasks) -> None:
    status, answer = bad_input.ask(method, path, body)
    assert 400 <= status < 500
    # Of a route that older clients don't know the reason is an object.
    error = answer["error"]
    reason, message = (error, error["message"]) if isinstance(error, dict) else (answer, error)
    assert reason["field"] == field
    assert field.split(".", maxsplit=1)[0] in message


@pytest.fixture(scope="module")
def bad_input(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tasks]:
    """A task orchestrator that is asked for nothing good."""
    with RedisServer() as server, Tasks(server.url, tmp_path_factory.mktemp("tasks")) as tasks:
        make(tasks, "t")
        yield tasks


def test_users_act_as_themselves_and_services_for_all(
    redis_server: RedisServer, tmp_path: Path, until_end: Callable[[Tasks], Tasks]
) -> None:
    tasks = until_end(Tasks(redis_server.url, tmp_path, {"JWT_SECRET": SECRET}))

    def ask(method: str, path: str, body: Any = None, **who: Any) -> int:
        headers = {"Authorization": f"Bearer {token(**who)}"} if who else {}
        return tasks.ask(method, path, body, headers)[0]

    new = {"taskId": "t", "userId": "ann", "taskData": {}}
    assert ask("POST", "/tasks", new) == 401
    assert ask("POST", "/tasks", new, user="bob") == 403
    assert ask("POST", "/tasks", new, user="ann") == 200
    for who, allowed in (({"user": "bob"}, 403), ({"user": "ann"}, 200), ({"scope": "tasks:all"}, 200)):
        assert ask("GET", "/tasks/t", **who) == allowed
        assert ask("GET", "/tasks/t/versions", **who) == allowed
        assert ask("GET", "/dependencies/t", **who) == allowed
        assert ask("GET", "/tasks?userId=ann", **who) == allowed
    change = {"userId": "bob", "changes": {"title": "mine"}}
    assert ask("PUT", "/tasks/t", change, user="bob") == 403
    assert ask("PUT", "/tasks/t", change, user="ann") == 403
    assert ask("PUT", "/tasks/t", {**change, "userId": "worker"}, scope="tasks:all") == 200
    assert tasks.ask("GET", "/tasks", None, {"Authorization": f"Bearer {token('bob')}"})[1]["tasks"] == []
    eventually("both events", lambda: len(events_on(redis_server)["t"]) == 2)
    last = events_on(redis_server)["t"][1]
    assert (last["user_id"], last["data"]["changed_by"]) == ("ann", "worker")


def test_a_second_process_on_sqlite_refuses_to_start_and_migrate_only_migrates(
    redis_server: RedisServer, tmp_path: Path, until_end: Callable[[Any], Any]
) -> None:

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [str(binary("synapse-tasks")), "--data-dir", str(tmp_path), "--port", "0", *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)

    migrated = run("migrate")
    assert (migrated.returncode, migrated.stdout) == (0, "")
    tasks = until_end(Tasks(redis_server.url, tmp_path))
    make(tasks, "t")
    second = run("--redis-url", redis_server.url)
    assert second.returncode == 1
    assert "in use by another process" in second.stderr
    assert "DATABASE_URL" in second.stderr


@pytest.mark.timeout(1_100)
def test_it_answers_as_it_says(tasks: Tasks, soak: bool) -> None:
    for task in ("0", "1"):
        make(tasks, task, user="0")
    # A name may be taken, and a task may not exist: no fault of the request's form.
    attack(tasks, 1_000 if soak else 60, "--exclude-checks", "positive_data_acceptance,use_after_free")
