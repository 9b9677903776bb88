"""Who can run an application: holdfast itself, in two ways, and four ASGI servers.

Real servers, as processes, on free ports; and the test kit, which is like them (`kit.py`).
"""

from __future__ import annotations

import http.client
import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from websockets.sync.client import connect

from tests.conformance.kit import Kit
from tests.flow.server import ROOT, free_port, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from websockets.sync.client import ClientConnection

__all__ = ["ASGI", "HOSTS", "KIT", "TIMEOUT", "Host", "Running"]

APPLICATION = "tests.conformance.app:app"

# Seconds, for each thing that is waited for: more than any takes on a busy machine.
TIMEOUT = 15.0


@dataclass(frozen=True)
class Host:
    """One way to run an application."""

    name: str
    title: str
    """For the table."""
    command: str

    @contextmanager
    def start(self, directory: Path) -> Iterator[Running]:
        """Serve the application of the stories until the block ends."""
        running = Running.spawn(self, directory)
        try:
            running.wait_until_serving()
            yield running
        finally:
            running.end()
            # Shown when a test fails.
            sys.stderr.write(running.log())


HOSTS = [
    Host("serve", "`holdfast serve`", "holdfast serve {app} --port {port} --workers 2"),
    Host("direct", "`serve --direct`", "holdfast serve {app} --port {port} --direct"),
    Host("uvicorn", "uvicorn", "uvicorn {app} --port {port}"),
    Host("granian", "Granian", "granian {app} --port {port} --interface asgi"),
    Host("hypercorn", "Hypercorn", "hypercorn {app} --bind 127.0.0.1:{port}"),
    Host("daphne", "Daphne", "daphne {app} --port {port}"),
]
ASGI = ("uvicorn", "granian", "hypercorn", "daphne")


class KitHost(Host):
    """The test kit, which has no command."""

    @contextmanager
    def start(self, directory: Path) -> Iterator[Running]:
        with Kit.start(directory) as kit:
            yield cast("Running", kit)


KIT = KitHost("kit", "`TestClient`", "")


class Running:
    """A server that runs the application, and what it noted."""

    def __init__(
        self, host: Host, process: subprocess.Popen[bytes], port: int, directory: Path
    ) -> None:
        self.host = host
        self.process = process
        self.port = port
        self._directory = directory

    @classmethod
    def spawn(cls, host: Host, directory: Path) -> Running:
        port = free_port()
        (directory / "journal").touch()
        (directory / "gates").mkdir(exist_ok=True)
        command = host.command.format(app=APPLICATION, port=port).split()
        with (directory / "log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", *command],
                cwd=ROOT,
                env=os.environ | _environment(directory),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                # Granian and holdfast have children; nobody is to be left behind.
                start_new_session=True,
            )
        return cls(host, process, port, directory)

    def wait_until_serving(self) -> None:
        def serves() -> bool:
            assert self.process.poll() is None, self.log()
            try:
                return self.fetch("/").status == 200
            except OSError:
                return False

        wait_for(serves, f"{self.host.name} serves", 30)

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(TIMEOUT)
            except subprocess.TimeoutExpired:
                pass
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()

    # --- what a client does ---------------------------------------------------------------------

    @property
    def ws_url(self) -> str:
        return f"ws://127.0.0.1:{self.port}"

    def connect(self, path: str, **options: Any) -> ClientConnection:
        client: ClientConnection = connect(
            self.ws_url + path, open_timeout=TIMEOUT, close_timeout=TIMEOUT, **options
        )
        return client

    def fetch(
        self,
        path: str,
        body: bytes | None = None,
        method: str = "GET",
        headers: dict[str, str] | None = None,
    ) -> http.client.HTTPResponse:
        """Make a request; the response can still be read."""
        client = http.client.HTTPConnection("127.0.0.1", self.port, timeout=TIMEOUT)
        # "close" has the response own the socket.
        client.request(method, path, body, {"connection": "close"} | (headers or {}))
        return client.getresponse()

    # --- what the operator and the application do -----------------------------------------------

    def holdfast(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command of holdfast's against this server."""
        return subprocess.run(
            [sys.executable, "-m", "holdfast", *arguments, "--port", str(self.port)],
            cwd=ROOT, env=os.environ | _environment(self._directory),
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip

    def stop(self) -> int:
        """Stop it as service managers do; return its exit status."""
        self.process.terminate()
        return self.process.wait(TIMEOUT)

    def open_gate(self, name: str) -> None:
        (self._directory / "gates" / name).touch()

    def journal(self, about: str = "") -> list[str]:
        """Return what the application noted that begins with `about`."""
        lines = (self._directory / "journal").read_text().splitlines()
        return [line for line in lines if line.startswith(about)]

    def log(self) -> str:
        return (self._directory / "log").read_text(errors="replace")


def _environment(directory: Path) -> dict[str, str]:
    return {
        "JOURNAL": str(directory / "journal"),
        "GATES": str(directory / "gates"),
        "HOLDFAST_RUN_DIR": str(directory / "run"),
        "PYTHONPATH": str(ROOT),
    }
