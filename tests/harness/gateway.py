"""A gateway process."""

from __future__ import annotations

from harness.service import Service, binary, get

__all__ = ["Gateway", "binary", "get"]


class Gateway(Service):
    """A `synapse-gateway`; Socket.IO clients connect to its `http_url`."""

    binary_name = "synapse-gateway"

    @property
    def websocket_url(self) -> str:
        """Where plain WebSocket clients connect."""
        return f"ws://127.0.0.1:{self.port}/ws"
