"""A push service and a browser: what others made of RFC 8291 and RFC 8292 judges what arrives."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Self

import http_ece
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from py_vapid import Vapid02

from harness.wait import eventually

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

Answer = tuple[int, dict[str, str]] | tuple[int, dict[str, str], bytes]
"""A status, headers, and a body if there is one."""


def base64url(data: bytes) -> str:
    """Without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


@dataclass
class Arrived:
    """A request as it came."""

    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Browser:
    """Somebody who has subscribed and can read what is pushed."""

    endpoint: str
    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))
    auth: bytes = field(default_factory=lambda: os.urandom(16))

    @property
    def subscription(self) -> dict[str, Any]:
        """As `PushSubscription.toJSON` gives it."""
        point = self.key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        return {"endpoint": self.endpoint, "keys": {"p256dh": base64url(point), "auth": base64url(self.auth)}}

    def read(self, arrived: Arrived) -> Any:
        """The payload, decrypted by `http_ece`."""
        plain = http_ece.decrypt(arrived.body, private_key=self.key, auth_secret=self.auth, version="aes128gcm")
        return json.loads(plain)


class PushService:
    """An HTTP server that keeps what comes and answers as it is told: 201 unless `answer` says otherwise."""

    def __init__(self, answer: Callable[[Arrived, int], Answer] | None = None) -> None:
        """Listens on a free port; `answer` gets each request and how many came to its path before."""
        self.arrived: list[Arrived] = []
        self.answer = answer or (lambda *_: (201, {}))
        lock = threading.Lock()
        service = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                one = Arrived(self.path, {name.lower(): value for name, value in self.headers.items()}, body)
                with lock:
                    before = sum(other.path == one.path for other in service.arrived)
                    service.arrived.append(one)
                status, headers, *rest = service.answer(one, before)
                text = rest[0] if rest else b""
                self.send_response(status)
                for name, value in {"content-length": str(len(text)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                with contextlib.suppress(OSError):
                    self.wfile.write(text)
                is_cut_off = int(headers.get("content-length", len(text))) != len(text)
                if is_cut_off and headers.get("connection") != "keep-alive":
                    self.close_connection = True

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                """Says nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    @property
    def origin(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def browser(self, name: str = "1") -> Browser:
        """One that has subscribed here."""
        return Browser(f"{self.origin}/send/{name}")

    def wait_for(self, count: int, browser: Browser | None = None) -> list[Arrived]:
        """Waits until so many pushes have come (for this browser)."""

        def came() -> list[Arrived]:
            return [one for one in list(self.arrived) if browser is None or browser.endpoint.endswith(one.path)]

        eventually(f"{count} pushes", lambda: len(came()) >= count)
        return came()

    def check_signature(self, arrived: Arrived, public_key: str) -> dict[str, Any]:
        """The claims of a push's `Authorization`, checked by `py_vapid`."""
        authorization = arrived.headers["authorization"]
        # py_vapid wants no blank after the comma, which RFC 8292 itself has.
        assert Vapid02.verify(authorization.replace(", ", ",")), authorization
        scheme, _, rest = authorization.partition(" ")
        parts = dict(part.strip().split("=", 1) for part in rest.split(","))
        assert (scheme, parts["k"]) == ("vapid", public_key)
        claims = parts["t"].split(".")[1]
        decoded: dict[str, Any] = json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))
        return decoded

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
