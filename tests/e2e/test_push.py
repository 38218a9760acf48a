"""Web Push: what a browser is sent it can read, from whom it says to be, and once it is too late it is not sent."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from harness.notifications import Notifications, event, publish
from harness.push_service import Arrived, Browser, PushService
from harness.wait import eventually

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from harness.redis_server import RedisServer

PRIVATE = {"PUSH_ALLOW_PRIVATE": "true", "VAPID_EMAIL": "ops@example.com"}
HELLO = {"title": "Hello", "body": "world"}


@pytest.fixture
def push_service(until_end: Callable[[PushService], PushService]) -> PushService:
    """A push service that takes everything."""
    return until_end(PushService())


@pytest.fixture
def service(
    redis_server: RedisServer,
    tmp_path: Path,
    database: dict[str, str],
    until_end: Callable[[Notifications], Notifications],
) -> Notifications:
    """A notification service that may push to this machine."""
    return until_end(Notifications(redis_server.url, tmp_path, PRIVATE | database))


def subscribe(service: Notifications, browser: Browser, user: str = "u") -> None:
    """Subscribes a browser of a user."""
    body = {"userId": user, "subscription": browser.subscription}
    status, answer = service.ask("POST", "/push/subscribe", body)
    assert status == 200, answer
    assert answer == {
        "success": True,
        "message": "Subscription registered successfully",
        "userId": user,
        "subscription": {"endpoint": browser.endpoint},
    }


def queued(service: Notifications) -> int:
    """How many pushes wait, by the service's own figures."""
    lines = service.get("/metrics")[1].splitlines()
    figures = (line.split()[1] for line in lines if line.startswith("synapse_notifications_push_queue "))
    return int(float(next(figures, "-1")))


def test_what_happens_to_a_user_is_pushed_to_its_browsers(
    service: Notifications, redis_server: RedisServer, push_service: PushService
) -> None:
    browsers = [push_service.browser(name) for name in ("1", "2")]
    for browser in browsers:
        subscribe(service, browser)
    subscribe(service, push_service.browser("other"), "v")
    publish(redis_server, event("u", "task-failed", task_id="t", error="no memory"), event("u", "old", age_s=600))
    publish(redis_server, event("w", "nobody's"))
    key = service.ask("GET", "/push/vapid-key")[1]["publicKey"]
    for browser in browsers:
        (arrived,) = push_service.wait_for(1, browser)
        (inbox,) = (n for n in service.inbox("u") if n["type"] == "task-failed")
        assert browser.read(arrived) == {
            "title": "Task failed",
            "body": "Task failed: no memory",
            "icon": "/icon-192x192.png",
            "badge": 0,
            "data": {"task_id": "t", "error": "no memory", "id": inbox["id"], "type": "task-failed", "url": "/"},
        }
        headers = {name: arrived.headers[name] for name in ("ttl", "urgency", "content-encoding", "content-type")}
        assert headers == {
            "ttl": "3600",
            "urgency": "high",
            "content-encoding": "aes128gcm",
            "content-type": "application/octet-stream",
        }
        claims = push_service.check_signature(arrived, key)
        assert (claims["aud"], claims["sub"]) == (push_service.origin, "mailto:ops@example.com")
        assert 0 < claims["exp"] - time.time() <= 24 * 3_600
    eventually("the queue to be empty", lambda: queued(service) == 0)
    assert len(push_service.arrived) == 2


