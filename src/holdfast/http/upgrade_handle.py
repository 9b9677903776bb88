"""The socket of one handshake request, on its way to the keeper.

Shell. Private. `http/protocol.py` makes one when a request wants a WebSocket.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from holdfast.core.ports import Outbox
    from holdfast.core.request_events import Upgrade
    from holdfast.worker.handover import SocketTaker

# What a client may send behind its handshake request before it is answered. RFC 6455 section 4.1
# allows nothing at all; what fits one read is kept, more is a client that will not wait.
MAX_LEFTOVER = 256 * 1024  # bytes


class Releasing(Protocol):
    """The connection whose socket may be given away; `http/protocol.py:HttpProtocol`."""

    transport: asyncio.Transport

    def release(self) -> None:
        """Somebody else has the socket."""


class SocketHandle:
    """`http/asgi.py:UpgradeHandle`.

    Args:
        protocol: of the connection.
        headers: of the request.
        address: of the client; "" if it has none.
    """

    def __init__(
        self,
        protocol: Releasing,
        handover: SocketTaker,
        headers: list[tuple[bytes, bytes]],
        address: str,
    ) -> None:
        # None: the connection is lost. Protocol and handle refer to each other, and such a circle
        # waits for the garbage collector, whose pauses grow with what there is of them.
        self._protocol: Releasing | None = protocol
        self._handover = handover
        self._headers = headers
        self._address = address
        self._leftover = b""

    def receive(self, data: bytes) -> None:
        """Keep what came behind the request; the rest stays in the kernel."""
        if not data or self._protocol is None:
            return  # Read on: else nobody would notice that the client leaves.
        self._leftover += data
        self._protocol.transport.pause_reading()
        if len(self._leftover) > MAX_LEFTOVER:
            self._protocol.transport.abort()

    def lose(self) -> None:
        """The connection is lost: by the client, or because it was given away."""
        self._protocol = None

    async def give(self, upgrade: Upgrade, outbox: Outbox) -> None:
        protocol = self._protocol
        if protocol is not None:
            await _flush_earlier_responses(protocol.transport)
        is_lost = protocol is None or protocol.transport.is_closing()
        if protocol is not None and not is_lost:
            protocol.transport.pause_reading()
            descriptor = protocol.transport.get_extra_info("socket").fileno()
            await self._handover.give_descriptor(upgrade.connection.serial, descriptor)
        self._handover.announce(
            upgrade,
            outbox,
            list(self._headers),
            self._leftover,
            address=self._address,
            lost=is_lost,
        )
        if protocol is not None:
            # The keeper's copy of the socket keeps the TCP connection open.
            protocol.release()


async def _flush_earlier_responses(transport: asyncio.Transport) -> None:
    """A response to an earlier request on this connection may still be on its way out."""
    # Rare, and transports tell nobody when they run empty. One that never does is aborted:
    # Phase.WRITING.
    while transport.get_write_buffer_size() and not transport.is_closing():  # noqa: ASYNC110
        await asyncio.sleep(0.01)
