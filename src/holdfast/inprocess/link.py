"""The stream link between a keeper and a worker that share a process and an event loop.

Shell. Private. Each end ends its turn as it does with a socket between them. There are two kinds.

Plain: the messages themselves pass, and are heard at once, with one exception: what the keeper
answers a worker that is just speaking is heard in the next turn of the loop. Else the worker's
parts would be called from within a call of theirs.

Encoded: messages become bytes and messages again, so that what does not survive the wire does not
survive a test. They arrive in a later turn, and the worker can be lost.
"""

from __future__ import annotations

import asyncio
from contextvars import copy_context
from typing import TYPE_CHECKING, Any

from holdfast.errors import BrokenWire
from holdfast.wire import messages as wire
from holdfast.wire.stream import BatchEncoder, BatchReader

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextvars import Context

    import msgspec

    from holdfast.keeper.switchboard import Switchboard
    from holdfast.ledger.worker_pool import Worker
    from holdfast.worker.stream_link import Receiver


class WorkerEnd:
    """`worker/stream_link.py:Link`, the worker's end.

    Args:
        worker: its number.
        is_encoded: of which kind the link is.
        on_arrival: called when something has arrived at either end.
    """

    def __init__(
        self,
        worker: int,
        switchboard: Switchboard,
        loop: asyncio.AbstractEventLoop,
        *,
        is_encoded: bool = False,
        on_arrival: Callable[[], None] = lambda: None,
    ) -> None:
        self._loop = loop
        self._messages: list[Any] = []
        self._is_flush_due = self._is_cut = False
        self._receiver: Receiver | None = None
        self._is_encoded = is_encoded
        self._on_arrival = on_arrival
        # Tasks that the worker starts copy the context they are started in. The keeper's turn may
        # be part of a listener's `flush`, whose variables are nobody else's business.
        context = copy_context()
        to_worker = to_keeper = None
        if is_encoded:
            to_worker, to_keeper = _over_the_wire(wire.ToWorker), _over_the_wire(wire.FromWorker)
        way = _Way(loop, context, self._hear, to_worker, self._break)
        self.keeper_end = KeeperEnd(worker, switchboard, way, is_encoded=is_encoded)
        self._way = _Way(
            loop, context if is_encoded else None, self._be_heard, to_keeper, self._break
        )
        switchboard.add_link(self.keeper_end)

    @property
    def is_idle(self) -> bool:
        """True when all that was sent, either way, has arrived."""
        keeper = self.keeper_end
        on_its_way = self._messages or keeper.has_output or keeper.given or keeper.way.messages
        return not on_its_way and self.has_left

    @property
    def has_left(self) -> bool:
        """True when all that the worker has flushed was heard by the keeper."""
        return not self._way.messages

    def start(self, receiver: Receiver, /) -> None:
        self._receiver = receiver

    def send(self, message: msgspec.Struct) -> None:
        self.collect(message)
        if not self._is_flush_due:
            self._is_flush_due = True
            self._loop.call_soon(self._flush)

    def collect(self, message: msgspec.Struct) -> None:
        if self._is_cut:
            # Whoever sends is part of a process that does not exist any more: it ends here.
            raise asyncio.CancelledError
        self._messages.append(message)

    def flush(self) -> None:
        if self._is_cut:
            raise asyncio.CancelledError
        self._flush()

    async def drain(self) -> None:
        self.flush()

    def cut(self) -> None:
        """Neither send nor receive any more. What has left arrives, as what a kernel holds does."""
        self._is_cut = True
        self._messages.clear()

    def _flush(self) -> None:
        self._is_flush_due = False
        messages, self._messages = self._messages, []
        if messages:
            self._way.carry(messages, later=self._is_encoded)

    def _be_heard(self, messages: list[wire.FromWorker]) -> None:
        self.keeper_end.hear(messages)
        self._on_arrival()

    def _hear(self, messages: list[wire.ToWorker]) -> None:
        if not self._is_cut:
            assert self._receiver is not None  # A worker speaks first.
            self._receiver.receive(messages)
        self._on_arrival()

    def _break(self, why: str) -> None:
        self.keeper_end.lose(why)
        self._on_arrival()


class KeeperEnd:
    """`keeper/ports.py:KeeperLink`, the keeper's end.

    Args:
        way: leads to the worker.
    """

    def __init__(
        self, worker: int, switchboard: Switchboard, way: _Way, *, is_encoded: bool
    ) -> None:
        self.worker = worker
        self.ready: Worker | None = None
        self.is_open = True
        self.way = way
        self._switchboard = switchboard
        self._messages: list[Any] = []
        self._given: dict[int, Any] = {}
        self._is_encoded = is_encoded
        # True while the keeper hears what the worker has sent.
        self._is_hearing = False

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
        messages, self._messages = self._messages, []
        if messages and self.is_open:
            self.way.carry(messages, later=self._is_encoded or self._is_hearing)

    def is_stuck(self, now: float, patience: float) -> bool:
        return False  # Messages come whole.

    def take_socket(self, serial: int) -> Any:
        return self._given.pop(serial, None)

    def cut(self) -> None:
        self.is_open = False

    # --- for the worker's end -------------------------------------------------------------------

    def give_socket(self, serial: int, given: object) -> None:
        """Put down a socket for the keeper, which owns it from when the record comes."""
        self._given[serial] = given

    def hear(self, messages: list[wire.FromWorker]) -> None:
        """Take what the worker has said, and do all that follows."""
        self._is_hearing = True
        try:
            self._switchboard.receive(self, messages)
            self._switchboard.end_turn()
        finally:
            self._is_hearing = False

    def lose(self, why: str | None) -> None:
        """The worker has ended, or with `why`, has broken the contract."""
        self.is_open = False
        self._switchboard.lose_link(self, why)
        self._switchboard.end_turn()

    @property
    def given(self) -> list[Any]:
        """The sockets whose records have not come."""
        return list(self._given.values())


class _Way:
    """One direction of a link.

    Args:
        context: who hears is called in it; None for that of the caller.
        codec: makes bytes of messages, and messages again; it may raise BrokenWire.
        on_broken: called, with the reason, when it does.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        context: Context | None,
        hear: Callable[[list[Any]], None],
        codec: Callable[[list[Any]], list[Any]] | None,
        on_broken: Callable[[str], None],
    ) -> None:
        self.messages: list[Any] = []
        """Those that are under way."""
        self._loop = loop
        self._context = context
        self._hear = hear
        self._codec = codec
        self._on_broken = on_broken

    def carry(self, messages: list[Any], *, later: bool) -> None:
        """Bring messages to the other end; if `later`, in the next turn of the loop."""
        if self._codec is not None:
            try:
                messages = self._codec(messages)
            except BrokenWire as error:
                # A server closes the connection of what is too long; no test should come this far.
                self._loop.call_soon(self._on_broken, str(error), context=self._context)
                return
        # Together with what waits: it was said before.
        self.messages += messages
        if later:
            self._loop.call_soon(self._arrive, context=self._context)
        elif self._context is None:
            self._arrive()
        else:
            self._context.run(self._arrive)

    def _arrive(self) -> None:
        messages, self.messages = self.messages, []
        if messages:
            self._hear(messages)


def _over_the_wire(kinds: object) -> Callable[[list[Any]], list[Any]]:
    """Make a codec for messages of these kinds, as for BatchReader."""
    encoder, reader = BatchEncoder(), BatchReader[Any](kinds)
    return lambda messages: reader.receive(bytes(encoder.encode(messages)))
