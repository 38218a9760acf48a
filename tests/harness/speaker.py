"""Sockets that say what no client would: frame by frame, to `/ws` and `/socket.io/`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

if TYPE_CHECKING:
    from collections.abc import Mapping

    from websockets.sync.client import ClientConnection

    from harness.gateway import Gateway

PATIENCE_S = 20.0
OPEN: list[ClientConnection] = []
"""Those of the test that runs."""


class Speaker:
    """A WebSocket to `/ws` or `/socket.io/`."""

    def __init__(self, gateway: Gateway, path: str, headers: Mapping[str, str] | None = None) -> None:
        """Connects."""
        address = f"ws://127.0.0.1:{gateway.port}{path}"
        self.socket: ClientConnection = connect(
            address, additional_headers=dict(headers or {}), proxy=None, legacy=True
        )
        OPEN.append(self.socket)

    def hear(self) -> Any:
        """The next message: JSON, or a text of Socket.IO."""
        text = str(self.socket.recv(timeout=PATIENCE_S))
        return json.loads(text) if text.startswith("{") else text

    def say(self, message: object) -> None:
        """Sends a message."""
        self.socket.send(message if isinstance(message, str) else json.dumps(message))

    def closed(self) -> int:
        """Waits for the close frame and gives its code."""
        while True:
            try:
                self.socket.recv(timeout=PATIENCE_S)
            except ConnectionClosed as closed:
                return closed.rcvd.code if closed.rcvd else 0

    def enter(self, auth: Mapping[str, Any]) -> Any:
        """Asks to be let in to the main namespace of Socket.IO; what is answered."""
        assert self.hear().startswith("0")
        self.say(f"40{json.dumps(auth)}")
        return self.hear()

    def ask(self, name: str, argument: object) -> Any:
        """Emits an event of Socket.IO; the answer, whatever comes before it."""
        self.say(f"421{json.dumps([name, argument])}")
        while not (answer := str(self.hear())).startswith("431"):
            pass
        return json.loads(answer[3:])[0]

    def events_until(self, end: str) -> list[str]:
        """The labels of the events that come before the one with this label."""
        labels: list[str] = []
        while True:
            message = self.hear()
            event = message["event"] if isinstance(message, dict) else json.loads(message[2:])[1]
            label = event.get("label")
            if label == end:
                return labels
            if label is not None:
                labels.append(label)


def websocket(gateway: Gateway, query: str = "", headers: Mapping[str, str] | None = None) -> Speaker:
    """A speaker of `/ws`."""
    return Speaker(gateway, f"/ws{query}", headers)


def socketio(gateway: Gateway, query: str = "", headers: Mapping[str, str] | None = None) -> Speaker:
    """A speaker of Socket.IO."""
    return Speaker(gateway, f"/socket.io/?EIO=4&transport=websocket{query}", headers)
