"""Notifications: what happens to a user reaches the user, once, wherever it is and whatever ends meanwhile."""

from __future__ import annotations

import threading
import time
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
from harness.process import Process
from harness.schemathesis import attack
from harness.service import binary
from harness.tokens import SECRET, token
from harness.wait import eventually

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from harness.client import SocketIoClient
    from harness.redis_server import RedisServer


@pytest.mark.parametrize("kind", list(KINDS))
def test_what_happens_to_a_user_reaches_it_and_nobody_else(
    notifications: Notifications, redis_server: RedisServer, client: Callable[..., SocketIoClient], kind: str
) -> None:
    mine, other = client(notifications, kind=kind), client(notifications, kind=kind)
    assert mine.emit("authenticate", {"userId": "42"}) == {"ok": True}
    assert authenticated(mine) == {"success": True, "userId": "42"}
    other.emit("authenticate", {"userId": 43})
    assert authenticated(other) == {"success": True, "userId": "43"}
    happened = [
        event("42", "task-completed", task_id="t1"),
        event("42", "task-failed", task_id="t2", error="out of memory"),
        event("42", "user-interaction"),
        event(None, "task-completed"),
        event("42", "badge-earned", badge=7),
    ]
    publish(redis_server, *happened)
    got = wait_for_shown(mine, 3)
    assert [(n["type"], n["message"], n["data"]) for n in got] == [
        ("task-completed", "Task completed successfully", {"task_id": "t1"}),
        ("task-failed", "Task failed: out of memory", {"task_id": "t2", "error": "out of memory"}),
        ("badge-earned", "Event: badge-earned", {"badge": 7}),
    ]
    assert [n["timestamp"] for n in got] == [happened[i]["timestamp"] for i in (0, 1, 4)]
    publish(redis_server, event("43", "task-completed"))
    wait_for_shown(other, 1)
    assert (len(shown(mine)), len(shown(other))) == (3, 1)
    inbox = notifications.inbox("42")
    assert [n["id"] for n in inbox] == [n["id"] for n in reversed(got)]
    assert notifications.ask("GET", "/websocket/status")[1]["connections"] == 2


@pytest.mark.parametrize(
    "said", ["False", "false", "FALSE", "0", "no", "inference-failed"], ids=lambda said: f"success={said}"
)
def test_a_failed_inference_reaches_its_user_however_it_is_spelt(
    notifications: Notifications, redis_server: RedisServer, client: Callable[..., SocketIoClient], said: str
) -> None:
    mine = client(notifications, {"userId": "u"})
    fields = {"event": "inference-complete", "model_name": "m", "version": "1.0", "latency_ms": "1.5", "user_id": "u"}
    spelt = {"event": said} if said == "inference-failed" else {"success": said}
    publish(redis_server, {**fields, "success": "True"}, {**fields, **spelt}, stream="inference-events")
    if said in {"FALSE", "0", "no"}:
        # Not a boolean: nobody can know what is meant, and the dead letters keep it.
        eventually("a verdict", lambda: redis_server.entries("inference-events:dlq") or shown(mine))
    else:
        wait_for_shown(mine, 1)
    for n in shown(mine):
        assert n["type"] == "inference-failed"
        assert n["message"] == "AI inference failed for model: m"
        assert n["data"] == {"model_name": "m", "error": "Unknown error"}
    assert len(shown(mine)) + len(redis_server.entries("inference-events:dlq")) == 1


@pytest.mark.parametrize("kind", list(KINDS))
def test_what_came_while_a_user_was_away_is_shown_first_and_once(
    notifications: Notifications, redis_server: RedisServer, client: Callable[..., SocketIoClient], kind: str
) -> None:
    publish(redis_server, *(event("u", n=n) for n in range(120)), event("u", "old", age_s=600))
    eventually("all to be stored", lambda: len(notifications.inbox("u")) == 121)
    late = client(notifications, {"userId": "u"}, kind)
    got = wait_for_shown(late, 100)
    assert [n["data"]["n"] for n in got] == list(range(20, 120)), "the 100 newest, oldest first, without the old one"
    publish(redis_server, event("u", n=120))
    assert [n["data"]["n"] for n in wait_for_shown(late, 101)] == list(range(20, 121))
    eventually("what was shown to be noted", lambda: not client_missed(notifications, client, kind, 20))


def client_missed(service: Notifications, client: Callable[..., SocketIoClient], kind: str, most: int) -> bool:
    """Whether one more connection is shown more than what nobody was shown before."""
    again = client(service, {"userId": "u"}, kind)
    authenticated(again)
    again.emit("subscribe", "user_u")
    return len(shown(again)) > most


