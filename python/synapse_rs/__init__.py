"""Events on Redis Streams at Redis's own speed.

Publish, from sync and async code alike; `publish` returns at once, a background thread sends:

    with synapse_rs.Publisher("redis://localhost:6379", source="cyrex") as publisher:
        publisher.publish_inference(model_name="m", version="2.0", latency_ms=45.2, user_id="42")

Handle, at least once, as a member of a consumer group:

    async with synapse_rs.Consumer(url, group="cyrex-runtime", streams=["model-events"]) as events:
        async for event in events:
            load(event["model_name"])

Watch, without a group:

    async for event in synapse_rs.tail(url, ["inference-events"]):
        print(event.name, event)
"""

from synapse_rs import _lifecycle
from synapse_rs._core import Receipt
from synapse_rs.answers import Reject, Retry, Unavailable
from synapse_rs.consumer import Batch, Consumer
from synapse_rs.errors import (
    Closed,
    ConnectionFailed,
    DeliveryError,
    InvalidEvent,
    QueueFull,
    SynapseError,
)
from synapse_rs.events import Event
from synapse_rs.publisher import Publisher, PublisherStats
from synapse_rs.reading import tail

__all__ = [
    "Batch",
    "Closed",
    "ConnectionFailed",
    "Consumer",
    "DeliveryError",
    "Event",
    "InvalidEvent",
    "Publisher",
    "PublisherStats",
    "QueueFull",
    "Receipt",
    "Reject",
    "Retry",
    "SynapseError",
    "Unavailable",
    "tail",
]

_lifecycle.install()
