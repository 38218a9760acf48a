"""Analytics: whatever ends meanwhile, no event is missing from the store and none is in it twice."""

from __future__ import annotations

import random
import signal
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from harness.analytics import GROUP, TRAINING, Analytics, append, wait_until_settled
from harness.events import STREAM, inference
from harness.point_server import InfluxDb, PointServer, VictoriaMetrics
from harness.process import Process
from harness.service import binary
from harness.wait import eventually

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from harness.redis_server import RedisServer

KINDS: dict[str, type[PointServer] | None] = {
    "influxdb": InfluxDb,
    "victoria-metrics": VictoriaMetrics,
    "embedded": None,
}
TAKEN_OVER_S = 60.0
"""How long it may take until what a killed service had in hand is taken over: twice `min_idle`."""


@pytest.fixture
def influxdb(until_end: Callable[[Any], Any]) -> InfluxDb:
    """A private InfluxDB 1."""
    server: InfluxDb = until_end(InfluxDb())
    return server


def stored_values(server: PointServer | None, folder: Path) -> list[float]:
    """The tokens of each inference that is stored, sorted."""
    if server is not None:
        return server.tokens()
    with sqlite3.connect(folder / "analytics.db") as file:
        return [value for (value,) in file.execute("SELECT tokens_used FROM inference ORDER BY 1")]


