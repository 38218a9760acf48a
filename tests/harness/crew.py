"""Consumer processes that die and are started again, and what each of them logged.

A crew is a consumer group of a few worker processes (`tests/worker`). The log of each is written by the worker itself,
one line per step, so it says what was done up to the moment of its death.
"""

from __future__ import annotations

import signal
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self, cast

from harness.gateway import binary
from harness.process import Process

if TYPE_CHECKING:
    from types import TracebackType

    from harness.redis_server import RedisServer

STREAM = "numbers"
DEAD_LETTERS = "numbers:dlq"
GROUP = "crew"
WORKER = Path(__file__).parents[1] / "worker" / "worker.py"


@dataclass(frozen=True)
class Kind:
    """What the workers are written in."""

    name: str

    def command(self) -> list[str | Path]:
        """The program."""
        return [sys.executable, WORKER] if self.name == "Python" else [binary("test-worker")]


@dataclass(frozen=True)
class Settings:
    """How the workers consume."""

    batch: int = 100
    concurrency: int = 8
    max_deliveries: int = 5
    min_idle_s: float = 2.0
    first_retry_s: float = 0.02
    last_retry_s: float = 0.2
    slow_s: float = 7.0
    """How long the slow entries take: several times `min_idle_s`."""

    def arguments(self) -> list[str]:
        """As the workers take them."""
        return [word for name, value in vars(self).items() for word in (f"--{name.replace('_', '-')}", str(value))]


class Step(NamedTuple):
    """One line of a worker's log."""

    what: str
    number: int
    deliveries: int
    at_ns: int
    """By the monotonic clock, which is the same for all processes."""


@dataclass
class Life:
    """One worker process, from its start to its end."""

    process: Process
    log: Path
    died_at_ns: int | None = None
    """When it was killed, or took its last step before it killed itself; none if it lives or has ended in order."""
    in_hand: int = 0
    """How many entries were pending for it when it had died."""
    counts: Counter[str] = field(default_factory=Counter)
    """How many steps of each sort it has logged, as far as they were read."""
    _steps: list[Step] = field(default_factory=list)
    _read_bytes: int = 0

    @property
    def died(self) -> bool:
        """Whether it was killed, or killed itself."""
        return self.died_at_ns is not None

    def steps(self) -> list[Step]:
        """What it has logged so far, in order."""
        if self.log.exists():
            with self.log.open("rb") as log:
                log.seek(self._read_bytes)
                new = log.read()
            whole = new[: new.rfind(b"\n") + 1]
            self._read_bytes += len(whole)
            for line in whole.decode().splitlines():
                what, *numbers = line.split()
                self._steps.append(Step(what, *map(int, numbers)))
                self.counts[what] += 1
        return self._steps

    def numbers(self, what: str) -> list[int]:
        """The numbers of the entries with which it did this, in order."""
        return [step.number for step in self.steps() if step.what == what]

    def has_died(self, at_ns: int, in_hand: int) -> None:
        """Writes down its death."""
        self.died_at_ns, self.in_hand = at_ns, in_hand

    def __str__(self) -> str:
        return self.log.stem


def is_named_after(consumer: str, life: Life) -> bool:
    """Whether a consumer is that of a worker: the process id is in its name."""
    return f"-{life.process.pid}-" in consumer


class Crew:
    """A consumer group whose members are started again when they have died."""

    def __init__(self, redis: RedisServer, kind: Kind, logs: Path, settings: Settings, size: int = 3) -> None:
        """A crew of `size` workers, who are started on entering it."""
        self.kind = kind
        self.settings = settings
        self.lives: list[Life] = []
        self._redis = redis
        self._logs = logs
        self._size = size

    @property
    def living(self) -> list[Life]:
        """The workers that run, as far as is known."""
        return [life for life in self.lives if not life.died]

    def _start(self) -> None:
        log = self._logs / f"worker-{len(self.lives)}.log"
        where = ["--redis", self._redis.url, "--group", GROUP, "--stream", STREAM, "--log", str(log)]
        self.lives.append(Life(Process([*self.kind.command(), *where, *self.settings.arguments()]), log))

    def kill(self, life: Life) -> None:
        """Ends a worker by SIGKILL and starts another one."""
        at_ns = time.monotonic_ns()
        life.process.kill()
        life.has_died(at_ns, self.in_hand(life))
        self._start()

    def tend(self) -> None:
        """Starts another worker for each that has ended itself by SIGABRT; nothing else may end one."""
        for life in self.living:
            status = life.process.exit_status
            if status is None:
                continue
            if status != -signal.SIGABRT:
                raise RuntimeError(f"{life} ended with status {status}\n{life.process.tail()}")
            life.has_died(life.steps()[-1].at_ns, self.in_hand(life))
            self._start()

    def in_hand(self, life: Life) -> int:
        """How many entries are pending for a worker."""
        return sum(pending for name, pending in self.members().items() if is_named_after(name, life))

    def dead_members(self) -> list[str]:
        """Members that Redis knows and that no living worker is."""
        return [name for name in self.members() if not any(is_named_after(name, life) for life in self.living)]

    def stop(self) -> None:
        """Lets all end in order."""
        for life in self.living:
            status = life.process.stop(signal.SIGINT)
            assert status == 0, f"{life} ended with status {status}\n{life.process.tail()}"

    def count(self, what: str) -> int:
        """How many such steps all of them have logged."""
        for life in self.lives:
            life.steps()
        return sum(life.counts[what] for life in self.lives)

    def members(self) -> dict[str, int]:
        """The consumers of the group, with how many entries are pending for each."""
        with self._redis.client() as client:
            members = cast("list[dict[str, Any]]", client.xinfo_consumers(STREAM, GROUP))
        return {member["name"]: member["pending"] for member in members}

    def has_finished(self) -> bool:
        """Whether the group has read everything and nothing is pending."""
        with self._redis.client() as client:
            (group,) = cast("list[dict[str, Any]]", client.xinfo_groups(STREAM))
            return (group["pending"], group["entries-read"]) == (0, client.xlen(STREAM))

    def close(self) -> None:
        """Ends all at once."""
        for life in self.lives:
            life.process.kill()

    def __enter__(self) -> Self:
        try:
            for _ in range(self._size):
                self._start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
