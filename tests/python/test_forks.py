"""Each process sends what it has accepted, however it came to be."""

import multiprocessing
import os
from typing import Any

import pytest

import synapse_rs
from harness.children import publish_one
from harness.events import fields_on
from harness.redis_server import RedisServer


def test_parent_and_forked_child_each_send_their_own(redis_server: RedisServer) -> None:
    publisher = synapse_rs.Publisher(redis_server.url)
    publisher.publish("parent", {"event": "before"})
    publisher.flush()
    child = os.fork()
    if child == 0:
        try:
            publisher.publish("child", {"event": "in-child"})
            publisher.flush()
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    publisher.publish("parent", {"event": "after"})
    publisher.close()
    assert [e["event"] for e in fields_on(redis_server, "child")] == ["in-child"]
    assert [e["event"] for e in fields_on(redis_server, "parent")] == ["before", "after"]


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_children_of_multiprocessing_flush_at_their_end(redis_server: RedisServer, method: str) -> None:
    synapse_rs.Publisher(redis_server.url).publish("parent", {"event": "x"})
    context: Any = multiprocessing.get_context(method)
    process = context.Process(target=publish_one, args=(redis_server.url,))
    process.start()
    process.join(30)
    assert process.exitcode == 0
    assert len(fields_on(redis_server, "numbers")) == 1
