"""Lists of events: bounded, interrupted, and with errors that stay what they are."""

import itertools
import os
import signal
import threading
from typing import Any

import pytest

import synapse_rs
from harness.events import STREAM, inference

NOWHERE = "redis://127.0.0.1:1"


class Deadline(Exception):
    """Of more than one argument: it can't be made of a text."""

    def __init__(self, what: str, after: int) -> None:
        super().__init__(what, after)
        self.after = after


def test_an_endless_iterator_is_refused_at_queue_bytes() -> None:
    publisher = synapse_rs.Publisher(NOWHERE, queue_bytes=100_000)
    with pytest.raises(synapse_rs.InvalidEvent, match=r"queue_bytes, which is 100000, after .* none was published"):
        publisher.publish_many(STREAM, itertools.repeat(inference()))
    assert publisher.stats()["queued"] == 0
    publisher.close()


def test_an_exception_of_a_signals_handler_goes_on_as_it_is() -> None:
    def handler(*_: Any) -> None:
        raise error

    error = Deadline("job", 5)
    publisher = synapse_rs.Publisher(NOWHERE, queue_events=1, timeout=30)
    before = signal.signal(signal.SIGUSR1, handler)
    timer = threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGUSR1))
    timer.start()
    try:
        with pytest.raises(Deadline) as raised:
            publisher.publish_many(STREAM, [inference()] * 3)
    finally:
        signal.signal(signal.SIGUSR1, before)
    timer.join()
    assert raised.value is error
    assert error.__notes__ == ["interrupted; 1 of the 3 events were accepted"]
    with pytest.raises(synapse_rs.DeliveryError):
        publisher.close(timeout=0)


def test_encoding_a_long_list_can_be_interrupted() -> None:
    def handler(*_: Any) -> None:
        raise Deadline("list", 0)

    publisher = synapse_rs.Publisher(NOWHERE, queue_bytes=1 << 40)
    before = signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    try:
        with pytest.raises(Deadline):
            publisher.publish_many(STREAM, itertools.repeat(inference(), 2_000_000))
    finally:
        signal.signal(signal.SIGALRM, before)
    assert publisher.stats()["queued"] == 0
    publisher.close()


def test_a_full_queue_says_how_many_were_accepted() -> None:
    publisher = synapse_rs.Publisher(NOWHERE, queue_events=2, on_full="raise")
    with pytest.raises(synapse_rs.QueueFull, match="2 of the 3 events were accepted"):
        publisher.publish_many(STREAM, [inference()] * 3)
    with pytest.raises(synapse_rs.DeliveryError):
        publisher.close(timeout=0)
