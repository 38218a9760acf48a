"""Every client that there is of a gateway, each behind the same few words: connect, arrive, join."""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING, Any

from harness.client import (
    Browser,
    BrowserSocketIo,
    BrowserSocketIoAtHome,
    BrowserWebSocket,
    EventSource,
    NodeSocketIo,
    PythonSocketIo,
    SocketIoClient,
    WebSocket,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from harness.client import Client
    from harness.wire import Wire

    Kind = Callable[[Wire, str | None, Mapping[str, Any]], "Guest"]


class Guest:
    """A client with a token (or none) and a subscription (empty: all it may see), over all its connections."""

    resumes = True
    """It comes back with its position."""
    passes_gaps = True
    """And gets what is still there where something is gone; otherwise it begins anew."""
    hears_why = True
    """It is told why it is to come back, not only that it is."""
    names_streams = True
    """An event comes under the name of its stream, as it has it for Socket.IO, not under its own."""

    def __init__(self, client: Client) -> None:
        """Drives this client."""
        self.client = client

    def arrive(self, times: int = 1) -> None:
        """Waits until it has connected (this many times) and is subscribed."""
        self.client.connected(times)

    def join(self, user: str) -> str | None:
        """Joins the room of a user; gives the code of the error, or "" for none. None: it knows no rooms."""
        del user
        return None


class SocketIoGuest(Guest):
    """One of Socket.IO: all streams flow from the start, and a subscription narrows them."""

    passes_gaps = False
    hears_why = False

    def __init__(
        self,
        kind: type[SocketIoClient],
        wire: Wire,
        token: str | None,
        subscription: Mapping[str, Any],
        *,
        transports: Sequence[str],
        **options: str,
    ) -> None:
        """Connects; it may use these transports, in this order."""
        # Python's has no connection state recovery; a browser's says so by its headers.
        self.resumes = kind is not PythonSocketIo
        query = "/?resume=1" if kind is NodeSocketIo else ""
        auth = {} if token is None else {"token": token}
        self.socket = kind(wire, auth, transports, query, **options)
        self.subscription = subscription
        super().__init__(self.socket)

    def arrive(self, times: int = 1) -> None:
        """See `Guest`; who is not recovered says again what it wants."""
        super().arrive(times)
        if self.subscription and not self.client.recovered()[-1]:
            for request in (("unsubscribe", {}), ("subscribe", self.subscription)):
                assert self.socket.emit(*request) == {"ok": True}

    def join(self, user: str) -> str | None:
        """See `Guest`."""
        return str(self.socket.emit("join_user_room", user).get("error", {}).get("code", ""))


class WebSocketGuest(Guest):
    """One of `/ws`, which subscribes as soon as it is there."""

    names_streams = False

    def __init__(self, kind: type[WebSocket], wire: Wire, token: str | None, subscription: Mapping[str, Any]) -> None:
        """Connects."""
        given = {} if token is None else {"token": token}
        super().__init__(kind(wire, {**given, "subscribe": subscription}))


class EventSourceGuest(Guest):
    """One of `/events`, whose address says all."""

    def __init__(self, kind: type[EventSource], wire: Wire, token: str | None, subscription: Mapping[str, Any]) -> None:
        """Connects."""
        query = {} if token is None else {"token": token}
        if "streams" in subscription:
            query["streams"] = ",".join(subscription["streams"])
        if "where" in subscription:
            query["where"] = json.dumps(subscription["where"])
        super().__init__(kind(wire, query))


DEFAULT = ("polling", "websocket")
GUESTS: dict[str, Kind] = {
    "socket.io-client 4.6": partial(SocketIoGuest, NodeSocketIo, transports=DEFAULT, package="socket.io-client-4.6"),
    "socket.io-client 4.7": partial(SocketIoGuest, NodeSocketIo, transports=DEFAULT, package="socket.io-client-4.7"),
    "socket.io-client 4.8": partial(SocketIoGuest, NodeSocketIo, transports=DEFAULT),
    "socket.io-client 4.8, websocket": partial(SocketIoGuest, NodeSocketIo, transports=["websocket"]),
    "socket.io-client 4.8, polling": partial(SocketIoGuest, NodeSocketIo, transports=["polling"]),
    "python-socketio": partial(SocketIoGuest, PythonSocketIo, transports=DEFAULT),
    "python-socketio, websocket": partial(SocketIoGuest, PythonSocketIo, transports=["websocket"]),
    "a browser's socket.io-client": partial(SocketIoGuest, BrowserSocketIo, transports=DEFAULT),
    "a browser's socket.io-client at home": partial(SocketIoGuest, BrowserSocketIoAtHome, transports=DEFAULT),
    "websockets of Python": partial(WebSocketGuest, WebSocket),
    "a browser's WebSocket": partial(WebSocketGuest, BrowserWebSocket),
    "eventsource of Node": partial(EventSourceGuest, EventSource),
    "a browser's EventSource": partial(EventSourceGuest, Browser),
}
"""By what they are called in a report."""
