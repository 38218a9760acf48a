"""A stock python-socketio client, driven line by line; speaks as `socketio.mjs` does.

python socketio_client.py URL [AUTH as JSON [TRANSPORTS as JSON]]
"""

from __future__ import annotations

import asyncio
import base64
import json
import sys
from contextlib import suppress
from typing import Any

import socketio


def say(**line: object) -> None:
    """Prints one JSON object as a line."""
    print(json.dumps(line, default=lambda value: {"bytes": base64.b64encode(value).decode()}), flush=True)


def read(value: dict[str, Any]) -> dict[str, Any] | bytes:
    """An object of a line, which may stand for bytes."""
    return base64.b64decode(value["bytes"]) if "bytes" in value else value


async def main(url: str, auth: dict[str, Any], transports: list[str]) -> None:
    """Connects and serves until standard input ends."""
    client = socketio.AsyncClient(reconnection_delay=0.05, reconnection_delay_max=0.2)
    client.on("connect", lambda: say(**{"is": "connected", "id": client.get_sid()}))
    client.on("disconnect", lambda *reason: say(**{"is": "disconnected", "reason": [str(r) for r in reason]}))
    client.on("*", lambda name, *rest: say(**{"is": "event", "name": name, "arguments": rest}))

    def refused(data: object = None) -> None:
        message = data.get("message") if isinstance(data, dict) else str(data)
        say(
            **{
                "is": "refused",
                "message": message,
                "data": data.get("data") if isinstance(data, dict) else None,
            }
        )

    client.on("connect_error", refused)
    with suppress(socketio.exceptions.ConnectionError):  # said by `refused`
        await client.connect(url, auth=auth, transports=transports, wait_timeout=10)
    await serve(client)
    await client.disconnect()


async def serve(client: Any) -> None:
    """Emits what standard input says, until it ends."""
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        command = json.loads(line, object_hook=read)
        name, *rest = command["emit"]

        def answered(*answer: object, to: object = command["id"]) -> None:
            say(**{"is": "answer", "to": to, "arguments": answer})

        await client.emit(name, tuple(rest), callback=answered)


if __name__ == "__main__":
    given = [json.loads(argument) for argument in sys.argv[2:]]
    asyncio.run(main(sys.argv[1], given[0] if given else {}, given[1] if len(given) > 1 else ["websocket"]))
