"""The blocks of the README do what the README says."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.client import CLIENTS
from harness.process import Process
from harness.wait import eventually

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.gateway import Gateway
    from harness.redis_server import RedisServer

README = (Path(__file__).parents[2] / "README.md").read_text()
PUBLISH, HANDLE = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
CONNECTED = re.compile(r"client_connections_inflight\S* 1\n")
(WATCH,) = re.findall(r"```js\n(.*?)```", README, re.DOTALL)


def test_what_is_published_is_handled_and_watched(
    redis_server: RedisServer, gateway: Gateway, until_end: Callable[[Any], Any]
) -> None:
    def here(block: str) -> str:
        """A block with the addresses of this test."""
        adapted = block.replace("redis://localhost:6379", redis_server.url)
        assert adapted.replace("http://localhost:5008", gateway.http_url) != block
        return adapted.replace("http://localhost:5008", gateway.http_url)

    handler = until_end(Process([sys.executable, "-u", "-c", here(HANDLE)]))
    watcher = until_end(Process(["node", "--input-type=module", "--eval", here(WATCH)], cwd=CLIENTS))
    eventually("the watcher to be connected", lambda: CONNECTED.search(gateway.get("/metrics")[1]))
    assert until_end(Process([sys.executable, "-c", here(PUBLISH)])).wait() == 0
    eventually("the event to be handled", lambda: "inference-complete llama3:8b 45.2" in handler.log)
    eventually("the event to be watched", lambda: "llama3:8b 45.2" in watcher.log)
