"""Analytics: events arrive in the store as they were published, and answers are those of exact computation."""

from __future__ import annotations

import math
import os
import signal
import time
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import synapse_rs
from cyrex import trace
from cyrex.traffic import Traffic
from harness.analytics import TRAINING, Analytics, append, wait_until_settled
from harness.events import STREAM, inference
from harness.point_server import EncryptedInfluxDb, InfluxDb
from harness.schemathesis import attack
from harness.tokens import SECRET, token
from harness.wait import eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from harness.redis_server import RedisServer

SKETCH_ERROR = 0.01
"""Of the embedded store's quantiles, as docs/analytics.md states it."""


@pytest.fixture
def influxdb(until_end: Callable[[Any], Any]) -> InfluxDb:
    """A private InfluxDB 1."""
    server: InfluxDb = until_end(InfluxDb())
    return server


@pytest.fixture(params=["influxdb", "embedded"])
def store(request: pytest.FixtureRequest) -> dict[str, str]:
    """Settings that name one store or the other."""
    return {"INFLUXDB_URL": request.getfixturevalue("influxdb").url} if request.param == "influxdb" else {}


@pytest.fixture
def analytics(
    store: dict[str, str], redis_server: RedisServer, tmp_path: Path, until_end: Callable[[Any], Any]
) -> Analytics:
    """An analytics service on either store, without a key."""
    service: Analytics = until_end(Analytics(redis_server.url, tmp_path, store))
    return service


def recorded_traffic() -> list[dict[str, Any]]:
    """The events of the trace that `make test` names, or made-up ones."""
    path = os.environ.get("SYNAPSE_TRACE")
    if path and Path(path).is_file():
        return [arrival.event for arrival in trace.read(Path(path))]
    traffic = Traffic(rate=1.0, seed=1)
    return [traffic.inference(tokens) for tokens in range(1, 5_001)]


def nearest_rank(values: Sequence[float], percent: float) -> float:
    """The value that so many per cent of them do not exceed."""
    return sorted(values)[max(math.floor(len(values) * percent / 100 + 0.5), 1) - 1]


def publish(server: RedisServer, events: Sequence[dict[str, Any]]) -> None:
    """Publishes as Cyrex does."""
    with synapse_rs.Publisher(server.url, source="cyrex") as publisher:
        publisher.publish_many(STREAM, events)
        publisher.flush(timeout=30)


def test_a_recorded_trace_is_answered_exactly(analytics: Analytics, redis_server: RedisServer) -> None:
    events = recorded_traffic()
    publish(redis_server, events)
    wait_until_settled(redis_server, STREAM)
    of_model: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for event in events:
        of_model[event["model_name"], event["version"]].append(event)
    models = analytics.models()
    assert sum(model["count"] for model in models) == len(events)
    assert sum(model["tokens"] for model in models) == sum(event["tokens_used"] for event in events)
    assert {(model["model_name"], model["version"]) for model in models} == set(of_model)
    for model in models:
        own = of_model[model["model_name"], model["version"]]
        assert model["count"] == len(own)
        assert model["failures"] == sum(event["event"] == "inference-failed" for event in own)
        assert model["tokens"] == sum(event["tokens_used"] for event in own)
        assert model["cost"] == pytest.approx(sum(event.get("cost", 0) for event in own))
        latencies = [event["latency_ms"] for event in own]
        for name, percent in (("p50", 50), ("p95", 95), ("p99", 99)):
            exact = nearest_rank(latencies, percent)
            assert model["latency_ms"][name] == pytest.approx(exact, rel=SKETCH_ERROR * 1.000001), (model, name)
    eventually("that to be told", lambda: "Received inference event" in analytics.tail())


def test_a_recorded_trace_arrives_in_influxdb(
    influxdb: InfluxDb, redis_server: RedisServer, tmp_path: Path, until_end: Callable[[Any], Any]
) -> None:
    until_end(Analytics(redis_server.url, tmp_path, {"INFLUXDB_URL": influxdb.url}))
    events = recorded_traffic()
    publish(redis_server, events)
    wait_until_settled(redis_server, STREAM)
    figures = "COUNT(latency_ms), SUM(tokens_used), PERCENTILE(latency_ms, 99)"
    (series,) = influxdb.ask(f"SELECT {figures} FROM inference_metrics")
    _, count, tokens, p99 = series["values"][0]
    assert count == len(events)
    assert tokens == sum(event["tokens_used"] for event in events)
    assert p99 == nearest_rank([event["latency_ms"] for event in events], 99)
    # A point's time is its entry's id, and the event's own time stands beside it.
    ids = [entry for entry, _ in redis_server.entries(STREAM)]
    times = [time for time, _ in influxdb.points("inference_metrics", "latency_ms")]
    parts = [entry.split("-") for entry in ids]
    assert sorted(times) == sorted(int(ms) * 1_000_000 + int(sequence) for ms, sequence in parts)
    delays = [time - event for time, event in influxdb.points("inference_metrics", "event_time")]
    assert all(0 <= delay + 2_000_000_000 < 60_000_000_000 for delay in delays)


