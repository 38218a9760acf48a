"""What the native module has to say comes through Python's `logging`, and costs nobody anything."""

import asyncio
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

import synapse_rs
from harness.events import STREAM, fields_on, inference
from harness.redis_server import RedisServer
from harness.wait import eventually

AWAY = "redis takes no events for now"
BACK = "publishing again"


@pytest.fixture
def away(redis_server: RedisServer) -> Iterator[synapse_rs.Publisher]:
    """A publisher with an event that Redis, which does not run, is to get."""
    redis_server.stop()
    publisher = synapse_rs.Publisher(redis_server.url)
    publisher.publish(STREAM, inference())
    yield publisher
    redis_server.start()
    publisher.close()


def test_a_warning_says_once_that_redis_is_away(
    away: synapse_rs.Publisher, redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    eventually("it has tried several times", lambda: away.stats()["lost_connections"] > 2)
    (record,) = [record for record in caplog.records if AWAY in record.message]
    assert (record.levelname, record.name) == ("WARNING", "synapse_rs.publisher")
    assert record.filename == "stats.rs"
    assert f"[reason=redis at {redis_server.url}/0: connection refused" in record.message


def test_information_comes_where_it_is_wanted(redis_server: RedisServer, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="synapse_rs"):
        redis_server.stop()
        with synapse_rs.Publisher(redis_server.url) as publisher:
            publisher.publish(STREAM, inference())
            eventually("redis is missed", lambda: AWAY in caplog.text)
            redis_server.start()
            eventually("it is said to be back", lambda: BACK in caplog.text)


def has_lost_more_than(publisher: synapse_rs.Publisher, connections: int) -> bool:
    return publisher.stats()["lost_connections"] > connections


def test_loggers_decide_what_comes(
    redis_server: RedisServer, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    logger = logging.getLogger("synapse_rs.publisher")
    monkeypatch.setattr(logger, "disabled", True)
    publisher = synapse_rs.Publisher(redis_server.url)
    for is_disabled in (True, False):
        logger.disabled = is_disabled
        redis_server.stop()
        before = publisher.stats()["lost_connections"]
        publisher.publish(STREAM, inference())
        eventually("redis is missed", partial(has_lost_more_than, publisher, before + 1))
        redis_server.start()
        publisher.flush(timeout=20)
    publisher.close()
    eventually("a warning that was wanted came", lambda: AWAY in caplog.text)
    assert caplog.text.count(AWAY) == 1


async def test_what_consumers_say_comes_too(redis_server: RedisServer, caplog: pytest.LogCaptureFixture) -> None:
    async with synapse_rs.Consumer(redis_server.url, group="g", streams=["a"], min_idle=1.0):
        redis_server.stop()
        await asyncio.to_thread(eventually, "reading stopped", lambda: "reading stopped" in caplog.text)
        redis_server.start()
    (record,) = [record for record in caplog.records if "reading stopped" in record.message]
    assert (record.levelname, record.name) == ("WARNING", "synapse_rs.consumer")


async def test_what_is_finer_is_made_only_where_it_is_wanted(
    redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    said = "could not be renewed"
    with caplog.at_level(logging.DEBUG, logger="synapse_rs.consumer"):
        async with synapse_rs.Consumer(redis_server.url, group="g", streams=["a"], min_idle=1.0):
            redis_server.stop()
            await asyncio.to_thread(eventually, "it is said", lambda: said in caplog.text)
            redis_server.start()
    (record, *_) = [record for record in caplog.records if said in record.message]
    assert (record.levelname, record.name) == ("DEBUG", "synapse_rs.consumer")


class FailingOnce(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)
        if len(self.records) == 1:
            raise RuntimeError("can't write")

    def has_seen(self, count: int) -> bool:
        return len(self.records) == count


class Blocking(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.called, self.go_on = threading.Event(), threading.Event()

    def emit(self, _: logging.LogRecord) -> None:
        self.called.set()
        self.go_on.wait(30)


@pytest.fixture
def blocking() -> Iterator[Blocking]:
    handler, logger = Blocking(), logging.getLogger("synapse_rs.publisher")
    logger.addHandler(handler)
    yield handler
    handler.go_on.set()
    logger.removeHandler(handler)


def test_a_handler_that_hangs_holds_up_no_event(
    away: synapse_rs.Publisher, redis_server: RedisServer, blocking: Blocking
) -> None:
    assert blocking.called.wait(30)
    redis_server.start()
    away.flush(timeout=20)
    assert len(fields_on(redis_server)) == 1


def test_a_handler_that_fails_does_not_end_the_log(capsys: pytest.CaptureFixture[str]) -> None:
    handler, logger = FailingOnce(), logging.getLogger("synapse_rs.publisher")
    logger.addHandler(handler)
    try:
        for count in (1, 2):
            publisher = synapse_rs.Publisher("redis://127.0.0.1:1")
            publisher.publish(STREAM, inference())
            eventually("redis is missed", partial(handler.has_seen, count))
            with pytest.raises(synapse_rs.DeliveryError):
                publisher.close(timeout=0)
    finally:
        logger.removeHandler(handler)
    assert "RuntimeError: can't write" in capsys.readouterr().err


PROGRAM = """
import logging, os, sys, time, synapse_rs
logging.basicConfig(format="%(process)d %(levelname)s %(name)s %(message)s")
publisher = synapse_rs.Publisher("redis://127.0.0.1:1")
def miss():
    publisher.publish("things", {"event": "thing"})
    while not publisher.stats()["lost_connections"]:
        time.sleep(0.01)
miss()
child = os.fork()
if child == 0:
    miss()
    print("child", os.getpid())
else:
    os.waitpid(child, 0)
    print("parent", os.getpid())
"""


def test_parent_and_forked_child_log_to_their_very_end() -> None:
    ended = subprocess.run([sys.executable, "-c", PROGRAM], check=True, timeout=60, capture_output=True, text=True)
    for line in ended.stdout.splitlines():
        process = line.split()[1]
        assert f"{process} WARNING synapse_rs.publisher {AWAY}" in ended.stderr, ended.stderr
        assert f"{process} ERROR synapse_rs events were lost at exit" in ended.stderr, ended.stderr
    assert len(ended.stdout.splitlines()) == 2


def test_a_log_without_handlers_goes_where_logging_has_it_go() -> None:
    program = (
        "import time, synapse_rs\n"
        "publisher = synapse_rs.Publisher('redis://127.0.0.1:1')\n"
        "publisher.publish('things', {'event': 'thing'})\n"
        "while not publisher.stats()['lost_connections']: time.sleep(0.01)\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], check=True, timeout=60, capture_output=True, text=True)
    assert AWAY in ended.stderr


def test_a_process_that_never_published_has_no_thread(tmp_path: Path) -> None:
    program = "import os, synapse_rs; synapse_rs.Publisher(); print(len(os.listdir('/proc/self/task')))"
    ended = subprocess.run(
        [sys.executable, "-c", program], check=True, timeout=60, capture_output=True, text=True, cwd=tmp_path,
        env=os.environ,
    )  # fmt: skip
    assert ended.stdout == "1\n"
