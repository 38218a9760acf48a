"""Socket.IO by plain requests, and the way from there to a WebSocket."""

from __future__ import annotations

import json
import threading
from contextlib import ExitStack
from http.client import HTTPConnection
from typing import TYPE_CHECKING, Any

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

import synapse_rs
from harness.client import NodeSocketIo, PythonSocketIo
from harness.gateway import Gateway
from harness.wait import eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from harness.redis_server import RedisServer

POLLING = "/socket.io/?EIO=4&transport=polling"


class Session:
    """A session that polls, request by request."""

    def __init__(self, gateway: Gateway) -> None:
        """Opens it."""
        self.port = gateway.port
        self.patience_s = 30.0
        self.path = POLLING
        status, opened = self.get()
        assert status == 200
        assert opened.startswith("0")
        self.handshake = json.loads(opened[1:])
        self.path = f"{POLLING}&sid={self.handshake['sid']}"

    def ask(self, method: str, body: bytes | None = None) -> tuple[int, str]:
        """One request on a connection of its own."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=self.patience_s)
        try:
            connection.request(method, self.path, body)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def get(self) -> tuple[int, str]:
        """What waits, or comes next."""
        return self.ask("GET")

    def post(self, body: str) -> tuple[int, str]:
        """Brings packets."""
        return self.ask("POST", body.encode())

    def in_namespace(self) -> Session:
        """Joins the main namespace."""
        assert self.post("40") == (200, "ok")
        assert self.get()[1].startswith('40{"sid":')
        return self

    def is_over(self) -> None:
        """The server knows it no longer."""
        eventually("the session to be over", lambda: self.get() == (400, '{"code":1,"message":"Session ID unknown"}'))


def later(do: Callable[[], Any]) -> Callable[[], Any]:
    """Begins something, and gives what waits for its end."""
    result: list[Any] = []
    thread = threading.Thread(target=lambda: result.append(do()), daemon=True)
    thread.start()

    def end() -> object:
        thread.join(30)
        return result[0]

    return end


@pytest.mark.parametrize("transports", [["polling"], ["polling", "websocket"]], ids=["polling", "with the upgrade"])
@pytest.mark.parametrize("kind", [NodeSocketIo, PythonSocketIo])
def test_stock_clients_get_every_event_once_and_in_order(
    gateway: Gateway,
    redis_server: RedisServer,
    until_end: Callable[[Any], Any],
    kind: type[NodeSocketIo | PythonSocketIo],
    transports: list[str],
) -> None:
    clients = [until_end(kind(gateway, {"userId": "42"}, transports)).connected() for _ in range(4)]
    # Events come before, while and after the transports change.
    with synapse_rs.Publisher(redis_server.url, source="cyrex") as publisher:
        for number in range(2_000):
            event = {"event": "platform-event", "service": "s", "user_id": "42", "action": f"a{number}"}
            publisher.publish("platform-events", event)
            if number % 100 == 0:
                publisher.flush(timeout=10)
        publisher.flush(timeout=10)
    ids = [id_ for id_, _ in redis_server.entries("platform-events")]
    assert len(ids) == 2_000
    for client in clients:
        client.wait_for_ids(ids)
        assert client.ids() == {"platform-events": ids}
        assert client.emit("join_adventure_room", "42") is not None
        if kind is NodeSocketIo and "websocket" in transports:
            assert client.one("upgraded")["to"] == "websocket"
        assert not [line for line in client.said if line["is"] == "disconnected"]


def test_a_session_opens_with_what_it_can_change_to(gateway: Gateway) -> None:
    session = Session(gateway)
    assert session.handshake["upgrades"] == ["websocket"]
    assert session.handshake["maxPayload"] == 65_536


def test_a_request_waits_until_there_is_something(gateway: Gateway) -> None:
    session = Session(gateway).in_namespace()
    answer = later(session.get)
    assert session.post('421["join_adventure_room","42"]\x1e3') == (200, "ok")
    status, payload = answer()
    assert status == 200
    assert "431[" in payload


def test_a_client_that_leaves_frees_its_waiting_request(gateway: Gateway) -> None:
    session = Session(gateway).in_namespace()
    answer = later(session.get)
    eventually("the request to wait", lambda: True)
    assert session.post("1") == (200, "ok")
    assert answer() in {(200, "6"), (400, '{"code":1,"message":"Session ID unknown"}')}
    session.is_over()


@pytest.mark.parametrize("body", ["", "abc", "4\x1e", "b!", "\x1e"])
def test_what_is_not_of_the_protocol_ends_the_session(gateway: Gateway, body: str) -> None:
    session = Session(gateway).in_namespace()
    assert session.post(body)[0] == 400
    eventually("it to end", lambda: session.get()[0] == 400)
    session.is_over()


def test_too_large_a_body_ends_the_session(gateway: Gateway) -> None:
    session = Session(gateway).in_namespace()
    assert session.post("4" + "x" * 65_536)[0] == 413
    eventually("it to end", lambda: session.get()[0] == 400)


def test_a_second_waiting_request_ends_the_session(gateway: Gateway) -> None:
    session = Session(gateway)
    answers = [later(session.get), later(session.get)]
    statuses = sorted(answer()[0] for answer in answers)
    assert statuses == [200, 400]
    session.is_over()


def test_a_client_that_goes_away_while_it_waits_is_gone(gateway: Gateway) -> None:
    session = Session(gateway).in_namespace()
    session.patience_s = 0.5
    # It goes when it has waited in vain; nobody else ends the session before the heartbeat's 45 s.
    with pytest.raises(TimeoutError):
        session.get()
    session.patience_s = 10
    session.is_over()


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
def test_other_methods_are_refused_and_change_nothing(gateway: Gateway, method: str) -> None:
    session = Session(gateway)
    assert session.ask(method) == (400, '{"code":3,"message":"Bad request"}')
    session.in_namespace()


class Upgrade:
    """A WebSocket that is to take the place of a session's polling."""

    def __init__(self, session: Session, stack: ExitStack) -> None:
        """Opens it."""
        path = session.path.replace("transport=polling", "transport=websocket")
        self.socket = stack.enter_context(connect(f"ws://127.0.0.1:{session.port}{path}"))

    def probe(self) -> Upgrade:
        """Proves that it gets through."""
        self.socket.send("2probe")
        assert self.socket.recv(10) == "3probe"
        return self

    def complete(self) -> Upgrade:
        """Ends polling."""
        self.socket.send("5")
        return self

    def answers(self) -> None:
        """The session is served over it."""
        self.socket.send('427["join_adventure_room","42"]')
        eventually("an answer", lambda: str(self.socket.recv(10)).startswith("437["))

    def is_closed(self) -> None:
        """The server has closed it."""
        with pytest.raises(ConnectionClosed):
            self.socket.recv(10)


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.mark.parametrize("wrong", ['42["join_adventure_room","42"]', "5", "abc", b"\x01"])
def test_a_wrong_probe_changes_nothing(gateway: Gateway, stack: ExitStack, wrong: str | bytes) -> None:
    session = Session(gateway).in_namespace()
    socket = Upgrade(session, stack)
    socket.socket.send(wrong)
    socket.is_closed()
    assert session.post('421["join_adventure_room","42"]') == (200, "ok")
    assert "431[" in session.get()[1]
    Upgrade(session, stack).probe().complete().answers()


