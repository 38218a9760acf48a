"""Leaving `with` and `async with` by an exception: it goes on, and what closing could not send is logged."""

import asyncio
from collections.abc import Awaitable

import pytest

import synapse_rs
from harness.events import STREAM, inference

NOWHERE = "redis://127.0.0.1:1"


class Impatient(synapse_rs.Publisher):
    """Gives up at once."""

    def close(self, timeout: float = 0.0) -> None:
        super().close(timeout)

    def close_async(self, timeout: float = 0.0) -> Awaitable[None]:
        return super().close_async(timeout)


@pytest.mark.parametrize("kind", [KeyError, KeyboardInterrupt, SystemExit])
def test_the_exception_of_the_body_goes_on(kind: type[BaseException], caplog: pytest.LogCaptureFixture) -> None:
    def leave() -> None:
        with publisher:
            publisher.publish(STREAM, inference())
            raise error

    error = kind("mine")
    publisher = Impatient(NOWHERE)
    with pytest.raises(kind) as raised:
        leave()
    assert raised.value is error
    assert publisher.closed
    (record,) = [record for record in caplog.records if record.name == "synapse_rs"]
    assert record.levelname == "ERROR"
    assert "1 events are not acknowledged" in record.message


async def test_a_cancelled_body_stays_cancelled(caplog: pytest.LogCaptureFixture) -> None:
    async def wait() -> None:
        async with Impatient(NOWHERE) as publisher:
            publisher.publish(STREAM, inference())
            await asyncio.Event().wait()

    with pytest.raises(TimeoutError):
        await asyncio.wait_for(wait(), 0.05)
    assert "events were lost when a publisher was closed after CancelledError" in caplog.text


async def test_without_an_exception_what_was_not_sent_raises() -> None:
    with pytest.raises(synapse_rs.DeliveryError), Impatient(NOWHERE) as publisher:
        publisher.publish(STREAM, inference())
    with pytest.raises(synapse_rs.DeliveryError):
        async with Impatient(NOWHERE) as publisher:
            publisher.publish(STREAM, inference())
