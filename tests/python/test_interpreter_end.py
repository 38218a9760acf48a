"""What becomes of queued events when the interpreter ends."""

import subprocess
import sys

import pytest

from harness.events import fields_on
from harness.redis_server import RedisServer


def test_what_is_queued_is_sent_when_the_interpreter_ends(redis_server: RedisServer) -> None:
    program = (
        "import sys, synapse_rs\n"
        "publisher = synapse_rs.Publisher(sys.argv[1])\n"
        "for n in range(1000): publisher.publish('numbers', {'event': 'n', 'n': n})\n"
    )
    subprocess.run([sys.executable, "-c", program, redis_server.url], check=True, timeout=30)
    assert len(fields_on(redis_server, "numbers")) == 1000


def test_the_interpreter_ends_in_time_without_redis_and_says_what_was_lost() -> None:
    program = "import synapse_rs\nsynapse_rs.Publisher('redis://127.0.0.1:1').publish('numbers', {'event': 'n'})\n"
    ended = subprocess.run([sys.executable, "-c", program], check=True, timeout=30, capture_output=True, text=True)
    assert "1 events are not acknowledged" in ended.stderr


def test_the_interpreter_ends_well_while_other_threads_read(redis_server: RedisServer) -> None:
    program = """
import asyncio, sys, threading, time, synapse_rs
url = sys.argv[1]
async def read():
    async for _ in synapse_rs.tail(url, ["busy"]):
        pass
for _ in range(4):
    threading.Thread(target=lambda: asyncio.run(read()), daemon=True).start()
publisher, end = synapse_rs.Publisher(url), time.monotonic() + 0.5
while time.monotonic() < end:
    publisher.publish("busy", {"event": "x"})
"""
    for _ in range(8):
        ended = subprocess.run([sys.executable, "-c", program, redis_server.url], check=False, timeout=30)
        assert ended.returncode == 0


def test_publishing_after_the_flush_at_the_end_says_so(redis_server: RedisServer) -> None:
    # Registered before the import, it runs after the module's own.
    program = """
import atexit, sys
def late():
    for publisher in (used, unused):
        try:
            publisher.publish("late", {"event": "x"})
        except synapse_rs.Closed as error:
            print(error)
atexit.register(late)
import synapse_rs
used, unused = synapse_rs.Publisher(sys.argv[1]), synapse_rs.Publisher(sys.argv[1])
if sys.argv[2] == "used":
    used.publish("early", {"event": "x"})
"""
    for use in ("used", "none"):
        command = [sys.executable, "-c", program, redis_server.url, use]
        ended = subprocess.run(command, check=True, timeout=30, capture_output=True, text=True)
        assert ended.stdout.count("the process is ending") == 2
    assert len(fields_on(redis_server, "early")) == 1


@pytest.mark.skipif(sys.version_info >= (3, 13), reason="the module that makes them has another name")
@pytest.mark.parametrize("main", ["", "import synapse_rs"])
def test_a_subinterpreter_is_refused_and_harms_nobody(main: str, redis_server: RedisServer) -> None:
    program = f"""
import sys
{main}
import _xxsubinterpreters as subinterpreters
other = subinterpreters.create()
try:
    subinterpreters.run_string(other, "import synapse_rs")
except Exception as error:
    print(error)
subinterpreters.destroy(other)
import synapse_rs
with synapse_rs.Publisher(sys.argv[1]) as publisher:
    publisher.publish("numbers", {{"event": "n"}})
"""
    command = [sys.executable, "-c", program, redis_server.url]
    ended = subprocess.run(command, check=True, timeout=30, capture_output=True, text=True)
    assert "synapse_rs can't be imported in a subinterpreter" in ended.stdout
    assert len(fields_on(redis_server, "numbers")) == 1
