"""A real holdfast server for tests: `holdfast.testing.Server`, as the flow tests want it."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from holdfast.testing import server
from holdfast.testing.server import free_port, is_alive, wait_for

if TYPE_CHECKING:
    import subprocess
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

    def reload(self, *, check: bool = False) -> subprocess.CompletedProcess[str]:
        # Many tests want to see it fail.
        return super().reload(check=check)
