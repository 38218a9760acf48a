"""Many light clients in one process, of all three protocols, that come back with their position; and their judge.

Each keeps what came to it over all its connections, in the order in which it came. Stock clients are in `client.py`;
these say no more than is needed to be resumed.
"""

from __future__ import annotations

import asyncio
import json
import random
import socket
import time
from collections import Counter
from itertools import cycle, islice
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import websockets
from websockets.asyncio.client import connect

from harness.background import Background
from harness.closing import Closing
from harness.wait import PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from harness.redis_server import RedisServer

COME_BACK_S = 0.2
"""How long a client waits before it comes back, more or less."""
READ_BYTES = 64 << 10
"""What the system takes in for a client that does not read; Linux doubles it."""
READ_AHEAD_BYTES = 256 << 10
"""The longest piece of server-sent events; of what comes for a client that does not read, twice as much is taken in."""

Truth = dict[str, list[str]]
"""Per stream, the ids of its entries."""


class Arrival(NamedTuple):
    """An event that came."""

    stream: str
    id: str
    late_s: float
    """How long after it was written."""


class Member:
    """One client, from the start to the end of the test."""

    protocol: ClassVar[str]

    def __init__(self, name: str, port: int) -> None:
        """Does nothing yet."""
        self.name = f"{name} over {self.protocol}"
        self.arrivals: list[Arrival] = []
        self.latest: dict[str, str] = {}
        """Per stream, the last that came."""
        self.recovered: list[bool] = []
        """For each time it was let in, whether it was told that nothing is missing."""
        self.ended_by: list[int | None] = []
        """The close code of each connection that was let in; none without one."""
        self.reads = asyncio.Event()
        """Whether it takes what comes."""
        self.reads.set()
        self._port = port
        self._position: str | None = None

    async def run(self) -> None:
        """Connects, again and again."""
        while True:
            times = len(self.recovered)
            code: int | None = None
            try:
                await self._session()
            except websockets.ConnectionClosed as closed:
                code = closed.rcvd.code if closed.rcvd else None
            except (OSError, EOFError, TimeoutError, websockets.InvalidHandshake):
                pass
            except Leaving as leaving:
                code = leaving.code
            if code is not None and 3500 <= code <= 3999:
                raise RuntimeError(f"{self.name} was told not to come back: {code}")
            if len(self.recovered) > times:
                self.ended_by.append(code)
            await asyncio.sleep(COME_BACK_S * random.uniform(0.5, 1.5))

    async def _session(self) -> None:
        """One connection, until it ends."""
        raise NotImplementedError

    async def _connected(self) -> socket.socket:
        """A connection whose buffer does not grow."""
        connection = socket.socket()
        connection.setblocking(False)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, READ_BYTES)
        try:
            await asyncio.get_running_loop().sock_connect(connection, ("127.0.0.1", self._port))
        except BaseException:
            connection.close()
            raise
        return connection

    async def _opened(self, path: str) -> connect:
        """A WebSocket that leaves pings to the server."""
        return connect(
            f"ws://127.0.0.1:{self._port}{path}",
            sock=await self._connected(),
            compression=None,
            max_size=None,
            ping_interval=None,
            close_timeout=1,
        )

    def _take(self, event: Mapping[str, Any], position: str) -> None:
        stream, id_ = event["stream"], event["id"]
        self.arrivals.append(Arrival(stream, id_, time.time() - int(id_.partition("-")[0]) / 1000))
        self.latest[stream] = id_
        self._position = position

    def __repr__(self) -> str:
        return self.name


class Leaving(Exception):
    """The server has said that the connection ends, and why."""

    def __init__(self, code: int | None) -> None:
        """By this close code, or none."""
        super().__init__(code)
        self.code = code


