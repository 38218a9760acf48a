"""A notification service process, how it is asked, and events that make notifications."""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from harness.client import NodeSocketIo, PythonSocketIo, SocketIoClient
from harness.service import Service

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from harness.redis_server import RedisServer


class Notifications(Service):
    """A `synapse-notifications`; its database is SQLite in `folder`, or the server behind `DATABASE_URL`."""

    binary_name = "synapse-notifications"

    def __init__(self, redis_url: str, folder: Path, settings: Mapping[str, str] | None = None) -> None:
        """Starts one over this Redis and waits until it is ready."""
        super().__init__(redis_url, {"DATA_DIR": str(folder), **(settings or {})})

    def inbox(self, user: str, **parameters: str) -> list[dict[str, Any]]:
        """All of a user's notifications, newest first."""
        found: list[dict[str, Any]] = []
        cursor: str | None = None
        while True:
            query = {"user_id": user, "limit": "500", **parameters, **({"cursor": cursor} if cursor else {})}
            status, page = self.ask("GET", "/notifications?" + "&".join(f"{k}={v}" for k, v in query.items()))
            assert status == 200, page
            found += page["notifications"]
            cursor = page["nextCursor"]
            if cursor is None:
                return found


def event(user: str | None, name: str = "badge-earned", *, age_s: float = 0, **data: Any) -> dict[str, str]:
    """The fields of a platform event, as our publisher writes them."""
    moment = datetime.now(UTC) - timedelta(seconds=age_s)
    fields = {
        "event": name,
        "timestamp": moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "event_id": str(uuid.uuid4()),
        "source": "tests",
        "service": "tests",
        "action": name,
        "data": json.dumps(data),
    }
    return fields if user is None else {**fields, "user_id": user}


def publish(server: RedisServer, *events: Mapping[str, str], stream: str = "platform-events") -> None:
    """Writes events to a stream, all at once."""
    with server.client() as client:
        pipeline = client.pipeline(transaction=False)
        for fields in events:
            pipeline.xadd(stream, dict(fields))
        pipeline.execute()


def shown(client: SocketIoClient) -> list[dict[str, Any]]:
    """The notifications that a client has got, in order."""
    return [n for n in client.events() if n["_name"] == "notification"]


def wait_for_shown(client: SocketIoClient, count: int) -> list[dict[str, Any]]:
    """Waits until a client has got so many."""
    client.wait_for(f"{count} notifications", lambda _: len(shown(client)) >= count)
    return shown(client)


def authenticated(client: SocketIoClient) -> dict[str, Any]:
    """What the server said last about who the client is."""

    def last(said: list[dict[str, Any]]) -> Any:
        return next((s["arguments"][0] for s in reversed(said) if s.get("name") == "authenticated"), None)

    answer: dict[str, Any] = client.wait_for("authenticated", last)
    return answer


KINDS = {"node": NodeSocketIo, "python": PythonSocketIo}
"""The stock clients."""
