"""Server-sent events as an EventSource sees them, of Node and of a browser."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest

from harness.client import Browser, EventSource
from harness.flow import STREAM, Flow
from harness.gateway import Gateway
from harness.tokens import SECRET, token
from harness.wait import PATIENCE_S
from harness.wire import Wire

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.redis_server import RedisServer

KINDS = [EventSource, Browser]
QUICK = {"SSE_RETRY": "100ms", "SHUTDOWN_GRACE": "1s"}


def wait_for_more(client: EventSource, count: int = 200) -> None:
    """Waits until this many more events have come."""
    enough = client.count() + count
    client.wait_for(f"{count} more events", lambda _: client.count() >= enough)


def model(redis_server: RedisServer, name: str, **more: str) -> str:
    """Adds an event that everyone may see."""
    return redis_server.add("model-events", {"event": "model-updated", "model_name": name, **more})


@pytest.mark.timeout(240)
@pytest.mark.parametrize("kind", KINDS)
def test_every_event_comes_once_and_in_order_whatever_is_cut_or_killed(
    durable_redis: RedisServer, until_end: Callable[[Any], Any], kind: type[EventSource]
) -> None:
    gateway = until_end(Gateway(durable_redis.url, QUICK))
    wire = until_end(Wire(gateway.port))
    client = until_end(kind(wire, {"streams": STREAM, "last": "0"})).connected()
    flow = until_end(Flow(durable_redis.url))
    wait_for_more(client)
    for times in (2, 3):
        assert wire.cut() >= 1
        client.connected(times)
        wait_for_more(client)
    gateway.kill()
    gateway.start()
    client.connected(4)
    wait_for_more(client)
    assert gateway.stop() == 0, gateway.tail()
    gateway.start()
    client.connected(5)
    wait_for_more(client)
    durable_redis.stop()
    durable_redis.start()
    wait_for_more(client)
    flow.stop()
    ids = [id_ for id_, _ in durable_redis.entries(STREAM)]
    client.wait_for_ids(ids[-1:])
    assert client.ids() == {STREAM: ids}, "nothing missing, nothing twice, in order"
    assert all(client.recovered())
    # One that comes back before the streams have been read is sent away once more.
    reasons = client.farewells()
    assert reasons.count("draining") == 1
    assert set(reasons) <= {"draining", "not_ready"}


@pytest.mark.parametrize("kind", KINDS)
def test_a_quiet_one_comes_back_with_the_position_it_was_told(
    redis_server: RedisServer, until_end: Callable[[Any], Any], kind: type[EventSource]
) -> None:
    gateway = until_end(Gateway(redis_server.url, {**QUICK, "POSITION_INTERVAL": "100ms"}))
    wire = until_end(Wire(gateway.port))
    client = until_end(kind(wire, {"streams": "training-events"})).connected()
    (first,) = client.named("subscribed")
    model(redis_server, "not asked for")
    told = client.wait_for("a position", lambda _: client.named("position"))[-1]
    assert told["id"] == told["data"]["position"] != first["id"]
    wire.cut()
    client.connected(2)
    assert client.named("subscribed")[1]["id"] == told["id"], "it came back with another one"
    assert client.events() == []


@pytest.mark.parametrize("kind", KINDS)
def test_one_whose_token_has_expired_stays_away(
    redis_server: RedisServer, until_end: Callable[[Any], Any], kind: type[EventSource]
) -> None:
    gateway = until_end(Gateway(redis_server.url, {**QUICK, "JWT_SECRET": SECRET}))
    # The leeway is 30 s.
    client = until_end(kind(gateway, {"token": token("42", expires_in_s=-22)})).connected()
    assert client.named("welcome")[0]["data"] == {"user": "42", "anonymous": False}
    gave_up = client.wait_for(
        "it to give up", lambda said: [line for line in said if line["is"] == "disconnected" and not line["comesBack"]]
    )
    assert len(gave_up) == 1
    (closing,) = client.named("closing")
    assert (closing["data"]["code"], closing["data"]["reason"]) == (3003, "token_expired")
    assert len(client.named("subscribed")) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_one_that_comes_back_too_early_comes_back_again(
    durable_redis: RedisServer, until_end: Callable[[Any], Any], kind: type[EventSource]
) -> None:
    gateway = until_end(Gateway(durable_redis.url, QUICK))
    client = until_end(kind(gateway)).connected()
    gateway.kill()
    durable_redis.stop()
    started = threading.Event()

    def start() -> None:
        gateway.start()
        started.set()
        # A child dies with the thread that started it.
        threading.Event().wait()

    threading.Thread(target=start, daemon=True).start()
    closing = client.wait_for("being sent away", lambda _: client.named("closing"))[0]["data"]
    assert (closing["code"], closing["reason"]) == (None, "not_ready")
    durable_redis.start()
    client.connected(2)
    client.wait_for_ids([model(durable_redis, "now")])
    assert started.wait(PATIENCE_S), "or the thread would see it die"


def test_a_browsers_cookie_counts_with_pages_that_are_named_alone(
    redis_server: RedisServer, until_end: Callable[[Any], Any]
) -> None:
    elsewhere = until_end(Gateway(redis_server.url))
    settings = {"JWT_SECRET": SECRET, "AUTH_COOKIE": "session", "CORS_ORIGINS": f"http://localhost:{elsewhere.port}"}
    gateway = until_end(Gateway(redis_server.url, settings))
    cookie = {"name": "session", "value": token("42"), "url": gateway.http_url, "sameSite": "Lax", "httpOnly": True}
    own = until_end(Browser(gateway, cookie=cookie)).connected()
    assert own.named("welcome")[0]["data"]["user"] == "42"
    # Pages of another port are of the same site, so that even a strict cookie goes along; of another origin still.
    strict = {**cookie, "sameSite": "Strict"}
    stranger = until_end(Browser(gateway, cookie=strict, credentials=True, page=f"{elsewhere.http_url}/health"))
    stranger.wait_for("being refused", lambda said: any(line["is"] == "disconnected" for line in said))
    assert not stranger.one("disconnected")["comesBack"]
    private = {"event": "platform-event", "service": "s", "action": "a", "user_id": "42"}
    id_ = redis_server.add("platform-events", private)
    own.wait_for_ids([id_])
    assert not any(line["is"] == "event" for line in stranger.said)


def test_a_page_that_is_named_reads_with_the_users_cookie(
    redis_server: RedisServer, until_end: Callable[[Any], Any]
) -> None:
    page = until_end(Gateway(redis_server.url))
    settings = {"JWT_SECRET": SECRET, "AUTH_COOKIE": "session", "CORS_ORIGINS": page.http_url}
    gateway = until_end(Gateway(redis_server.url, settings))
    cookie = {"name": "session", "value": token("42"), "url": gateway.http_url}
    for credentials, user in ((True, "42"), (False, None)):
        address = f"{page.http_url}/health"
        # Cookies know no ports: this one's page is of the cookie's own host.
        client = until_end(Browser(gateway, cookie=cookie, credentials=credentials, page=address)).connected()
        assert client.named("welcome")[0]["data"]["user"] == user
