"""A consumer process of the crash tests, on `synapse_rs.Consumer`; `src/main.rs` is the same on the Rust runtime.

Handles numbered entries as each one's `fate` says and appends a line to a log of its own for each step:
`began NUMBER DELIVERIES TIME`, then `done` or `failed` likewise; the time is of the system's monotonic clock, in
nanoseconds. One write per line, so that a line is there as soon as the step was taken, whatever becomes of the
process. SIGINT ends it in order.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import time
from pathlib import Path
from typing import Any

import synapse_rs


class Worker:
    """Does to an entry what its fate says."""

    def __init__(self, log: Path, slow_s: float) -> None:
        self._log = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self._slow_s = slow_s

    async def handle(self, event: synapse_rs.Event) -> None:
        self._write("began", event)
        try:
            await self._meet(event["fate"], event.deliveries)
        except Exception:
            self._write("failed", event)
            raise
        self._write("done", event)

    async def _meet(self, fate: str, deliveries: int) -> None:
        match fate.split("-"):
            case ["ok"]:
                # Others may have their turn meanwhile.
                await asyncio.sleep(0)
            case ["fails", times] if deliveries <= int(times):
                raise RuntimeError(f"fails {times} times")
            case ["retries", times] if deliveries <= int(times):
                raise synapse_rs.Retry(0.02)
            case ["fails" | "retries", _]:
                pass
            case ["always"]:
                raise RuntimeError("always fails")
            case ["reject"]:
                raise synapse_rs.Reject("rejected at once")
            case ["slow"]:
                await asyncio.sleep(self._slow_s)
            case ["block"]:
                # No other handler of this process runs meanwhile.
                time.sleep(self._slow_s)  # noqa: ASYNC251
            case ["poison"]:
                os.abort()
            case _:
                raise ValueError(f"no such fate: {fate}")

    def _write(self, step: str, event: synapse_rs.Event) -> None:
        os.write(self._log, f"{step} {event['number']} {event.deliveries} {time.monotonic_ns()}\n".encode())


def main() -> None:
    parser = argparse.ArgumentParser()
    for name in ("--redis", "--group", "--stream", "--log"):
        parser.add_argument(name, required=True)
    for name, kind in (("--batch", int), ("--concurrency", int), ("--max-deliveries", int)):
        parser.add_argument(name, type=kind, required=True)
    for name in ("--min-idle-s", "--first-retry-s", "--last-retry-s", "--slow-s"):
        parser.add_argument(name, type=float, required=True)
    options = parser.parse_args()
    settings: dict[str, Any] = {
        "group": options.group,
        "streams": [options.stream],
        "batch": options.batch,
        "concurrency": options.concurrency,
        "ordered_by": "key",
        "max_deliveries": options.max_deliveries,
        "min_idle": options.min_idle_s,
        "backoff": (options.first_retry_s, options.last_retry_s),
    }
    try:
        synapse_rs.Consumer(options.redis, **settings).run(Worker(Path(options.log), options.slow_s).handle)
    except KeyboardInterrupt:
        return


if __name__ == "__main__":
    main()
