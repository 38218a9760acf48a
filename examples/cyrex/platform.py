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
import time
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

from cyrex.__main__ import options, run

if TYPE_CHECKING:
    from collections.abc import Iterable

BIN = Path(os.environ.get("SYNAPSE_BIN_DIR", "target/release"))
GATEWAY_PORT = int(os.environ.get("SYNAPSE_GATEWAY_PORT", "5008"))
START_S = 60.0
STOP_S = 20.0
REDIS_CLI = re.compile(r"redis-cli -p (\d+)")


class Platform:
    """`synapse up` as a child that does not outlive us."""

    def __init__(self) -> None:
        """Starts it; what it says is passed on."""
        self.redis_url = os.environ.get("REDIS_URL")
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
            if self.redis_url is None and (port := REDIS_CLI.search(line)):
                self.redis_url = f"redis://127.0.0.1:{port[1]}"
            print(line, end="", flush=True)
        if not self._stopping:
            os.kill(os.getpid(), signal.SIGTERM)  # nothing left to publish to

    def wait_until_ready(self) -> str | None:
        """Waits until its Redis and its gateway answer; gives Redis's address, or none if it ended first."""
        deadline = time.monotonic() + START_S
        while self._up.poll() is None:
            if self.redis_url is not None and gateway_ready():
                return self.redis_url
            if time.monotonic() > deadline:
                print(f"make run: the platform is not ready after {START_S:g} s", file=sys.stderr)
                return None
            time.sleep(0.05)
        return None

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


def gateway_ready() -> bool:
    """Whether the gateway says so."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{GATEWAY_PORT}/ready", timeout=2):
            return True
    except OSError:  # nobody answers, or with a status that is not 2xx
        return False


def things_to_try(redis_url: str) -> str:
    """What a newcomer would type next, in another terminal."""
    port = redis_url.rsplit(":", 1)[1].split("/", maxsplit=1)[0]
    where = "" if port == "6379" else f"REDIS_URL={redis_url} "
    return f"""
  The platform runs and a demo Cyrex publishes to it. In another terminal:

    {where}{relative(BIN / "synapse")} tail inference-events --where success=false
    redis-cli -p {port} XREVRANGE inference-events + - COUNT 1
    curl -s http://127.0.0.1:{GATEWAY_PORT}/metrics | grep -v '^#'
    {relative(Path(sys.executable).parent)}/websockets ws://127.0.0.1:{GATEWAY_PORT}/ws
        and then type  {{"type":"subscribe"}}

  Socket.IO clients connect to http://127.0.0.1:{GATEWAY_PORT}. Ctrl-C ends everything.
"""


def relative(path: Path) -> Path:
    """A path as one would type it here."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def main() -> int:
    """Runs the platform and the demo until Ctrl-C; exit status."""
    demo = options()
    platform = Platform()
    try:
        redis_url = platform.wait_until_ready()
        if redis_url is None:
            return platform.stop() or 1
        print(things_to_try(redis_url), flush=True)
        demo.redis = redis_url
        return asyncio.run(run(demo))
    except KeyboardInterrupt:
        return 0
    finally:
        platform.stop()


if __name__ == "__main__":
    sys.exit(main())