def test_all_dialects_and_older_names_are_stored(analytics: Analytics, redis_server: RedisServer) -> None:
    append(
        redis_server,
        [
            {"created": "1"},
            {"event": "inference-complete", "model_name": "m", "version": "1.0", "latency_ms": "5", "success": "False"},
            {
                "event_type": "inference-complete",
                "sender": "x",
                "payload": '{"model_name": "m", "version": "1.0", "latency_ms": 7, "tokens_used": 3}',
            },
            {"event": "inference-started", "model_name": "m"},
        ],
    )
    append(redis_server, [{"event": "training.completed", "model_name": "m", "metrics": '{"loss": 0.5}'}], TRAINING)
    wait_until_settled(redis_server, STREAM, TRAINING)
    (model,) = analytics.models()
    assert (model["version"], model["count"], model["failures"], model["tokens"]) == ("1.0", 2, 1, 3)
    assert model["failure_rate"] == 0.5
    status, history = analytics.ask("GET", "/analytics/training?experiment_id=none&model_name=m")
    assert (status, history["found_by"], history["latest"]["status"]) == (200, "model_name", "complete")
    assert history["latest"]["metrics"] == {"loss": 0.5}
    assert analytics.metric("synapse_analytics_events_total", outcome="ignored") == 1


def test_a_series_has_steps(analytics: Analytics, redis_server: RedisServer) -> None:
    append(redis_server, [inference(latency_ms=float(n), tokens_used=n) for n in range(1, 101)])
    wait_until_settled(redis_server, STREAM)
    status, answer = analytics.ask("GET", "/analytics/models/m?window=10m&step=1m")
    assert status == 200
    assert sum(point["count"] for point in answer["points"]) == 100
    assert sum(point["tokens"] for point in answer["points"]) == 5_050
    assert answer["step_s"] == 60
    assert all(answer["from"] <= point["start"] < answer["to"] for point in answer["points"])
    assert analytics.ask("GET", "/analytics/models/nobody?window=10m")[1]["points"] == []


def test_training_is_followed_by_its_experiment(analytics: Analytics, redis_server: RedisServer) -> None:
    append(
        redis_server,
        [
            {
                "event": "training-progress",
                "model_name": "m",
                "experiment_id": "exp 1",
                "status": "running",
                "step": str(n),
                "progress": str(n / 50),
                "metrics": f'{{"loss": {1 / (n + 1)}, "step": {n * 2}, "lr": {{"now": 1}}}}',
            }
            for n in range(50)
        ],
        TRAINING,
    )
    wait_until_settled(redis_server, TRAINING)
    status, history = analytics.ask("GET", "/analytics/training?experiment_id=exp%201&limit=10")
    assert (status, history["truncated"], len(history["points"])) == (200, True, 10)
    assert [point["step"] for point in history["points"]] == list(range(40, 50))
    assert history["latest"] == history["points"][-1]
    assert history["latest"]["metrics"] == {"loss": 1 / 50, "step": 98.0}
    assert history["latest"]["progress"] == 49 / 50


