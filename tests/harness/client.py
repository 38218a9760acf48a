"""Real clients as processes of their own: socket.io-client, python-socketio, WebSockets, EventSources, a browser's."""

from __future__ import annotations

import itertools
import json
import shutil
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self
from urllib.parse import urlencode

from harness.closing import Closing
from harness.process import Process
from harness.wait import PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from harness.gateway import Gateway
    from harness.service import Service
    from harness.wire import Wire

CLIENTS = Path(__file__).parents[1] / "clients"


def in_a_page_of(service: Service | Wire) -> dict[str, str]:
    """Has a client run in Chromium, in a page of this origin."""
    return {"page": f"{service.http_url}/health", "chromium": shutil.which("chromium") or "chromium"}


class Client(Closing):
    """A client process, and all that it has said so far."""

    def __init__(self, command: Sequence[str | Path]) -> None:
        """Starts it; see `tests/clients` for what it takes and says."""
        self.said: list[dict[str, Any]] = []
        self._events: list[dict[str, Any]] = []
        self._seen: set[str] = set()
        self._more = threading.Condition()
        self._ids = itertools.count(1)
        self._process = Process(command, on_line=self._hear, interactive=True)

    def _hear(self, line: str) -> None:
        said = json.loads(line)
        event = self._event_in(said) if said["is"] == "event" else None
        with self._more:
            self.said.append(said)
            if event is not None:
                self._events.append(event)
                self._seen.add(event["id"])
            self._more.notify_all()

    def _event_in(self, line: dict[str, Any]) -> dict[str, Any] | None:
        """The payload that a line carries, with the name it came under as `_name`; none if it is not an entry's."""
        raise NotImplementedError

    def recovered(self) -> list[bool]:
        """What it has been told each time that it connected: whether it has missed nothing, or will get it now."""
        raise NotImplementedError

    def refusal(self) -> str | None:
        """Waits until it is refused; gives the code, if its protocol can tell."""
        raise NotImplementedError

    def farewells(self) -> list[str]:
        """The names of the reasons that the server has given when it ended a connection."""
        raise NotImplementedError

    def wait_for(self, what: str, found: Callable[[list[dict[str, Any]]], Any], patience_s: float = PATIENCE_S) -> Any:
        """Waits until `found` is true of all that was said, and gives its answer."""
        deadline = time.monotonic() + patience_s
        with self._more:
            while not (answer := found(self.said)):
                left = deadline - time.monotonic()
                if left <= 0 or not self._more.wait(left):
                    raise TimeoutError(f"{self}: waited {patience_s:g} s for: {what}\n{self._process.tail()}")
            return answer

    def connected(self, times: int = 1) -> Self:
        """Waits until it has connected (this many times)."""
        self.wait_for("being connected", lambda said: sum(line["is"] == "connected" for line in said) >= times)
        return self

    def one(self, is_: str) -> dict[str, Any]:
        """Waits for the first line of this kind."""
        line: dict[str, Any] = self.wait_for(is_, lambda said: next((s for s in said if s["is"] == is_), None))
        return line

    def events(self) -> list[dict[str, Any]]:
        """The payloads received so far, in order, each with the name it came under as `_name`."""
        with self._more:
            return list(self._events)

    def count(self) -> int:
        """How many entries have come so far."""
        return len(self._events)

    def wait_for_ids(self, ids: Sequence[str], patience_s: float = PATIENCE_S) -> None:
        """Waits until each of these entries has come."""
        wanted = set(ids)
        self.wait_for(f"the entries {sorted(wanted)}", lambda _: wanted <= self._seen, patience_s)

    def ids(self) -> dict[str, list[str]]:
        """Per stream, the ids of the entries received so far, in order."""
        per_stream: dict[str, list[str]] = {}
        for event in self.events():
            per_stream.setdefault(event["stream"], []).append(event["id"])
        return per_stream

    @property
    def pid(self) -> int:
        """Its process, to be paused."""
        return self._process.pid

    def kill(self) -> None:
        """Ends it without a word."""
        self._process.kill()

    def close(self) -> None:
        """Ends it."""
        self._process.kill()

    def __repr__(self) -> str:
        return type(self).__name__


class SocketIoClient(Client):
    """What the two Socket.IO clients have in common."""

    OWN = frozenset(
        {"authenticated", "connection_confirmed", "position", "closing", "presence:update", "auth", "message-back"}
    )

    PROGRAM: ClassVar[Sequence[str | Path]]

    def __init__(
        self,
        service: Service | Wire,
        auth: dict[str, Any] | None = None,
        transports: Sequence[str] = ("websocket",),
        query: str = "",
        **options: object,
    ) -> None:
        """Connects to a service with this `auth`; `query` is the rest of the address, for example `/?resume=1`.

        For the options of `socketio.mjs` see there.
        """
        given = auth or {}, transports, {**self._options(service), **options}
        super().__init__([*self.PROGRAM, f"{service.http_url}{query}", *map(json.dumps, given)])

    def _options(self, service: Service | Wire) -> dict[str, object]:
        """What the program needs beside what is asked of it."""
        del service
        return {}

    def _event_in(self, line: dict[str, Any]) -> dict[str, Any] | None:
        return None if line["name"] in self.OWN else {**line["arguments"][0], "_name": line["name"]}

    def recovered(self) -> list[bool]:
        """See `Client`."""
        return [line.get("recovered", False) for line in list(self.said) if line["is"] == "connected"]

    def refusal(self) -> str | None:
        """See `Client`."""
        data = self.one("refused")["data"]
        return None if data is None else str(data["code"])

    def farewells(self) -> list[str]:
        """See `Client`."""
        said = list(self.said)
        return [line["arguments"][0]["reason"] for line in said if line["is"] == "event" and line["name"] == "closing"]

    def emit(self, name: str, *arguments: object) -> Any:
        """Emits an event and waits for its acknowledgement; gives what the server answered."""
        return self.ask(name, *arguments)[0]

    def ask(self, name: str, *arguments: object) -> list[Any]:
        """The same with all that the server answered; bytes are {"bytes": base64}."""
        number = next(self._ids)
        self._process.say(json.dumps({"id": number, "emit": [name, *arguments]}))
        answer = self.wait_for(
            f"the answer to {name}",
            lambda said: next((s for s in said if s["is"] == "answer" and s["to"] == number), None),
        )
        answered: list[Any] = answer["arguments"]
        return answered

    def heard(self, name: str) -> list[Any]:
        """Waits for an event of this name; gives its arguments."""
        event = self.wait_for(
            name, lambda said: next((s for s in said if s["is"] == "event" and s["name"] == name), None)
        )
        arguments: list[Any] = event["arguments"]
        return arguments