def test_no_gap_and_no_repeat_between_what_was_missed_and_what_comes(
    notifications: Notifications, redis_server: RedisServer, client: Callable[..., SocketIoClient], soak: bool
) -> None:
    count, stop = 0, threading.Event()

    def flow() -> None:
        nonlocal count
        while not stop.wait(0.002):
            publish(redis_server, event("u", n=count))
            count += 1

    flowing = threading.Thread(target=flow)
    flowing.start()
    try:
        for _ in range(50 if soak else 8):
            before = count
            here = client(notifications, {"userId": "u"})
            authenticated(here)
            wait_for_shown(here, 30)
            numbers = [n["data"]["n"] for n in shown(here)]
            assert numbers == list(range(numbers[0], numbers[0] + len(numbers))), "in order, each once"
            assert numbers[0] <= max(before, count), "from what was missed on"
            here.close()
    finally:
        stop.set()
        flowing.join()


def test_an_event_is_told_once_however_often_it_is_on_the_stream(
    notifications: Notifications, redis_server: RedisServer, client: Callable[..., SocketIoClient]
) -> None:
    mine = client(notifications, {"userId": "u"})
    same = event("u", n=1)
    publish(redis_server, same, same, event("u", n=2), same, event("u", n=3))
    assert [n["data"]["n"] for n in wait_for_shown(mine, 3)] == [1, 2, 3]
    assert len(notifications.inbox("u")) == 3


def test_an_announcement_that_comes_twice_is_shown_once(
    notifications: Notifications, redis_server: RedisServer, client: Callable[..., SocketIoClient]
) -> None:
    mine = client(notifications, {"userId": "u"})
    publish(redis_server, event("u", n=1))
    wait_for_shown(mine, 1)
    # As a replica does that was killed before it noted that it had.
    (announced,) = redis_server.entries("synapse:notifications")
    publish(redis_server, announced[1], stream="synapse:notifications")
    publish(redis_server, event("u", n=2))
    assert [n["data"]["n"] for n in wait_for_shown(mine, 2)] == [1, 2]


def test_what_was_missed_and_is_announced_after_is_shown_once(
    notifications: Notifications, redis_server: RedisServer, client: Callable[..., SocketIoClient]
) -> None:
    publish(redis_server, event("u", n=1))
    (announced,) = eventually("it to be announced", lambda: redis_server.entries("synapse:notifications"))
    noted = "synapse_notifications_announced_total 1"
    eventually("that to be noted", lambda: noted in notifications.get("/metrics")[1])
    notifications.kill()
    notifications.start()  # it has heard of nothing yet
    mine = client(notifications, {"userId": "u"})
    wait_for_shown(mine, 1)
    publish(redis_server, announced[1], stream="synapse:notifications")
    publish(redis_server, event("u", n=2))
    assert [n["data"]["n"] for n in wait_for_shown(mine, 2)] == [1, 2]


def test_nothing_waits_for_the_next_look_at_the_table(
    notifications: Notifications, redis_server: RedisServer, client: Callable[..., SocketIoClient]
) -> None:
    mine = client(notifications, {"userId": "u"})
    authenticated(mine)
    for count in range(1, 20):
        begun = time.monotonic()
        publish(redis_server, event("u", n=count))
        wait_for_shown(mine, count)
        assert time.monotonic() - begun < 3, "the table is looked at every five seconds"


def test_old_events_are_for_the_inbox_only(
    notifications: Notifications, redis_server: RedisServer, client: Callable[..., SocketIoClient]
) -> None:
    mine = client(notifications, {"userId": "u"})
    publish(redis_server, event("u", "old", age_s=400), event("u", "new"))
    assert [n["type"] for n in wait_for_shown(mine, 1)] == ["new"]
    assert sorted(n["type"] for n in notifications.inbox("u")) == ["new", "old"]


