"""The stream link between a keeper and a worker that share a process and an event loop.

Shell. Private. The messages themselves pass, nothing is encoded. Each side ends its turn as it
does with a socket between them, and what it has to say is heard at once, with one exception: what
the keeper answers a worker that is just speaking is heard in the next turn of the loop. Else the
worker's parts would be called from within a call of theirs.
"""

from __future__ import annotations

from contextvars import copy_context
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Sequence
    from typing import Any

    import msgspec

    from holdfast.keeper.switchboard import Switchboard
    from holdfast.ledger.worker_pool import Worker
    from holdfast.wire import messages as wire


class WorkerEnd:
    """`worker/stream_link.py:Link`, the worker's end.

    Args:
        worker: its number.
        on_messages: called with what the keeper has said in one turn.
    """

    def __init__(
        self,
        worker: int,
        switchboard: Switchboard,
        loop: asyncio.AbstractEventLoop,
        on_messages: Callable[[list[wire.ToWorker]], None],
    ) -> None:
        self.keeper_end = KeeperEnd(worker, self, loop, on_messages)
        self.is_speaking = False
        """True while the keeper hears what this end has sent."""
        self._switchboard = switchboard
        self._loop = loop
        self._messages: list[Any] = []
        self._is_flush_due = False
        switchboard.add_link(self.keeper_end)

    def send(self, message: msgspec.Struct) -> None:
        if not self._is_flush_due:
            self._is_flush_due = True
            self._loop.call_soon(self.flush)
        self._messages.append(message)

    def collect(self, message: msgspec.Struct) -> None:
        self._messages.append(message)

    def flush(self) -> None:
        """Have the keeper hear what was sent, and do all that follows."""
        self._is_flush_due = False
        messages = self._messages
        if messages:
            self._messages = []
            self.is_speaking = True
            try:
                self._switchboard.receive(self.keeper_end, messages)
                self._switchboard.end_turn()
            finally:
                self.is_speaking = False

    async def drain(self) -> None:
        self.flush()


class KeeperEnd:
    """`keeper/ports.py:KeeperLink`, the keeper's end."""

    def __init__(
        self,
        worker: int,
        worker_end: WorkerEnd,
        loop: asyncio.AbstractEventLoop,
        on_messages: Callable[[list[wire.ToWorker]], None],
    ) -> None:
        self.worker = worker
        self.ready: Worker | None = None
        self.is_open = True
        self._worker_end = worker_end
        self._loop = loop
        self._on_messages = on_messages
        # Tasks that the worker starts copy the context they are started in. The keeper's turn may
        # be part of a listener's `flush`, whose variables are nobody else's business.
        self._context = copy_context()
        self._messages: list[Any] = []
        self._descriptors: dict[int, int] = {}

    @property
    def has_output(self) -> bool:
        return bool(self._messages)

    def send(self, message: msgspec.Struct) -> None:
        self._messages.append(message)

    def send_all(self, messages: Sequence[msgspec.Struct]) -> None:
        self._messages += messages

    def send_if_room(self, publication: wire.Publish) -> None:
        # No backlog can be here: what the worker does not keep up with, its channels hold and lose.
        self._messages.append(publication)

    def flush(self) -> None:
        if self._worker_end.is_speaking:
            self._loop.call_soon(self._hand_over, context=self._context)
        else:
            self._context.run(self._hand_over)

    def _hand_over(self) -> None:
        messages, self._messages = self._messages, []
        if messages:
            self._on_messages(messages)

    def is_stuck(self, now: float, patience: float) -> bool:
        return False  # Messages come whole.

    def give_descriptor(self, serial: int, fd: int) -> None:
        """Put down a descriptor for the keeper, which owns it from here on."""
        self._descriptors[serial] = fd

    def take_descriptor(self, serial: int) -> int | None:
        return self._descriptors.pop(serial, None)

    def cut(self) -> None:
        self.is_open = False
