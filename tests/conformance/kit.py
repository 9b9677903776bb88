"""The test kit as a host of the stories: a TestClient in a thread, used as a server is.

What it cannot show has its reason beside the story (`kit=…` of `promises.py:promise`). It is no
host that anybody would choose, so it has no column in the README's table.
"""

from __future__ import annotations

import asyncio
import importlib.util
import itertools
import logging
import os
import subprocess
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosedError, InvalidStatus
from websockets.frames import Close
from websockets.http11 import Response

from holdfast.testing import ConnectionClosed, TestClient, UpgradeRefused

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator
    from contextlib import AbstractAsyncContextManager
    from types import ModuleType
    from typing import TypeVar

    from holdfast.testing import Stream, WebSocket

    T = TypeVar("T")

__all__ = ["Kit"]

# Seconds; see `hosts.py`.
TIMEOUT = 15.0

numbers = itertools.count()


class Kit:
    """What `hosts.py:Running` is for servers."""

    port = 7777
    """Nobody listens there; it is a part of URLs."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        (directory / "journal").touch()
        (directory / "gates").mkdir(exist_ok=True)
        self._application = self._load()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._client = TestClient(
            self._application.app,
            base_url=f"http://127.0.0.1:{self.port}",
            raise_errors=False,
            timeout=TIMEOUT,
        )
        self._is_stopped = False

    @classmethod
    @contextmanager
    def start(cls, directory: Path) -> Iterator[Kit]:
        kit = cls(directory)
        log = logging.FileHandler(directory / "log")
        logging.getLogger("holdfast").addHandler(log)
        kit._thread.start()
        try:
            kit._do(kit._client.__aenter__())
            yield kit
            kit.stop()
        finally:
            kit._application.heard.close()
            kit._loop.call_soon_threadsafe(kit._loop.stop)
            kit._thread.join(TIMEOUT)
            kit._loop.close()
            log.close()
            logging.getLogger("holdfast").removeHandler(log)

    def _load(self) -> ModuleType:
        """Import the application anew, for this directory."""
        places = {
            "JOURNAL": str(self._directory / "journal"),
            "GATES": str(self._directory / "gates"),
        }
        path = Path(__file__).with_name("app.py")
        spec = importlib.util.spec_from_file_location(f"conformance_app_{next(numbers)}", path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        with mock.patch.dict(os.environ, places):
            spec.loader.exec_module(module)
        return module

    def _do(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(2 * TIMEOUT)

    # --- what a client does ---------------------------------------------------------------------

    @contextmanager
    def connect(
        self,
        path: str,
        *,
        origin: str | None = None,
        additional_headers: dict[str, str] | None = None,
        subprotocols: tuple[str, ...] | list[str] = (),
        max_size: int | None = None,
    ) -> Iterator[Socket]:
        headers = dict(additional_headers or {})
        if origin is not None:
            headers["origin"] = origin
        connecting = self._client.connect(path, headers=headers, subprotocols=subprotocols)
        try:
            ws = self._do(connecting.__aenter__())
        except UpgradeRefused as refused:
            raise InvalidStatus(self._do(_response(refused))) from None
        try:
            yield Socket(self, ws)
        finally:
            self._do(_leave(connecting))

    def fetch(
        self,
        path: str,
        body: bytes | None = None,
        method: str = "GET",
        headers: dict[str, str] | None = None,
    ) -> Answer:
        streaming = self._client.stream(path, method=method, headers=headers, body=body)
        return Answer(self, self._do(streaming.__aenter__()), streaming)

    # --- what the operator and the application do -----------------------------------------------

    def holdfast(self, command: str) -> subprocess.CompletedProcess[str]:
        assert command == "reload"
        self._do(self._client.reload(self._application.app))
        return subprocess.CompletedProcess([command], 0, "", "")

    def stop(self) -> int:
        if not self._is_stopped:
            self._is_stopped = True
            self._do(self._client.__aexit__(None, None, None))
        return 0

    def open_gate(self, name: str) -> None:
        (self._directory / "gates" / name).touch()

    def journal(self, about: str = "") -> list[str]:
        lines = (self._directory / "journal").read_text().splitlines()
        return [line for line in lines if line.startswith(about)]

    def log(self) -> str:
        return (self._directory / "log").read_text(errors="replace")


class Socket:
    """A connection, as `websockets.sync.client.ClientConnection` has it."""

    def __init__(self, kit: Kit, ws: WebSocket) -> None:
        self._kit = kit
        self._ws = ws
        self.subprotocol = ws.subprotocol
        self.response = Response(101, "", Headers(_pairs(ws.headers.raw)))

    def send(self, message: str | bytes) -> None:
        self._kit._do(self._ws.send(message))

    def recv(self, timeout: float) -> str | bytes:
        try:
            return self._kit._do(self._ws.receive(timeout))
        except ConnectionClosed as closed:
            raise ConnectionClosedError(Close(closed.code, closed.reason), None) from None

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Close, without waiting for the listeners of the close event, as a real client does."""

        async def close() -> None:
            closing = asyncio.ensure_future(self._ws.close(code, reason))
            while not (self._ws.closed or closing.done()):
                await asyncio.sleep(0)
            _unwaited.add(closing)
            closing.add_done_callback(_unwaited.discard)

        self._kit._do(close())


_unwaited: set[asyncio.Future[None]] = set()


class Answer:
    """A response, as `http.client.HTTPResponse` has it."""

    def __init__(
        self, kit: Kit, stream: Stream, streaming: AbstractAsyncContextManager[Stream]
    ) -> None:
        self._kit = kit
        self._stream = stream
        self._streaming = streaming
        self.status = stream.status
        self.headers = Headers(_pairs(stream.headers.raw))

    def read1(self, size: int) -> bytes:
        chunk = self._kit._do(self._stream.read())
        assert len(chunk) <= size
        return chunk

    def read(self) -> bytes:
        async def read() -> bytes:
            body = b"".join([chunk async for chunk in self._stream])
            await self._streaming.__aexit__(None, None, None)
            return body

        return self._kit._do(read())


class Left(BaseException):
    """The block of a connection has ended."""


async def _leave(connecting: AbstractAsyncContextManager[WebSocket]) -> None:
    """Leave a connection as a real client does, which does not wait for close events."""
    try:
        await connecting.__aexit__(Left, Left(), None)
    except Left:
        pass


async def _response(refused: UpgradeRefused) -> Response:
    response = refused.response
    body = await response.bytes()
    return Response(response.status, "", Headers(_pairs(response.headers.raw)), body)


def _pairs(raw: list[tuple[bytes, bytes]]) -> list[tuple[str, str]]:
    return [(name.decode("latin-1"), value.decode("latin-1")) for name, value in raw]
