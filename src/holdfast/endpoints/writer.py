"""Writes to the keeper what all endpoints of a worker have said in one turn of the loop.

Shell. Private.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from holdfast.worker.stream_link import Nowhere

if TYPE_CHECKING:
    from holdfast.endpoints.protocol import EndpointProtocol
    from holdfast.worker.stream_link import Link

# What may leave in one turn before whoever sends has to wait until it has left; as much as
# asyncio's transports take before they ask uvicorn to wait. A message has a price of its own, or
# empty ones would be free.
HIGH_WATER = 64 * 1024  # bytes
PER_MESSAGE = 64  # bytes


class TurnWriter:
    """Makes one write of what endpoints say in one turn.

    Args:
        link: to the keeper.
    """

    def __init__(self, link: Link, loop: asyncio.AbstractEventLoop) -> None:
        self._link = link
        self._loop = loop
        # Those that have said something in this turn, and how much that is.
        self._spoken: dict[EndpointProtocol, None] = {}
        self._size = 0

    def note(self, protocol: EndpointProtocol, size: int = 0) -> None:
        """Have what an endpoint has said leave at the end of this turn.

        Args:
            size: how much that is, in bytes.
        """
        if not self._spoken:
            self._loop.call_soon(self.flush)
        self._spoken[protocol] = None
        self._size += size + PER_MESSAGE

    @property
    def is_full(self) -> bool:
        """True when so much was said in this turn that `make_room` is due."""
        return self._size > HIGH_WATER

    async def make_room(self) -> None:
        """Return when what was said has left, and the keeper was listened to."""
        self.flush()
        await self._link.drain()
        # The keeper may have said that a client does not read.
        await asyncio.sleep(0)

    def flush(self) -> None:
        """Send what was said in this turn."""
        spoken, self._spoken, self._size = self._spoken, {}, 0
        for protocol in spoken:
            for message in protocol.take():
                self._link.collect(message)
        self._link.flush()

    def cut(self) -> None:
        """Let nothing leave from here on, as if this worker did not exist any more."""
        self._link = Nowhere()
