"""Programs that end with the test, whatever becomes of it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import threading
from collections import deque
from typing import TYPE_CHECKING, Self

from harness.wait import PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path
    from types import TracebackType

LOG_LINES = 400
"""How many of a program's last lines are kept to be shown when a test fails."""


class Process:
    """A running program; its output is read as it comes, so that it never waits for us."""

    def __init__(
        self,
        command: Sequence[str | Path],
        *,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        on_line: Callable[[str], None] | None = None,
        interactive: bool = False,
    ) -> None:
        """Starts `command`; `on_line` is given each line of its standard output, on another thread."""
        program = shutil.which(str(command[0]))
        if program is None:
            raise FileNotFoundError(f"{command[0]} is not there; `make test` builds and installs what the tests need")
        self.name = os.path.basename(program)  # noqa: PTH119
        self.log: deque[str] = deque(maxlen=LOG_LINES)
        # setpriv: the kernel kills the program when this interpreter dies, even by SIGKILL.
        self._child = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", "--", program, *map(str, command[1:])],
            env={**os.environ, **(env or {})},
            cwd=cwd,
            text=True,
            errors="replace",
            stdin=subprocess.PIPE if interactive else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        self._readers = [
            threading.Thread(target=self._read, args=(self._child.stdout, on_line), daemon=True),
            threading.Thread(target=self._read, args=(self._child.stderr, None), daemon=True),
        ]
        for reader in self._readers:
            reader.start()

    def _read(self, pipe: object, on_line: Callable[[str], None] | None) -> None:
        for line in pipe:  # type: ignore[attr-defined]
            self.log.append(line.rstrip("\n"))
            if on_line is not None:
                on_line(line)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._child.pid

    @property
    def exit_status(self) -> int | None:
        """Its exit status, negative for a signal; none while it runs."""
        return self._child.poll()

    def say(self, line: str) -> None:
        """Writes a line to its standard input."""
        assert self._child.stdin is not None, f"{self.name} was not started as interactive"
        self._child.stdin.write(line + "\n")
        self._child.stdin.flush()

    def kill(self) -> None:
        """Ends it with SIGKILL, as a crash would."""
        self.stop(signal.SIGKILL)

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        """Sends it a signal and waits until it has ended; gives its exit status."""
        if self._child.poll() is None:
            self._child.send_signal(how)
        return self.wait()

    def wait(self) -> int:
        """Waits until it has ended by itself; gives its exit status."""
        try:
            status = self._child.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
            raise TimeoutError(f"{self.name} did not end within {PATIENCE_S:g} s\n{self.tail()}") from None
        for reader in self._readers:
            reader.join(PATIENCE_S)
        for pipe in (self._child.stdin, self._child.stdout, self._child.stderr):
            if pipe is not None:
                pipe.close()
        return status

    def tail(self) -> str:
        """What it said last, for the message of a failure."""
        return "\n".join(f"  {self.name} | {line}" for line in self.log) or f"  {self.name} said nothing"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
