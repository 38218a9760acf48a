"""Notifications: whatever ends meanwhile, none is lost and none shown twice."""

from __future__ import annotations

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from harness.notifications import (
    KINDS,
    Notifications,
    authenticated,
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


@pytest.mark.parametrize("kind", list(KINDS))
def test_what_was_sent_to_a_client_that_died_is_shown_at_its_next_connection(
    sturdy: Notifications, durable_redis: RedisServer, client: Callable[..., SocketIoClient], kind: str
) -> None:
    gone = client(sturdy, {"userId": "u"}, kind)
    publish(durable_redis, event("u", n=0))
    wait_for_shown(gone, 1)
    eventually("it to be noted", lambda: "notifications_delivered_total 1\n" in sturdy.get("/metrics")[1])
    os.kill(gone.pid, signal.SIGSTOP)
    publish(durable_redis, *(event("u", n=n) for n in range(1, 6)))
    eventually("all to be sent", lambda: 'notifications_sent_total{kind="live"} 6' in sturdy.get("/metrics")[1])
    gone.kill()
    again = client(sturdy, {"userId": "u"}, kind)
    assert [n["data"]["n"] for n in wait_for_shown(again, 5)] == [1, 2, 3, 4, 5]
    eventually("that to be noted", lambda: "notifications_delivered_total 6\n" in sturdy.get("/metrics")[1])


def test_a_fast_client_that_missed_much_is_not_taken_for_a_slow_one(
    sturdy: Notifications, durable_redis: RedisServer, client: Callable[..., SocketIoClient]
) -> None:
    publish(durable_redis, *(event("u", n=n, much="x" * 30_000) for n in range(60)))
    eventually("all to be stored", lambda: len(sturdy.inbox("u")) == 60)
    late = client(sturdy, {"userId": "u"})
    got = [n["data"]["n"] for n in wait_for_shown(late, 3)]
    publish(durable_redis, event("u", n=60))
    late.wait_for("the next one", lambda _: shown(late)[-1]["data"]["n"] == 60)
    got = [n["data"]["n"] for n in shown(late)]
    assert got == list(range(got[0], 61)), "the newest, and what came after"
    assert got[0] > 0, "no more than a slow line takes in time"
    assert not any(said["is"] == "disconnected" for said in late.said)
    noted = f"notifications_delivered_total {len(got)}\n"
    eventually("that to be noted", lambda: noted in sturdy.get("/metrics")[1])
    again = client(sturdy, {"userId": "u"})
    publish(durable_redis, event("u", n=61))
    assert [n["data"]["n"] for n in wait_for_shown(again, 1)] == [61], "the older ones are in the inbox"


def test_announcements_that_a_replica_could_not_hear_reach_its_clients_all_the_same(
    durable_redis: RedisServer, tmp_path: Path, until_end: Callable[[Any], Any], client: Callable[..., SocketIoClient]
) -> None:
    server = until_end(PostgresServer())
    settings = {"DATABASE_URL": server.url}
    cut_off = until_end(Notifications(durable_redis.url, tmp_path, settings))
    mine = client(cut_off, {"userId": "u"})
    authenticated(mine)
    with durable_redis.client() as redis:
        before = [one["id"] for one in redis.client_list()]
    other = until_end(Notifications(durable_redis.url, tmp_path, settings))
    os.kill(cut_off.pid, signal.SIGSTOP)
    try:
        with durable_redis.client() as redis:
            for one in before:
                redis.client_kill_filter(_id=one)
        publish(durable_redis, *(event("u", n=n) for n in range(3)))
        announced = "synapse_notifications_announced_total 3\n"
        eventually("another to announce them", lambda: announced in other.get("/metrics")[1])
        with durable_redis.client() as redis:
            redis.xtrim("synapse:notifications", maxlen=0, approximate=False)
    finally:
        os.kill(cut_off.pid, signal.SIGCONT)
    assert [n["data"]["n"] for n in wait_for_shown(mine, 3)] == [0, 1, 2]


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
