"""Services that change one import keep their code."""

import asyncio
import inspect
from typing import Any

import pytest

import synapse_rs
from harness.events import fields_on
from harness.redis_server import RedisServer
from synapse_rs import compat


@pytest.fixture
async def client(redis_server: RedisServer) -> Any:
    client = compat.StreamingClient(redis_host="127.0.0.1", redis_port=redis_server.port)
    await client.connect()
    yield client
    await client.disconnect()


async def take(events: Any, count: int) -> list[dict[str, Any]]:
    found = []
    async with asyncio.timeout(20):
        async for event in events:
            found.append(event)
            if len(found) == count:
                break
    await events.aclose()
    return found


def test_signatures_are_todays() -> None:
    def parameters(function: Any) -> list[str]:
        return [name for name in inspect.signature(function).parameters if name != "self"]

    client = compat.StreamingClient
    assert parameters(client)[:4] == ["redis_url", "redis_host", "redis_port", "redis_password"]
    assert parameters(client.publish) == ["topic", "event", "max_length"]
    subscribed = ["topic", "callback", "consumer_group", "consumer_name"]
    assert parameters(client.subscribe) == [*subscribed, "last_id", "block_ms"]
    assert parameters(client.subscribe_async) == subscribed


async def test_publish_gives_the_id_of_an_entry_that_is_there(
    client: compat.StreamingClient, redis_server: RedisServer
) -> None:
    event = {"event": "model-ready", "model_name": "m", "version": "1.0", "metadata": {"a": 1}, "source": "helox"}
    entry = await client.publish(compat.StreamTopics.MODEL_EVENTS, event, max_length=5)
    ((found, fields),) = redis_server.entries("model-events")
    assert found == entry
    assert (fields["metadata"], fields["source"]) == ('{"a":1}', "helox")
    assert await client.get_stream_length("model-events") == 1
    assert (await client.get_stream_info("model-events"))["length"] == 1
    with pytest.raises(synapse_rs.InvalidEvent):
        await client.publish("model-events", {"event": "model-ready", "model_name": "m"})


async def test_without_a_group_events_are_read_from_the_beginning(client: compat.StreamingClient) -> None:
    for n in range(3):
        await client.publish("things", {"event": "thing", "n": n})
    called: list[int] = []
    events = await take(client.subscribe("things", lambda event: called.append(event["n"])), 3)
    assert [event["n"] for event in events] == [0, 1, 2]
    assert called == [0, 1]


async def test_in_a_group_a_callback_that_fails_gets_its_event_again(client: compat.StreamingClient) -> None:
    for n in range(3):
        await client.publish("things", {"event": "thing", "n": n})
    called: list[int] = []

    async def callback(event: dict[str, Any]) -> None:
        called.append(event["n"])
        if len(called) == 2:
            raise RuntimeError
        if len(called) == 4:
            client.stop()

    async with asyncio.timeout(20):
        await client.subscribe_async("things", callback, "group", "one")
    assert sorted(called) == [0, 1, 1, 2]


async def test_stop_ends_a_subscription_that_waits(client: compat.StreamingClient) -> None:
    waiting = asyncio.create_task(client.subscribe_async("things", print, "group", "one"))
    waiting_too = asyncio.create_task(client.subscribe_async("things", print))
    await client.publish("things", {"event": "thing"})
    client.stop()
    async with asyncio.timeout(20):
        await asyncio.gather(waiting, waiting_too)


async def test_cyrex_publishes_as_it_does_today(redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", redis_server.url)
    publisher = await compat.get_event_publisher()
    assert await compat.get_event_publisher() is publisher
    await publisher.publish_inference("m", "2.0", 45.2, user_id="42", tokens_used=7)
    await publisher.publish_agi_decision({"type": "scale", "action": {"n": 2}})
    await publisher.publish_model_status("m", "loading", progress=0.5)
    await publisher.publish_error(ValueError("no"), {"request": "r"})
    await publisher.publish_platform_event({"event": "login", "service": "auth", "action": "login", "data": {}})
    with synapse_rs.Publisher(redis_server.url) as helox:
        helox.publish_model_ready(model_name="m", version="2")
    events = await take(publisher.subscribe_to_model_events(), 1)
    assert events[0]["event"] == "model-ready"
    await compat.shutdown_event_publisher()
    (inference,) = fields_on(redis_server, "inference-events")
    assert {"source": "cyrex", "success": "true", "latency_ms": "45.2", "user_id": "42"}.items() <= inference.items()
    assert fields_on(redis_server, "agi-decisions")[0]["decision_type"] == "scale"
    assert fields_on(redis_server, "error-events")[0]["error_type"] == "ValueError"
    names = [fields["event"] for fields in fields_on(redis_server, "model-events")]
    assert sorted(names) == ["model-ready", "model-status"]
    assert len(fields_on(redis_server, "platform-events")) == 1
