"""The demo's traffic: the same for a seed, as fast as asked, and shaped like real traffic."""

from __future__ import annotations

import itertools
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from cyrex import trace
from cyrex.traffic import MODELS, Traffic

if TYPE_CHECKING:
    from pathlib import Path

    from cyrex.traffic import Arrival

HEADER = "TIMESTAMP,ContextTokens,GeneratedTokens\n"


def first(count: int, rate: float = 100.0, seed: int = 1) -> list[Arrival]:
    return list(itertools.islice(Traffic(rate, seed), count))


def test_a_seed_makes_the_same_traffic() -> None:
    assert first(500) == first(500)
    assert first(500) != first(500, seed=2)


@pytest.mark.parametrize("rate", [10.0, 1000.0])
def test_the_rate_is_the_mean_of_calm_and_busy_times(rate: float) -> None:
    arrivals = first(40_000, rate)
    assert arrivals[-1].at_s == pytest.approx(40_000 / rate, rel=0.25)
    per_second = Counter(int(arrival.at_s) for arrival in arrivals)
    assert max(per_second.values()) > 1.5 * rate, "there are bursts"


def test_arrivals_are_in_order_of_time() -> None:
    times = [arrival.at_s for arrival in first(5_000)]
    assert times == sorted(times)


def test_it_has_failures_anonymous_requests_busy_users_and_all_models() -> None:
    inferences = [arrival.event for arrival in first(20_000) if arrival.stream == "inference-events"]
    assert {event["model_name"] for event in inferences} == {model.name for model in MODELS}
    assert 0.005 < sum(not event["success"] for event in inferences) / len(inferences) < 0.03
    users = Counter(event["user_id"] for event in inferences)
    assert 0.1 < users[None] / len(inferences) < 0.15
    assert users["1000"] > 5 * users["1099"]
    assert all(event["success"] == (event["event"] == "inference-complete") for event in inferences)


def test_other_streams_get_something_now_and_then() -> None:
    streams = Counter(arrival.stream for arrival in first(20_000))
    assert set(streams) == {"inference-events", "platform-events", "model-events", "training-events"}


def test_a_trace_gives_one_completed_inference_per_row(tmp_path: Path) -> None:
    file = tmp_path / "trace.csv"
    file.write_text(HEADER + "2023-11-16 18:17:03.9799600,4808,10\n2023-11-16 18:17:04.0319600,3180,8\n")
    arrivals = list(trace.read(file))
    assert [arrival.at_s for arrival in arrivals] == pytest.approx([0.0, 0.052])
    assert [arrival.event["tokens_used"] for arrival in arrivals] == [4818, 3188]
    assert {arrival.event["event"] for arrival in arrivals} == {"inference-complete"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n1,2\n", "no column TIMESTAMP"),
        (HEADER + "yesterday,1,2\n", "line 2: time data"),
        (HEADER + "2023-11-16 18:17:03.9799600,4808\n", "line 2: int()"),
    ],
)
def test_a_file_that_is_no_trace_is_refused_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "trace.csv"
    file.write_text(text)
    with pytest.raises(trace.InvalidTrace) as raised:
        list(trace.read(file))
    assert message in str(raised.value)
    assert str(file) in str(raised.value)
