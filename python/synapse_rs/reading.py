"""Reading streams without a group: everyone sees every event."""

from collections.abc import AsyncIterator, Sequence
from typing import Any

from synapse_rs import _background, _core
from synapse_rs.events import Event


async def tail(
    url: str = "redis://localhost:6379",
    streams: Sequence[str] = (),
    *,
    after: str = "$",
    where: dict[str, Any] | None = None,
) -> AsyncIterator[Event]:
    """Yields the events of streams as they come, through failures of Redis.

    Args:
        url: The address of Redis.
        streams: The streams to read.
        after: `$` for what comes from now on, an entry id for what came since, `0` for everything.
        where: A condition: all keys must match; a list means any of its values; dotted paths reach into objects.

    Raises:
        ValueError: A setting can't work.
        ConnectionFailed: At the first event, if Redis can't be reached.
    """
    if isinstance(streams, str) or not streams:
        raise ValueError(f"streams is {streams!r}, expected a list of at least one name")
    _background.refresh_level()
    reader = await _core.Tail.open(url, list(streams), after=after, condition=where)
    while True:
        for event in await reader.next():
            yield event
