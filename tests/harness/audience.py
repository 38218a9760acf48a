"""Who may see an entry: the contract's rules, written down a second time and from the raw entry.

This is the tests' oracle, so it shares nothing with the code that it judges.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

PERSONAL = {"inference-events", "platform-events"}
PUBLIC = {"model-events", "training-events"}
STREAMS = (
    "model-events",
    "inference-events",
    "platform-events",
    "training-events",
    "agi-decisions",
    "error-events",
)
SOCKET_IO_NAMES = {
    "inference-events": "inference-event",
    "platform-events": "platform-event",
    "model-events": "model-event",
    "training-events": "training-event",
    "agi-decisions": "agi-decision-event",
    "error-events": "error-event",
}


@dataclass(frozen=True)
class Viewer:
    """Who is connected: nobody in particular, a user, a member of an organisation, one who sees everything."""

    user: str | None = None
    organisation: str | None = None
    everything: bool = False


def envelope_opened(fields: Mapping[str, str]) -> dict[str, object]:
    """An entry's fields, those of a third-dialect payload over its own."""
    opened: dict[str, object] = dict(fields)
    if "event" not in fields and "event_type" in fields:
        opened["event"] = fields["event_type"]
        opened.update(json.loads(fields.get("payload") or "{}"))
    return opened


def may_see(viewer: Viewer, stream: str, fields: Mapping[str, str]) -> bool:
    """Whether the contract lets this viewer see an entry of this stream; entries without a name go to nobody."""
    event = envelope_opened(fields)
    if not event.get("event"):
        return False
    if stream in PUBLIC:
        return True
    if stream not in PERSONAL:
        return viewer.everything
    user = event.get("user_id")
    if user not in (None, "", "anonymous"):
        return str(user) == viewer.user
    organisation = event.get("organization_id")
    if organisation not in (None, ""):
        return organisation == viewer.organisation
    return True


def visible(viewer: Viewer, entries: Mapping[str, Iterable[tuple[str, Mapping[str, str]]]]) -> dict[str, list[str]]:
    """Per stream, the ids of the entries that this viewer may see, in order."""
    return {
        stream: [entry_id for entry_id, fields in of_stream if may_see(viewer, stream, fields)]
        for stream, of_stream in entries.items()
    }
