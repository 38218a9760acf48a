"""A web application whose publisher is made before its workers are forked: gunicorn's `preload_app`.

The master publishes at the start, each request publishes and says in which process.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import synapse_rs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

PUBLISHER = synapse_rs.Publisher(os.environ["REDIS_URL"], source="web")
PUBLISHER.publish("requests", {"event": "started", "process": os.getpid()})
PUBLISHER.flush()
PUBLISHER.publish("requests", {"event": "preloaded", "process": os.getpid()})


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Publishes the request's path and answers with the process id."""
    PUBLISHER.publish("requests", {"event": "request", "path": environ["PATH_INFO"], "process": os.getpid()})
    body = str(os.getpid()).encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
