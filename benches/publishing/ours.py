"""Our ways to publish."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import synapse_rs
from inference import EVENT, KEYWORDS, MAXLEN, STREAM, InferenceDataclass, InferenceModel, publish_thousands

OUTSTANDING = 1_000
PATIENCE_S = 60.0

Contender = Callable[[str, list[str], int], None]
"""Publishes so many events to a URL; others' are given the entry's fields as they stand in Redis."""


def publisher(url: str, *, maxlen: int = MAXLEN, **settings: Any) -> synapse_rs.Publisher:
    """A publisher as Cyrex would make it."""
    return synapse_rs.Publisher(url, source="cyrex", maxlen=maxlen, **settings)


def publish_keywords(url: str, _: list[str], events: int) -> None:
    """`publish_inference` in a loop."""
    with publisher(url) as ours:
        publish = ours.publish_inference
        for _number in range(events):
            publish(**KEYWORDS)
        ours.flush(timeout=PATIENCE_S)


def publish_of(event: Any) -> Contender:
    """`publish` in a loop, of one and the same event."""

    def contender(url: str, _: list[str], events: int) -> None:
        with publisher(url) as ours:
            publish = ours.publish
            for _number in range(events):
                publish(STREAM, event)
            ours.flush(timeout=PATIENCE_S)

    return contender


publish_dict = publish_of(EVENT)
publish_dataclass = publish_of(InferenceDataclass(**EVENT))
publish_model = publish_of(InferenceModel(**EVENT))


def publish_many(url: str, _: list[str], events: int) -> None:
    """`publish_many` of a thousand at a time."""
    publish_thousands(url, events)


def send_awaited(url: str, _: list[str], events: int) -> None:
    """`await send(...)`, a thousand at a time."""

    async def run() -> None:
        async with publisher(url) as ours:
            for _number in range(events // OUTSTANDING):
                receipts = [ours.send(STREAM, EVENT) for _ in range(OUTSTANDING)]
                for receipt in receipts:
                    await receipt

    asyncio.run(run())
