"""uvicorn and holdfast, as servers of the same ASGI application."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import urllib.request
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.flow.server import Server, free_port, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["APPS", "SERVERS", "Peer", "serve"]

APPS = Path(__file__).parent / "apps"

SERVERS = ("uvicorn", "holdfast")

TIMEOUT = 10.0  # seconds


class Peer:
    """A server that runs, by whatever name."""

    def __init__(self, name: str, port: int, log: Path) -> None:
        self.name = name
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self.ws_url = f"ws://127.0.0.1:{port}"
        self._log = log

    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def get(self, path: str) -> bytes:
        with urllib.request.urlopen(self.url + path, timeout=TIMEOUT) as response:
            body: bytes = response.read()
            return body

    def notes(self, run: str) -> list[Any]:
        """Return what the endpoint of a run has noted, when it has ended."""
        notes: list[Any] = json.loads(self.get(f"/notes?{run}"))
        return notes


@contextmanager
def serve(name: str, application: str, directory: Path, *arguments: str) -> Iterator[Peer]:
    """Serve `application` from `directory` with one worker process until the block ends."""
    run = _uvicorn if name == "uvicorn" else _holdfast
    with run(application, directory, arguments) as peer:
        try:
            yield peer
        finally:
            # Shown when a test fails.
            sys.stderr.write(peer.log())


@contextmanager
def _uvicorn(application: str, directory: Path, arguments: tuple[str, ...]) -> Iterator[Peer]:
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", application, "--port", str(port), *arguments]
    with tempfile.NamedTemporaryFile(suffix=".log") as log:
        process = subprocess.Popen(command, cwd=directory, stdout=log, stderr=subprocess.STDOUT)
        peer = Peer("uvicorn", port, Path(log.name))
        try:
            wait_for(lambda: "Uvicorn running" in peer.log() or process.poll(), "uvicorn runs")
            yield peer
        finally:
            process.terminate()
            process.wait(TIMEOUT)


@contextmanager
def _holdfast(application: str, directory: Path, arguments: tuple[str, ...]) -> Iterator[Peer]:
    arguments = ("--spare", "0", *arguments)
    with Server.start(application, *arguments, workers=1, cwd=directory) as server:
        yield Peer("holdfast", server.port, server._run / "log")
