"""Starts the platform by `synapse up`, and the demo Cyrex on it. `make run`.

Ctrl-C ends all of it: the demo first, which sees to it that Redis has what it published, then the platform.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from cyrex.__main__ import options, run

if TYPE_CHECKING:
    from collections.abc import Iterable

BIN = Path(os.environ.get("SYNAPSE_BIN_DIR", "target/debug"))
START_S = 60.0
STOP_S = 20.0
# What `synapse up` prints when all is ready: a row per piece with its address, and how to stop it as the last line.
ROW = re.compile(r"^\s+(redis|gateway)\s+(\w+://\S+)")
LAST_LINE = "Ctrl-C stops everything"


class Platform:
    """`synapse up` as a child that does not outlive us."""

    def __init__(self) -> None:
        """Starts it; what it says is passed on."""
        self.addresses: dict[str, str] = {}
        self._ready = threading.Event()
        self._stopping = False
        # A session of its own: Ctrl-C is for us, who stop it when the demo is done. setpriv: if we are killed,
        # the kernel tells it to stop.
        self._up = subprocess.Popen(
            ["setpriv", "--pdeathsig", "TERM", "--", BIN / "synapse", "up"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        threading.Thread(target=self._pass_on, args=(self._up.stdout,), daemon=True).start()

    def _pass_on(self, lines: Iterable[str]) -> None:
        for line in lines:
            print(line, end="", flush=True)
            if row := ROW.match(line):
                self.addresses.setdefault(row[1], row[2])
            if LAST_LINE in line:
                self._ready.set()
        self._ready.set()
        if not self._stopping:
            os.kill(os.getpid(), signal.SIGTERM)  # nothing left to publish to

    def wait_until_ready(self) -> bool:
        """Waits until `synapse up` says that all is ready; false if it ended or took too long."""
        return self._ready.wait(START_S) and "gateway" in self.addresses

    def stop(self) -> int:
        """Lets it drain and end; gives its exit status."""
        self._stopping = True
        if self._up.poll() is None:
            self._up.terminate()
        try:
            return self._up.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._up.kill()
            return self._up.wait()


def more_to_try(addresses: dict[str, str]) -> str:
    """What is worth a look besides what `synapse up` names, as one would type it here."""
    synapse, redis, gateway = relative(BIN / "synapse"), addresses["redis"], addresses["gateway"]
    flag = "" if redis.endswith(":6379") else f" --redis-url {redis}"
    websocket = gateway.replace("http", "ws", 1) + "/ws"
    return f"""
  A demo Cyrex publishes now. Here `synapse` is {synapse}. Failures only, and everything as a client gets it:
    {synapse}{flag} tail inference-events --where success=false
    {relative(Path(sys.executable).parent)}/websockets {websocket}    # then type {{"type":"subscribe"}}
"""


def relative(path: Path) -> Path:
    """A path as one would type it here."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def main() -> int:
    """Runs the platform and the demo until Ctrl-C; exit status."""
    demo = options()
    platform = Platform()
    try:
        if not platform.wait_until_ready():
            print("make run: the platform did not start", file=sys.stderr)
            return platform.stop() or 1
        print(more_to_try(platform.addresses), flush=True)
        demo.redis = os.environ.get("REDIS_URL") or platform.addresses["redis"]
        return asyncio.run(run(demo))
    except KeyboardInterrupt:
        return 0
    finally:
        platform.stop()


if __name__ == "__main__":
    sys.exit(main())
