"""An event on a stream reaches exactly those clients that may see it, in order, once, whatever they speak."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING, Any

import pytest

import synapse_rs
from harness.audience import SOCKET_IO_NAMES, STREAMS, Viewer, visible
from harness.client import EventSource, NodeSocketIo, PythonSocketIo, SocketIoClient, WebSocket
from harness.gateway import Gateway
from harness.publishing import add_markers, add_raw_entries, arrivals, is_invalid
from harness.tokens import SECRET, token

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from cyrex.traffic import Arrival
    from harness.client import Client
    from harness.redis_server import RedisServer

BUSY_USER = "1000"
"""The user who asks most in the made-up traffic."""
KINDS: tuple[type[NodeSocketIo | PythonSocketIo | WebSocket | EventSource], ...] = (
    NodeSocketIo,
    PythonSocketIo,
    WebSocket,
    EventSource,
)
PATIENCE_S = 90.0


def with_keys() -> dict[Viewer, dict[str, Any]]:
    """Viewers and the credentials that make them so, where the gateway has a key."""
    return {
        Viewer(): {},
        Viewer(user="42"): {"token": token("42")},
        Viewer(user=BUSY_USER, organisation="acme"): {"token": token(BUSY_USER, organisation="acme")},
        Viewer(user="dashboard", everything=True): {"token": token("dashboard", scope="events:all")},
    }


def without_keys() -> dict[Viewer, dict[str, Any]]:
    """Viewers by their own word; without a key everyone sees what is for `events:all`."""
    return {
        Viewer(everything=True): {},
        Viewer(user=BUSY_USER, everything=True): {"userId": BUSY_USER},
    }


def publish(url: str, traffic: Iterable[Arrival]) -> None:
    """Publishes all of it as Cyrex does, as fast as it goes."""
    with synapse_rs.Publisher(url, source="cyrex") as publisher:
        for arrival in traffic:
            publisher.publish(arrival.stream, arrival.event)
        publisher.flush(timeout=30)


@pytest.mark.timeout(240)
@pytest.mark.parametrize(
    ("settings", "viewers"),
    [({"JWT_SECRET": SECRET}, with_keys()), ({}, without_keys())],
    ids=["with a key", "without a key"],
)
def test_each_client_of_each_replica_gets_exactly_what_it_may_see(
    redis_server: RedisServer,
    until_end: Callable[[Any], Any],
    settings: dict[str, str],
    viewers: dict[Viewer, dict[str, Any]],
) -> None:
    replicas = [until_end(Gateway(redis_server.url, settings)) for _ in range(2)]
    clients: list[tuple[Viewer, Client]] = [
        (viewer, until_end(kind(replica, credentials)))
        for replica in replicas
        for kind in KINDS
        for viewer, credentials in viewers.items()
    ]
    for _, client in clients:
        client.connected()

    traffic = arrivals()
    add_raw_entries(redis_server)
    publish(redis_server.url, traffic)
    markers = add_markers(redis_server, "the-end")

    entries = {
        stream: [(id_, fields) for id_, fields in redis_server.entries(stream) if not is_invalid(fields)]
        for stream in STREAMS
    }
    assert sum(map(len, entries.values())) > len(traffic)
    payloads: dict[str, dict[str, Any]] = {}
    for viewer, client in clients:
        expected = {stream: ids for stream, ids in visible(viewer, entries).items() if ids}
        client.wait_for_ids([id_ for stream, id_ in markers.items() if stream in expected], PATIENCE_S)
        assert client.ids() == expected, f"{client} as {viewer}"
        for event in client.events():
            name = event.pop("_name")
            of_its_stream = isinstance(client, SocketIoClient | EventSource)
            assert name == (SOCKET_IO_NAMES[event["stream"]] if of_its_stream else event["event"])
            assert payloads.setdefault(event["stream"] + event["id"], event) == event, "one payload for every protocol"


def test_a_payload_is_the_event_that_was_published(gateway: Gateway, redis_server: RedisServer) -> None:
    traffic = arrivals()[:200]
    with WebSocket(gateway) as client, synapse_rs.Publisher(redis_server.url, source="cyrex") as publisher:
        client.connected()
        broadcast = [{**arrival.event, "user_id": None} for arrival in traffic]
        for arrival, event in zip(traffic, broadcast, strict=True):
            publisher.publish(arrival.stream, event)
        publisher.flush(timeout=10)
        ids = [id_ for id_, _ in redis_server.entries("inference-events")]
        client.wait_for_ids(ids)
        received = {event["request_id"]: event for event in client.events() if event["stream"] == "inference-events"}

    for published in (event for event in broadcast if "request_id" in event):
        payload = received[published["request_id"]]
        said = {field: value for field, value in published.items() if value is not None}
        assert {field: payload[field] for field in said} == said
        assert {field: type(payload[field]) for field in said} == {field: type(value) for field, value in said.items()}
        assert payload["source"] == "cyrex"
        assert len(payload["event_id"]) == 36
        assert payload["timestamp"].endswith("Z")


def test_entries_of_every_dialect_arrive_decoded(gateway: Gateway, redis_server: RedisServer) -> None:
    with NodeSocketIo(gateway, {"userId": "42"}) as client:
        client.connected()
        add_raw_entries(redis_server)
        markers = add_markers(redis_server, "the-end")
        client.wait_for_ids(list(markers.values()))
        events = client.events()

    def one(**fields: object) -> dict[str, Any]:
        found = [event for event in events if fields.items() <= event.items()]
        assert len(found) == 1, f"{fields}: {found}"
        return found[0]

    failed = one(request_id="req_2")
    assert failed["success"] is False
    assert failed["latency_ms"] == 3021.5
    assert failed["version"] == "1"
    assert failed["timestamp"] == "2026-11-23T09:04:54.440692Z"
    assert failed["event_id"] == f"inference-events/{failed['id']}"
    assert one(action="user-login")["data"] == {"user_id": "42", "ip": "203.0.113.9", "ok": True}
    assert one(event="task-created")["data"]["metadata"] == {"tags": ["a", "b"], "nested": {"n": 1.5}}
    assert one(model_name="résumé-分類器", event="inference-complete")["success"] is True
    assert one(event="training-progress")["metrics"] == {"loss": 0.4312, "lr": 3e-05, "tokens": [1, 2, 3]}
    assert one(event="model-ready")["registry_path"] == "s3://mlflow-artifacts/models/task-classifier/2.0"
    envelope = one(timestamp="2026-05-01T10:00:00.123456Z")
    assert (envelope["event"], envelope["source"], envelope["user_id"]) == ("inference-complete", "cyrex", "42")
    assert "payload" not in envelope


def test_an_entry_is_readable_in_redis_cli(redis_server: RedisServer) -> None:
    with synapse_rs.Publisher(redis_server.url, source="cyrex") as publisher:
        publisher.publish_inference(
            model_name="llama3:8b", version="2.0", latency_ms=45, user_id="007", tokens_used=123, success=True
        )
        publisher.flush(timeout=5)
    question = ["redis-cli", "-p", str(redis_server.port), "XREVRANGE", "inference-events", "+", "-", "COUNT", "1"]
    lines = subprocess.run(question, check=True, capture_output=True, text=True).stdout.splitlines()[1:]
    fields = dict(zip(lines[::2], lines[1::2], strict=True))
    assert fields.pop("timestamp").endswith("Z")
    assert len(fields.pop("event_id")) == 36
    assert fields == {
        "event": "inference-complete",
        "model_name": "llama3:8b",
        "version": "2.0",
        "latency_ms": "45.0",
        "user_id": "007",
        "tokens_used": "123",
        "success": "true",
        "source": "cyrex",
    }
