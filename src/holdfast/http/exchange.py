"""One request and its response over ASGI: the body that comes in, and what goes out.

Shell. A request's body is limited while it comes, whatever its Content-Length says. A response that
streams is watched: when the client leaves, its generator ends, even while it waits. All other
responses are two messages and cost nothing more.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from holdfast.core.dispatch import Waiting, first_step
from holdfast.web.http_errors import ClientLeft, ContentTooLarge

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, MutableMapping
    from typing import Any, TypeAlias

    from holdfast.web.response import Response

    Scope: TypeAlias = MutableMapping[str, Any]
    Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]
    Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]
    # Sends status, fields and body. False: it did not, and they are to be sent as messages.
    Respond: TypeAlias = Callable[[int, list[tuple[bytes, bytes]], bytes], bool]

# How long a client whose body was refused may go on sending. To close at once would reset the
# connection under the response before it is read (RFC 9112 section 9.6). nginx takes 5 s.
LINGER = 2.0  # seconds

# A generator that never waits has other requests, and the news that its client left, wait as long.
CHUNKS_PER_TURN = 64

TOO_LARGE_TEXT = "the body is larger than this server takes"

# What is known of the request's body. OPEN: there may be more.
OPEN, COMPLETE, LEFT, TOO_LARGE = range(4)


class Exchange:
    """One request. Iterate over it for its body; `respond` once.

    Args:
        limit: bytes that the body may have.
        at_once: what sends a whole response, if the server has that.
        keeps: what is read here may be wanted again, by `receive`.
    """

    # No reference to the Request, which refers to this: a cycle per request would be the garbage
    # collector's business.
    __slots__ = (
        "_at_once",
        "_held",
        "_keeps",
        "_kept",
        "_left",
        "_receive",
        "_send",
        "_state",
        "_turn",
        "has_started",
    )

    def __init__(
        self,
        receive: Receive,
        send: Send,
        limit: int,
        at_once: Respond | None = None,
        *,
        keeps: bool = False,
    ) -> None:
        self._receive = receive
        self._send = send
        self._at_once = at_once
        self._left = limit
        self._state = OPEN
        # What came while nobody read, and whose turn it is to receive, once there may be two.
        self._held: list[bytes] | None = None
        self._turn: asyncio.Lock | None = None
        # All that was read, if it was to be kept and anything was.
        self._keeps = keeps
        self._kept: list[bytes] | None = None
        # Whether the head of a response is out.
        self.has_started = False

    # --- the request's body ---------------------------------------------------------------------

    def check_length(self, headers: Iterable[tuple[bytes, bytes]]) -> bool:
        """Tell whether the body is small enough, as far as its Content-Length says."""
        for name, value in headers:
            if name == b"content-length" and value.isdigit() and int(value) > self._left:
                self._state = TOO_LARGE
                return False
        return True

    async def __aiter__(self) -> AsyncGenerator[bytes, None]:
        """Yield the request's body, which is asked for only when somebody reads it.

        Raises:
            ClientLeft: before it was complete.
            ContentTooLarge: it has more than it may.
        """
        while True:
            while self._held:
                yield self._held.pop(0)
            if self._state != OPEN:
                break
            if self._turn is None:
                await self._pull()
                continue
            async with self._turn:
                # The watch may have received what this waited for.
                if not self._held and self._state == OPEN:
                    await self._pull()
        if self._state == LEFT:
            raise ClientLeft("the client left before its request was complete")
        if self._state == TOO_LARGE:
            raise ContentTooLarge(TOO_LARGE_TEXT)

    async def _pull(self) -> None:
        message = await self._receive()
        if message["type"] != "http.request":
            self._state = LEFT
            return
        data = message.get("body", b"")
        self._left -= len(data)
        if self._left < 0:
            # What is too much is not kept.
            self._state = TOO_LARGE
            return
        if data:
            if self._held is None:
                self._held = []
            self._held.append(data)
        if self._keeps:
            self._kept = [*(self._kept or ()), data]
        if not message.get("more_body", False):
            self._state = COMPLETE

    async def receive(self) -> MutableMapping[str, Any]:
        """Do what ASGI's `receive` does, for an application that comes after the listeners.

        What they have read of the body comes again.

        Raises:
            ContentTooLarge: the body has more than it may.
        """
        if self._state == TOO_LARGE:
            raise ContentTooLarge(TOO_LARGE_TEXT)
        if self._kept is not None:
            body, self._kept = b"".join(self._kept), None
            return {"type": "http.request", "body": body, "more_body": self._state == OPEN}
        message = await self._receive()
        self._left -= len(message.get("body", b""))
        if self._left < 0:
            self._state = TOO_LARGE
            raise ContentTooLarge(TOO_LARGE_TEXT)
        return message

    # --- the response ---------------------------------------------------------------------------

    async def respond(self, response: Response, cookies: Iterable[str] = ()) -> None:
        """Send a response whose body is all there, or without its body."""
        headers = response.raw_headers()
        for cookie in cookies:
            headers.append((b"set-cookie", cookie.encode("latin-1")))
        body = response.body
        if not isinstance(body, bytes):
            body = b""
        if self._state == TOO_LARGE:
            await self._respond_and_close(response.status, headers, body)
            return
        self.has_started = True
        if self._at_once is not None and self._at_once(response.status, headers, body):
            return
        await self._send(
            {"type": "http.response.start", "status": response.status, "headers": headers}
        )
        await self._send({"type": "http.response.body", "body": body})

    async def _respond_and_close(
        self, status: int, headers: list[tuple[bytes, bytes]], body: object
    ) -> None:
        """Respond, have the client read that, and close; it may still be sending its request."""
        headers.append((b"connection", b"close"))
        self.has_started = True
        await self._send({"type": "http.response.start", "status": status, "headers": headers})
        await self._send({"type": "http.response.body", "body": body, "more_body": True})
        try:
            async with asyncio.timeout(LINGER):
                message = await self._receive()
                while message["type"] == "http.request" and message.get("more_body", False):
                    message = await self._receive()
        except TimeoutError:
            pass
        await self._send({"type": "http.response.body", "body": b""})

    async def stream(self, response: Response, cookies: Iterable[str] = ()) -> None:
        """Send a response whose body comes chunk by chunk, until the client leaves.

        What the body raises before it first waits is raised before anything is sent. The head does
        not wait for the first chunk: an event stream may not have one for long.

        Raises:
            Exception: the body raised it. If `has_started`, the response cannot be completed.
        """
        headers = response.raw_headers()
        for cookie in cookies:
            headers.append((b"set-cookie", cookie.encode("latin-1")))
        # From here on the body, which may read the request's, and the watch both receive.
        self._turn = asyncio.Lock()
        chunks = response.iter_bytes()
        try:
            chunk: bytes | Waiting[bytes] | None = first_step(chunks.__anext__())
        except StopAsyncIteration:
            chunk = None
        head = {"type": "http.response.start", "status": response.status, "headers": headers}
        try:
            # A timeout without a time is asyncio's way to cancel a part of a task and no more.
            async with asyncio.timeout(None) as presence:
                watch = asyncio.create_task(self._watch(presence))
                try:
                    self.has_started = True
                    await self._send(head)
                    await self._send_all(chunk, chunks)
                finally:
                    watch.cancel()
                    if not presence.expired():
                        # What the body does to clean up is not to be cancelled.
                        presence.reschedule(None)
                    await chunks.aclose()
        except TimeoutError:
            if not presence.expired():
                raise

    async def _send_all(
        self, chunk: bytes | Waiting[bytes] | None, rest: AsyncGenerator[bytes, None]
    ) -> None:
        count = 0
        if isinstance(chunk, Waiting):
            try:
                chunk = await chunk.finish()
            except StopAsyncIteration:
                chunk = None
        while chunk is not None:
            await self._send({"type": "http.response.body", "body": chunk, "more_body": True})
            count += 1
            if count % CHUNKS_PER_TURN == 0:
                await asyncio.sleep(0)
            chunk = await anext(rest, None)
            # Or it would go on for ever, having caught what ended it.
            if self._state in (LEFT, TOO_LARGE):
                return
        await self._send({"type": "http.response.body", "body": b""})

    async def _watch(self, presence: asyncio.Timeout) -> None:
        """End `presence` when the client leaves.

        What it still sends is kept for the reader, as far as the limit.
        """
        assert self._turn is not None
        while self._state == OPEN:
            async with self._turn:
                if self._state == OPEN:
                    await self._pull()
        if self._state == COMPLETE:
            # Nothing can come but the end of the connection.
            await self._receive()
            self._state = LEFT
        presence.reschedule(0)