class OverWebSocket(Member):
    """A client of `/ws`."""

    protocol = "websocket"

    async def _session(self) -> None:
        async with await self._opened("/ws") as websocket:
            after = {} if self._position is None else {"after": self._position}
            await websocket.send(json.dumps({"type": "subscribe", **after}))
            while True:
                await self.reads.wait()
                message = json.loads(await websocket.recv())
                if message["type"] == "event":
                    self._take(message["event"], message["position"])
                elif message["type"] in {"subscribed", "position"}:
                    self._position = message["position"]
                if message["type"] == "subscribed":
                    self.recovered.append(message["recovered"])


class OverSocketIo(Member):
    """A client of `/socket.io/` with connection state recovery."""

    protocol = "socketio"

    def __init__(self, name: str, port: int) -> None:
        """Does nothing yet."""
        super().__init__(name, port)
        self._pid: str | None = None

    async def _session(self) -> None:
        async with await self._opened("/socket.io/?EIO=4&transport=websocket&resume=1") as websocket:
            while True:
                await self.reads.wait()
                packet = str(await websocket.recv())
                if packet.startswith("0"):
                    before = {} if self._pid is None else {"pid": self._pid, "offset": self._position}
                    await websocket.send(f"40{json.dumps(before)}")
                elif packet.startswith("2"):
                    await websocket.send("3")
                elif packet.startswith("40"):
                    pid = json.loads(packet[2:])["pid"]
                    self.recovered.append(self._pid in {None, pid})
                    self._pid = pid
                elif packet.startswith("42"):
                    self._hear(*json.loads(packet[2:]))
                else:
                    raise RuntimeError(f"{self.name} was told {packet}")

    def _hear(self, name: str, *arguments: Any) -> None:
        if name.endswith("-event"):
            event, position = arguments
            self._take(event, position)
        elif name in {"connection_confirmed", "position"}:
            self._position = arguments[-1]
        else:
            raise RuntimeError(f"{self.name} was told {name} {arguments}")


class OverEvents(Member):
    """A client of `/events`."""

    protocol = "sse"

    async def _session(self) -> None:
        reader, writer = await asyncio.open_connection(sock=await self._connected(), limit=READ_AHEAD_BYTES)
        try:
            last = "" if self._position is None else f"Last-Event-ID: {self._position}\r\n"
            writer.write(f"GET /events HTTP/1.1\r\nHost: 127.0.0.1:{self._port}\r\n{last}\r\n".encode())
            status = (await reader.readuntil(b"\r\n\r\n")).split()[1]
            if status != b"200":
                raise RuntimeError(f"{self.name} was answered {status.decode()}")
            while True:
                await self.reads.wait()
                self._hear(await reader.readuntil(b"\n\n"))
        finally:
            writer.transport.abort()

    def _hear(self, block: bytes) -> None:
        lines = (line.partition(": ") for line in block.decode().splitlines())
        fields = {name: value for name, _, value in lines if name}
        name, data = fields.get("event", ""), json.loads(fields.get("data", "null"))
        if name.endswith("-event"):
            self._take(data, fields["id"])
        elif name == "closing":
            raise Leaving(data["code"])
        elif name == "subscribed":
            self.recovered.append(data["recovered"])
        self._position = fields.get("id", self._position)


KINDS: tuple[type[Member], ...] = (OverWebSocket, OverSocketIo, OverEvents)


