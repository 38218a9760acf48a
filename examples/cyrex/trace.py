"""Recorded traffic: a CSV with the columns TIMESTAMP, ContextTokens, GeneratedTokens, one request per row.

That is the form of the Azure LLM inference traces. What a trace does not say (model, user, latency) is made up as
`traffic` does.
"""

from __future__ import annotations

import csv
from datetime import datetime
from typing import TYPE_CHECKING

from cyrex.traffic import Arrival, Traffic

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

COLUMNS = ("TIMESTAMP", "ContextTokens", "GeneratedTokens")


class InvalidTrace(ValueError):
    """A file that is not a trace; the message says where it stops being one."""


def read(path: Path, seed: int | None = 1) -> Iterator[Arrival]:
    """Yields one `inference-complete` per row, at the recorded times."""
    traffic = Traffic(rate=1.0, seed=seed)
    first: datetime | None = None
    with path.open(newline="") as file:
        rows = csv.DictReader(file)
        missing = [column for column in COLUMNS if column not in (rows.fieldnames or ())]
        if missing:
            raise InvalidTrace(f"{path} has no column {missing[0]}; a trace has {', '.join(COLUMNS)}")
        for number, row in enumerate(rows, start=2):
            try:
                # Seven digits of a second, where Python takes six.
                at = datetime.strptime(row["TIMESTAMP"][:26], "%Y-%m-%d %H:%M:%S.%f")  # noqa: DTZ007
                tokens = int(row["ContextTokens"]) + int(row["GeneratedTokens"])
            except (TypeError, ValueError) as error:
                raise InvalidTrace(f"{path}, line {number}: {error}") from None
            first = first or at
            yield Arrival((at - first).total_seconds(), "inference-events", traffic.inference(tokens))
