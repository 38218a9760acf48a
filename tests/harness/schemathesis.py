"""Requests that a service's own description allows, and such that it does not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from harness.service import get

if TYPE_CHECKING:
    from harness.service import Service


def attack(service: Service, examples: int, *arguments: str) -> None:
    """Sends what its description allows and what it does not, and checks the answers against it."""
    schemathesis = str(Path(sys.executable).with_name("schemathesis"))
    limits = ["--max-examples", str(examples), "--generation-database", "none", "--seed", "7"]
    command = [schemathesis, "run", f"{service.http_url}/openapi.json", "--checks", "all", *limits, *arguments]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=1_000, check=False)
    assert ended.returncode == 0, f"{ended.stdout[-8_000:]}\n{ended.stderr[-2_000:]}\n{service.tail()}"
    assert get(f"{service.http_url}/health")[0] == 200
