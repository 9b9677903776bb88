"""What the core asks of a worker: `core/ports.py:CommittingHost` over the stream link.

Shell. Private.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from holdfast.core.attachment import DEFAULT_LIMIT
from holdfast.core.identity import ConnectionIds
from holdfast.wire.codec import decode_about, decode_plain, encode_plain
from holdfast.wire.messages import Act
from holdfast.wire.outbox import WireOutbox

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from typing import Any

    from holdfast.core.ports import About, Outbox
    from holdfast.wire.messages import Action
    from holdfast.worker.stream_link import StreamLink

__all__ = ["WorkerHost"]

log = logging.getLogger("holdfast.worker")

# A serial is the worker's number, never used again by this supervisor, and a counter.
COUNTER_BITS = 32


class WorkerHost:
    """The core's host in a worker process."""

    def __init__(self, worker: int, link: StreamLink, loop: asyncio.AbstractEventLoop) -> None:
        self._link = link
        self._loop = loop
        self._next_serial = worker << COUNTER_BITS
        self._ids: ConnectionIds | None = None
        self._works: set[asyncio.Task[None]] = set()
        self.leaving: list[Action] = _Leaving(link)
        self.attachment_limit = DEFAULT_LIMIT

    def be_named(self, node: bytes, key: bytes) -> None:
        """The keeper has said what its connection ids are made of."""
        self._ids = ConnectionIds(node, key)

    # --- core/ports.py --------------------------------------------------------------------------

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        # The loop itself keeps only weak references to tasks.
        self._works.add(task)
        task.add_done_callback(self._forget)

    def new_serial(self) -> int:
        self._next_serial += 1
        return self._next_serial

    def connection_id(self, serial: int) -> str:
        assert self._ids is not None  # No event is dispatched before the keeper's welcome.
        return self._ids.encode(serial)

    def about(self, encoded: bytes) -> About:
        return decode_about(encoded)

    encode = staticmethod(encode_plain)
    decode = staticmethod(decode_plain)

    async def flush(self, outbox: Outbox) -> None:
        assert isinstance(outbox, WireOutbox)
        if outbox.actions:
            self._link.send(Act(outbox.take()))
        await self._link.drain()

    def new_outbox(self) -> WireOutbox:
        return WireOutbox(self)

    def commit(self, outbox: Outbox) -> None:
        assert isinstance(outbox, WireOutbox)
        actions = outbox.seal(self.leaving)
        if actions:
            self._link.send(Act(actions))

    def discard(self, outbox: Outbox) -> None:
        assert isinstance(outbox, WireOutbox)
        outbox.seal(self.leaving)

    # --- for the worker -------------------------------------------------------------------------

    async def finish_works(self) -> None:
        """Return when everything passed to `wait_until` has ended."""
        while self._works:
            await asyncio.wait(self._works)

    def _forget(self, task: asyncio.Task[None]) -> None:
        self._works.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("work passed to wait_until raised", exc_info=task.exception())


class _Leaving(list["Action"]):
    """Actions outside an event: each leaves with this turn of the loop."""

    def __init__(self, link: StreamLink) -> None:
        super().__init__()
        self._link = link

    def append(self, action: Action) -> None:
        self._link.send(Act([action]))
