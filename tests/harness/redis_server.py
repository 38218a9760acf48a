"""A private Redis."""

from __future__ import annotations

import os
import signal
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, cast

import redis

from harness.closing import Closing
from harness.process import Process
from harness.wait import eventually, free_port

if TYPE_CHECKING:
    from collections.abc import Mapping

SERVER_VARIABLE = "SYNAPSE_TEST_REDIS_SERVER"
"""Names the server's program where it is not the `redis-server` of the `PATH`."""


class RedisServer(Closing):
    """A `redis-server` on a free loopback port with a directory of its own, until it is closed."""

    def __init__(self, *, durable: bool = False, password: str | None = None) -> None:
        """Starts one; a `durable` one has each write on disk before it answers, and so survives `kill`."""
        self.port = free_port()
        self.password = password
        self._directory = tempfile.TemporaryDirectory(prefix="synapse-redis-")
        self._arguments = ["--save", ""]
        if durable:
            self._arguments += ["--appendonly", "yes", "--appendfsync", "always"]
        if password is not None:
            self._arguments += ["--requirepass", password]
        self._process: Process | None = None
        self.start()

    @property
    def url(self) -> str:
        """Its address, with the password if it has one."""
        who = f":{self.password}@" if self.password else ""
        return f"redis://{who}127.0.0.1:{self.port}"

    def client(self) -> redis.Redis:
        """A connection for the test's own questions; texts come as `str`."""
        return redis.Redis(host="127.0.0.1", port=self.port, password=self.password, decode_responses=True)

    def add(self, stream: str, fields: Mapping[str, str]) -> str:
        """Writes an entry as somebody else's publisher would; gives its id."""
        with self.client() as client:
            return str(client.xadd(stream, dict(fields)))

    def entries(self, stream: str) -> list[tuple[str, dict[str, str]]]:
        """The entries of a stream, ids and fields."""
        with self.client() as client:
            return cast("list[tuple[str, dict[str, str]]]", client.xrange(stream))

    def start(self) -> None:
        """Starts it on the same port and data as before, and waits until it answers."""
        where = ["--bind", "127.0.0.1", "--port", str(self.port), "--dir", self._directory.name]
        program = os.environ.get(SERVER_VARIABLE) or "redis-server"
        self._process = Process([program, *where, *self._arguments], cwd=Path(self._directory.name))
        eventually(f"{program} on port {self.port} to answer", self._answers)

    def _answers(self) -> bool:
        with suppress(redis.ConnectionError, redis.BusyLoadingError), self.client() as client:
            return bool(client.ping())
        return False

    def stop(self, how: signal.Signals | None = None) -> None:
        """Ends it, by SIGTERM if nothing else is said; its data stay."""
        if self._process is not None:
            self._process.stop(how) if how else self._process.stop()
            self._process = None

    def pause(self) -> None:
        """Has it stand still, its connections open."""
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGSTOP)

    def go_on(self) -> None:
        """Ends a pause."""
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGCONT)

    def close(self) -> None:
        """Ends it for good."""
        if self._process is not None:
            self._process.kill()
        self._directory.cleanup()
