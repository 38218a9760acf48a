"""Notifications: whatever ends meanwhile, none is lost and none shown twice."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from harness.notifications import (
    Notifications,
    event,
    publish,
    shown,
    wait_for_shown,
)
from harness.postgres_server import PostgresServer
from harness.wait import eventually

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from harness.client import SocketIoClient
    from harness.redis_server import RedisServer


@pytest.fixture
def sturdy(
    durable_redis: RedisServer, tmp_path: Path, database: dict[str, str], until_end: Callable[[Any], Any]
) -> Notifications:
    """A notification service on either database, over a Redis that keeps everything."""
    service: Notifications = until_end(Notifications(durable_redis.url, tmp_path, database))
    return service


@pytest.mark.timeout(300)
def test_kills_lose_nothing_and_show_nothing_twice(
    sturdy: Notifications, durable_redis: RedisServer, client: Callable[..., SocketIoClient], soak: bool
) -> None:
    service = sturdy
    users = [f"u{n}" for n in range(8)]
    clients = {user: client(service, {"userId": user}) for user in users}
    # A hundred for each: so many are shown at the next connection.
    rounds, each = (10, 800) if soak else (3, 800)
    sent: dict[str, list[int]] = {user: [] for user in users}
    for number in range(rounds):
        batch = [(users[n % len(users)], number * each + n) for n in range(each)]
        for user, n in batch:
            sent[user].append(n)
        with ThreadPoolExecutor(1) as pool:
            writing = pool.submit(publish, durable_redis, *(event(user, n=n) for user, n in batch))
            wait_for_stored(service, number * each // len(users) + 1)
            service.kill()
            writing.result()
        service.start()

    def stored() -> dict[str, list[int]]:
        return {user: sorted(n["data"]["n"] for n in service.inbox(user)) for user in users}

    # What the killed one had in hand is taken over after 30 s.
    eventually("the inboxes to be exact", lambda: stored() == sent, patience_s=90)
    for user, here in clients.items():
        for ids in shown_per_connection(here):
            assert len(ids) == len(set(ids)), f"{user} was shown something twice on one connection"
        here.wait_for(f"all that {user} is told", partial(has_seen, here, sent[user]))


def shown_per_connection(client: SocketIoClient) -> list[list[str]]:
    """The ids that each connection of a client got."""
    per_connection: list[list[str]] = []
    for line in list(client.said):
        if line["is"] == "connected":
            per_connection.append([])
        elif line["is"] == "event" and line["name"] == "notification":
            per_connection[-1].append(line["arguments"][0]["id"])
    return per_connection


def has_seen(client: SocketIoClient, numbers: list[int], _: object) -> bool:
    """Whether a client has got these."""
    return {n["data"]["n"] for n in shown(client)} == set(numbers)


def wait_for_stored(service: Notifications, count: int) -> None:
    """Waits until the inbox of `u0` has so many."""
    eventually("some to be stored", lambda: len(service.inbox("u0")) >= count)


def test_two_replicas_show_each_notification_once(
    redis_server: RedisServer,
    tmp_path: Path,
    until_end: Callable[[Any], Any],
    client: Callable[..., SocketIoClient],
) -> None:
    shared = {"DATABASE_URL": until_end(PostgresServer()).url}
    one, other = (until_end(Notifications(redis_server.url, tmp_path / name, shared)) for name in ("a", "b"))
    clients = [client(service, {"userId": "u"}) for service in (one, other)]
    publish(redis_server, *(event("u", n=n) for n in range(200)))
    for here in clients:
        wait_for_shown(here, 200)
    publish(redis_server, event("u", n=200))
    for here in clients:
        numbers = [n["data"]["n"] for n in wait_for_shown(here, 201)]
        assert sorted(numbers) == list(range(201))
    keys = {service.ask("GET", "/push/vapid-key")[1]["publicKey"] for service in (one, other)}
    assert len(keys) == 1, "replicas sign with one key"


def test_an_outage_of_the_database_is_waited_out(
    redis_server: RedisServer, tmp_path: Path, until_end: Callable[[Any], Any], client: Callable[..., SocketIoClient]
) -> None:
    server = until_end(PostgresServer())
    service = until_end(Notifications(redis_server.url, tmp_path, {"DATABASE_URL": server.url}))
    mine = client(service, {"userId": "u"})
    publish(redis_server, event("u", n=0))
    wait_for_shown(mine, 1)
    server.kill()
    publish(redis_server, *(event("u", n=n) for n in range(1, 20)))
    eventually("a request to be refused", lambda: service.ask("GET", "/notifications?user_id=u")[0] == 503)
    server.start()
    assert sorted(n["data"]["n"] for n in wait_for_shown(mine, 20)) == list(range(20))
    assert redis_server.entries("platform-events:dlq") == []


def test_an_outage_of_redis_is_waited_out(
    durable_redis: RedisServer, tmp_path: Path, until_end: Callable[[Any], Any], client: Callable[..., SocketIoClient]
) -> None:
    service = until_end(Notifications(durable_redis.url, tmp_path))
    mine = client(service, {"userId": "u"})
    publish(durable_redis, event("u", n=0))
    wait_for_shown(mine, 1)
    durable_redis.stop()
    assert len(service.inbox("u")) == 1, "the inbox needs no Redis"
    durable_redis.start()
    publish(durable_redis, *(event("u", n=n) for n in range(1, 20)))
    assert [n["data"]["n"] for n in wait_for_shown(mine, 20)] == list(range(20))


def test_clients_are_told_to_come_back_when_the_service_leaves(
    notifications: Notifications, redis_server: RedisServer, client: Callable[..., SocketIoClient]
) -> None:
    mine = client(notifications, {"userId": "u"})
    assert notifications.stop() == 0
    assert mine.one("disconnected")["comesBack"] is True
    publish(redis_server, event("u", n=1))
    notifications.start()
    assert [n["data"]["n"] for n in wait_for_shown(mine, 1)] == [1]
