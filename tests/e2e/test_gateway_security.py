"""Who sees what through the gateway: each rule of identity, and somebody who tries to get round it."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import subprocess
import time
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm
from websockets.exceptions import InvalidStatus

from harness.gateway import Gateway
from harness.service import binary
from harness.speaker import OPEN, PATIENCE_S, Speaker, socketio, websocket
from harness.tokens import SECRET, token
from harness.wait import eventually, free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from harness.redis_server import RedisServer

UNAUTHORIZED, TOKEN_EXPIRED = 3500, 3003


@pytest.fixture(autouse=True)
def hang_up() -> Iterator[None]:
    """Ends all connections with the test."""
    yield
    while OPEN:
        OPEN.pop().close()


def status_of(gateway: Gateway, path: str, headers: Mapping[str, str] | None = None) -> int:
    """The status of an answer, of which the body is left."""
    request = urllib.request.Request(f"{gateway.http_url}{path}", headers=dict(headers or {}))
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def publish(redis: RedisServer, stream: str, label: str, **fields: str) -> None:
    """Appends an event that is told from others by its label."""
    names = {
        "inference-events": {"event": "inference-complete", "model_name": "m", "version": "1", "latency_ms": "1"},
        "platform-events": {"event": "user-login", "service": "s", "action": "a"},
        "error-events": {"event": "error", "error_type": "t", "error_message": "m"},
        "agi-decisions": {"event": "agi-decision"},
        "model-events": {"event": "model-ready", "model_name": "m", "version": "1"},
    }
    with redis.client() as client:
        client.xadd(stream, {**names[stream], "label": label, **fields})


def claims(**more: object) -> dict[str, object]:
    """Those of a good token, and others."""
    return {"sub": "42", "exp": int(time.time()) + 600, **more}


def part(content: bytes) -> str:
    """A part of a token."""
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def hashed(algorithm: str, secret: str = "") -> str:
    """A token that says it has this algorithm, signed so where that is possible, whatever PyJWT thinks of it."""
    header, body = ({"alg": algorithm, "typ": "JWT"}, claims())
    text = f"{part(json.dumps(header).encode())}.{part(json.dumps(body).encode())}"
    kind = {"HS256": hashlib.sha256, "HS384": hashlib.sha384, "HS512": hashlib.sha512}.get(algorithm)
    signature = hmac.new(secret.encode(), text.encode(), kind).digest() if kind and secret else b""
    return f"{text}.{part(signature)}"


def tampered() -> str:
    """A good token in which the user is another."""
    head, _, signature = token("42").split(".")
    return f"{head}.{part(json.dumps(claims(sub='7')).encode())}.{signature}"


@pytest.fixture
def gateway(redis_server: RedisServer, until_end: Callable[[Any], Any]) -> Gateway:
    """One with a key."""
    keyed: Gateway = until_end(Gateway(redis_server.url, {"JWT_SECRET": SECRET}))
    return keyed


def assert_refused(gateway: Gateway, bad: str, code: int = UNAUTHORIZED) -> None:
    """Nobody gets in with this token, wherever it is."""
    query = f"token={quote(bad)}"
    for speaker in (websocket(gateway, f"?{query}"), websocket(gateway, headers={"Authorization": f"Bearer {bad}"})):
        refusal = speaker.hear()
        assert refusal["type"] == "error", refusal
        assert bad not in json.dumps(refusal)
        assert speaker.closed() == code
    by_message = websocket(gateway, "?")
    assert by_message.hear()["anonymous"] is True
    by_message.say({"type": "auth", "token": bad})
    assert by_message.hear()["type"] == "error"
    assert socketio(gateway).enter({"token": bad}).startswith("44")
    assert socketio(gateway, f"&{query}").enter({}).startswith("44")
    for headers, path in [({}, f"/events?{query}"), ({"Authorization": f"Bearer {bad}"}, "/events")]:
        assert status_of(gateway, path, headers) == 401


@pytest.mark.parametrize(
    "bad",
    [
        pytest.param("nonsense", id="nonsense"),
        pytest.param(hashed("none"), id="no algorithm"),
        pytest.param(hashed("HS256"), id="no signature"),
        pytest.param(tampered(), id="another user in it"),
        pytest.param(hashed("HS256", "another secret"), id="another secret"),
        pytest.param(hashed("HS512", SECRET), id="a longer algorithm"),
        pytest.param(hashed("HS384", SECRET), id="another algorithm"),
        pytest.param(jwt.encode({"sub": "42"}, SECRET, "HS256"), id="good for ever"),
        pytest.param(jwt.encode({"sub": "42", "exp": "soon"}, SECRET, "HS256"), id="an end that is no time"),
    ],
)
def test_a_token_that_the_key_did_not_sign_so_lets_nobody_in(gateway: Gateway, bad: str) -> None:
    assert_refused(gateway, bad)


def test_a_token_that_is_over_lets_nobody_in_but_for_the_leeway(gateway: Gateway) -> None:
    assert_refused(gateway, token("42", expires_in_s=-60), TOKEN_EXPIRED)
    assert websocket(gateway, f"?token={token('42', expires_in_s=-5)}").hear()["user"] == "42"


def test_a_public_key_is_no_secret(redis_server: RedisServer, until_end: Callable[[Any], Any]) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    form = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    public = key.public_key().public_bytes(*form).decode()
    gateway = until_end(Gateway(redis_server.url, {"JWT_PUBLIC_KEY": public}))
    good = jwt.encode(claims(), key, "ES256")
    assert websocket(gateway, f"?token={good}").hear()["user"] == "42"
    assert_refused(gateway, hashed("HS256", public))


def test_issuer_and_audience_are_those_that_are_set(redis_server: RedisServer, until_end: Callable[[Any], Any]) -> None:
    settings = {"JWT_SECRET": SECRET, "JWT_ISSUER": "us", "JWT_AUDIENCE": "synapse"}
    gateway = until_end(Gateway(redis_server.url, settings))
    good = jwt.encode(claims(iss="us", aud=["other", "synapse"]), SECRET, "HS256")
    assert websocket(gateway, f"?token={good}").hear()["user"] == "42"
    for bad in ({}, {"iss": "us"}, {"aud": "synapse"}, {"iss": "them", "aud": "synapse"}, {"iss": "us", "aud": "x"}):
        assert_refused(gateway, jwt.encode(claims(**bad), SECRET, "HS256"))


def test_a_key_that_was_taken_out_lets_nobody_in(
    redis_server: RedisServer, tmp_path: Path, until_end: Callable[[Any], Any]
) -> None:
    keys = {name: ec.generate_private_key(ec.SECP256R1()) for name in ("old", "new")}
    path = tmp_path / "jwks.json"

    def write(*names: str) -> None:
        known = [ECAlgorithm.to_jwk(keys[name].public_key(), as_dict=True) for name in names]
        entries = [{**jwk, "kid": name, "alg": "ES256"} for name, jwk in zip(names, known, strict=True)]
        (tmp_path / "next").write_text(json.dumps({"keys": entries}))
        (tmp_path / "next").rename(path)

    write("old")
    gateway: Gateway = until_end(Gateway(redis_server.url, {"JWKS_FILE": str(path)}))

    def greets(name: str) -> bool:
        signed = jwt.encode(claims(), keys[name], "ES256", headers={"kid": name})
        return bool(websocket(gateway, f"?token={signed}").hear()["type"] == "welcome")

    assert greets("old")
    assert not greets("new")
    write("new")
    eventually("the new key to count", lambda: greets("new"), 60.0)
    assert not greets("old")


def test_without_a_token_one_sees_broadcasts_alone_or_is_not_let_in(
    gateway: Gateway, redis_server: RedisServer, until_end: Callable[[Any], Any]
) -> None:
    # Whatever one says to be.
    anonymous = websocket(gateway, "?userId=42&organizationId=acme&room=user_42")
    assert anonymous.hear() == {"type": "welcome", "user": None, "anonymous": True}
    anonymous.say({"type": "subscribe"})
    assert anonymous.hear()["type"] == "subscribed"
    by_socketio = socketio(gateway, "&userId=42&room=user:42")
    assert by_socketio.enter({"userId": "42", "organizationId": "acme"}).startswith("40")
    assert by_socketio.ask("join_user_room", "42")["error"]["code"] == "not_yours"
    publish(redis_server, "inference-events", "of 42", user_id="42")
    publish(redis_server, "platform-events", "of acme", organization_id="acme")
    publish(redis_server, "error-events", "error")
    publish(redis_server, "agi-decisions", "decision")
    publish(redis_server, "inference-events", "everybody's")
    publish(redis_server, "model-events", "end")
    for speaker in (anonymous, by_socketio):
        assert set(speaker.events_until("end")) <= {"everybody's"}
    deny = until_end(Gateway(redis_server.url, {"JWT_SECRET": SECRET, "ANONYMOUS": "deny"}))
    assert status_of(deny, "/events") == 401
    assert socketio(deny).enter({}).startswith("44")
    shut_out = websocket(deny)
    shut_out.say({"type": "subscribe"})
    assert shut_out.hear()["type"] == "error"


@pytest.mark.parametrize("name", ["42", "042", " 42", "user_42", "user:42", "../42", "42\u0000", "4２"])
def test_nobody_is_in_anothers_room_by_whatever_name(gateway: Gateway, redis_server: RedisServer, name: str) -> None:
    seven = token("7", organisation="seven")
    word = f"userId={quote(name)}&user_id={quote(name)}&organizationId=acme&room={quote(name)}"
    by_socketio = socketio(gateway, f"&{word}")
    assert by_socketio.enter({"token": seven, "userId": name, "organizationId": "acme"}).startswith("40")
    for event in ("join_user_room", "join_adventure_room"):
        for argument in (name, {"userId": name}, [name], {"id": name, "room": f"user_{name}"}):
            by_socketio.ask(event, argument)
    by_websocket = websocket(gateway, f"?token={seven}&{word}")
    assert by_websocket.hear()["user"] == "7"
    by_websocket.say({"type": "auth", "token": seven, "userId": name, "organizationId": "acme"})
    assert by_websocket.hear()["user"] == "7"
    by_websocket.say({"type": "subscribe", "where": {"user_id": name}, "streams": ["inference-events"]})
    by_websocket.hear()
    by_websocket.say({"type": "subscribe"})
    by_websocket.hear()
    publish(redis_server, "inference-events", "of 42", user_id="42")
    publish(redis_server, "platform-events", "of acme", organization_id="acme")
    publish(redis_server, "inference-events", "of 7", user_id="7")
    # Ids of one millisecond have no order between streams.
    for speaker in (by_socketio, by_websocket):
        assert speaker.events_until("of 7") == []


@pytest.mark.parametrize("scope", ["", "events:al", "events:all:more", "EVENTS:ALL", "events:publish", "events:all,x"])
def test_errors_and_decisions_take_the_scope_and_none_that_looks_like_it(
    gateway: Gateway, redis_server: RedisServer, scope: str
) -> None:
    speakers = [websocket(gateway, f"?token={token('1', scope=given)}") for given in (scope, "x events:all y")]
    for speaker in speakers:
        assert speaker.hear()["type"] == "welcome"
        speaker.say({"type": "subscribe", "streams": ["error-events", "agi-decisions", "model-events"]})
        assert speaker.hear()["type"] == "subscribed"
    publish(redis_server, "error-events", "error")
    publish(redis_server, "agi-decisions", "decision")
    last = int(redis_server.entries("agi-decisions")[-1][0].split("-")[0])
    eventually("another millisecond", lambda: time.time() * 1_000 > last + 1)
    publish(redis_server, "model-events", "end")
    assert speakers[0].events_until("end") == []
    assert sorted(speakers[1].events_until("end")) == ["decision", "error"]


def test_a_token_is_renewed_by_the_same_user_alone(gateway: Gateway, redis_server: RedisServer) -> None:
    speaker = websocket(gateway, f"?token={token('42')}")
    assert speaker.hear()["user"] == "42"
    speaker.say({"type": "refresh", "token": token("7")})
    assert speaker.hear()["code"] == "not_yours"
    speaker.say({"type": "auth", "token": token("7", scope="events:all")})
    assert speaker.hear()["code"] == "not_yours"
    by_socketio = socketio(gateway)
    assert by_socketio.enter({"token": token("42")}).startswith("40")
    assert by_socketio.ask("refresh", {"token": token("7")})["error"]["code"] == "not_yours"
    assert by_socketio.ask("refresh", {"token": token("42")}) == {"ok": True}
    speaker.say({"type": "subscribe"})
    assert speaker.hear()["type"] == "subscribed"
    publish(redis_server, "inference-events", "of 7", user_id="7")
    publish(redis_server, "inference-events", "of 42", user_id="42")
    assert speaker.events_until("of 42") == []
    assert by_socketio.events_until("of 42") == []


@pytest.mark.parametrize("settings", [{"JWT_SECRET": SECRET}, {}], ids=["with a key", "without"])
def test_pages_of_other_sites_are_refused_everywhere(
    redis_server: RedisServer, until_end: Callable[[Any], Any], settings: dict[str, str]
) -> None:
    named = until_end(
        Gateway(redis_server.url, {**settings, "CORS_ORIGINS": "https://good.example"} if settings else {})
    )
    polling = "/socket.io/?EIO=4&transport=polling"
    for origin in ("https://evil.example", "https://good.example.evil.example", "http://good.example", "null"):
        headers = {"Origin": origin}
        for path in ("/ws", "/socket.io/?EIO=4&transport=websocket"):
            with pytest.raises(InvalidStatus) as refused:
                Speaker(named, path, headers)
            assert refused.value.response.status_code == 403
        for path in ("/events", polling):
            assert status_of(named, path, headers) == 403
    if settings:
        assert websocket(named, headers={"Origin": "https://good.example"}).hear()["type"] == "welcome"
        assert status_of(named, polling, {"Origin": "https://good.example"}) == 200
    else:
        for header in ("X-Forwarded-For", "Forwarded", "X-Real-IP"):
            assert status_of(named, polling, {header: "for=192.0.2.1"}) == 403, header


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"JWT_SECRET": SECRET, "JWKS_FILE": "/nowhere"}, ["JWT_SECRET", "JWKS_FILE"]),
        ({"HOST": "0.0.0.0"}, ["HOST", "AUTH"]),
        ({"ANONYMOUS": "maybe", "JWT_SECRET": SECRET}, ["ANONYMOUS"]),
    ],
)
def test_what_would_leave_the_door_open_does_not_start(
    redis_server: RedisServer, settings: dict[str, str], words: list[str]
) -> None:
    environment = {**os.environ, "REDIS_URL": redis_server.url, "PORT": str(free_port()), **settings}
    ended = subprocess.run(
        [binary("synapse-gateway")], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    said = ended.stdout + ended.stderr
    assert ended.returncode == 64, said
    assert all(word in said for word in words), said
    assert SECRET not in said


def test_no_token_is_in_the_log(redis_server: RedisServer, until_end: Callable[[Any], Any]) -> None:
    settings = {"JWT_SECRET": SECRET, "RUST_LOG": "trace", "AUTH_COOKIE": "session"}
    gateway = until_end(Gateway(redis_server.url, settings))
    good, bad = token("42"), f"{token('42')}x"
    for given in (good, bad):
        websocket(gateway, f"?token={given}").hear()
        websocket(gateway, headers={"Authorization": f"Bearer {given}"}).hear()
        websocket(gateway, headers={"Cookie": f"session={given}"}).hear()
        socketio(gateway, f"&token={given}").enter({"token": given})
        status_of(gateway, f"/events?token={bad}", {"Cookie": f"session={given}"})
        status_of(gateway, "/emit/gamification", {"Authorization": f"Bearer {given}"})
    said = gateway.tail()
    assert said
    for given in (good, bad):
        assert given.rsplit(".", maxsplit=1)[1] not in said
