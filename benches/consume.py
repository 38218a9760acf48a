"""What consuming an event costs, beside redis-py, today's Node gateway and Redis's own limit. `make bench-consume`.

Every contender reads the same stream of eleven-field inference events as a consumer group of its own, and
acknowledges each. They take turns; medians of several rounds are printed. "events/s" is until Redis has all
acknowledgements, "process us" the CPU time of the contender's process per event, "server us" that of Redis.

Redis's own limit is what its CPU time allows: a raw client sends XREADGROUP COUNT 1000 and XACK of 1000 ids,
written beforehand, and only skims the replies; the limit is one event per CPU time that this takes the server.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial, wraps
from pathlib import Path
from typing import Any

import hiredis
import redis
import redis.asyncio

import rounds
import synapse_rs
from harness.gateway import binary
from harness.redis_server import RedisServer
from inference import STREAM, publish_thousands

BACKLOG = 200_000
BATCH = 1_000
MODELKIT_BATCH = 10
BLOCK_MS = 1_000
GATEWAY_GROUP_STREAMS = ("inference-events", "platform-events", "model-events", "training-events")
GATEWAY_READER = Path(__file__).parent / "peers" / "one-connection-reader.mjs"


@dataclass(frozen=True)
class Run:
    """What a contender did, and the seconds that its process took for it."""

    events: int
    seconds: float
    cpu_seconds: float


@dataclass(frozen=True)
class Cost:
    """What one run cost, per event."""

    per_second: float
    process_us: float
    server_us: float

    @property
    def server_limit(self) -> float:
        """Events a second at which this contender would use all of the server's one thread."""
        return 1e6 / self.server_us


class Backlog:
    """A stream of events, read again and again by groups of different names."""

    def __init__(self, server: RedisServer, events: int) -> None:
        self.server = server
        self.url = server.url
        self.ids: list[str] = []
        self._groups = 0
        publish_thousands(self.url, events)
        with server.client() as client:
            while len(self.ids) < events:
                after = f"({self.ids[-1]}" if self.ids else "-"
                self.ids += [entry for entry, _ in client.xrange(STREAM, after, count=10_000)]

    def entry(self) -> dict[str, str]:
        """The first entry's fields."""
        with self.server.client() as client:
            return dict(client.xrange(STREAM, count=1)[0][1])

    def timed(self, contender: Contender, events: int) -> Cost:
        """Runs a contender in a new group and checks that all it has read is acknowledged."""
        self._groups += 1
        group = f"bench-{self._groups}"
        with self.server.client() as client:
            for stream in GATEWAY_GROUP_STREAMS:
                client.xgroup_create(stream, group, id="0", mkstream=True)
            server_before = self._server_cpu(client)
            run = contender(self, group, events)
            server_us = (self._server_cpu(client) - server_before) / run.events * 1e6
            state = next(info for info in client.xinfo_groups(STREAM) if info["name"] == group)
            if state["pending"] or state["entries-read"] < run.events:
                raise RuntimeError(f"{contender.__name__}: {run.events} events, but Redis says {state}")
            for stream in GATEWAY_GROUP_STREAMS:
                client.xgroup_destroy(stream, group)
        return Cost(run.events / run.seconds, run.cpu_seconds / run.events * 1e6, server_us)

    @staticmethod
    def _server_cpu(client: redis.Redis) -> float:
        used = client.info("cpu")
        return float(used["used_cpu_user"]) + float(used["used_cpu_sys"])


Contender = Callable[[Backlog, str, int], Run]
"""Reads and acknowledges so many events of the backlog, as the group of this name."""


def in_this_process(consume: Callable[[Backlog, str, int], None]) -> Contender:
    """A contender that runs here."""

    @wraps(consume)
    def run(backlog: Backlog, group: str, events: int) -> Run:
        wall, cpu = time.perf_counter(), time.process_time()
        consume(backlog, group, events)
        return Run(events, time.perf_counter() - wall, time.process_time() - cpu)

    return run


def program(command: list[str | Path]) -> Run:
    """A contender that is a program and prints what it did."""
    return Run(**json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout))


def rust_runtime(backlog: Backlog, group: str, events: int) -> Run:
    """The Rust runtime with a handler that does nothing."""
    where = ["--redis", backlog.url, "--stream", STREAM, "--group", group, "--events", str(events)]
    return program([binary("consume-load"), *where])


def python_batches(backlog: Backlog, group: str, events: int) -> None:
    """`Consumer.batches()`."""

    async def run() -> None:
        left = events
        async with synapse_rs.Consumer(backlog.url, group=group, streams=[STREAM]) as consumer:
            async for batch in consumer.batches(max_events=BATCH):
                left -= len(batch)
                if left == 0:
                    closing = asyncio.create_task(consumer.close())
            await closing

    asyncio.run(run())