def test_a_service_pushes_by_hand_to_one_to_all_and_to_many(
    redis_server: RedisServer, tmp_path: Path, push_service: PushService, until_end: Callable[[Any], Any]
) -> None:
    service = until_end(Notifications(redis_server.url, tmp_path, PRIVATE))
    one, other = push_service.browser("1"), push_service.browser("2")
    given = {**HELLO, "icon": "/i.png", "badge": 3, "data": {"a": 1}, "url": "/there"}
    to_one = {"userId": "u", "subscription": one.subscription, "notification": given}
    assert service.ask("POST", "/push/send", to_one) == (200, {"success": True})
    assert one.read(push_service.wait_for(1, one)[0]) == {
        **HELLO,
        "icon": "/i.png",
        "badge": 3,
        "data": {"a": 1, "url": "/there"},
    }
    to_all = {"userId": "u", "notification": HELLO}
    nobody = service.ask("POST", "/push/send", to_all)[1]
    assert nobody == {"success": False, "error": "the user has no subscription"}
    subscribe(service, one)
    subscribe(service, other)
    assert service.ask("POST", "/push/send", to_all) == (200, {"success": True})
    push_service.wait_for(1, other)
    broken = {"endpoint": "x", "keys": {"p256dh": "x", "auth": "x"}}
    many = {"subscriptions": [one.subscription, broken, other.subscription], "notification": HELLO}
    assert service.ask("POST", "/push/send-multiple", many)[1] == {
        "success": True,
        "successCount": 2,
        "failureCount": 1,
    }
    too_many = {"subscriptions": [broken] * 101, "notification": HELLO}
    assert service.ask("POST", "/push/send-multiple", too_many)[0] == 400
    text = "\u00e9" * 4_000
    longest = {**HELLO, "body": text, "data": {"much": "x" * 5_000}}
    assert service.ask("POST", "/push/send", {**to_one, "notification": longest}) == (200, {"success": True})
    last = push_service.wait_for(3, one)[-1]
    assert len(last.body) <= 4_096
    assert text.startswith(one.read(last)["body"])
    for subscription, valid in [(one.subscription, True), (broken, False), ({}, False)]:
        assert service.ask("POST", "/push/validate", {"subscription": subscription})[1] == {"valid": valid}


@pytest.mark.parametrize("status", [404, 410])
def test_a_browser_that_has_withdrawn_is_forgotten(
    service: Notifications, redis_server: RedisServer, push_service: PushService, status: int
) -> None:
    push_service.answer = lambda *_: (status, {})
    browser = push_service.browser()
    subscribe(service, browser)
    publish(redis_server, event("u"), event("u"))
    push_service.wait_for(1)
    removed = "synapse_notifications_subscriptions_removed_total"
    eventually("it to be noticed", lambda: f"\n{removed} " in service.get("/metrics")[1])
    to_all = {"userId": "u", "notification": HELLO}
    eventually("it to be forgotten", lambda: "no subscription" in service.ask("POST", "/push/send", to_all)[1]["error"])
    eventually("the queue to be empty", lambda: queued(service) == 0)
    by_hand = {**to_all, "subscription": browser.subscription}
    answer = service.ask("POST", "/push/send", by_hand)[1]
    assert (answer["success"], answer["shouldRemove"]) == (False, True)


def test_what_a_push_service_does_not_take_now_is_sent_later(
    service: Notifications, redis_server: RedisServer, push_service: PushService
) -> None:
    moments: list[float] = []

    def answer(_: Arrived, before: int) -> tuple[int, dict[str, str]]:
        moments.append(time.monotonic())
        return [(503, {}), (429, {"retry-after": "2"}), (201, {})][min(before, 2)]

    push_service.answer = answer
    browser = push_service.browser()
    subscribe(service, browser)
    publish(redis_server, event("u"))
    first, *_, last = push_service.wait_for(3)
    assert browser.read(first) == browser.read(last)
    assert moments[1] - moments[0] >= 0.9, "a second after the first time"
    assert moments[2] - moments[1] >= 1.9, "when the push service said"
    eventually("the queue to be empty", lambda: queued(service) == 0)
    assert len(push_service.arrived) == 3


