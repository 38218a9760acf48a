"""Arguments that are bytes, from and to stock clients of Socket.IO."""

from __future__ import annotations

import base64
import os
from typing import TYPE_CHECKING, Any

import pytest

from harness.client import NodeSocketIo, PythonSocketIo
from harness.service import Service

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.gateway import Gateway
    from harness.redis_server import RedisServer

TRANSPORTS = pytest.mark.parametrize(
    "transports",
    [["websocket"], ["polling"], ["polling", "websocket"]],
    ids=["websocket", "polling", "with the upgrade"],
)


class Echoes(Service):
    """The application that the protocol's own suite asks for, on the driver of the services."""

    binary_name = "conformance-server"


def some(count: int) -> dict[str, str]:
    """Some bytes, as they are written in lines."""
    return {"bytes": base64.b64encode(os.urandom(count)).decode()}


@TRANSPORTS
@pytest.mark.parametrize("kind", [NodeSocketIo, PythonSocketIo])
def test_bytes_come_back_in_events_and_acknowledgements(
    redis_server: RedisServer,
    until_end: Callable[[Any], Any],
    kind: type[NodeSocketIo | PythonSocketIo],
    transports: list[str],
) -> None:
    echoes = until_end(Echoes(redis_server.url, {"PING_INTERVAL": "25s", "PING_TIMEOUT": "20s"}))
    client = until_end(kind(echoes, {"token": "a"}, transports)).connected()
    assert client.heard("auth") == [{"token": "a"}]
    for size in (0, 1, 30_000):
        arguments = [some(size), {"nested": [some(size + 3), "text"], "none": None}, 7]
        assert client.ask("message-with-ack", *arguments) == arguments
    assert client.ask("message-with-ack") == []
    assert client.emit("message", *arguments) == {"ok": True}
    assert client.heard("message-back") == arguments


@TRANSPORTS
@pytest.mark.parametrize("kinds", [(NodeSocketIo, PythonSocketIo), (PythonSocketIo, NodeSocketIo)])
def test_presence_passes_bytes_on(
    gateway: Gateway,
    until_end: Callable[[Any], Any],
    kinds: tuple[type[NodeSocketIo | PythonSocketIo], ...],
    transports: list[str],
) -> None:
    teller, hearer = (
        until_end(kind(gateway, {"userId": user}, transports, "?room=adventure_7")).connected()
        for kind, user in zip(kinds, "12", strict=True)
    )
    hearer.heard("connection_confirmed")
    presence = {"at": [1, 2], "face": some(10_000), "voice": [some(1_000)]}
    assert teller.emit("presence:update", presence) == {"ok": True}
    assert hearer.heard("presence:update") == [presence]


@pytest.mark.parametrize("kind", [NodeSocketIo, PythonSocketIo])
def test_bytes_where_none_are_expected_are_refused(
    gateway: Gateway, until_end: Callable[[Any], Any], kind: type[NodeSocketIo | PythonSocketIo]
) -> None:
    client = until_end(kind(gateway)).connected()
    for event, argument in [
        ("join_user_room", some(3)),
        ("join_adventure_room", some(3)),
        ("subscribe", {"streams": some(3)}),
        ("refresh", {"token": some(3)}),
        ("nobody_knows", some(3)),
    ]:
        assert "error" in client.emit(event, argument), event
    # And the connection goes on.
    assert client.emit("join_adventure_room", "7") == {"ok": True}
