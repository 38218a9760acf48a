"""A service of ours as a process."""

from __future__ import annotations

import http.client
import json
import os
import re
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from harness.process import Process
from harness.wait import eventually, free_port

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType


def binary(name: str) -> Path:
    """A binary of ours; `SYNAPSE_BIN_DIR` says where they are, `make test` sets it."""
    folder = os.environ.get("SYNAPSE_BIN_DIR") or Path(__file__).parents[2] / "target" / "debug"
    return Path(folder) / name


def get(url: str) -> tuple[int, str]:
    """Status and body of a GET; status 0 if nobody answers."""
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()
    except OSError:
        return 0, ""


class Service:
    """A service on a free loopback port, the same over restarts, until it is closed."""

    binary_name: ClassVar[str]

    def __init__(self, redis_url: str, settings: Mapping[str, str] | None = None) -> None:
        """Starts one over this Redis and waits until it is ready."""
        self.port = free_port()
        self._settings = {
            "REDIS_URL": redis_url,
            "PORT": str(self.port),
            "SHUTDOWN_GRACE": "5s",
            **(settings or {}),
        }
        self._process: Process | None = None
        self.start()

    @property
    def http_url(self) -> str:
        """Where it is asked by HTTP."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Starts it and waits until it is ready."""
        self._process = Process([binary(self.binary_name)], env=self._settings)
        self.wait_until_ready(self.port, self._process)

    @staticmethod
    def wait_until_ready(port: int, process: Process) -> None:
        """Waits until the server of this process answers `GET /ready` with 200."""

        def ready() -> bool:
            if process.exit_status is not None:
                raise RuntimeError(f"{process.name} ended with status {process.exit_status}\n{process.tail()}")
            return get(f"http://127.0.0.1:{port}/ready")[0] == 200

        try:
            eventually(f"{process.name} on port {port} to be ready", ready)
        except TimeoutError as error:
            raise TimeoutError(f"{error}\n{process.tail()}") from None

    def get(self, path: str) -> tuple[int, str]:
        """Status and body of a GET; status 0 if nobody answers."""
        return get(self.http_url + path)

    def metric(self, name: str, **labels: str) -> float:
        """The sum of a metric over what has these labels; 0 if there is none."""
        wanted = [f'{label}="{value}"' for label, value in labels.items()]
        lines = re.findall(rf"^{name}(\{{.*\}})? (\S+)$", self.get("/metrics")[1], re.MULTILINE)
        return sum(float(value) for given, value in lines if all(label in given for label in wanted))

    def ask(
        self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, Any]:
        """Status and body of an answer; a body that is not bytes is sent as JSON."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            text = None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
            given = {"Content-Type": "application/json"} if text is not None else {}
            connection.request(method, path, text, {**given, **(headers or {})})
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        finally:
            connection.close()

    @property
    def pid(self) -> int:
        """Its process id."""
        assert self._process is not None
        return self._process.pid

    def kill(self) -> None:
        """Ends it with SIGKILL, as a crash would."""
        if self._process is not None:
            self._process.kill()

    def stop(self) -> int:
        """Lets it drain; gives its exit status."""
        assert self._process is not None
        return self._process.stop()

    def tail(self) -> str:
        """What it said last."""
        return self._process.tail() if self._process is not None else ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