@pytest.mark.timeout(900)
@pytest.mark.parametrize("kind", KINDS)
def test_kills_and_outages_lose_nothing_and_double_nothing(
    kind: str, durable_redis: RedisServer, tmp_path: Path, until_end: Callable[[Any], Any], soak: bool
) -> None:
    made = KINDS[kind]
    server = until_end(made()) if made is not None else None
    settings = {"INFLUXDB_URL": server.url} if server is not None else {}
    # VictoriaMetrics tells points of one series apart by the millisecond: there each has a series of its own.
    users = 10**9 if kind == "victoria-metrics" else 100
    service = until_end(Analytics(durable_redis.url, tmp_path, {**settings, "ANALYTICS_BATCH": "500"}))
    rounds = 10 if soak else 4
    each = 20_000 if soak else 5_000
    dice = random.Random(7)

    def write(number: int) -> None:
        numbers = range(number * each, (number + 1) * each)
        append(durable_redis, (inference(tokens_used=n, user_id=str(n % users)) for n in numbers))

    for number in range(rounds):
        with ThreadPoolExecutor(1) as pool:
            writing = pool.submit(write, number)
            some = dice.randrange(1, each // 4)
            eventually("some to be stored", lambda some=some: service.stored() >= some)  # type: ignore[misc]
            if server is not None and number % 2 == 1:
                # VictoriaMetrics answers before it has what it was sent on its disk.
                server.stop(signal.SIGTERM if kind == "victoria-metrics" else signal.SIGKILL)
                eventually("it to be missed", lambda: service.metric("synapse_analytics_store_away") == 1)
                server.start()
            service.kill()
            writing.result()
        service.start()
    wait_until_settled(durable_redis, STREAM, patience_s=TAKEN_OVER_S + 300 * soak)
    if server is None:
        (model,) = service.models()
        total = rounds * each
        assert (model["count"], model["tokens"]) == (total, total * (total - 1) // 2)
        assert service.stop() == 0
    assert stored_values(server, tmp_path) == list(range(rounds * each))
    assert durable_redis.entries(f"{STREAM}:dlq") == []


def test_an_outage_waits_and_costs_no_event(
    influxdb: InfluxDb, redis_server: RedisServer, tmp_path: Path, until_end: Callable[[Any], Any]
) -> None:
    influxdb.stop()
    service = until_end(Analytics(redis_server.url, tmp_path, {"INFLUXDB_URL": influxdb.url}))
    append(redis_server, [inference(tokens_used=n) for n in range(2_000)])
    eventually("it to be missed", lambda: service.metric("synapse_analytics_store_away") == 1)
    failures = "synapse_analytics_store_failures_total"
    eventually("some more tries", lambda: service.metric(failures, work="write") >= 4)
    assert service.get("/ready")[0] == 200
    assert service.ask("GET", "/analytics/models")[0] == 503
    figure = {"userId": "u", "metric": "m", "value": 1}
    status, answer = service.ask("POST", "/time-series/record", figure)
    assert (status, answer["code"]) == (503, "store_unavailable")
    influxdb.start()
    wait_until_settled(redis_server, STREAM)
    assert service.metric("synapse_analytics_store_away") == 0
    assert influxdb.tokens() == list(range(2_000))
    assert redis_server.entries(f"{STREAM}:dlq") == []
    assert service.tail().count("events can't be stored") == 1


def test_leaving_while_the_store_is_away_is_no_attempt(
    influxdb: InfluxDb, redis_server: RedisServer, tmp_path: Path, until_end: Callable[[Any], Any]
) -> None:
    influxdb.stop()
    append(redis_server, (inference(tokens_used=n) for n in range(100)))
    for _ in range(7):
        with Analytics(redis_server.url, tmp_path, {"INFLUXDB_URL": influxdb.url}) as service:
            eventually("it to be missed", lambda: service.metric("synapse_analytics_store_away") == 1)
            service.stop()
    with redis_server.client() as client:
        assert client.xlen(f"{STREAM}:dlq") == 0
        counts = {entry["times_delivered"] for entry in client.xpending_range(STREAM, GROUP, "-", "+", 100)}
        assert counts <= {0, 1}, counts
    influxdb.start()
    until_end(Analytics(redis_server.url, tmp_path, {"INFLUXDB_URL": influxdb.url}))
    wait_until_settled(redis_server, STREAM)
    assert influxdb.tokens() == list(range(100))


def test_one_conflicting_type_among_ten_thousand_is_one_dead_letter(
    influxdb: InfluxDb, redis_server: RedisServer, tmp_path: Path, until_end: Callable[[Any], Any]
) -> None:
    influxdb.ask("CREATE DATABASE analytics")
    append(redis_server, [{"event": "training-progress", "model_name": "m", "metrics": '{"loss": 1}'}], TRAINING)
    ((entry, _),) = redis_server.entries(TRAINING)
    # Somebody else has written a figure called `odd` as a text.
    influxdb.write(f'training_metrics,model_name=m odd="x" {entry.split("-")[0]}000000')

    def event(n: int) -> dict[str, str]:
        metrics = '{"odd": 1.5}' if n == 6_789 else f'{{"loss": {n}.5}}'
        return {"event": "training-progress", "model_name": "m", "step": str(n), "metrics": metrics}

    ids = append(redis_server, (event(n) for n in range(10_000)), TRAINING)
    until_end(Analytics(redis_server.url, tmp_path, {"INFLUXDB_URL": influxdb.url}))
    wait_until_settled(redis_server, TRAINING)
    ((_, letter),) = redis_server.entries(f"{TRAINING}:dlq")
    assert (letter["dlq_original_id"], letter["dlq_reason"]) == (ids[6_789], "refused")
    assert "field type conflict" in letter["dlq_error"]
    assert "odd" in letter["dlq_error"]
    steps = sorted(value for _, value in influxdb.points("training_metrics", "step"))
    assert steps == [n for n in range(10_000) if n != 6_789]


def test_what_can_not_be_a_sample_is_a_dead_letter_and_holds_up_nothing(
    influxdb: InfluxDb, redis_server: RedisServer, tmp_path: Path, until_end: Callable[[Any], Any]
) -> None:
    service = until_end(Analytics(redis_server.url, tmp_path, {"INFLUXDB_URL": influxdb.url}))
    too_many = str(2**64 - 1)
    ids = append(
        redis_server,
        [
            inference(tokens_used=1),
            inference(tokens_used=too_many),
            inference(replay_of="5-1000000"),
            {"event": "inference-complete", "model_name": "m", "version": "1", "latency_ms": "soon"},
            inference(tokens_used=2),
        ],
    )
    wait_until_settled(redis_server, STREAM)
    letters = {letter["dlq_original_id"]: letter for _, letter in redis_server.entries(f"{STREAM}:dlq")}
    assert set(letters) == set(ids[1:4])
    assert [letters[entry]["dlq_reason"] for entry in ids[1:4]] == ["refused", "unfit", "undecodable"]
    assert too_many in letters[ids[1]]["dlq_error"]
    assert influxdb.tokens() == [1, 2]
    assert service.metric("synapse_analytics_events_total", outcome="refused") == 1


def test_a_replay_is_the_same_point(
    influxdb: InfluxDb, redis_server: RedisServer, tmp_path: Path, until_end: Callable[[Any], Any]
) -> None:
    until_end(Analytics(redis_server.url, tmp_path, {"INFLUXDB_URL": influxdb.url}))
    ids = append(redis_server, [inference(tokens_used=n) for n in range(100)])
    append(redis_server, [inference(tokens_used=n, replay_of=entry) for n, entry in enumerate(ids)])
    wait_until_settled(redis_server, STREAM)
    assert influxdb.tokens() == list(range(100))


def test_two_replicas_share_the_work(
    influxdb: InfluxDb, durable_redis: RedisServer, tmp_path: Path, until_end: Callable[[Any], Any]
) -> None:
    settings = {"INFLUXDB_URL": influxdb.url, "ANALYTICS_BATCH": "100"}
    first, second = (until_end(Analytics(durable_redis.url, tmp_path / name, settings)) for name in "ab")
    append(durable_redis, [inference(tokens_used=n) for n in range(20_000)])
    wait_until_settled(durable_redis, STREAM)
    assert influxdb.tokens() == list(range(20_000))
    assert min(first.stored(), second.stored()) > 0
    assert first.stored() + second.stored() == 20_000


def test_a_second_process_leaves_the_file_alone(
    redis_server: RedisServer, tmp_path: Path, until_end: Callable[[Any], Any]
) -> None:
    until_end(Analytics(redis_server.url, tmp_path))
    settings = {"REDIS_URL": redis_server.url, "DATA_DIR": str(tmp_path), "PORT": "0"}
    second = until_end(Process([binary(Analytics.binary_name)], env=settings))
    assert second.wait() == 1
    assert "in use by another process" in second.tail()