def test_a_probe_without_the_change_leaves_the_session_polling(gateway: Gateway, stack: ExitStack) -> None:
    session = Session(gateway).in_namespace()
    answer = later(session.get)
    socket = Upgrade(session, stack).probe()
    # The request that waited is freed, so that the client could stop polling.
    assert answer() == (200, "6")
    # A second probe meanwhile is none.
    Upgrade(session, stack).is_closed()
    socket.socket.close()
    assert session.post('421["join_adventure_room","42"]') == (200, "ok")
    eventually("the answer by polling", lambda: "431[" in session.get()[1])
    Upgrade(session, stack).probe().complete().answers()


def test_a_probe_that_stalls_is_given_up(
    redis_server: RedisServer, until_end: Callable[[Any], Any], stack: ExitStack
) -> None:
    gateway = until_end(Gateway(redis_server.url, {"CONNECT_TIMEOUT": "1s"}))
    session = Session(gateway).in_namespace()
    stalled = Upgrade(session, stack)
    stalled.is_closed()
    half = Upgrade(session, stack).probe()
    half.is_closed()
    Upgrade(session, stack).probe().complete().answers()


def test_who_has_changed_is_served_over_the_new_transport_alone(gateway: Gateway, stack: ExitStack) -> None:
    session = Session(gateway).in_namespace()
    socket = Upgrade(session, stack).probe().complete()
    socket.answers()
    assert session.get() == (400, '{"code":3,"message":"Bad request"}')
    assert session.post("41") == (400, '{"code":3,"message":"Bad request"}')
    Upgrade(session, stack).is_closed()
    socket.answers()
    socket.socket.close()
    session.is_over()


def test_an_address_has_its_place_once_during_the_change(
    redis_server: RedisServer, until_end: Callable[[Any], Any], stack: ExitStack
) -> None:
    gateway = until_end(Gateway(redis_server.url, {"MAX_CONNECTIONS_PER_ADDRESS": "1"}))
    session = Session(gateway).in_namespace()

    def another() -> int:
        status: int = gateway.get(POLLING)[0]
        return status

    assert another() == 429
    socket = Upgrade(session, stack).probe()
    assert another() == 429
    socket.complete().answers()
    assert another() == 429
    socket.socket.close()
    eventually("the place to be free", lambda: another() == 200)


def test_who_polls_is_told_when_the_gateway_leaves(gateway: Gateway) -> None:
    waiting, between = Session(gateway).in_namespace(), Session(gateway).in_namespace()
    answer = later(waiting.get)
    assert waiting.post("3") == (200, "ok")
    assert between.post("3") == (200, "ok")
    assert gateway.stop() == 0
    # Without a DISCONNECT, after which the stock client would not come back.
    assert answer() == (200, "1")


def test_web_pages_of_allowed_origins_may_poll(redis_server: RedisServer, until_end: Callable[[Any], Any]) -> None:
    settings = {"JWT_SECRET": "s" * 32, "CORS_ORIGINS": "https://app.example"}
    gateway = until_end(Gateway(redis_server.url, settings))

    def ask(method: str, path: str, origin: str, body: bytes | None = None) -> tuple[int, str | None]:
        connection = HTTPConnection("127.0.0.1", gateway.port, timeout=10)
        try:
            headers = {"Origin": origin, "Access-Control-Request-Method": "POST"}
            connection.request(method, path, body, headers if method == "OPTIONS" else {"Origin": origin})
            answer = connection.getresponse()
            answer.read()
            return answer.status, answer.getheader("Access-Control-Allow-Origin")
        finally:
            connection.close()

    session = Session(gateway)
    ours, foreign = "https://app.example", "https://evil.example"
    for method, path, body, status in [
        ("GET", POLLING, None, 200),
        ("POST", session.path, b"40", 200),
        ("GET", session.path, None, 200),
        ("OPTIONS", session.path, None, 200),
        ("GET", f"{POLLING}&sid=gone", None, 400),
    ]:
        assert ask(method, path, ours, body) == (status, ours), method
        assert ask(method, path, foreign, body) == (403, None), method
