"""Gives an upgraded socket to the keeper.

Shell. Private. The descriptor goes over the handover link first, then the record over the stream
link: when the keeper reads the record, the descriptor is already there. Nothing has been written
to the client by then; the keeper answers the handshake.
"""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, Protocol

from holdfast.core.ports import Metadata
from holdfast.framing.handshake import websocket_key
from holdfast.http.asgi import HandoverUnavailable
from holdfast.wire.codec import encode_metadata
from holdfast.wire.messages import Handover
from holdfast.wire.outbox import WireOutbox

if TYPE_CHECKING:
    from collections.abc import Sequence

    from holdfast.core.ports import Outbox
    from holdfast.core.request_events import Upgrade
    from holdfast.wire.messages import Action
    from holdfast.worker.stream_link import Link

SERIAL_BYTES = 8


class Descriptors(Protocol):
    """Takes descriptors for the keeper, wherever that is."""

    async def give_descriptor(self, serial: int, fd: int) -> None:
        """Send a copy of `fd`; the caller's own stays open.

        Raises:
            HandoverUnavailable: the keeper is not there.
        """


class SocketTaker(Descriptors, Protocol):
    """Takes upgraded sockets for the keeper: descriptors, and what is to be known of them."""

    def announce(
        self,
        upgrade: Upgrade,
        outbox: Outbox,
        request_headers: Sequence[tuple[bytes, bytes]],
        leftover: bytes,
        *,
        address: str,
        lost: bool,
    ) -> None:
        """Send the record that goes with the descriptor, or without one if the client is lost."""


class HandoverLink:
    """The worker's end of the handover link: `Descriptors` over a socket."""

    def __init__(self, fd: int, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._turn = asyncio.Lock()
        self._socket = _open(fd)

    async def open(self, fd: int) -> None:
        """Go on with another keeper."""
        async with self._turn:
            self._socket.close()
            self._socket = _open(fd)

    async def give_descriptor(self, serial: int, fd: int) -> None:
        packet = serial.to_bytes(SERIAL_BYTES, "big")
        async with self._turn:
            while True:
                try:
                    socket.send_fds(self._socket, [packet], [fd])
                except BlockingIOError:
                    await self._writable()
                except OSError as error:
                    raise HandoverUnavailable(f"the keeper takes no socket: {error}") from error
                else:
                    return

    async def _writable(self) -> None:
        ready: asyncio.Future[None] = self._loop.create_future()
        fd = self._socket.fileno()
        self._loop.add_writer(fd, _wake, ready)
        try:
            await ready
        finally:
            self._loop.remove_writer(fd)


class SocketSender:
    """`SocketTaker` over any link.

    Args:
        leaving: where actions go from events that have ended.
    """

    def __init__(self, descriptors: Descriptors, link: Link, leaving: list[Action]) -> None:
        self._descriptors = descriptors
        self._link = link
        self._leaving = leaving

    async def give_descriptor(self, serial: int, fd: int) -> None:
        await self._descriptors.give_descriptor(serial, fd)

    def announce(
        self,
        upgrade: Upgrade,
        outbox: Outbox,
        request_headers: Sequence[tuple[bytes, bytes]],
        leftover: bytes,
        *,
        address: str,
        lost: bool,
    ) -> None:
        record = make_record(
            upgrade,
            outbox,
            request_headers,
            leftover,
            self._leaving,
            address=address,
            lost=lost,
        )
        self._link.send(record)


def make_record(
    upgrade: Upgrade,
    outbox: Outbox,
    request_headers: Sequence[tuple[bytes, bytes]],
    leftover: bytes,
    leaving: list[Action],
    *,
    address: str,
    lost: bool,
) -> Handover:
    """Seal the outbox and return what the keeper must know of an upgrade."""
    assert isinstance(outbox, WireOutbox)
    connection = upgrade.connection
    # Without channels: the ledger learns them from the actions, as it does later.
    about = Metadata(connection.url, upgrade.subprotocol, frozenset())
    return Handover(
        serial=connection.serial,
        key=websocket_key(request_headers),
        subprotocol=upgrade.subprotocol,
        headers=upgrade.headers.raw,
        about=encode_metadata(about),
        leftover=leftover,
        actions=outbox.seal(leaving),
        lost=lost,
        address=address,
        extensions=b",".join(v for k, v in request_headers if k == b"sec-websocket-extensions"),
        endpoint=upgrade.endpoint,
        closes=upgrade.closes,
    )


def _open(fd: int) -> socket.socket:
    end = socket.socket(fileno=fd)
    end.setblocking(False)
    return end


def _wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
