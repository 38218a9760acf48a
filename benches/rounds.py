"""Contenders take turns, so that a noisy minute is everybody's; the medians of their figures make a table."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

T = TypeVar("T")
NAME_WIDTH = 34


def asked_for(description: str, rounds: int = 5) -> int:
    """How many rounds the command line asks for."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--rounds", type=int, default=rounds)
    return int(parser.parse_args().rounds)


def in_turn(contenders: Mapping[str, Callable[[], T]], rounds: int) -> dict[str, list[T]]:
    """Runs every contender once in each round."""
    results: dict[str, list[T]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, run in contenders.items():
            results[name].append(run())
    return results


@dataclass(frozen=True)
class Column(Generic[T]):
    """A figure of each contender; `None` where it was not measured."""

    title: str
    figure: Callable[[T], float | None]
    form: str = ",.0f"

    def text(self, runs: Sequence[T]) -> str:
        """The median over the rounds."""
        figures = [figure for run in runs if (figure := self.figure(run)) is not None]
        return format(median(figures), self.form) if figures else "-"


@dataclass(frozen=True)
class Ratio(Generic[T]):
    """A figure of each contender by that of one of them in the same round."""

    title: str
    peer: str
    figure: Callable[[T], float]

    def text(self, runs: Sequence[T], peers: Sequence[T]) -> str:
        """The median over the rounds."""
        ratios = [self.figure(run) / self.figure(peer) for run, peer in zip(runs, peers, strict=True)]
        return f"{median(ratios):.3f}"


def print_table(results: Mapping[str, Sequence[T]], columns: Sequence[Column[T]], ratio: Ratio[T]) -> None:
    """One line per contender; the ratio to the peer comes last."""
    titles = [*(column.title for column in columns), ratio.title]
    widths = [max(10, len(title) + 2) for title in titles]
    rows = {
        name: [*(column.text(runs) for column in columns), ratio.text(runs, results[ratio.peer])]
        for name, runs in results.items()
    }
    for name, cells in {"": titles, **rows}.items():
        row = "".join(f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=True))
        print(f"  {name:<{NAME_WIDTH}}{row}")
