"""`make run`: the platform and the demo start, events flow, Ctrl-C leaves nothing behind."""

from __future__ import annotations

import os
import re
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from harness.gateway import get
from harness.process import Process
from harness.wait import eventually, free_port

if TYPE_CHECKING:
    from collections.abc import Callable

EXAMPLES = Path(__file__).parents[2] / "examples"
FLOWS = re.compile(r"(\d+) inferences .* in Redis ([\d,]+)")


def descendants(pid: int) -> list[int]:
    """The process ids below this one."""
    children = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    for task in Path(f"/proc/{pid}/task").iterdir():
        children += [int(child) for child in (task / "children").read_text().split()]
    return sorted({*children, *(below for child in set(children) for below in descendants(child))})


def run_platform(data_dir: Path, port: int, *arguments: str) -> Process:
    """Starts what `make run` starts, on ports of its own."""
    others = {f"SYNAPSE_{name}_PORT": "0" for name in ("HUB", "TASKS", "NOTIFICATIONS", "ANALYTICS")}
    ports = {"SYNAPSE_GATEWAY_PORT": str(port), **others}
    env = {"PYTHONPATH": str(EXAMPLES), "DATA_DIR": str(data_dir), **ports}
    return Process([sys.executable, "-m", "cyrex.platform", *arguments], env=env)


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGKILL], ids=["Ctrl-C", "kill -9"])
def test_the_demo_flows_and_leaves_nothing_behind(
    tmp_path: Path, until_end: Callable[[Any], Any], end: signal.Signals
) -> None:
    port = free_port()
    running = until_end(run_platform(tmp_path, port, "--rate", "500"))
    flows = eventually("events to flow", lambda: FLOWS.search("\n".join(running.log)), patience_s=60)
    assert int(flows[2].replace(",", "")) > 0
    assert "redis-cli -p" in "\n".join(running.log)
    assert "tail inference-events" in "\n".join(running.log)
    assert get(f"http://127.0.0.1:{port}/health")[0] == 200
    children = descendants(running.pid)
    assert len(children) >= 4, "synapse up, redis-server, synapse-gateway, synapse-hub"

    status = running.stop(end)
    assert status == (0 if end == signal.SIGINT else -signal.SIGKILL), running.tail()
    eventually("all of it to be gone", lambda: not any(os.path.exists(f"/proc/{child}") for child in children))  # noqa: PTH110


def test_a_trace_that_is_not_there_is_named(tmp_path: Path, until_end: Callable[[Any], Any]) -> None:
    running = until_end(run_platform(tmp_path, free_port(), "--trace", "nowhere.csv"))
    assert running.wait() == 2
    assert "nowhere.csv: no such file" in running.tail()
