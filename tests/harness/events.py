"""Events to publish, and what came of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from harness.redis_server import RedisServer

STREAM = "inference-events"


def inference(**fields: Any) -> dict[str, Any]:
    """An inference with what it must have, and these fields."""
    return {"event": "inference-complete", "model_name": "m", "version": "1", "latency_ms": 1.5} | fields


def fields_on(server: RedisServer, stream: str = STREAM) -> list[dict[str, str]]:
    """The fields of a stream's entries as they stand there."""
    return [fields for _, fields in server.entries(stream)]