class NodeSocketIo(SocketIoClient):
    """socket.io-client on Node."""

    PROGRAM = ("node", CLIENTS / "socketio.mjs")


class BrowserSocketIo(NodeSocketIo):
    """socket.io-client in Chromium, in a page of another origin."""

    def _options(self, service: Service | Wire) -> dict[str, object]:
        return {**in_a_page_of(service), "page": f"http://localhost:{service.port}/health"}


class BrowserSocketIoAtHome(NodeSocketIo):
    """The same in a page of the service's own origin, where a browser polls without an `Origin`."""

    def _options(self, service: Service | Wire) -> dict[str, object]:
        return {**in_a_page_of(service)}


class PythonSocketIo(SocketIoClient):
    """python-socketio."""

    PROGRAM = (sys.executable, CLIENTS / "socketio_client.py")


class WebSocket(Client):
    """A plain WebSocket client of `/ws` that resumes."""

    PROGRAM: ClassVar[Sequence[str | Path]] = (sys.executable, CLIENTS / "websocket_client.py")

    def __init__(self, gateway: Gateway | Wire, options: dict[str, Any] | None = None) -> None:
        """Connects to a gateway; options are `token` and `subscribe`."""
        super().__init__([*self.PROGRAM, gateway.websocket_url, json.dumps(options or {})])

    def recovered(self) -> list[bool]:
        """See `Client`."""
        return [message["recovered"] for message in self.messages("subscribed")]

    def refusal(self) -> str | None:
        """See `Client`."""
        return str(self.wait_for("being refused", lambda _: self.messages("error"))[0]["code"])

    def farewells(self) -> list[str]:
        """See `Client`."""
        return [line["reason"] for line in list(self.said) if line["is"] == "disconnected" and line["reason"]]

    def messages(self, type_: str) -> list[dict[str, Any]]:
        """The server's messages of one type, so far."""
        return [
            line["message"] for line in list(self.said) if line["is"] == "event" and line["message"]["type"] == type_
        ]

    def _event_in(self, line: dict[str, Any]) -> dict[str, Any] | None:
        message = line["message"]
        return {**message["event"], "_name": message["event"]["event"]} if message["type"] == "event" else None

    def send(self, message: dict[str, Any]) -> None:
        """Sends a message of one's own."""
        self._process.say(json.dumps({"send": message}))


class BrowserWebSocket(WebSocket):
    """The same in Chromium, by a page of the gateway's own origin."""

    PROGRAM = ("node", CLIENTS / "websocket.mjs")

    def __init__(self, gateway: Gateway | Wire, options: dict[str, Any] | None = None) -> None:
        """Connects to a gateway; options are `token` and `subscribe`."""
        super().__init__(gateway, {**in_a_page_of(gateway), **(options or {})})


class EventSource(Client):
    """An EventSource of `/events`, which comes back by itself."""

    def __init__(self, gateway: Gateway | Wire, query: dict[str, str] | None = None, **options: object) -> None:
        """Connects with these parameters; for the options see `events.mjs`."""
        url = f"{gateway.http_url}/events?{urlencode(query or {})}"
        super().__init__(["node", CLIENTS / "events.mjs", url, json.dumps(options)])

    def recovered(self) -> list[bool]:
        """See `Client`."""
        return [line["data"]["recovered"] for line in self.named("subscribed")]

    def refusal(self) -> str | None:
        """See `Client`; an EventSource can't see why."""
        self.wait_for("it to give up", lambda said: any(not line.get("comesBack", True) for line in said))
        return None

    def farewells(self) -> list[str]:
        """See `Client`."""
        return [line["data"]["reason"] for line in self.named("closing")]

    def named(self, name: str) -> list[dict[str, Any]]:
        """The lines of the events of this name, so far."""
        return [line for line in list(self.said) if line["is"] == "event" and line["name"] == name]

    def _event_in(self, line: dict[str, Any]) -> dict[str, Any] | None:
        return {**line["data"], "_name": line["name"]} if line["name"].endswith("-event") else None


class Browser(EventSource):
    """The same in Chromium, by a page of the gateway's own origin."""

    def __init__(self, gateway: Gateway | Wire, query: dict[str, str] | None = None, **options: object) -> None:
        """Connects with these parameters."""
        super().__init__(gateway, query, **{**in_a_page_of(gateway), **options})