def python_events(backlog: Backlog, group: str, events: int) -> None:
    """`async for event in Consumer`."""

    async def run() -> None:
        left = events
        async with synapse_rs.Consumer(backlog.url, group=group, streams=[STREAM]) as consumer:
            async for _event in consumer:
                left -= 1
                if left == 0:
                    # Going on acknowledges this one too; a `break` would give it back.
                    closing = asyncio.create_task(consumer.close())
            await closing

    asyncio.run(run())


def redis_sync(backlog: Backlog, group: str, events: int) -> None:
    """redis-py, a thousand per read, one XACK for all of them."""
    with redis.Redis.from_url(backlog.url, decode_responses=True) as client:
        for _ in range(events // BATCH):
            read: Any = client.xreadgroup(group, "bench", {STREAM: ">"}, count=BATCH)
            client.xack(STREAM, group, *(entry for entry, _fields in read[0][1]))


def modelkit_subscribe(backlog: Backlog, group: str, events: int) -> None:
    """As modelkit's `subscribe`: redis.asyncio, ten per read, one XACK for each."""

    async def run() -> None:
        async with redis.asyncio.Redis.from_url(backlog.url, decode_responses=True) as client:
            for _ in range(events // MODELKIT_BATCH):
                read: Any = await client.xreadgroup(group, "bench", {STREAM: ">"}, count=MODELKIT_BATCH, block=BLOCK_MS)
                for entry, _fields in read[0][1]:
                    await client.xack(STREAM, group, entry)

    asyncio.run(run())


def node_gateway(backlog: Backlog, group: str, events: int) -> Run:
    """Today's Node gateway: four streams, each read with BLOCK, on one connection."""
    return program(["node", GATEWAY_READER, backlog.url, group, str(events)])


def raw_client(backlog: Backlog, group: str, events: int) -> None:
    """Requests written beforehand, two on their way at any time; of the replies only the acknowledgements' count."""
    read = command("XREADGROUP", "GROUP", group, "bench", "COUNT", str(BATCH), "STREAMS", STREAM, ">")
    batches = [backlog.ids[start : start + BATCH] for start in range(0, events, BATCH)]
    requests = iter([read + command("XACK", STREAM, group, *ids) for ids in batches])
    acknowledged = f":{BATCH}\r\n".encode()
    buffer, tail, answered = bytearray(1 << 20), b"", 0
    with socket.create_connection(("127.0.0.1", backlog.server.port)) as connection:
        for _ in range(2):
            connection.sendall(next(requests))
        while answered < len(batches):
            text = tail + buffer[: connection.recv_into(buffer)]
            if not text:
                raise ConnectionError("redis closed the connection")
            found = text.count(acknowledged)
            answered += found
            tail = text[1 - len(acknowledged) :]
            for _, request in zip(range(found), requests, strict=False):
                connection.sendall(request)


def command(*words: str) -> bytes:
    """A command as Redis reads it."""
    return b"".join([b"*%d\r\n" % len(words), *(b"$%d\r\n%s\r\n" % (len(word), word.encode()) for word in words)])


LIMIT = "Redis's own limit, COUNT 1000"
RAW = "raw client, COUNT 1000"
CONTENDERS: dict[str, tuple[Contender, int]] = {
    RAW: (in_this_process(raw_client), BACKLOG),
    "synapse-rs, handler does nothing": (rust_runtime, BACKLOG),
    "synapse_rs batches()": (in_this_process(python_batches), BACKLOG),
    "synapse_rs async for": (in_this_process(python_events), BACKLOG),
    "redis-py, COUNT 1000, one XACK": (in_this_process(redis_sync), 100_000),
    "modelkit subscribe": (in_this_process(modelkit_subscribe), 10_000),
    "today's Node gateway": (node_gateway, 20),
}


def main() -> None:
    """Runs all contenders and prints the table."""
    times = rounds.asked_for("Consuming beside redis-py, today's Node gateway and Redis's own limit.")
    with RedisServer() as server:
        backlog = Backlog(server, BACKLOG)
        entry = backlog.entry()
        size = sum(len(field) + len(value) for field, value in entry.items())
        print(f"Consuming events of {len(entry)} fields and {size} bytes; medians of {times} rounds in turn; ", end="")
        print(f"{os.cpu_count()} cores, redis-py {redis.__version__} with hiredis {hiredis.__version__}\n")
        contenders = {
            name: partial(backlog.timed, contender, events) for name, (contender, events) in CONTENDERS.items()
        }
        results = rounds.in_turn(contenders, times)
    limits = [Cost(cost.server_limit, cost.process_us, cost.server_us) for cost in results[RAW]]
    columns = [
        rounds.Column[Cost]("events/s", lambda cost: cost.per_second),
        rounds.Column[Cost]("process us", lambda cost: cost.process_us, ".2f"),
        rounds.Column[Cost]("server us", lambda cost: cost.server_us, ".2f"),
    ]
    ratio = rounds.Ratio[Cost]("of Redis's limit", LIMIT, lambda cost: cost.per_second)
    rounds.print_table({LIMIT: limits, **results}, columns, ratio)


if __name__ == "__main__":
    main()