def test_figures_are_recorded_and_given_as_of_old(analytics: Analytics) -> None:
    def record(value: Any, **tags: str) -> None:
        body = {"userId": "ü 1", "metric": "focus, deep", "value": value, "tags": tags}
        assert analytics.ask("POST", "/time-series/record", body) == (200, {"success": True})

    now = datetime.now(UTC)
    record(1)
    record("3")
    record(10, app="x y")
    between = f"startTime={(now - timedelta(hours=2)).isoformat()}&endTime={(now + timedelta(minutes=5)).isoformat()}"
    between = between.replace("+00:00", "Z")
    path = f"/time-series/%C3%BC%201?metric=focus,%20deep&{between}"
    status, rows = analytics.ask("GET", path)
    assert status == 200
    # An hour may have ended in between.
    untagged = [row for row in rows if "tags" not in row]
    assert {row["field"] for row in rows} == {"value"}
    assert untagged[-1]["value"] in (2.0, 3.0)
    assert [row["value"] for row in rows if row.get("tags") == {"app": "x y"}] == [10.0]
    assert analytics.ask("GET", path.replace("%C3%BC%201", "other")) == (200, [])
    for path, said in (
        ("/time-series/u?metric=m", "startTime"),
        (f"/time-series/u?{between}", "metric"),
        ("/time-series/u?metric=m&startTime=x&endTime=y", "startTime"),
        ("/time-series/u?metric=m&startTime=2026-01-02&endTime=2026-01-01", "endTime"),
    ):
        status, answer = analytics.ask("GET", path)
        assert (status, answer["field"], answer["code"]) == (400, said, "invalid_request")
        assert said in answer["error"]
    status, answer = analytics.ask("POST", "/time-series/record", {"userId": "u", "metric": "m"})
    assert (status, answer["field"]) == (400, "value")


def test_users_act_for_themselves_and_services_by_scope(
    redis_server: RedisServer, tmp_path: Path, until_end: Callable[[Any], Any]
) -> None:
    service = until_end(Analytics(redis_server.url, tmp_path, {"JWT_SECRET": SECRET}))

    def asks(who: str | None, method: str, path: str, body: Any = None) -> int:
        headers = {} if who is None else {"Authorization": f"Bearer {who}"}
        status: int = service.ask(method, path, body, headers)[0]
        return status

    reader, recorder, user = token(scope="analytics:read"), token(scope="events:publish"), token("u")
    figure = {"userId": "u", "metric": "m", "value": 1}
    series = "/time-series/u?metric=m&startTime=2026-01-01&endTime=2026-01-02"
    assert [asks(who, "GET", "/analytics/models") for who in (reader, user, None)] == [200, 403, 401]
    assert [asks(who, "GET", "/analytics/models/m") for who in (reader, recorder)] == [200, 403]
    assert [asks(who, "GET", "/analytics/training?model_name=m") for who in (reader, user)] == [200, 403]
    assert [asks(who, "GET", series) for who in (user, reader, token("other"), recorder)] == [200, 200, 403, 403]
    recording = [asks(who, "POST", "/time-series/record", figure) for who in (user, recorder, token("other"), reader)]
    assert recording == [200, 200, 403, 403]


def test_backfill_stores_what_is_not_there_and_is_harmless_to_repeat(
    influxdb: InfluxDb, redis_server: RedisServer, tmp_path: Path, until_end: Callable[[Any], Any]
) -> None:
    service = until_end(Analytics(redis_server.url, tmp_path, {"INFLUXDB_URL": influxdb.url}))
    ids = append(redis_server, [inference(tokens_used=n) for n in range(3_000)])
    wait_until_settled(redis_server, STREAM)
    influxdb.ask("DROP SERIES FROM inference_metrics")
    ran = service.backfill("--from", ids[1_000], "--to", ids[1_999], "--stream", STREAM)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout == "1,000 events of inference-events stored, 0 of other kinds passed over\n"
    assert influxdb.tokens() == list(range(1_000, 2_000))
    for _ in range(2):
        ran = service.backfill("--from", "1h")
        assert ran.returncode == 0, ran.stderr
        assert "3,000 events of inference-events stored" in ran.stdout
        assert influxdb.tokens() == list(range(3_000))
    redis_server.add(STREAM, {"event": "inference-complete", "model_name": "m"})
    ran = service.backfill("--from", ids[-1])
    assert ran.returncode == 1
    assert "is not stored: " in ran.stdout
    assert "version" in ran.stdout
    for flags, said in ((("--from", "soon"), "--from"), (("--stream", "model-events"), "STREAM")):
        ran = service.backfill(*flags)
        assert (ran.returncode, said in ran.stderr) == (64, True), ran


def test_a_backfill_that_is_broken_off_says_how_to_go_on(
    influxdb: InfluxDb, redis_server: RedisServer, tmp_path: Path, until_end: Callable[[Any], Any]
) -> None:
    service = until_end(Analytics(redis_server.url, tmp_path, {"INFLUXDB_URL": influxdb.url, "ANALYTICS_BATCH": "100"}))
    append(redis_server, [inference(tokens_used=n) for n in range(20_000)])
    wait_until_settled(redis_server, STREAM)
    influxdb.ask("DROP SERIES FROM inference_metrics")
    running = until_end(service.begin_backfill("--stream", STREAM))
    eventually("some of it", lambda: influxdb.ask("SELECT COUNT(tokens_used) FROM inference_metrics"))
    assert running.stop(signal.SIGINT) == 1
    flags = next(line.strip() for line in running.log if "synapse-analytics backfill --from" in line).split()[2:]
    ran = service.backfill(*flags)
    assert ran.returncode == 0, ran
    assert influxdb.tokens() == list(range(20_000))


