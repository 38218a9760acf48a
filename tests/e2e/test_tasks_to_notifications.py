"""From a task's REST call to its user's browser: the way of the whole platform."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from harness.notifications import KINDS, Notifications, authenticated, wait_for_shown
from harness.tasks import Tasks

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from harness.redis_server import RedisServer


@pytest.mark.parametrize("kind", ["node", "python"])
def test_a_tasks_user_hears_of_it_and_nobody_else(
    redis_server: RedisServer, tmp_path: Path, until_end: Callable[[Any], Any], kind: str
) -> None:
    tasks = until_end(Tasks(redis_server.url, tmp_path))
    notifications = until_end(Notifications(redis_server.url, tmp_path))
    user, other = (until_end(KINDS[kind](notifications)).connected() for _ in range(2))
    for client, name in ((user, "42"), (other, "43")):
        client.emit("authenticate", {"userId": name})
        assert authenticated(client)["success"] is True
    status, _ = tasks.ask("POST", "/tasks", {"taskId": "t", "userId": "42", "taskData": {"title": "Summarise"}})
    assert status == 200
    done = {"userId": "42", "changes": {"status": "completed"}}
    assert tasks.ask("PUT", "/tasks/t", done)[0] == 200
    created, completed = wait_for_shown(user, 2)
    assert (created["type"], created["message"]) == ("task-created", "Event: task-created")
    assert (completed["type"], completed["message"]) == ("task-completed", "Task completed successfully")
    assert completed["data"]["result"]["version"] == 2
    # And one of the other's, behind which nothing of the first user's can still come.
    status, _ = tasks.ask("POST", "/tasks", {"userId": "43", "taskData": {}})
    assert status == 200
    (only,) = wait_for_shown(other, 1)
    assert only["type"] == "task-created"
    assert only["data"]["task_id"] != "t"
