"""What is put on the streams by the end-to-end tests, and by whom."""

from __future__ import annotations

import itertools
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cyrex import trace
from cyrex.traffic import Traffic

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cyrex.traffic import Arrival
    from harness.redis_server import RedisServer

VECTORS = Path(__file__).parents[1] / "data" / "existing-publishers.json"
GENERATED = 8_819
"""Events made up where there is no trace: as many as the trace has."""

FURTHER_ENTRIES: dict[str, list[dict[str, str]]] = {
    # The third dialect, whose payload wins over its envelope.
    "inference-events": [
        {
            "event_type": "inference-complete",
            "sender": "cyrex",
            "priority": "normal",
            "payload": '{"event":"inference-complete","model_name":"m","version":"1","latency_ms":12.5,"user_id":"42"}',
            "timestamp": "2026-05-01T10:00:00.123456789Z",
        },
        {"event": "inference-complete", "model_name": "m", "version": "1", "latency_ms": "9", "user_id": "anonymous"},
        {"event": "inference-complete", "model_name": "m", "version": "1", "latency_ms": "not a number"},
    ],
    "platform-events": [
        {"event": "invoice-paid", "service": "billing", "action": "paid", "data": "{}", "organization_id": "acme"},
        {"event": "task-updated", "service": "s", "action": "a", "user_id": "42", "organization_id": "acme"},
    ],
    "agi-decisions": [{"event": "agi-decision", "type": "scale", "confidence": "0.5", "reasoning": "load"}],
    "error-events": [{"event": "error", "error_type": "Timeout", "error_message": "no answer"}],
}
"""Entries besides the vectors: what they lack of the audience table."""

INVALID = {"not a number"}
"""Values that make an entry invalid, so that nobody gets it."""


def raw_entries() -> dict[str, list[dict[str, str]]]:
    """Per stream, entries exactly as existing publishers write them."""
    captured = json.loads(VECTORS.read_text())
    entries = {stream: [dict(entry["fields"]) for entry in of_stream] for stream, of_stream in captured.items()}
    for stream, more in FURTHER_ENTRIES.items():
        entries.setdefault(stream, []).extend(more)
    return entries


def add_raw_entries(redis: RedisServer) -> None:
    """Writes `raw_entries` to the streams, as those who do not use our publisher do."""
    for stream, entries in raw_entries().items():
        for fields in entries:
            redis.add(stream, fields)


def arrivals() -> list[Arrival]:
    """The trace that `SYNAPSE_TRACE` names, or as many events of made-up traffic."""
    path = os.environ.get("SYNAPSE_TRACE")
    if path:
        return list(trace.read(Path(path)))
    return list(itertools.islice(Traffic(rate=1000, seed=1), GENERATED))


def add_markers(redis: RedisServer, name: str) -> dict[str, str]:
    """Ends each stream with an event for everyone who may see broadcasts; gives the markers' ids.

    A client that has one has all that came before on that stream. The two streams that only `events:all` may
    see come first, so that one who should not see them would have seen them when the other markers are there.
    """
    markers: dict[str, dict[str, str]] = {
        "agi-decisions": {"event": "agi-decision", "decision_type": name},
        "error-events": {"event": "error", "error_type": name, "error_message": ""},
        "model-events": {"event": "model-status", "model_name": name},
        "training-events": {"event": "training-started", "model_name": name},
        "platform-events": {"event": name, "service": "test", "action": name},
        "inference-events": {"event": "inference-complete", "model_name": name, "version": "1", "latency_ms": "1"},
    }
    return {stream: redis.add(stream, fields) for stream, fields in markers.items()}


def is_invalid(fields: Mapping[str, Any]) -> bool:
    """Whether an entry of ours was made to be refused by the decoder."""
    return bool(INVALID & set(fields.values()))
