"""A real holdfast server for tests: `holdfast.testing.Server`, as the flow tests want it."""

from __future__ import annotations

import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from holdfast.testing import server
from holdfast.testing.server import free_port, is_alive, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Self

__all__ = ["ROOT", "Server", "free_port", "is_alive", "wait_for"]

ROOT = Path(__file__).parent.parent.parent


class Server(server.Server):
    """One `holdfast serve`. Make it with `Server.start`."""

    @classmethod
    @contextmanager
    def start(
        cls,
        application: str | Path,
        *arguments: str,
        workers: int = 2,
        command: str = "serve",
        env: Mapping[str, str] | None = None,
        cwd: Path | str | None = ROOT,
    ) -> Iterator[Self]:
        """Serve `application` until the block ends, and show the log of a test that fails."""
        start = super().start(
            application, *arguments, workers=workers, command=command, env=env, cwd=cwd
        )
        started: Self | None = None
        try:
            with start as started:
                yield started
        finally:
            if started is not None:
                print(started.log(), file=sys.stderr)

    def kill_and_start_again(self) -> None:
        """Kill the supervisor and start the same server at once, on the same port."""
        environ = Path(f"/proc/{self.process.pid}/environ").read_bytes().split(b"\0")
        env = dict(each.split(b"=", 1) for each in environ if each)
        self.process.kill()
        self.process.wait()
        with (self._run / "log").open("ab") as log:
            self.process = subprocess.Popen(
                self.process.args, env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def reload(self, *, check: bool = False) -> subprocess.CompletedProcess[str]:
        # Many tests want to see it fail.
        return super().reload(check=check)
