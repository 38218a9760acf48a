"""A task orchestrator process, and how it is asked."""

from __future__ import annotations

import http.client
import json
import uuid
from collections import defaultdict
from typing import TYPE_CHECKING, Any

from harness.service import Service

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from harness.redis_server import RedisServer


class Tasks(Service):
    """A `synapse-tasks`; its database is SQLite in `folder`, or the server behind `DATABASE_URL` in `settings`."""

    binary_name = "synapse-tasks"

    def __init__(self, redis_url: str, folder: Path, settings: Mapping[str, str] | None = None) -> None:
        """Starts one over this Redis and waits until it is ready."""
        super().__init__(redis_url, {"DATA_DIR": str(folder), **(settings or {})})

    def insist(self, method: str, path: str, body: Any) -> tuple[int, Any]:
        """The same under an `Idempotency-Key`, sent until there is an answer that is final."""
        headers = {"Idempotency-Key": str(uuid.uuid4())}
        while True:
            try:
                status, answer = self.ask(method, path, body, headers)
            except (OSError, http.client.HTTPException):
                continue
            if status < 500:
                return status, answer


STREAM = "platform-events"
"""Where the events of tasks are."""


def make(tasks: Tasks, task_id: str, user: str = "u", **data: Any) -> None:
    """Makes a task."""
    status, answer = tasks.ask("POST", "/tasks", {"taskId": task_id, "userId": user, "taskData": data})
    assert status == 200, answer


def change(tasks: Tasks, task_id: str, changes: Any, reason: str | None = None) -> tuple[int, Any]:
    """Changes a task of `u`."""
    return tasks.ask("PUT", f"/tasks/{task_id}", {"userId": "u", "changes": changes, "changeReason": reason})


def events_on(server: RedisServer) -> dict[str, list[dict[str, Any]]]:
    """The events of each task in order, repeats left out."""
    seen: set[str] = set()
    found: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for _, fields in server.entries(STREAM):
        # A stream may begin with an entry that is no event.
        if "event_id" in fields and fields["event_id"] not in seen:
            seen.add(fields["event_id"])
            data = json.loads(fields["data"])
            found[data["task_id"]].append({**fields, "data": data})
    return found


def names(server: RedisServer, task_id: str) -> list[str]:
    """The names of a task's events."""
    return [event["event"] for event in events_on(server)[task_id]]
