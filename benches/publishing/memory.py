"""How much memory a full queue takes: a fresh process whose Redis has gone publishes until there is no room."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import synapse_rs
from harness.redis_server import RedisServer
from inference import EVENT, STREAM
from publishing import ours

QUEUE_BYTES = 64 * 1024 * 1024
EVENTS: dict[str, tuple[str, dict[str, Any]]] = {
    "inference, 11 fields": (STREAM, EVENT),
    "tiny, of nothing but its name": ("tiny", {"event": "e"}),
}


def resident_bytes(line: str) -> int:
    """A figure of this process's memory: `VmRSS` as it is now, `VmHWM` the most it was."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.split(f"{line}:")[1].split()[0]) * 1024


def fill(kind: str) -> None:
    """Fills a queue; prints how many events are in it, and by how much the process grew at its largest."""
    logging.disable(logging.WARNING)
    stream, event = EVENTS[kind]
    with RedisServer() as server:
        publisher = ours.publisher(server.url, queue_bytes=QUEUE_BYTES, queue_events=1 << 40, on_full="raise")
        publisher.publish(stream, event)
        publisher.flush(timeout=ours.PATIENCE_S)
        server.stop()
    before, events = resident_bytes("VmRSS"), 0
    try:
        while True:
            publisher.publish(stream, event)
            events += 1
    except synapse_rs.QueueFull:
        grown = resident_bytes("VmHWM") - before
    queued = publisher.stats()["outstanding_bytes"]
    print(json.dumps({"events": events, "queued": queued, "grown": grown}))
    with suppress(synapse_rs.DeliveryError):
        publisher.close(timeout=0)


def print_memory() -> None:
    """Fills a queue with each kind of event and prints what that took."""
    print(f"\nA queue of {QUEUE_BYTES >> 20} MiB, full, without Redis")
    print(f"  {'':<34}{'events':>10}{'queued MiB':>12}{'grown MiB':>12}{'ratio':>10}")
    for kind in EVENTS:
        command = [sys.executable, "-m", "publishing.memory", kind]
        filled = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
        sizes = f"{filled['queued'] / 2**20:>12.1f}{filled['grown'] / 2**20:>12.1f}"
        print(f"  {kind:<34}{filled['events']:>10,}{sizes}{filled['grown'] / QUEUE_BYTES:>10.2f}", flush=True)


if __name__ == "__main__":
    fill(sys.argv[1])