@pytest.mark.parametrize("page_is", ["long", "cut off", "stalled"])
def test_what_was_taken_is_not_sent_again_whatever_else_the_answer_says(
    service: Notifications, redis_server: RedisServer, push_service: PushService, page_is: str
) -> None:
    page = b"" if page_is == "stalled" else b"<p>thanks</p>" * 10_000
    headers = {} if page_is == "long" else {"content-length": str(len(page) + 99)}
    if page_is == "stalled":
        headers["connection"] = "keep-alive"
    push_service.answer = lambda *_: (201, headers, page)
    subscribe(service, push_service.browser())
    publish(redis_server, event("u"))
    push_service.wait_for(1)
    eventually("it to be counted as sent", lambda: 'pushes_total{result="sent"} 1' in service.get("/metrics")[1])
    eventually("the queue to be empty", lambda: queued(service) == 0)
    # A page with the reason does not hide that the browser has withdrawn.
    push_service.answer = lambda *_: (410, headers, page)
    publish(redis_server, event("u"))
    eventually("it to be forgotten", lambda: 'pushes_total{result="gone"} 1' in service.get("/metrics")[1])
    assert len(push_service.arrived) == 2


def test_what_waits_for_one_user_does_not_reach_the_next_user_of_a_browser(
    service: Notifications, redis_server: RedisServer, push_service: PushService
) -> None:
    go_on = threading.Event()

    def answer(_: Arrived, before: int) -> tuple[int, dict[str, str]]:
        if before == 0:
            go_on.wait(30)
        return 201, {}

    push_service.answer = answer
    browser = push_service.browser()
    subscribe(service, browser, "alice")
    publish(redis_server, *(event("alice", n=n) for n in range(20)))
    push_service.wait_for(1)
    eventually("all to wait", lambda: len(service.inbox("alice")) == 20)
    subscribe(service, browser, "bob")
    go_on.set()
    publish(redis_server, event("bob", n=99))
    arrived = push_service.wait_for(2)
    assert [browser.read(one)["data"]["n"] for one in arrived][1:] == [99]
    eventually("the queue to be empty", lambda: queued(service) == 0)
    assert len(push_service.arrived) == 2


def test_endpoints_that_never_answer_hold_up_nobody_elses_pushes(
    redis_server: RedisServer,
    tmp_path: Path,
    database: dict[str, str],
    push_service: PushService,
    until_end: Callable[[Any], Any],
) -> None:
    few = {"PUSH_CONCURRENCY": "4", "PUSH_TIMEOUT": "2s"}
    service = until_end(Notifications(redis_server.url, tmp_path, PRIVATE | few | database))
    end = threading.Event()
    pits = [push_service.browser(f"pit{n}") for n in range(4)]
    well = push_service.browser("well")

    def answer(arrived: Arrived, _: int) -> tuple[int, dict[str, str]]:
        if "pit" in arrived.path:
            end.wait(60)
        return 201, {}

    push_service.answer = answer
    try:
        for pit in pits:
            subscribe(service, pit, "greedy")
        subscribe(service, well)
        publish(redis_server, *(event("greedy") for _ in range(50)), event("u"))
        push_service.wait_for(1, well)
        # Of the fifty to each only one at a time is tried, and that less and less often.
        assert len(push_service.arrived) <= 4 * 4 + 1
        by_hand = {"userId": "greedy", "notification": HELLO}
        with ThreadPoolExecutor(8) as pool:
            asked = [pool.submit(service.ask, "POST", "/push/send", by_hand) for _ in range(8)]
            publish(redis_server, event("u"))
            push_service.wait_for(2, well)
            statuses = {one.result()[0] for one in asked}
        assert statuses == {200, 429}, "so many at a time"
    finally:
        end.set()


