"""A task orchestrator process, and how it is asked."""

from __future__ import annotations

import http.client
import uuid
from typing import TYPE_CHECKING, Any

from harness.service import Service

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


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
