"""A plain WebSocket client of `/ws` that comes back with its position, driven line by line.

python websocket_client.py URL [{"token" or "userId": ..., "subscribe": {...}}]

Prints each message of the server as {"is": "event", "message": {...}}, besides {"is": "connected"} (subscribed) and
{"is": "disconnected", "code", "reason", "comesBack"}. Takes {"send": {...}}. After a lost connection it connects again
and subscribes after the last position it has seen, unless the close code says not to come back.
"""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import suppress
from typing import Any

import websockets
from websockets.asyncio.client import ClientConnection, connect

COME_BACK_S = 0.05


def say(**line: object) -> None:
    """Prints one JSON object as a line."""
    print(json.dumps(line), flush=True)


class Client:
    """One client over its connections, one after the other."""

    def __init__(self, url: str, options: dict[str, Any]) -> None:
        """Takes the options of the command line."""
        self.url = url
        self.auth = {name: options[name] for name in ("token", "userId") if name in options}
        self.subscription: dict[str, Any] = options.get("subscribe", {})
        self.position: str | None = None
        self.connection: ClientConnection | None = None

    async def run(self) -> None:
        """Connects, again and again until told not to come back."""
        while True:
            with suppress(OSError, websockets.InvalidHandshake, TimeoutError):
                async with connect(self.url, max_size=None) as self.connection:
                    if not await self.session(self.connection):
                        return
            await asyncio.sleep(COME_BACK_S)

    async def session(self, connection: ClientConnection) -> bool:
        """One connection, from its start to its end; whether to come back."""
        if self.auth:
            await connection.send(json.dumps({"type": "auth", **self.auth}))
        subscribe = {"type": "subscribe", **self.subscription}
        if self.position is not None:
            subscribe |= {"after": self.position}
        await connection.send(json.dumps(subscribe))
        with suppress(websockets.ConnectionClosed):
            async for text in connection:
                message = json.loads(text)
                self.position = message.get("position") or self.position
                say(**{"is": "event", "message": message})
                if message["type"] == "subscribed":
                    say(**{"is": "connected"})
        code, reason = connection.close_code, connection.close_reason
        comes_back = not 3500 <= (code or 0) <= 3999
        say(**{"is": "disconnected", "code": code, "reason": reason, "comesBack": comes_back})
        return comes_back

    async def serve(self) -> None:
        """Sends what standard input says, until it ends."""
        loop = asyncio.get_running_loop()
        while line := await loop.run_in_executor(None, sys.stdin.readline):
            assert self.connection is not None
            await self.connection.send(json.dumps(json.loads(line)["send"]))


async def main(url: str, options: dict[str, Any]) -> None:
    """Runs until standard input ends."""
    client = Client(url, options)
    running = asyncio.create_task(client.run())
    await client.serve()
    running.cancel()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], json.loads(sys.argv[2]) if len(sys.argv) > 2 else {}))
