"""The socket of one handshake request, on its way from uvicorn to the keeper.

Shell. Private. `worker/http_protocol.py` makes one when a request wants a WebSocket.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from holdfast.core.ports import Outbox
    from holdfast.core.request_events import Upgrade
    from holdfast.worker.handover import SocketTaker
    from holdfast.worker.http_protocol import HttpProtocol

__all__ = ["Giver"]

# What a client may send behind its handshake request before it is answered. RFC 6455 section 4.1
# allows nothing at all; what fits one read is kept, more is a client that will not wait.
MAX_LEFTOVER = 256 * 1024  # bytes


class Giver:
    """`hosts/asgi.py:SocketGiver`."""

    def __init__(self, protocol: HttpProtocol, handover: SocketTaker) -> None:
        self._protocol = protocol
        self._handover = handover
        self._leftover = b""

    def receive(self, data: bytes) -> None:
        """Keep what came behind the request; the rest stays in the kernel."""
        if not data:
            return  # Read on: else nobody would notice that the client leaves.
        self._leftover += data
        self._protocol.transport.pause_reading()
        if len(self._leftover) > MAX_LEFTOVER:
            self._protocol.transport.abort()

    async def give(self, upgrade: Upgrade, outbox: Outbox) -> None:
        protocol = self._protocol
        transport = protocol.transport
        await self._flush_earlier_responses()
        is_lost = transport.is_closing()
        if not is_lost:
            transport.pause_reading()
            descriptor = transport.get_extra_info("socket").fileno()
            await self._handover.give_descriptor(upgrade.connection.serial, descriptor)
        headers = protocol.scope["headers"]
        client = protocol.scope["client"]
        self._handover.announce(
            upgrade,
            outbox,
            list(headers),
            self._leftover,
            address=client[0] if client else "",
            lost=is_lost,
        )
        # To uvicorn the request ends as if its client had left; the keeper's copy of the socket
        # keeps the TCP connection open.
        protocol.cycle.disconnected = True
        transport.abort()

    async def _flush_earlier_responses(self) -> None:
        """A response to an earlier request on this connection may still be on its way out."""
        transport = self._protocol.transport
        # Rare, and transports tell nobody when they run empty. One that never does is aborted:
        # Phase.WRITING.
        while transport.get_write_buffer_size() and not transport.is_closing():  # noqa: ASYNC110
            await asyncio.sleep(0.01)