def test_one_joins_ones_own_rooms_only(
    notifications: Notifications, redis_server: RedisServer, client: Callable[..., SocketIoClient]
) -> None:
    mine = client(notifications)
    assert mine.emit("subscribe", "user_1")["error"]["code"] == "not_authenticated"
    mine.emit("authenticate", {"userId": "1"})
    for room in ("user_1", "user:1"):
        assert mine.emit("subscribe", room) == {"ok": True}
    for room in ("user_2", "user:2", "admins", "organization:1"):
        assert mine.emit("subscribe", room)["error"]["code"] == "not_yours", room
    assert mine.emit("subscribe", "user_")["error"]["code"] == "invalid_room"
    assert mine.emit("subscribe", {"a": 1})["error"]["code"] == "invalid_request"
    assert mine.emit("nonsense")["error"]["code"] == "unknown_event"
    assert mine.emit("unsubscribe", "user_1") == {"ok": True}
    publish(redis_server, event("1", n=1), event("2", n=2))
    eventually("both to be stored", lambda: len(notifications.inbox("1") + notifications.inbox("2")) == 2)
    assert mine.emit("subscribe", "user_1") == {"ok": True}
    assert [n["data"]["n"] for n in wait_for_shown(mine, 1)] == [1]


def test_with_a_key_one_is_who_ones_token_says(
    with_key: Notifications, redis_server: RedisServer, client: Callable[..., SocketIoClient]
) -> None:
    good, bad = client(with_key, {"token": token("1")}), client(with_key)
    assert authenticated(good) == {"success": True, "userId": "1"}
    assert bad.emit("authenticate", {"userId": "1"})["error"]["code"] == "token_missing"
    assert authenticated(bad)["code"] == "token_missing"
    assert bad.emit("authenticate", {"userId": "1", "token": token("2")})["error"]["code"] == "not_yours"
    assert bad.emit("authenticate", {"userId": "1", "token": "x"})["error"]["code"] == "token_invalid"
    assert bad.emit("authenticate", {"userId": "2", "token": token("2")}) == {"ok": True}
    assert bad.emit("authenticate", {"token": token("1")})["error"]["code"] == "not_yours"
    publish(redis_server, event("1", n=1), event("2", n=2))
    assert [n["data"]["n"] for n in wait_for_shown(good, 1)] == [1]
    assert [n["data"]["n"] for n in wait_for_shown(bad, 1)] == [2]


def test_a_refused_token_at_the_handshake_is_said_so(with_key: Notifications, until_end: Callable[[Any], Any]) -> None:
    refused = until_end(KINDS["node"](with_key, {"token": "x"}))
    assert refused.one("refused")["data"]["code"] == "token_invalid"


def test_a_handshake_without_a_token_is_told_so(with_key: Notifications, client: Callable[..., SocketIoClient]) -> None:
    assert authenticated(client(with_key, {"userId": "1"}))["code"] == "token_missing"


def test_a_socket_without_a_token_is_refused_if_nobody_may_be_anonymous(
    redis_server: RedisServer, tmp_path: Path, until_end: Callable[[Any], Any]
) -> None:
    settings = {"JWT_SECRET": SECRET, "ANONYMOUS": "deny"}
    service = until_end(Notifications(redis_server.url, tmp_path, settings))
    refused = until_end(KINDS["node"](service))
    assert refused.one("refused")["data"]["code"] == "token_missing"


def test_a_connection_ends_with_its_token(with_key: Notifications, client: Callable[..., SocketIoClient]) -> None:
    # Thirty seconds of leeway are for clocks that differ.
    brief = client(with_key, {"token": token("1", expires_in_s=-28)})
    authenticated(brief)
    assert brief.one("disconnected")["comesBack"] is True


def test_with_a_key_an_inbox_is_its_users_and_that_of_services(
    with_key: Notifications, redis_server: RedisServer
) -> None:
    publish(redis_server, event("1", n=1))
    service = {"Authorization": f"Bearer {token('s', scope='notifications:all')}"}
    mine, other = ({"Authorization": f"Bearer {token(user)}"} for user in ("1", "2"))
    path = "/notifications?user_id=1"
    eventually("it to be stored", lambda: with_key.ask("GET", path, headers=service)[1]["notifications"])
    assert with_key.ask("GET", path)[1]["error"]["code"] == "token_missing"
    assert with_key.ask("GET", path, headers=other)[1]["error"]["code"] == "not_yours"
    status, page = with_key.ask("GET", "/notifications?unread=true", headers=mine)
    assert status == 200
    (found,) = page["notifications"]
    read = f"/notifications/{found['id']}/read"
    assert with_key.ask("POST", read, headers=other)[0] == 404, "whether it is there is nobody else's business"
    status, answer = with_key.ask("POST", read, headers=mine)
    assert (status, answer["read"], answer["id"]) == (200, True, found["id"])
    assert with_key.ask("GET", "/notifications?unread=true", headers=mine)[1]["notifications"] == []
    assert with_key.ask("GET", "/push/1", headers=other)[1]["code"] == "not_yours"
    assert [n["id"] for n in with_key.ask("GET", "/push/1", headers=mine)[1]] == [found["id"]]
    unknown = "/notifications/00000000-0000-0000-0000-000000000000/read"
    assert with_key.ask("POST", unknown, headers=mine)[1]["error"]["code"] == "notification_not_found"
    assert with_key.ask("POST", "/push/send-multiple", {"subscriptions": []}, mine)[1]["code"] == "scope_missing"


