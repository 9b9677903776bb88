"""A real holdfast server for tests: real processes, real sockets, a free port."""

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
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

__all__ = ["ROOT", "Server", "is_alive", "wait_for"]

ROOT = Path(__file__).parent.parent.parent

# A start imports uvloop, uvicorn and the application in three fresh interpreters.
START_TIMEOUT = 30.0


def wait_for(fact: Callable[[], Any], what: str, timeout: float = 15.0) -> Any:
    """Poll until `fact()` is true and return it; fail with `what` when it never is."""
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


class Server:
    """One `holdfast serve`. Make it with `Server.start`."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, run: Path) -> None:
        self.process = process
        self.port = port
        self._run = run

    @classmethod
    @contextmanager
    def start(
        cls,
        application: str | Path,
        *arguments: str,
        workers: int = 2,
        command: str = "serve",
        env: dict[str, str] | None = None,
        cwd: Path = ROOT,
    ) -> Iterator[Server]:
        """Serve `application` (a path, or module:name) until the block ends."""
        with tempfile.TemporaryDirectory(prefix="holdfast-test-") as directory:
            run = Path(directory)
            server = cls._spawn(application, arguments, workers, command, env or {}, cwd, run)
            try:
                server.wait_until_serving()
                yield server
            finally:
                if server.process.poll() is None:
                    server.process.terminate()
                try:
                    server.process.wait(20)
                except subprocess.TimeoutExpired:
                    server.process.kill()
                    server.process.wait()
                print(server.log(), file=sys.stderr)

    @classmethod
    def _spawn(
        cls,
        application: str | Path,
        arguments: tuple[str, ...],
        workers: int,
        command: str,
        env: dict[str, str],
        cwd: Path,
        run: Path,
    ) -> Server:
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
                env=os.environ | {"HOLDFAST_RUN_DIR": str(run)} | env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        return cls(process, port, run)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def ws_url(self) -> str:
        return f"ws://127.0.0.1:{self.port}"

    def wait_until_serving(self) -> None:
        def serves() -> bool:
            assert self.process.poll() is None, self.log()
            return "serving" in self.log() and all(
                worker["state"] == "serving" for worker in self.status()["workers"]
            )

        wait_for(serves, "the server serves", START_TIMEOUT)

    def cli(self, *arguments: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
        """Run a holdfast command against this server."""
        return subprocess.run(
            [sys.executable, "-m", "holdfast", *arguments, "--port", str(self.port)],
            env=os.environ | {"HOLDFAST_RUN_DIR": str(self._run)},
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def status(self) -> dict[str, Any]:
        done = self.cli("status", "--json")
        assert done.returncode == 0, done.stderr + self.log()
        status: dict[str, Any] = json.loads(done.stdout)
        return status

    def worker_pids(self) -> list[int]:
        """Pids of the workers that serve."""
        workers = self.status()["workers"]
        return [worker["pid"] for worker in workers if worker["state"] == "serving"]

    def kill_worker(self, pid: int | None = None) -> int:
        """`kill -9` a worker; return its pid when another has taken its place."""
        pids = self.worker_pids()
        victim = random.choice(pids) if pid is None else pid
        os.kill(victim, signal.SIGKILL)

        def is_replaced() -> bool:
            now = self.worker_pids()
            return victim not in now and len(now) == len(pids)

        wait_for(is_replaced, f"worker {victim} is replaced")
        return victim

    def reload(self) -> subprocess.CompletedProcess[str]:
        return self.cli("reload")

    def stop(self) -> int:
        """Stop as an operator would; return the exit status of the server."""
        self.cli("stop")
        return self.process.wait(20)

    def pids(self) -> list[int]:
        """Every process of this server."""
        status = self.status()
        workers = [worker["pid"] for worker in status["workers"]]
        return [status["supervisor"]["pid"], status["keeper"]["pid"], *workers]

    def log(self) -> str:
        return (self._run / "log").read_text()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