def test_backfill_leaves_a_file_alone_that_the_service_works_on(
    redis_server: RedisServer, tmp_path: Path, until_end: Callable[[Any], Any]
) -> None:
    service = until_end(Analytics(redis_server.url, tmp_path))
    append(redis_server, [inference(tokens_used=n) for n in range(100)])
    wait_until_settled(redis_server, STREAM)
    ran = service.backfill()
    assert ran.returncode == 1
    assert "in use by another process" in ran.stderr
    assert service.stop() == 0
    ran = service.backfill()
    assert ran.returncode == 0, ran.stderr
    service.start()
    (model,) = service.models()
    assert (model["count"], model["tokens"]) == (100, 4_950)


def rss_mib(pid: int) -> float:
    """How much memory a process has."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1]) / 1024


@pytest.mark.timeout(300)
def test_many_users_cost_no_memory(analytics: Analytics, redis_server: RedisServer) -> None:
    def serve(count: int) -> float:
        append(redis_server, [inference(user_id=f"user-{n % 10_000}") for n in range(count)])
        wait_until_settled(redis_server, STREAM, patience_s=60)
        return rss_mib(analytics.pid)

    first, last = serve(20_000), serve(60_000)
    assert last < 250, f"{first} MiB, then {last} MiB"
    assert last - first < 64, f"{first} MiB, then {last} MiB"


def test_a_server_behind_tls_takes_points_if_its_certificate_is_trusted(
    redis_server: RedisServer, tmp_path: Path, until_end: Callable[[Any], Any]
) -> None:
    server = until_end(EncryptedInfluxDb())
    publish(redis_server, [inference(tokens_used=n) for n in range(10)])
    settings = {"INFLUXDB_URL": server.url}
    with Analytics(redis_server.url, tmp_path, settings) as service:
        eventually("the reason to be told", lambda: "UnknownIssuer" in service.tail())
        service.stop()
    until_end(Analytics(redis_server.url, tmp_path, {**settings, "SSL_CERT_FILE": str(server.certificate)}))
    wait_until_settled(redis_server, STREAM)
    assert server.tokens() == list(range(10))


@pytest.mark.timeout(1_100)
def test_analytics_answers_as_it_says(
    store: dict[str, str], redis_server: RedisServer, tmp_path: Path, until_end: Callable[[Any], Any], soak: bool
) -> None:
    service = until_end(Analytics(redis_server.url, tmp_path, {"JWT_SECRET": SECRET, **store}))
    publish(redis_server, [inference(model_name="0") for _ in range(10)])
    scopes = "analytics:read events:publish"
    header = f"Authorization: Bearer {token('tester', scope=scopes, expires_in_s=3_600)}"
    # Some parameters belong together, which a description can't say.
    attack(service, 1_000 if soak else 60, "--header", header, "--exclude-checks", "positive_data_acceptance")


def test_leaving_finishes_what_is_in_hand(
    influxdb: InfluxDb, redis_server: RedisServer, tmp_path: Path, until_end: Callable[[Any], Any]
) -> None:
    service = until_end(Analytics(redis_server.url, tmp_path, {"INFLUXDB_URL": influxdb.url, "ANALYTICS_BATCH": "50"}))
    append(redis_server, [inference(tokens_used=n) for n in range(5_000)])
    eventually("some to be stored", lambda: service.stored() > 100)
    began = time.monotonic()
    assert service.stop() == 0, service.tail()
    assert time.monotonic() - began < 6
    with redis_server.client() as client:
        (group,) = client.xinfo_groups(STREAM)
        stored = len(influxdb.tokens())
        left = [entry["message_id"] for entry in client.xpending_range(STREAM, group["name"], "-", "+", 10_000)]
        # What was read and not stored has been given back: nobody has to wait for it.
        assert stored + len(left) + group["lag"] == 5_000
    service.start()
    wait_until_settled(redis_server, STREAM, patience_s=20)
    assert influxdb.tokens() == list(range(5_000))
