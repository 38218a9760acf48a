"""A private PostgreSQL."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Self

from harness.wait import eventually, free_port

if TYPE_CHECKING:
    from types import TracebackType

USER = "postgres"


class PostgresServer:
    """A PostgreSQL on a free loopback port with data of its own, until it is closed; `make postgres` installs it."""

    def __init__(self) -> None:
        """Makes the data and starts the server."""
        self.port = free_port()
        self._programs = max(Path("/usr/lib/postgresql").glob("*/bin"))
        self._folder = Path(tempfile.mkdtemp(prefix="synapse-postgres-"))
        # It refuses to run as root.
        self._owner = USER if os.getuid() == 0 else None
        if self._owner:
            os.chown(self._folder, pwd.getpwnam(USER).pw_uid, -1)
        self._process: subprocess.Popen[bytes] | None = None
        how = ["--no-sync", "--auth=trust", "--encoding=UTF8", "--username", USER]
        self._run("initdb", *how, "--pgdata", str(self._folder / "data"))
        self.start()

    @property
    def url(self) -> str:
        """The database that is there from the start."""
        return f"postgres://{USER}@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        """Starts it on the same port and data as before, and waits until it answers."""
        settings = ["listen_addresses=127.0.0.1", f"unix_socket_directories={self._folder}", "max_connections=60"]
        arguments = [part for setting in settings for part in ("-c", setting)]
        where = ["-D", str(self._folder / "data"), "-p", str(self.port)]
        command = [str(self._programs / "postgres"), *where, *arguments]
        self._process = subprocess.Popen(
            command, user=self._owner, cwd=self._folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        asked = ["pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        eventually("postgres to answer", lambda: self._run(*asked, check=False) == 0)

    def kill(self) -> None:
        """Ends it as a crash would: SIGQUIT has it and all its processes leave without a word."""
        if self._process is not None:
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait()
            self._process = None

    def _run(self, program: str, *arguments: str, check: bool = True) -> int:
        command = [str(self._programs / program), *arguments]
        ran = subprocess.run(command, user=self._owner, cwd=self._folder, capture_output=True, check=check)
        return ran.returncode

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
        shutil.rmtree(self._folder)
