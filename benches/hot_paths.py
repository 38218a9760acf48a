"""What a Python caller does for every event: its instructions are counted.

`instructions.py` runs this under callgrind. As in `hot-paths`, each path is taken between two calls of `getppid`,
at which callgrind writes down what it has counted since the one before; a line of JSON tells which path it was and
how many events took it. Only this thread counts: the address is one where nobody answers, so that the writer's
thread neither takes events nor is woken for them.
"""

from __future__ import annotations

import json
import os
import socket
from contextlib import suppress
from typing import TYPE_CHECKING

import synapse_rs
from inference import EVENT, KEYWORDS, STREAM, InferenceDataclass, InferenceModel
from publishing import ours

if TYPE_CHECKING:
    from collections.abc import Callable

EVENTS = 2_000
WARM_UP = 100
"""Events before those that are counted: buffers grow, tables are filled."""
MANY = 1_000


def counted(path: str, take: Callable[[], object], events_at_once: int = 1) -> None:
    """Takes a path for each of so many events."""
    for _ in range(WARM_UP // events_at_once + 1):
        take()
    times = range(EVENTS // events_at_once)
    os.getppid()
    for _ in times:
        take()
    os.getppid()
    print(json.dumps({"path": path, "events": EVENTS}), flush=True)


def main() -> None:
    """Takes every path."""
    dataclass, model = InferenceDataclass(**EVENT), InferenceModel(**EVENT)
    many = [EVENT] * MANY
    with socket.create_server(("127.0.0.1", 0)) as silent:
        publisher = ours.publisher(f"redis://127.0.0.1:{silent.getsockname()[1]}")
        counted("publish_inference", lambda: publisher.publish_inference(**KEYWORDS))
        counted("publish(dict)", lambda: publisher.publish(STREAM, EVENT))
        counted("publish(dataclass)", lambda: publisher.publish(STREAM, dataclass))
        counted("publish(pydantic)", lambda: publisher.publish(STREAM, model))
        counted("publish_many", lambda: publisher.publish_many(STREAM, many), MANY)
        with suppress(synapse_rs.DeliveryError):
            publisher.close(timeout=0)


if __name__ == "__main__":
    main()
