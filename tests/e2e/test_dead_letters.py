"""After a fix, the dead letters go back onto their stream, and whoever reads it handles them."""

from __future__ import annotations

import asyncio
import os
import pty
import re
import threading
from typing import TYPE_CHECKING

import synapse_rs
from harness.service import binary
from harness.wait import eventually

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from harness.redis_server import RedisServer

STREAM, GROUP = "platform-events", "workers"
LETTERS = 10_000


async def consume_until(
    server: RedisServer, handler: Callable[[synapse_rs.Event], Awaitable[None]], is_over: Callable[[], bool]
) -> None:
    """Runs a consumer until something is true."""
    consumer = synapse_rs.Consumer(server.url, group=GROUP, streams=[STREAM], concurrency=4)
    running = asyncio.create_task(consumer.run_async(handler))
    await asyncio.to_thread(eventually, "the consumer is through", is_over)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


def on_a_terminal(*command: str) -> tuple[int, str]:
    """Runs a program whose standard error is a terminal; gives its exit status and what it showed there."""
    controller, terminal = pty.openpty()
    shown: list[bytes] = []

    def read() -> None:
        # Ends with an error as soon as nobody has the terminal open any more.
        try:
            while chunk := os.read(controller, 4096):
                shown.append(chunk)
        except OSError:
            pass

    reader = threading.Thread(target=read)
    reader.start()
    pid = os.posix_spawn(
        command[0],
        command,
        {**os.environ, "TERM": "xterm-256color"},
        file_actions=[(os.POSIX_SPAWN_DUP2, terminal, 2), (os.POSIX_SPAWN_CLOSE, controller)],
    )
    os.close(terminal)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    reader.join()
    os.close(controller)
    return status, b"".join(shown).decode()


async def test_ten_thousand_dead_letters_are_handled_after_a_fix(redis_server: RedisServer) -> None:
    with synapse_rs.Publisher(redis_server.url) as publisher:
        event = {"event": "order-paid", "service": "shop", "action": "paid"}
        publisher.publish_many(STREAM, [{**event, "number": n} for n in range(LETTERS)])

    async def broken(event: synapse_rs.Event) -> None:
        raise synapse_rs.Reject(f"no rate for {event['number']}")

    def letters() -> int:
        with redis_server.client() as client:
            return int(client.xlen(f"{STREAM}:dlq"))

    await consume_until(redis_server, broken, lambda: letters() == LETTERS)

    handled: dict[int, list[str]] = {}

    async def mended(event: synapse_rs.Event) -> None:
        handled.setdefault(event["number"], []).append(event["replay_of"])

    command = [str(binary("synapse")), "dlq", "replay", STREAM, GROUP, "--all", "--redis-url", redis_server.url]
    replay = asyncio.create_task(asyncio.to_thread(on_a_terminal, *command))
    await consume_until(redis_server, mended, lambda: len(handled) == LETTERS)
    status, shown = await replay
    assert status == 0, shown
    assert re.search(r"\d+%|█|━|#", shown), f"no progress was shown: {shown!r}"
    assert letters() == 0
    first_ids = [entry for entry, _ in redis_server.entries(STREAM)][:LETTERS]
    assert [handled[number] for number in range(LETTERS)] == [[entry] for entry in first_ids]
    with redis_server.client() as client:
        assert client.xpending(STREAM, GROUP)["pending"] == 0
