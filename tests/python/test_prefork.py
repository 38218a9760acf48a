"""A publisher of a web application that gunicorn loads before it forks its workers."""

import sys
import urllib.request
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from harness.events import fields_on
from harness.process import Process
from harness.redis_server import RedisServer
from harness.wait import eventually, free_port

TESTS = Path(__file__).parents[1]
WORKERS = 3
REQUESTS = 300


@pytest.mark.parametrize("kind", ["sync", "gthread"])
def test_master_and_workers_each_send_their_own(redis_server: RedisServer, kind: str) -> None:
    port = free_port()
    options = ["--preload", "--workers", str(WORKERS), "--worker-class", kind, "--bind", f"127.0.0.1:{port}"]
    command = [sys.executable, "-m", "gunicorn", *options, "--chdir", str(TESTS), "harness.wsgi_app:application"]

    def ask(path: str) -> int:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/{path}", timeout=30) as answer:
            return int(answer.read())

    def answers() -> bool:
        try:
            return ask("ready") > 0
        except OSError:
            return False

    with Process(command, env={"REDIS_URL": redis_server.url}) as master:
        eventually("gunicorn answers", answers)
        with ThreadPoolExecutor(8) as clients:
            processes = list(clients.map(ask, map(str, range(REQUESTS))))
        # Graceful: the workers leave, then the master.
        assert master.stop() == 0, master.tail()
    events = fields_on(redis_server, "requests")
    own = [fields for fields in events if fields["process"] == str(master.pid)]
    asked = {fields["path"]: int(fields["process"]) for fields in events if fields["event"] == "request"}
    assert Counter(fields["event"] for fields in own) == {"started": 1, "preloaded": 1}
    assert [asked[f"/{n}"] for n in range(REQUESTS)] == processes
    assert len(set(processes)) > 1
    assert len({fields["event_id"] for fields in events}) == len(events)
    assert "lost" not in master.tail()
