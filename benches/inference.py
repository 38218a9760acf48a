"""The event that is published and consumed: an inference of eleven fields, about 225 bytes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pydantic

import synapse_rs

STREAM = "inference-events"
MAXLEN = 1_000_000

EVENT: dict[str, Any] = {
    "event": "inference-complete",
    "model_name": "task-classifier",
    "version": "2.0",
    "user_id": "64f1c0ffee",
    "request_id": "req_123456",
    "latency_ms": 45.2,
    "tokens_used": 123,
    "success": True,
}
"""Eight fields; with `timestamp`, `source` and `event_id`, which the publisher adds, eleven on the wire."""
KEYWORDS: dict[str, Any] = {field: value for field, value in EVENT.items() if field != "event"}


@dataclass
class InferenceDataclass:
    """The event as a dataclass; what is `None` is left out on the wire."""

    event: str
    model_name: str
    version: str
    latency_ms: float
    user_id: str | None = None
    request_id: str | None = None
    tokens_used: int | None = None
    cost: float | None = None
    confidence: float | None = None
    success: bool = True
    error: str | None = None


class InferenceModel(pydantic.BaseModel):
    """The event as a pydantic model, of the same fields."""

    event: str
    model_name: str
    version: str
    latency_ms: float
    user_id: str | None = None
    request_id: str | None = None
    tokens_used: int | None = None
    cost: float | None = None
    confidence: float | None = None
    success: bool = True
    error: str | None = None


def publish_thousands(url: str, events: int) -> None:
    """Publishes so many, a thousand at a time."""
    with synapse_rs.Publisher(url, source="cyrex", maxlen=MAXLEN) as publisher:
        batch = [EVENT] * 1000
        for start in range(0, events, len(batch)):
            publisher.publish_many(STREAM, batch[: events - start])
        publisher.flush(timeout=60)
