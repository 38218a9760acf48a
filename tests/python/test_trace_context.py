"""Events carry the current span of OpenTelemetry, where the process uses it."""

import asyncio
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags

import synapse_rs
from harness.events import STREAM, fields_on, inference
from harness.redis_server import RedisServer

TRACER = TracerProvider().get_tracer("tests")
OWN = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def expected(span: trace.Span) -> str:
    context = span.get_span_context()
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"


WAYS: dict[str, Callable[[synapse_rs.Publisher], Any]] = {
    "publish": lambda publisher: publisher.publish(STREAM, inference()),
    "send": lambda publisher: publisher.send(STREAM, inference()),
    "publish_many": lambda publisher: publisher.publish_many(STREAM, [inference()]),
    "publish_inference": lambda publisher: publisher.publish_inference(model_name="m", version="1", latency_ms=1.0),
}


@pytest.mark.parametrize("way", WAYS)
def test_the_current_span_goes_with_the_event(redis_server: RedisServer, way: str) -> None:
    with synapse_rs.Publisher(redis_server.url) as publisher:
        WAYS[way](publisher)
        with TRACER.start_as_current_span("outer"), TRACER.start_as_current_span("inner") as span:
            WAYS[way](publisher)
        WAYS[way](publisher)
    assert [e.get("traceparent") for e in fields_on(redis_server)] == [None, expected(span), None]


async def test_each_task_has_its_own_span(redis_server: RedisServer) -> None:
    async with synapse_rs.Publisher(redis_server.url) as publisher:

        async def work(n: int) -> str:
            with TRACER.start_as_current_span("work") as span:
                await asyncio.sleep(0)
                await publisher.publish_async(STREAM, inference(n=n))
                return expected(span)

        spans = await asyncio.gather(*(work(n) for n in range(10)))
    assert {int(e["n"]): e["traceparent"] for e in fields_on(redis_server)} == dict(enumerate(spans))
    assert len(set(spans)) == 10


def test_an_event_keeps_the_traceparent_that_it_has(redis_server: RedisServer) -> None:
    with synapse_rs.Publisher(redis_server.url) as publisher, TRACER.start_as_current_span("span") as span:
        publisher.publish(STREAM, inference(traceparent=OWN))
        publisher.publish_training(model_name="m", traceparent=OWN)
        publisher.publish(STREAM, inference(traceparent=None))
    assert [e["traceparent"] for e in fields_on(redis_server)] == [OWN, expected(span)]
    assert [e["traceparent"] for e in fields_on(redis_server, "training-events")] == [OWN]


def test_small_numbers_keep_their_length_and_an_invalid_span_is_none(redis_server: RedisServer) -> None:
    def span(trace_id: int) -> trace.Span:
        return NonRecordingSpan(SpanContext(trace_id, 2, is_remote=True, trace_flags=TraceFlags(0)))

    with synapse_rs.Publisher(redis_server.url) as publisher:
        for trace_id in (1, 0):
            with trace.use_span(span(trace_id)):
                publisher.publish(STREAM, inference())
    traceparent = f"00-{1:032x}-{2:016x}-00"
    assert [e.get("traceparent") for e in fields_on(redis_server)] == [traceparent, None]


def test_a_broken_tracer_is_no_reason_not_to_publish(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> trace.Span:
        raise RuntimeError("no span")

    monkeypatch.setattr(trace, "get_current_span", broken)
    with synapse_rs.Publisher(redis_server.url) as publisher:
        publisher.publish(STREAM, inference())
    assert len(fields_on(redis_server)) == 1


def test_the_consumer_has_it_as_a_field(redis_server: RedisServer) -> None:
    async def first() -> synapse_rs.Event:
        async for event in synapse_rs.tail(redis_server.url, [STREAM], after="0"):
            return event
        raise AssertionError

    with synapse_rs.Publisher(redis_server.url) as publisher, TRACER.start_as_current_span("span") as span:
        publisher.publish(STREAM, inference())
    assert asyncio.run(first())["traceparent"] == expected(span)


def test_opentelemetry_is_never_imported(redis_server: RedisServer) -> None:
    program = (
        "import sys, synapse_rs\n"
        "with synapse_rs.Publisher(sys.argv[1]) as publisher:\n"
        "    publisher.publish('things', {'event': 'thing'})\n"
        "sys.exit(any(name.startswith('opentelemetry') for name in sys.modules))\n"
    )
    subprocess.run([sys.executable, "-c", program, redis_server.url], check=True, timeout=30)
