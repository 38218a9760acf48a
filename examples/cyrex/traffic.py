"""Made-up traffic with the shape of real traffic.

Arrivals come in bursts (a Poisson process whose rate switches between calm and busy), models differ in popularity
and latency (log-normal, longer with the length of the answer), a few users ask most of the questions (Zipf), some
requests fail. Now and then a task changes, a model is deployed, a training run makes progress. A seed makes it the
same each time.
"""

from __future__ import annotations

import itertools
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator


class Arrival(NamedTuple):
    """Something that happens: when (seconds from the start), on which stream, and what."""

    at_s: float
    stream: str
    event: dict[str, Any]


@dataclass(frozen=True)
class Model:
    """A model in service."""

    name: str
    version: str
    share: float
    """Of the requests, relative to the other models'."""
    latency_ms: float
    """Median, before any token is generated."""
    ms_per_token: float
    spread: float
    """Sigma of the log-normal latency."""
    failure_rate: float
    cost_per_1000: float
    """Dollars per 1,000 tokens."""
    answer_tokens: int
    """Median length of an answer."""


MODELS = (
    Model("task-classifier", "2.0", 40, 9.0, 0.4, 0.35, 0.004, 0.0001, 4),
    Model("llama3:8b", "1", 28, 120.0, 14.0, 0.45, 0.012, 0.0002, 160),
    Model("embedder", "v1.2.3", 20, 6.0, 0.0, 0.25, 0.001, 0.00002, 1),
    Model("gpt-4o", "2024-08-06", 9, 340.0, 18.0, 0.55, 0.02, 0.01, 220),
    Model("résumé-分類器", "v1.2.3-rc.1", 3, 45.0, 1.0, 0.8, 0.08, 0.0005, 12),
)
ERRORS = (
    "timeout after 30 s",
    "out of memory",
    "rate limited upstream",
    "context too long: 9214 > 8192 tokens",
)
TASKS = ("Summarise report", "Draft answer", "Tag pictures", "Translate manual")

USERS = 400
ANONYMOUS_SHARE = 0.12
SIDE_EVENT_SHARE = 0.03
CALM, BUSY = 0.5, 3.0
"""Rates relative to the mean; a fifth of the time is busy, so that the mean stays 1."""
CALM_S, BUSY_S = 8.0, 2.0


class Traffic:
    """Arrivals for ever, `rate` a second on average."""

    def __init__(self, rate: float, seed: int | None = None) -> None:
        """The same seed gives the same arrivals."""
        self._dice = random.Random(seed)
        self._rate = rate
        self._users = [str(1000 + n) for n in range(USERS)]
        self._user_weights = list(itertools.accumulate(1 / rank for rank in range(1, USERS + 1)))
        self._requests = itertools.count(1)
        self._tasks = itertools.count(1)
        self._training_step = 0

    def __iter__(self) -> Iterator[Arrival]:
        """Yields one arrival after the other."""
        for at_s in self._times():
            if self._dice.random() < SIDE_EVENT_SHARE:
                yield Arrival(at_s, *self._side_event())
            else:
                yield Arrival(at_s, "inference-events", self.inference())

    def _times(self) -> Iterator[float]:
        now = 0.0
        for relative, mean_s in itertools.cycle(((CALM, CALM_S), (BUSY, BUSY_S))):
            ends = now + self._dice.expovariate(1 / mean_s)
            while (following := now + self._dice.expovariate(self._rate * relative)) < ends:
                now = following
                yield now
            now = ends

    def inference(self, tokens: int | None = None) -> dict[str, Any]:
        """One request to a model; where `tokens` are given it is one of so many that did not fail."""
        dice = self._dice
        model = dice.choices(MODELS, [model.share for model in MODELS])[0]
        failed = tokens is None and dice.random() < model.failure_rate
        if tokens is None:
            tokens = max(1, round(dice.lognormvariate(0, 0.8) * model.answer_tokens))
        latency_ms = (model.latency_ms + model.ms_per_token * tokens) * dice.lognormvariate(0, model.spread)
        event: dict[str, Any] = {
            "event": "inference-failed" if failed else "inference-complete",
            "model_name": model.name,
            "version": model.version,
            "user_id": self._user(),
            "request_id": f"req_{next(self._requests)}",
            "latency_ms": round(latency_ms, 3),
            "success": not failed,
        }
        if failed:
            return event | {"error": dice.choice(ERRORS)}
        return event | {
            "tokens_used": tokens,
            "cost": round(tokens / 1000 * model.cost_per_1000, 8),
            "confidence": round(dice.betavariate(9, 1.4), 4),
        }

    def _user(self) -> str | None:
        if self._dice.random() < ANONYMOUS_SHARE:
            return None
        return self._dice.choices(self._users, cum_weights=self._user_weights)[0]

    def _side_event(self) -> tuple[str, dict[str, Any]]:
        return self._dice.choices((self._task, self._model, self._training), (6, 1, 3))[0]()

    def _task(self) -> tuple[str, dict[str, Any]]:
        action = self._dice.choice(("task-created", "task-started", "task-completed", "task-failed"))
        data: dict[str, Any] = {"task_id": f"task-{next(self._tasks)}", "title": self._dice.choice(TASKS)}
        if action == "task-failed":
            data["error"] = self._dice.choice(ERRORS)
        event = {"event": action, "service": "task-orchestrator", "action": action, "user_id": self._user()}
        return "platform-events", event | {"data": data}

    def _model(self) -> tuple[str, dict[str, Any]]:
        model = self._dice.choice(MODELS)
        event = {"event": "model-status", "model_name": model.name, "version": model.version}
        return "model-events", event | {
            "status": "loaded",
            "load_time_ms": round(self._dice.uniform(200, 4000), 2),
        }

    def _training(self) -> tuple[str, dict[str, Any]]:
        self._training_step = step = self._training_step % 5000 + 100
        metrics = {"loss": round(2.5 / (1 + step / 400) + self._dice.uniform(0, 0.05), 4), "lr": 3e-05}
        event = {"event": "training-progress", "model_name": "task-classifier", "experiment_id": "exp-7"}
        return "training-events", event | {"step": step, "progress": step / 5000, "metrics": metrics}
