"""A wire between a client and a server that can be cut."""

from __future__ import annotations

import socket
import struct
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from types import TracebackType


class Wire:
    """Passes on what comes to its port to a server's, and back."""

    def __init__(self, port: int) -> None:
        """Lays it to a loopback port."""
        self._to: int | None = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._open: set[socket.socket] = set()
        self._cuts = 0
        self._lock = threading.Lock()
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def http_url(self) -> str:
        """Where clients connect."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def websocket_url(self) -> str:
        """Where plain WebSocket clients of a gateway connect."""
        return f"ws://127.0.0.1:{self.port}/ws"

    def lead_to(self, port: int | None) -> None:
        """Lets those who connect from now on get to another server, as a load balancer does, or to none."""
        self._to = port

    def cut(self) -> int:
        """Cuts every connection, as a network does that is gone; how many there were."""
        with self._lock:
            ends, self._open = self._open, set()
            self._cuts += 1
        for end in ends:
            with suppress(OSError):
                # A reset: nothing that was on its way arrives.
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                end.shutdown(socket.SHUT_RDWR)
            end.close()
        return len(ends) // 2

    def close(self) -> None:
        """Takes it away."""
        self._listener.close()
        self.cut()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                cuts = self._cuts
                server = self._server()
                if server is None:
                    client.close()
                    continue
                with self._lock:
                    # Who has come before a cut is not to be there after it.
                    if is_whole := cuts == self._cuts:
                        self._open |= {client, server}
                if not is_whole:
                    client.close()
                    server.close()
                    continue
                for pair in ((client, server), (server, client)):
                    threading.Thread(target=self._pass_on, args=pair, daemon=True).start()

    def _server(self) -> socket.socket | None:
        with suppress(OSError):
            return socket.create_connection(("127.0.0.1", self._to)) if self._to is not None else None
        return None

    def _pass_on(self, one: socket.socket, other: socket.socket) -> None:
        with suppress(OSError):
            while data := one.recv(65_536):
                other.sendall(data)
        with suppress(OSError):
            other.shutdown(socket.SHUT_WR)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
