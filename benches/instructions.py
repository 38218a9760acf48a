"""How many instructions an event costs on the paths that all events take. `make bench-instructions`.

Unlike times, they are the same on a busy machine. `hot-paths` (Rust) and `hot_paths.py` (Python, the caller's thread)
run under callgrind; a count that exceeds the committed baseline by more than 5 % fails. The baseline is right to be
updated when a change is worth what it costs, which its commit then says, and when it costs less than before.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.gateway import binary
from harness.redis_server import RedisServer

HERE = Path(__file__).parent
BASELINE = HERE / "instructions.json"
TOLERANCE = 0.05
MARK = "getppid"
"""The function at whose calls callgrind writes down what it has counted; nobody else calls it."""
VALGRIND = ["valgrind", "--tool=callgrind", "--separate-threads=yes", "--combine-dumps=yes", f"--dump-before={MARK}"]

Counts = dict[str, float]
"""Instructions per event, by path."""


def count(command: list[str | Path]) -> Counts:
    """Runs a program under callgrind: it takes paths between pairs of marks and prints a line of JSON for each."""
    with tempfile.TemporaryDirectory() as directory:
        out = Path(directory) / "callgrind.out"
        # The order of sets of texts is the same in each run.
        environment = {**os.environ, "PYTHONHASHSEED": "0", "PYTHONPATH": str(HERE)}
        under_callgrind = [*VALGRIND, f"--callgrind-out-file={out}", *command]
        ran = subprocess.run(under_callgrind, env=environment, capture_output=True, text=True, check=False)
        if ran.returncode:
            raise RuntimeError(f"{command[0]} failed under callgrind\n{ran.stderr}")
        between_marks = of_main_thread(out.read_text(encoding="utf-8"))
    paths: list[dict[str, Any]] = [json.loads(line) for line in ran.stdout.splitlines()]
    if len(between_marks) != 2 * len(paths):
        raise RuntimeError(f"{command[0]}: {len(between_marks)} marks for {len(paths)} paths")
    taken = between_marks[1::2]
    return {path["path"]: total / path["events"] for path, total in zip(paths, taken, strict=True)}


def of_main_thread(dumps: str) -> list[int]:
    """The main thread's instructions up to each mark."""
    totals: list[int] = []
    for dump in re.split(r"^part: ", dumps, flags=re.MULTILINE)[1:]:
        if "\nthread: 1\n" in dump and f"--dump-before={MARK}" in dump:
            totals += map(int, re.findall(r"^totals: (\d+)", dump, flags=re.MULTILINE))
    return totals


@dataclass(frozen=True)
class Group:
    """Paths counted by one program, and the tools that the counts are of."""

    counts: Counts
    tools: dict[str, str]

    def as_json(self) -> dict[str, Any]:
        """As it stands in the baseline."""
        return {"tools": self.tools, "instructions": {path: round(figure) for path, figure in self.counts.items()}}


def measure() -> dict[str, Group]:
    """Counts all paths."""
    rustc = subprocess.run(["rustc", "--version"], check=True, capture_output=True, text=True).stdout.split()[1]
    tools = {"machine": platform.machine(), "rustc": minor(rustc)}
    with RedisServer() as server:
        rust = count([binary("hot-paths"), f"127.0.0.1:{server.port}"])
    python = count([sys.executable, HERE / "hot_paths.py"])
    return {"Rust": Group(rust, tools), "Python": Group(python, {**tools, "python": minor(platform.python_version())})}


def minor(version: str) -> str:
    """A version without what does not change its code much."""
    return ".".join(version.split(".")[:2])


def compare(name: str, group: Group, baseline: dict[str, Any]) -> list[str]:
    """Prints a group beside its baseline; says what is wrong."""
    before: dict[str, int] = baseline.get("instructions", {})
    wrong = []
    print(f"\n  {name + ', instructions per event':<34}{'now':>10}{'baseline':>10}{'change':>9}")
    for path, now in group.counts.items():
        if path not in before:
            print(f"  {path:<34}{now:>10,.0f}{'-':>10}{'-':>9}")
            continue
        change = now / before[path] - 1
        print(f"  {path:<34}{now:>10,.0f}{before[path]:>10,}{change:>+9.1%}")
        if change > TOLERANCE:
            wrong.append(f"{path} takes {change:.1%} more instructions than the baseline; {TOLERANCE:.0%} is tolerated")
        elif change < -TOLERANCE:
            print("    update the baseline, so that what was won is kept")
    if before.keys() != group.counts.keys():
        wrong.append(f"{name}: not the paths of the baseline: {', '.join(before.keys() ^ group.counts.keys())}")
    if baseline.get("tools") != group.tools:
        print(f"  not judged: the baseline is of {baseline.get('tools')}, this is {group.tools}")
        return []
    return wrong


def main() -> None:
    """Counts, prints, and compares or updates."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--update", action="store_true", help="write the baseline anew")
    update = parser.parse_args().update
    groups = measure()
    baseline: dict[str, Any] = json.loads(BASELINE.read_text(encoding="utf-8"))
    wrong = [fault for name, group in groups.items() for fault in compare(name, group, baseline.get(name, {}))]
    if update:
        text = json.dumps({name: group.as_json() for name, group in groups.items()}, indent=2)
        BASELINE.write_text(text + "\n", encoding="utf-8")
        print(f"\nupdated {BASELINE.name}")
    elif wrong:
        faults = "".join(f"error: {fault}\n" for fault in wrong)
        sys.exit(
            f"\n{faults}A change that is worth its instructions updates the baseline: make bench-instructions UPDATE=1"
        )


if __name__ == "__main__":
    main()
