"""How long after its event a notification is with its user.

A connected user of `synapse-notifications`, events published one after the other with pauses, so that each finds
everything idle, and then at a steady rate. Each is stored and synced on the way.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from pathlib import Path

import socketio

import synapse_rs
from harness.notifications import Notifications
from harness.redis_server import RedisServer

EVENTS = 2_000
LOADS = {"one by one, 20 ms apart": 0.02, "200 a second": 0.005, "1,000 a second": 0.001}
PATIENCE_S = 60.0


async def measure(url: str, redis_url: str, pause_s: float) -> list[float]:
    """Milliseconds from each call of `publish` to the client's handler."""
    took: list[float] = []
    over = asyncio.Event()
    client = socketio.AsyncClient()
    authenticated = asyncio.Event()
    client.on("authenticated", lambda _: authenticated.set())

    def received(notification: dict[str, object]) -> None:
        data = notification["data"]
        if isinstance(data, dict) and "sent" in data:
            took.append((time.perf_counter() - float(data["sent"])) * 1e3)
            if len(took) == EVENTS:
                over.set()

    client.on("notification", received)
    await client.connect(url, transports=["websocket"])
    await client.emit("authenticate", {"userId": "42"})
    async with asyncio.timeout(PATIENCE_S):
        await authenticated.wait()
        with synapse_rs.Publisher(redis_url) as publisher:
            start = time.perf_counter()
            for n in range(EVENTS):
                await asyncio.sleep(max(0.0, start + n * pause_s - time.perf_counter()))
                data = {"task_id": str(n), "sent": time.perf_counter()}
                publisher.publish_platform(
                    event="task-completed", service="tasks", action="task-completed", user_id="42", data=data
                )
            await over.wait()
    await client.disconnect()
    return sorted(took)


def main() -> None:
    """Measures each load and prints the percentiles."""
    print(f"\nFrom publish to the user's connection, {EVENTS:,} notifications each")
    print(f"  {'':<34}{'p50 ms':>10}{'p99 ms':>10}{'max ms':>10}")
    for name, pause_s in LOADS.items():
        with (
            RedisServer() as redis,
            tempfile.TemporaryDirectory(prefix="synapse-notifications-") as folder,
            Notifications(redis.url, Path(folder), {"RUST_LOG": "warn"}) as service,
        ):
            took = asyncio.run(measure(service.http_url, redis.url, pause_s))
        figures = [took[EVENTS // 2], took[EVENTS * 99 // 100], took[-1]]
        print(f"  {name:<34}" + "".join(f"{figure:>10.1f}" for figure in figures), flush=True)


if __name__ == "__main__":
    main()
