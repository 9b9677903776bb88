"""How `holdfast reload`, `status` and `stop` reach a running server.

Shell. Private. A Unix socket per port in a directory that only its owner may enter. One request
and one answer per connection, each one line of JSON.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import stat
import struct
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from typing import Any

# A request is a word and a port; an answer may carry a traceback.
MAX_LINE = 256 * 1024  # bytes


# What is left to do for who asked for a stop, when it is done: one line over a Unix socket.
LAST_ANSWER = 1.0  # seconds


class NoServer(Exception):
    """No server of this user answers for that port."""


def socket_path(port: int) -> Path:
    """Where the server on `port` listens for its owner.

    Raises:
        NoServer: the run directory belongs to somebody else or is open to others.
    """
    base = os.environ.get("HOLDFAST_RUN_DIR")
    if base is None:
        runtime = os.environ.get("XDG_RUNTIME_DIR")
        base = f"{runtime}/holdfast" if runtime else f"/tmp/holdfast-{os.getuid()}"
    directory = Path(base)
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = directory.lstat()
    # /tmp is everybody's: a directory that somebody else put there in time is not ours.
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise NoServer(
            f"the run directory {directory} must be yours and closed to others (mode 0700)"
        )
    return directory / f"{port}.sock"


class ControlSocket:
    """The server's end.

    Args:
        answer: called with a request, returns its answer.
    """

    def __init__(self, port: int, answer: Callable[[dict[str, Any]], Awaitable[object]]) -> None:
        self._path = socket_path(port)
        self._answer = answer
        self._server: asyncio.Server | None = None
        self._answering: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        # The port is bound by now, so what is left here is of a server that is gone.
        self._path.unlink(missing_ok=True)
        self._server = await asyncio.start_unix_server(
            self._serve, path=str(self._path), limit=MAX_LINE
        )
        self._path.chmod(0o600)

    async def finish(self) -> None:
        """Return when all who have asked have their answers, or have waited long enough."""
        if self._answering:
            await asyncio.wait(self._answering, timeout=LAST_ANSWER)

    def close(self) -> None:
        if self._server is not None:
            self._server.close()
            self._path.unlink(missing_ok=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._answering.add(task)
        try:
            if _peer_uid(writer) in (os.getuid(), 0):
                request = json.loads(await reader.readline())
                answer = await self._answer(request)
                writer.write(json.dumps(answer).encode() + b"\n")
                await writer.drain()
        except (ValueError, OSError):
            pass  # Not one of our commands, or it did not wait for its answer.
        finally:
            self._answering.discard(task)
            writer.close()


def ask(port: int, request: dict[str, Any], timeout: float | None) -> Any:
    """Send one request to the server on `port` and return its answer.

    Raises:
        NoServer: there is none, or it gave no answer in `timeout` seconds.
    """
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(timeout)
        try:
            connection.connect(str(socket_path(port)))
            connection.sendall(json.dumps(request).encode() + b"\n")
            with connection.makefile("rb") as lines:
                line = lines.readline(MAX_LINE)
        except TimeoutError:
            raise NoServer(f"the server on port {port} did not answer in {timeout:g} s") from None
        except OSError as error:
            raise NoServer(f"no holdfast server of yours answers for port {port}") from error
    if not line:
        raise NoServer(f"the server on port {port} ended before it answered")
    return json.loads(line)


def _peer_uid(writer: asyncio.StreamWriter) -> int:
    peer: socket.socket = writer.get_extra_info("socket")
    if not hasattr(socket, "SO_PEERCRED"):
        return os.getuid()  # The directory's mode is all there is.
    credentials = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    _, uid, _ = struct.unpack("3i", credentials)
    return int(uid)