class Crowd(Closing):
    """Clients on a thread of their own, a third of each protocol."""

    def __init__(self, port: int, size: int, kinds: Sequence[type[Member]] = KINDS) -> None:
        """Has them connect to this port, and waits until all are let in."""
        self._background = Background()
        self._tasks: list[asyncio.Task[None]] = []
        self.members = self._background.call(lambda: self._start(port, size, kinds))
        try:
            self.wait_for("being let in", lambda member: member.recovered)
        except BaseException:
            self.close()
            raise

    def _start(self, port: int, size: int, kinds: Sequence[type[Member]]) -> list[Member]:
        members = [kind(f"client {number}", port) for number, kind in enumerate(islice(cycle(kinds), size))]
        self._tasks = [asyncio.get_running_loop().create_task(member.run()) for member in members]
        return members

    def check(self) -> None:
        """Fails if one of them has come upon what no client should."""
        for task in self._tasks:
            if task.done() and not task.cancelled() and (error := task.exception()):
                raise error

    def wait_for(
        self,
        what: str,
        found: Callable[[Member], object],
        members: Iterable[Member] | None = None,
        patience_s: float = PATIENCE_S,
    ) -> None:
        """Waits until this is true of all of them, or of these."""
        waiting = list(self.members if members is None else members)
        deadline = time.monotonic() + patience_s
        while waiting := [member for member in waiting if not found(member)]:
            self.check()
            if time.monotonic() > deadline:
                raise TimeoutError(f"waited {patience_s:g} s for: {what}; in vain: {waiting}")
            time.sleep(0.02)

    @staticmethod
    def _set_reading(members: Iterable[Member], reads: bool) -> None:
        for member in members:
            (member.reads.set if reads else member.reads.clear)()

    def stall(self, members: Iterable[Member]) -> None:
        """Has these take nothing of what comes, but stay connected."""
        self._background.call(lambda: self._set_reading(members, False))

    def go_on(self, members: Iterable[Member]) -> None:
        """Has these read again."""
        self._background.call(lambda: self._set_reading(members, True))

    def wait_for_all(
        self, truth: Truth, members: Iterable[Member] | None = None, patience_s: float = PATIENCE_S
    ) -> None:
        """Waits until the last entry of each stream has come to all of them, or to these."""
        last = {stream: ids[-1] for stream, ids in truth.items() if ids}
        self.wait_for(f"the entries {last}", lambda member: member.latest == last, members, patience_s)

    def judge(self, truth: Truth, members: Iterable[Member] | None = None, patience_s: float = PATIENCE_S) -> None:
        """Waits until all that is in the streams has come, and fails unless it came once and in order."""
        chosen = list(self.members if members is None else members)
        late: TimeoutError | None = None
        try:
            self.wait_for_all(truth, chosen, patience_s)
        except TimeoutError as error:
            late = error
        faults = [f"{member}: {fault}" for member in chosen for fault in faults_of(member.arrivals, truth)]
        assert not faults, "\n".join(faults[:20])
        if late is not None:
            raise late

    def close(self) -> None:
        """Ends them all."""
        self._background.close()


def truth_of(redis: RedisServer, streams: Iterable[str]) -> Truth:
    """What is really in the streams."""
    return {stream: [id_ for id_, _ in redis.entries(stream)] for stream in streams}


def faults_of(arrivals: Iterable[Arrival], truth: Truth) -> list[str]:
    """What is wrong with what came to a client: what is missing, repeated, out of order or made up."""
    came: Truth = {stream: [] for stream in truth}
    for arrival in arrivals:
        came.setdefault(arrival.stream, []).append(arrival.id)
    faults = []
    for stream, ids in came.items():
        entries = truth.get(stream, [])
        if ids == entries:
            continue
        times = Counter(ids)
        for what, which in (
            ("missing", [id_ for id_ in entries if id_ not in times]),
            ("more than once", [id_ for id_, count in times.items() if count > 1]),
            ("not in the stream", sorted(times.keys() - set(entries))),
        ):
            if which:
                faults.append(f"{stream}: {len(which)} of {len(entries)} {what}, first {which[0]}")
        if not faults:
            faults.append(f"{stream}: not in the order of the stream")
    return faults


def late_s(arrivals: Iterable[Arrival], part: float) -> float:
    """How late this part of the events came at most."""
    late = sorted(arrival.late_s for arrival in arrivals)
    return late[int(part * (len(late) - 1))]


def came_back(member: Member) -> bool:
    """Whether a client is there again, as often as its connection was lost."""
    return len(member.recovered) > len(member.ended_by)


def returned(times: int) -> Callable[[Member], bool]:
    """Whether a client is there again after it was lost so often."""
    return lambda member: len(member.recovered) > times and came_back(member)
