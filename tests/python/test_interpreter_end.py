"""What becomes of queued events when the interpreter ends."""

import subprocess
import sys

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
