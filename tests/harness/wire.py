"""A wire between clients and servers that can be cut, or go dead; with several servers it is a balancer."""

from __future__ import annotations

import asyncio
import itertools
import socket
import struct
from contextlib import suppress
from typing import TYPE_CHECKING

from harness.background import Background
from harness.closing import Closing

if TYPE_CHECKING:
    from collections.abc import Iterator

AT_ONCE = 65_536
"""Bytes passed on at a time."""


class Wire(Closing):
    """Passes on what comes to its port to a server's, and back; each connection to the next server that takes it."""

    def __init__(self, *ports: int) -> None:
        """Lays it to these loopback ports."""
        self._turn = self._turns_of(ports)
        self._ends: set[asyncio.StreamWriter] = set()
        self._passes = asyncio.Event()
        self._passes.set()
        self._background = Background()
        listener = socket.create_server(("127.0.0.1", 0), backlog=1_024)
        self.port: int = listener.getsockname()[1]
        self._server = self._background.run(asyncio.start_server(self._take, sock=listener, limit=AT_ONCE))

    @property
    def http_url(self) -> str:
        """Where clients connect."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def websocket_url(self) -> str:
        """Where plain WebSocket clients of a gateway connect."""
        return f"ws://127.0.0.1:{self.port}/ws"

    def lead_to(self, *ports: int) -> None:
        """Lets those who connect from now on get to these servers, or to none."""
        self._turn = self._turns_of(ports)

    @staticmethod
    def _turns_of(ports: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
        return itertools.cycle([ports[at:] + ports[:at] for at in range(len(ports))] or [()])

    def die(self) -> None:
        """Passes nothing on any more, and tells nobody."""
        self._background.call(self._passes.clear)

    def heal(self) -> None:
        """Passes on again, what has come meanwhile first."""
        self._background.call(self._passes.set)

    def cut(self) -> int:
        """Cuts every connection, as a network does that is gone; how many there were."""
        return self._background.call(self._cut)

    def _cut(self) -> int:
        ends, self._ends = self._ends, set()
        for end in ends:
            # A reset: nothing that was on its way arrives.
            with suppress(OSError):
                end.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            end.transport.abort()
        return len(ends) // 2

    async def _take(self, of_client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        self._ends.add(to_client)
        to_server: asyncio.StreamWriter | None = None
        try:
            await self._passes.wait()
            of_server, to_server = await self._connect()
            self._ends.add(to_server)
            async with asyncio.TaskGroup() as both:
                both.create_task(self._pass_on(of_client, to_server))
                both.create_task(self._pass_on(of_server, to_client))
        except* OSError:
            pass  # One end is gone; so is the other, below.
        finally:
            for end in (to_client, to_server):
                if end is not None:
                    self._ends.discard(end)
                    end.transport.abort()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        for port in next(self._turn):
            with suppress(OSError):
                return await asyncio.open_connection("127.0.0.1", port, limit=AT_ONCE)
        raise ConnectionRefusedError("none of the servers takes a connection")

    async def _pass_on(self, one: asyncio.StreamReader, other: asyncio.StreamWriter) -> None:
        while data := await one.read(AT_ONCE):
            await self._passes.wait()
            other.write(data)
            await other.drain()
        await self._passes.wait()
        other.write_eof()

    def close(self) -> None:
        """Takes it away."""
        self._background.call(self._server.close)
        self.cut()
        self._background.close()
