"""One request and its response, as ASGI has them: the client's TCP connection and its parser.

Shell. The worker's HTTP side calls `receive` and `send`; the test reads what came. It does what
uvicorn does with the messages, backpressure and a client that leaves included.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextvars import ContextVar
from typing import TYPE_CHECKING

from holdfast.testing.session import Pulse
from holdfast.web.headers import Headers
from holdfast.web.response import Response

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, MutableMapping
    from typing import Any

    from holdfast.web.request import Request

# What may wait for a reader before the application has to; uvicorn takes as much.
HIGH_WATER = 64 * 1024  # bytes

# A handshake's scheme in the URL, and what uvicorn puts into the scope.
SCHEMES = {"ws": "http", "wss": "https"}
PORTS = {"http": 80, "https": 443}

# Statuses that have no body, whatever the application sends.
WITHOUT_BODY = (204, 205, 304)


class RoundTrip:
    """One request on its way, and what comes back.

    Args:
        extensions: for the scope.
        pulse: beats when something came back.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        request: Request,
        *,
        extensions: Mapping[str, object] | None = None,
        pulse: Pulse | None = None,
    ) -> None:
        self.request = request
        self.pulse = pulse or Pulse(loop)
        # What the host reported of this request's listeners.
        self.errors: list[BaseException] = []
        # What the HTTP side itself raised.
        self.failure: Exception | None = None
        self.status = 0  # until the response starts
        self.headers = Headers()
        self.is_complete = False
        # The HTTP side has returned, or is no more.
        self.is_over = False
        # Its worker was lost.
        self.is_lost = False
        # Nobody at this end listens any more.
        self.has_left = False
        # The test holds it open, and knows it.
        self.is_held = False
        self._extensions = extensions or {}
        self._chunks: deque[bytes] = deque()
        self._waiting = 0  # bytes
        self._wanted: int | None = None
        self._body: AsyncIterator[bytes] | None = request.stream()

    def __str__(self) -> str:
        return f"{self.request.method} {self.request.url.pathname}"

    def scope(self) -> dict[str, Any]:
        url = self.request.url
        scheme = url.protocol.removesuffix(":")
        scheme = SCHEMES.get(scheme, scheme)
        headers = self.request.headers.raw
        if not self.request.headers.has("host"):
            headers.insert(0, (b"host", url.host.encode()))
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "server": (url.hostname, int(url.port) if url.port else PORTS.get(scheme, 80)),
            "client": ("127.0.0.1", 50000),
            "scheme": scheme,
            "root_path": "",
            "method": self.request.method,
            "path": url.pathname,
            "raw_path": url.pathname.encode(),
            "query_string": url.search.removeprefix("?").encode(),
            "headers": headers,
            "state": {},
            "extensions": dict(self._extensions),
        }

    # --- for the application --------------------------------------------------------------------

    async def receive(self) -> MutableMapping[str, Any]:
        body = self._body
        if body is not None and not self.has_left:
            chunk = await anext(body, None)
            if chunk is not None:
                return {"type": "http.request", "body": chunk, "more_body": True}
            self._body = None
            return {"type": "http.request", "body": b"", "more_body": False}
        await self.pulse.until(lambda: self.has_left or self.is_complete)
        return {"type": "http.disconnect"}

    async def send(self, message: MutableMapping[str, Any]) -> None:
        if self._waiting > HIGH_WATER:
            await self.pulse.until(lambda: self._waiting <= HIGH_WATER or self.has_left)
        if self.has_left:
            # As with uvicorn, nothing happens; but an application that goes on and on with it
            # must not hang the test.
            await asyncio.sleep(0)
            return
        kind = message["type"]
        if not self.status and kind == "http.response.start":
            self._start(message)
        elif self.status and not self.is_complete and kind == "http.response.body":
            self._continue(message.get("body", b""), more=message.get("more_body", False))
        else:
            raise RuntimeError(f"unexpected ASGI message {kind!r}")
        self.pulse.beat()

    def _start(self, message: MutableMapping[str, Any]) -> None:
        self.headers = Headers.from_raw(
            [(name.lower(), value) for name, value in message.get("headers", ())]
        )
        length = self.headers.get("content-length")
        if length is not None and self.request.method != "HEAD":
            self._wanted = int(length)
        self.status = message["status"]

    def _continue(self, body: bytes, *, more: bool) -> None:
        # A real client would wait for the rest, or take what is too much for the next response.
        if self._wanted is not None:
            self._wanted -= len(body)
            if self._wanted < 0 or (self._wanted and not more):
                word = "longer" if self._wanted < 0 else "shorter"
                raise RuntimeError(f"the response is {word} than its Content-Length")
        if body and self.request.method != "HEAD" and self.status not in WITHOUT_BODY:
            self._chunks.append(body)
            self._waiting += len(body)
        self.is_complete = not more

    # --- for the worker -------------------------------------------------------------------------

    def end(self, failure: Exception | None) -> None:
        """The HTTP side has returned or raised."""
        self.failure = failure
        self.is_over = True
        if not self.status and not self.has_left:
            # As uvicorn does: nothing was written yet, so there can be a proper answer.
            self.status = 500
            self._chunks.append(b"Internal Server Error")
            self.is_complete = True
        self.pulse.beat()

    def lose(self) -> None:
        """The worker is no more, and its TCP connections with it."""
        self.is_lost = self.is_over = True
        self.pulse.beat()

    # --- for the client -------------------------------------------------------------------------

    def leave(self) -> None:
        """Close this end; or the other end has closed it, after giving the socket away."""
        self.has_left = True
        self.is_held = False
        self.pulse.beat()

    @property
    def has_started(self) -> bool:
        """True when the status is known, or there will be none."""
        return bool(self.status) or self.is_over

    @property
    def has_chunks(self) -> bool:
        return bool(self._chunks)

    @property
    def has_more(self) -> bool:
        """True when `take` has something to return, or to raise."""
        return bool(self._chunks) or self.is_complete or self.is_over

    @property
    def is_broken(self) -> bool:
        """True when the response is not complete and will never be."""
        return self.is_over and not self.is_complete and (self.is_lost or not self.has_left)

    def take(self) -> bytes:
        """Return the next chunk; b"" at the end.

        Raises:
            ConnectionResetError: the end will never come.
        """
        if self._chunks:
            chunk = self._chunks.popleft()
            self._waiting = max(0, self._waiting - len(chunk))
            self.pulse.beat()
            return chunk
        self.check()
        return b""

    def take_all(self) -> bytes:
        """Return all chunks that are here."""
        chunks, self._chunks = self._chunks, deque()
        return b"".join(chunks)

    def check(self) -> None:
        """Tell a client whether the response is broken.

        Raises:
            ConnectionResetError: it is.
        """
        if self.is_broken and self.is_lost:
            raise ConnectionResetError(f"the worker was lost before it had answered {self}")
        if self.is_broken:
            raise ConnectionResetError(f"the response to {self} was cut off") from self.failure

    def response(self, body: bytes) -> Response:
        return Response(body or None, status=self.status, headers=self.headers)


# Whose listeners run in this context.
current_round_trip: ContextVar[RoundTrip] = ContextVar("holdfast_test_round_trip")
