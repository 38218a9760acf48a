"""What the tests of services share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from harness.notifications import KINDS, Notifications
from harness.postgres_server import PostgresServer
from harness.tasks import Tasks
from harness.tokens import SECRET

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from harness.client import SocketIoClient
    from harness.redis_server import RedisServer


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest) -> Iterator[dict[str, str]]:
    """Settings of either database."""
    if request.param == "sqlite":
        yield {}
        return
    with PostgresServer() as server:
        yield {"DATABASE_URL": server.url}


@pytest.fixture
def tasks(
    redis_server: RedisServer, tmp_path: Path, database: dict[str, str], until_end: Callable[[Tasks], Tasks]
) -> Tasks:
    """A task orchestrator on either database, without a key."""
    return until_end(Tasks(redis_server.url, tmp_path, database))


@pytest.fixture
def notifications(
    redis_server: RedisServer, tmp_path: Path, until_end: Callable[[Notifications], Notifications]
) -> Notifications:
    """A notification service on SQLite, without a key."""
    return until_end(Notifications(redis_server.url, tmp_path))


@pytest.fixture
def with_key(
    redis_server: RedisServer, tmp_path: Path, until_end: Callable[[Notifications], Notifications]
) -> Notifications:
    """One that asks for tokens."""
    return until_end(Notifications(redis_server.url, tmp_path, {"JWT_SECRET": SECRET}))


@pytest.fixture
def client(until_end: Callable[[Any], Any]) -> Callable[..., SocketIoClient]:
    """Makes a client that is closed when the test ends."""

    def make(service: Notifications, auth: dict[str, Any] | None = None, kind: str = "node") -> SocketIoClient:
        made: SocketIoClient = until_end(KINDS[kind](service, auth))
        return made.connected()

    return make
