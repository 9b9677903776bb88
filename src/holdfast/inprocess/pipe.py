"""The stream link between keeper and worker, without a socket.

Shell. What is sent becomes bytes and messages again, as over a socket: what does not survive the
wire does not survive the test. What is sent in one turn of the loop arrives in a later one.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Generic, TypeVar

from holdfast.errors import BrokenWire
from holdfast.wire.stream import BatchEncoder, BatchReader

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextvars import Context

    import msgspec

T = TypeVar("T")


class Pipe(Generic[T]):
    """One direction; to a worker it is `worker/stream_link.py:Link`.

    Args:
        messages: the union of what may come, as for BatchReader.
        context: that of the receiver.
        on_messages: called with the messages of one batch.
        on_broken: called when a batch cannot be made or read, with the reason.
    """

    def __init__(
        self,
        messages: object,
        loop: asyncio.AbstractEventLoop,
        context: Context,
        *,
        on_messages: Callable[[list[T]], None],
        on_broken: Callable[[str], None],
    ) -> None:
        self._loop = loop
        self._context = context
        self._on_messages = on_messages
        self._on_broken = on_broken
        self._encoder = BatchEncoder()
        self._reader: BatchReader[T] = BatchReader(messages)
        self._messages: list[msgspec.Struct] = []
        self._is_flush_due = False
        self._under_way = 0
        self._is_cut = False

    @property
    def is_idle(self) -> bool:
        """True when all that was sent has arrived."""
        return not self._under_way and not self._messages

    def send(self, message: msgspec.Struct) -> None:
        """Have the message sent at the end of this turn of the loop."""
        self.send_all((message,))

    def send_all(self, messages: Sequence[msgspec.Struct]) -> None:
        self._check()
        if not self._is_flush_due:
            self._is_flush_due = True
            self._loop.call_soon(self._flush, context=self._context)
        self._messages += messages

    def collect(self, message: msgspec.Struct) -> None:
        """Have the message sent by a `flush` that the caller promises for this turn."""
        self._check()
        self._messages.append(message)

    def flush(self) -> None:
        """Send now what was collected in this turn."""
        self._check()
        self._flush()

    async def drain(self) -> None:
        """Return when everything sent so far is under way."""
        self.flush()

    def cut(self) -> None:
        """Send nothing more. What is under way arrives, as what a kernel holds does."""
        self._is_cut = True
        self._messages.clear()

    def _check(self) -> None:
        if self._is_cut:
            # Whoever sends is part of a process that does not exist any more: it ends here.
            raise asyncio.CancelledError

    def _flush(self) -> None:
        self._is_flush_due = False
        messages, self._messages = self._messages, []
        if messages:
            try:
                batch = self._encoder.encode(messages)
            except BrokenWire as error:
                # A server closes the connection of what is too long; no test should come this far.
                self._loop.call_soon(self._on_broken, str(error), context=self._context)
                return
            self._under_way += 1
            # In a turn of its own: a sender does not run what its message causes.
            self._loop.call_soon(self._arrive, bytes(batch), context=self._context)

    def _arrive(self, batch: bytes) -> None:
        self._under_way -= 1
        try:
            messages = self._reader.receive(batch)
        except BrokenWire as error:
            self._on_broken(str(error))
        else:
            self._on_messages(messages)
