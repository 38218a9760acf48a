"""An analytics service process, and what its stores have."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING, Any

from harness.events import STREAM
from harness.process import Process
from harness.service import Service, binary
from harness.wait import eventually

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from harness.redis_server import RedisServer

GROUP = "analytics-service"
TRAINING = "training-events"


class Analytics(Service):
    """A `synapse-analytics`; its store is a file in `folder`, or the server behind `INFLUXDB_URL` in `settings`."""

    binary_name = "synapse-analytics"

    def __init__(self, redis_url: str, folder: Path, settings: Mapping[str, str] | None = None) -> None:
        """Starts one over this Redis and waits until it is ready."""
        super().__init__(redis_url, {"DATA_DIR": str(folder), **(settings or {})})

    def stored(self) -> int:
        """How many events it has stored since it was started."""
        return int(self.metric("synapse_analytics_events_total", outcome="stored"))

    def models(self, window: str = "1d") -> list[dict[str, Any]]:
        """What it says of all models."""
        status, answer = self.ask("GET", f"/analytics/models?window={window}")
        assert status == 200, answer
        assert not answer["truncated"]
        models: list[dict[str, Any]] = answer["models"]
        return models

    def backfill(self, *flags: str, settings: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        """Stores a part of the streams once more, in a process of its own."""
        return subprocess.run(
            [binary(self.binary_name), "backfill", *flags],
            env={**self._settings, **(settings or {})},
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )

    def begin_backfill(self, *flags: str) -> Process:
        """The same, to be broken off."""
        return Process([binary(self.binary_name), "backfill", *flags], env=self._settings)


def append(server: RedisServer, events: Iterable[Mapping[str, Any]], stream: str = STREAM) -> list[str]:
    """Writes events as another publisher would, a thousand at once; gives their ids."""
    ids: list[str] = []
    with server.client() as client:
        pipeline = client.pipeline(transaction=False)
        for event in events:
            pipeline.xadd(stream, dict(event))
            if len(pipeline) == 1_000:
                ids += pipeline.execute()
        ids += pipeline.execute()
    return ids


def wait_until_settled(server: RedisServer, *streams: str, patience_s: float = 30.0) -> None:
    """Waits until the group has nothing of these streams before it."""

    def is_settled() -> bool:
        with server.client() as client:
            groups = [group for stream in streams for group in client.xinfo_groups(stream) if group["name"] == GROUP]
            return len(groups) == len(streams) and all(group["lag"] == 0 and group["pending"] == 0 for group in groups)

    eventually("all events to be settled", is_settled, patience_s)
