"""A real server for tests: real processes, real sockets, a free port.

Shell. Starts `python -m holdfast serve` and talks to it as an operator would. For tests of an
application TestClient is faster by far; this is for what only processes can show.
"""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from holdfast.testing.errors import ServerFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from typing import Any, Self

# A start imports uvloop and the application in three fresh interpreters.
START_TIMEOUT = 30.0  # seconds

STOP_TIMEOUT = 20.0  # seconds


class Server:
    """One `holdfast serve`. Make it with `Server.start`.

    Attributes:
        process: that of the supervisor.
        port: of 127.0.0.1.
    """

    def __init__(self, process: subprocess.Popen[bytes], port: int, run: Path) -> None:
        self.process = process
        self.port = port
        self._run = run
        # Kept when its file goes.
        self._log: str | None = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.url}>"

    @classmethod
    @contextmanager
    def start(
        cls,
        application: str | Path,
        *arguments: str,
        workers: int = 2,
        command: str = "serve",
        env: Mapping[str, str] | None = None,
        cwd: Path | str | None = None,
    ) -> Iterator[Self]:
        """Serve an application on a free port of 127.0.0.1 until the block ends.

            with Server.start("chat:app", workers=2) as server:
                urllib.request.urlopen(server.url)

        Args:
            application: a path to a file whose `app` is meant, or what `holdfast serve` takes.
            arguments: more options for the command line.
            workers: how many.
            command: "serve", or "develop" (one worker).
            env: variables to add to the environment.
            cwd: the directory it runs in; None for this one.

        Raises:
            ServerFailed: it does not serve; says what it wrote.
        """
        with tempfile.TemporaryDirectory(prefix="holdfast-test-") as directory:
            run = Path(directory)
            server = cls._spawn(application, arguments, workers, command, env or {}, cwd, run)
            try:
                server.wait_until_serving()
                yield server
            finally:
                server._end()

    @classmethod
    def _spawn(
        cls,
        application: str | Path,
        arguments: tuple[str, ...],
        workers: int,
        command: str,
        env: Mapping[str, str],
        cwd: Path | str | None,
        run: Path,
    ) -> Self:
        spec = str(application)
        if spec.endswith(".py"):
            spec += ":app"
        port = free_port()
        options = ["--port", str(port)]
        if command == "serve":
            options += ["--workers", str(workers)]
        with (run / "log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "holdfast", command, spec, *options, *arguments],
                cwd=cwd,
                env={**os.environ, "HOLDFAST_RUN_DIR": str(run), **env},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        return cls(process, port, run)

    def _end(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
        try:
            self.process.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._log = self.log()

    @property
    def url(self) -> str:
        """As in `http://127.0.0.1:7777`, without a slash at the end."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def ws_url(self) -> str:
        """As in `ws://127.0.0.1:7777`, without a slash at the end."""
        return f"ws://127.0.0.1:{self.port}"

    def status(self) -> dict[str, Any]:
        """Return what `holdfast status --json` shows.

        Raises:
            ServerFailed: it shows nothing.
        """
        done = self.cli("status", "--json")
        if done.returncode:
            raise ServerFailed("the server has no status", done.stderr + self.log())
        status: dict[str, Any] = json.loads(done.stdout)
        return status

    def worker_pids(self) -> list[int]:
        """Return the process ids of the workers that serve."""
        workers = self.status()["workers"]
        return [worker["pid"] for worker in workers if worker["state"] in ("serving", "retiring")]

    def kill_worker(self, pid: int | None = None) -> int:
        """`kill -9` a worker; return its pid when another one has taken its place.

        From the second one on, workers that die within 5 s of their start are replaced later and
        later: after 0.1 s, doubled each time, at most 10 s. And a message in whose course three
        workers have died is put aside, and its connection closed with 1011 (`--max-attempts`).

        Args:
            pid: which one; None for any.
        """
        pids = self.worker_pids()
        victim = random.choice(pids) if pid is None else pid
        os.kill(victim, signal.SIGKILL)

        def is_replaced() -> bool:
            now = self.worker_pids()
            return victim not in now and len(now) == len(pids)

        wait_for(is_replaced, f"worker {victim} is replaced")
        return victim

    def reload(self, *, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Replace the code, as `holdfast reload` does; return what that wrote.

        Args:
            check: raise if the new code does not start; the old code goes on serving then.

        Raises:
            ServerFailed: the new code does not start; says why.
        """
        done = self.cli("reload")
        if check and done.returncode:
            raise ServerFailed("the new code was not started", done.stderr)
        return done

    def stop(self) -> int:
        """Stop as an operator would; return the exit status of the server."""
        self.cli("stop")
        return self.process.wait(STOP_TIMEOUT)

    def log(self) -> str:
        """Return what the server and the application have written so far."""
        if self._log is None:
            return (self._run / "log").read_text(errors="replace")
        return self._log

    def cli(self, *arguments: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
        """Run a holdfast command against this server.

        Args:
            timeout: seconds.
        """
        return subprocess.run(
            [sys.executable, "-m", "holdfast", *arguments, "--port", str(self.port)],
            env=os.environ | {"HOLDFAST_RUN_DIR": str(self._run)},
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def pids(self) -> list[int]:
        """Return the ids of all processes of this server."""
        status = self.status()
        workers = [worker["pid"] for worker in status["workers"]]
        return [status["supervisor"]["pid"], status["keeper"]["pid"], *workers]

    def wait_until_serving(self) -> None:
        """Return when all workers serve; `start` has done so.

        Raises:
            ServerFailed: it does not serve.
        """

        def serves() -> bool:
            if self.process.poll() is not None:
                raise ServerFailed("the server does not start", self.log())
            return "serving" in self.log() and all(
                worker["state"] in ("serving", "spare") for worker in self.status()["workers"]
            )

        try:
            wait_for(serves, "the server serves", START_TIMEOUT)
        except AssertionError as error:
            raise ServerFailed(str(error), self.log()) from None


class StartServer(Protocol):
    """The type of the fixture `holdfast_server`: call it to start a real server.

        def test_chat(holdfast_server: StartServer) -> None:
            server = holdfast_server("chat.py", workers=2)

    Any number may be started in one test.
    """

    def __call__(
        self,
        application: str | Path,
        *arguments: str,
        workers: int = 2,
        command: str = "serve",
        env: Mapping[str, str] | None = None,
        cwd: Path | str | None = None,
    ) -> Server:
        """Start a server, which is stopped at the end of the test.

        Args:
            application: a path to a file whose `app` is meant, or what `holdfast serve` takes.
            arguments: more options for the command line.
            workers: how many.
            command: "serve", or "develop" (one worker).
            env: variables to add to the environment.
            cwd: the directory it runs in; None for pytest's root directory.

        Raises:
            ServerFailed: it does not serve; says what it wrote.
        """


def wait_for(fact: Callable[[], Any], what: str, timeout: float = 15.0) -> Any:
    """Poll until `fact()` is true and return it: for facts of other processes.

    Args:
        what: completes "still not true: …".
        timeout: seconds.

    Raises:
        AssertionError: it never was.
    """
    deadline = time.monotonic() + timeout
    while True:
        value = fact()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"after {timeout:g} s still not true: {what}")
        time.sleep(0.01)


def is_alive(pid: int) -> bool:
    """True while the process exists and is no zombie."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
