"""Waiting for a condition, and free ports."""

from __future__ import annotations

import socket
import time
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

PATIENCE_S = 30.0
"""How long anything may take before its test fails; far more than it takes."""


def eventually(what: str, ask: Callable[[], T | None], patience_s: float = PATIENCE_S) -> T:
    """Asks again and again until the answer is true, and gives it back; names `what` if it never is."""
    deadline = time.monotonic() + patience_s
    while True:
        answer = ask()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {patience_s:g} s for: {what}")
        time.sleep(0.01)


def free_port() -> int:
    """A loopback port that nobody listens on at this moment."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