def test_pages_follow_one_another(notifications: Notifications, redis_server: RedisServer) -> None:
    publish(redis_server, *(event("u", n=n) for n in range(25)))
    eventually("all to be stored", lambda: len(notifications.inbox("u")) == 25)
    found: list[int] = []
    cursor = ""
    while True:
        status, page = notifications.ask("GET", f"/notifications?user_id=u&limit=10{cursor}")
        assert status == 200
        found += [n["data"]["n"] for n in page["notifications"]]
        if page["nextCursor"] is None:
            break
        cursor = f"&cursor={page['nextCursor']}"
    assert found == list(reversed(range(25)))
    assert notifications.ask("POST", "/notifications/read-all?user_id=u")[1] == {"marked": 25}
    assert notifications.inbox("u", unread="true") == []


def test_bad_questions_name_what_is_wrong(notifications: Notifications) -> None:
    for query, field in [
        ("", "user_id"),
        ("?user_id=", "user_id"),
        (f"?user_id={'u' * 257}", "user_id"),
        ("?user_id=u&limit=0", "limit"),
        ("?user_id=u&limit=501", "limit"),
        ("?user_id=u&cursor=x", "cursor"),
        ("?user_id=u&unread=maybe", "unread"),
    ]:
        status, answer = notifications.ask("GET", f"/notifications{query}")
        assert (status, answer["error"]["field"]) == (400, field), query
    assert notifications.ask("GET", "/notifications?usr=u")[1]["error"]["code"] == "unknown_parameter"
    for body, said in [
        ({}, "userId and subscription are required"),
        ({"userId": "u"}, "userId and subscription are required"),
        ({"userId": "u", "subscription": {}}, "Invalid subscription object"),
        ({"userId": "u", "subscription": {"endpoint": "https://e.example", "keys": {}}}, "Invalid subscription object"),
    ]:
        status, answer = notifications.ask("POST", "/push/subscribe", body)
        assert (status, answer["error"]) == (400, said), body
    assert notifications.ask("POST", "/push/subscribe", b"{")[1]["code"] == "invalid_json"
    assert notifications.ask("GET", "/push/subscribe")[0] == 405
    assert notifications.ask("GET", "/nothing")[0] == 404


def test_migrate_makes_the_tables_and_leaves(tmp_path: Path) -> None:
    migrating = Process([binary("synapse-notifications"), "migrate"], env={"DATA_DIR": str(tmp_path)})
    assert migrating.wait() == 0, migrating.tail()
    assert (tmp_path / "notifications.db").exists()


def test_a_pair_of_keys_that_does_not_belong_together_is_refused() -> None:
    env = {"VAPID_PUBLIC_KEY": "B" + "A" * 86, "VAPID_PRIVATE_KEY": "x"}
    refused = Process([binary("synapse-notifications")], env=env)
    assert refused.wait() == 64
    assert "VAPID_P" in refused.tail()


NOT_CHECKED = "use_after_free,positive_data_acceptance"


@pytest.mark.timeout(1_100)
def test_it_answers_as_it_says_with_a_key(with_key: Notifications, soak: bool) -> None:
    header = f"Authorization: Bearer {token('tester', scope='notifications:all', expires_in_s=3_600)}"
    attack(with_key, 1_000 if soak else 40, "--header", header, "--exclude-checks", NOT_CHECKED)


@pytest.mark.timeout(1_100)
def test_it_answers_as_it_says_without_a_key(notifications: Notifications, soak: bool) -> None:
    attack(notifications, 1_000 if soak else 40, "--exclude-checks", NOT_CHECKED)


def test_who_says_again_who_it_is_gets_nothing_twice(
    notifications: Notifications, redis_server: RedisServer, client: Callable[..., SocketIoClient]
) -> None:
    here = client(notifications, {"userId": "42"})
    authenticated(here)
    for n in range(60):
        publish(redis_server, event("42", n=n))
        assert here.emit("authenticate", {"userId": "42"}) == {"ok": True}
    wait_for_shown(here, 60)
    # Whatever would come twice is there before this one's answer.
    assert here.emit("authenticate", {"userId": "42"}) == {"ok": True}
    assert [n["data"]["n"] for n in shown(here)] == list(range(60))