def test_what_waits_is_sent_after_a_restart(
    service: Notifications, redis_server: RedisServer, push_service: PushService
) -> None:
    push_service.answer = lambda *_: (503, {"retry-after": "3"})
    browser = push_service.browser()
    subscribe(service, browser)
    publish(redis_server, event("u"))
    push_service.wait_for(1)
    eventually("the failure to be noted", lambda: 'result="failed"} 1' in service.get("/metrics")[1])
    service.kill()
    push_service.answer = lambda *_: (201, {})
    service.start()
    push_service.wait_for(2)
    eventually("the queue to be empty", lambda: queued(service) == 0)
    assert len(push_service.arrived) == 2


def test_a_push_service_that_refuses_is_not_asked_again(
    service: Notifications, redis_server: RedisServer, push_service: PushService
) -> None:
    push_service.answer = lambda *_: (403, {})
    subscribe(service, push_service.browser())
    publish(redis_server, event("u"))
    push_service.wait_for(1)
    eventually("it to be given up", lambda: 'result="refused"} 1' in service.get("/metrics")[1])
    eventually("the queue to be empty", lambda: queued(service) == 0)


def test_a_redirect_is_not_followed(
    service: Notifications, push_service: PushService, until_end: Callable[[Any], Any]
) -> None:
    elsewhere = until_end(PushService())
    push_service.answer = lambda *_: (307, {"location": elsewhere.browser().endpoint})
    browser = push_service.browser()
    body = {"userId": "u", "subscription": browser.subscription, "notification": HELLO}
    assert service.ask("POST", "/push/send", body)[1]["success"] is False
    assert elsewhere.arrived == []


def test_a_user_has_twenty_subscriptions_and_an_endpoint_one_user(
    service: Notifications, push_service: PushService
) -> None:
    browsers = [push_service.browser(str(number)) for number in range(22)]
    for browser in browsers:
        subscribe(service, browser)
    subscribe(service, browsers[2])  # again: it becomes the newest
    subscribe(service, browsers[3], "v")
    assert service.ask("POST", "/push/send", {"userId": "u", "notification": HELLO})[1] == {"success": True}
    push_service.wait_for(19)
    paths = sorted(int(one.path.rpartition("/")[2]) for one in push_service.arrived)
    assert paths == [2, *range(4, 22)]
    gone = {"userId": "u", "subscription": browsers[4].subscription}
    assert service.ask("POST", "/push/unsubscribe", gone)[1] == {
        "success": True,
        "message": "Subscription removed successfully",
        "userId": "u",
    }
    push_service.arrived.clear()
    service.ask("POST", "/push/send", {"userId": "u", "notification": HELLO})
    assert len(push_service.wait_for(18)) == 18


def test_nothing_is_sent_into_the_own_network(
    redis_server: RedisServer, tmp_path: Path, push_service: PushService, until_end: Callable[[Any], Any]
) -> None:
    service = until_end(Notifications(redis_server.url, tmp_path))
    port = push_service.origin.rpartition(":")[2]
    for endpoint in [
        push_service.browser().endpoint,
        f"https://127.0.0.1:{port}/send/1",
        f"https://2130706433:{port}/send/1",
        f"https://[::ffff:127.0.0.1]:{port}/send/1",
        f"https://localhost:{port}/send/1",
        "https://169.254.169.254/latest/meta-data",
    ]:
        browser = Browser(endpoint)
        body = {"userId": "u", "subscription": browser.subscription, "notification": HELLO}
        answer = service.ask("POST", "/push/send", body)[1]
        assert answer["success"] is False, endpoint
        assert "endpoint" in answer["error"], answer
    assert push_service.arrived == []


def test_keys_are_given_or_made_once(
    redis_server: RedisServer, tmp_path: Path, until_end: Callable[[Any], Any]
) -> None:
    service = until_end(Notifications(redis_server.url, tmp_path))
    made = service.ask("GET", "/push/vapid-key")[1]["publicKey"]
    assert len(made) == 87
    service.stop()
    service.start()
    assert service.ask("GET", "/push/vapid-key")[1]["publicKey"] == made
    assert (tmp_path / "vapid.key").stat().st_mode & 0o777 == 0o600
