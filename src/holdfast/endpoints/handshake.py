"""The request with which an endpoint begins in its first worker, and the answer to it.

Shell. Private.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterable, MutableMapping
    from typing import Any

    from holdfast.core.ports import Outbox
    from holdfast.core.request_events import Upgrade
    from holdfast.http.asgi import UpgradeHandle
    from holdfast.http.exchange import Send


class HandshakeAnswer:
    """Answers one request for a WebSocket: with a response, or by giving its socket away.

    Args:
        send: for a response.
        upgrade handle: of the request's socket.
    """

    def __init__(self, send: Send, handle: UpgradeHandle, loop: asyncio.AbstractEventLoop) -> None:
        self._send = send
        self._handle = handle
        self._finished: asyncio.Future[None] = loop.create_future()

    async def wait(self) -> None:
        """Return when the client has its answer, or needs none."""
        await self._finished

    def finish(self) -> None:
        """The client has its answer, or needs none."""
        if not self._finished.done():
            self._finished.set_result(None)

    async def give(self, upgrade: Upgrade, outbox: Outbox) -> None:
        """Have the keeper take the socket.

        Raises:
            HandoverUnavailable: the keeper cannot; there is no answer yet.
        """
        await self._handle.give(upgrade, outbox)

    async def pass_on(self, messages: Iterable[MutableMapping[str, Any]]) -> None:
        """Send messages of a response that the endpoint has made."""
        for message in messages:
            await self._send(message)

    async def respond(self, status: int, body: bytes, *headers: tuple[bytes, bytes]) -> None:
        """Send a whole response, and have the TCP connection closed behind it."""
        fields = [
            (b"content-type", b"text/plain; charset=utf-8"),
            (b"content-length", b"%d" % len(body)),
            (b"connection", b"close"),
            *headers,
        ]
        await self._send({"type": "http.response.start", "status": status, "headers": fields})
        await self._send({"type": "http.response.body", "body": body})
