"""The keeper's end of a worker's two links.

Shell. Private. The stream link carries batches, one write per turn; the handover link carries
descriptors. A worker that breaks the contract is cut off; the supervisor replaces it.
"""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

from holdfast.errors import BrokenWire
from holdfast.keeper.poller import READABLE, WRITABLE
from holdfast.wire import messages as wire
from holdfast.wire.stream import BatchEncoder, BatchReader

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import msgspec

    from holdfast.keeper.poller import Poller
    from holdfast.ledger.worker_pool import Worker

# Well below 128 KiB, from where malloc maps and unmaps fresh pages for each read.
READ_SIZE = 64 * 1024

# For a batch that is large. Many answers wait behind it, so it must not take a turn for each part;
# but what it is about may be to be said to the worker before it says more.
READS_PER_TURN = 16

SERIAL_BYTES = 8

# What may wait for a worker that does not read, before publications are dropped: they are at most
# once, and deliveries, which wait in bounded mailboxes, must not be held up behind them.
MAX_BACKLOG = 8 * 1024 * 1024  # bytes


class WorkerLink:
    """Sends and receives for one worker.

    Args:
        on_messages: called with the messages of one read; it may cut the link.
        on_lost: called once, with the reason, when the link has ended by itself.
    """

    def __init__(
        self,
        worker: int,
        stream_fd: int,
        handover_fd: int,
        poller: Poller,
        *,
        on_messages: Callable[[WorkerLink, list[wire.FromWorker]], None],
        on_lost: Callable[[WorkerLink, str | None], None],
    ) -> None:
        self.worker = worker
        # What the ledger knows it as, once its application is loaded.
        self.ready: Worker | None = None
        self._fd = stream_fd
        self._handover = socket.socket(fileno=handover_fd)
        self._handover.setblocking(False)
        self._poller = poller
        self._on_messages = on_messages
        self._on_lost = on_lost
        self._reader: BatchReader[wire.FromWorker] = BatchReader(wire.FromWorker)
        self._encoder = BatchEncoder()
        self._messages: list[msgspec.Struct] = []
        # What the kernel did not take yet.
        self._unsent = bytearray()
        # Publications that were dropped and not told of yet.
        self._lost = 0
        # Of the batch that is coming, and since when so much.
        self._missing, self._missing_since = 0, 0.0
        self.is_open = True
        os.set_blocking(stream_fd, False)
        poller.watch(stream_fd, self)

    def __repr__(self) -> str:
        return f"<WorkerLink to worker {self.worker} {'open' if self.is_open else 'cut'}>"

    @property
    def has_output(self) -> bool:
        return bool(self._messages)

    def send(self, message: msgspec.Struct) -> None:
        """Have the message sent with the end of this turn."""
        self._messages.append(message)

    def send_all(self, messages: Sequence[msgspec.Struct]) -> None:
        self._messages += messages

    def send_if_room(self, publication: wire.Publish) -> None:
        """Like `send`, but drop it if the worker does not keep up; it is told how many were."""
        if len(self._unsent) > MAX_BACKLOG:
            self._lost += 1
            return
        if self._lost:
            self._messages.append(wire.PublicationsLost(self._lost))
            self._lost = 0
        self._messages.append(publication)

    def flush(self) -> None:
        """Send what the turn produced, in one batch."""
        messages, self._messages = self._messages, []
        if not messages or not self.is_open:
            return
        batch = self._encoder.encode(messages)
        if self._unsent:
            self._unsent += batch
        else:
            self._unsent = batch
            self._write()

    def take_socket(self, serial: int) -> int | None:
        """Return the descriptor that came for `serial`, or None if the worker sent none.

        The worker sends the descriptor before the record that announces it, so it is here.
        """
        while True:
            try:
                data, fds, _, _ = socket.recv_fds(self._handover, SERIAL_BYTES, 1)
            except OSError:
                return None
            if not fds:
                return None
            if int.from_bytes(data, "big") == serial:
                return fds[0]
            # Its record never came: the worker gave up on it after sending.
            os.close(fds[0])

    def is_stuck(self, now: float, patience: float) -> bool:
        """Tell whether a batch has been coming for `patience` seconds, and nothing more of it.

        To be asked again and again. A worker writes a batch in one go: if it does not go on, its
        loop stands, or it has lost count. What is missing would be taken from what comes later.
        """
        missing = self._reader.missing
        if missing != self._missing:
            self._missing, self._missing_since = missing, now
        return missing > 0 and now - self._missing_since >= patience

    def on_ready(self, events: int) -> None:
        if events & WRITABLE:
            self._write()
            if self.is_open and not self._unsent:
                self._poller.change(self._fd, READABLE)
        if events & ~WRITABLE and self.is_open:
            self._read()

    def cut(self) -> None:
        """Close both links. Nothing more comes from this worker."""
        if self.is_open:
            self.is_open = False
            self._poller.forget(self._fd)
            os.close(self._fd)
            self._handover.close()

    def _read(self) -> None:
        messages: list[wire.FromWorker] = []
        reads = 0
        while not messages and reads < READS_PER_TURN:
            try:
                data = os.read(self._fd, READ_SIZE)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if not data:
                self._lose(None)
                return
            try:
                messages = self._reader.receive(data)
            except BrokenWire as error:
                self._lose(str(error))
                return
            reads += 1
        self._on_messages(self, messages)

    def _write(self) -> None:
        try:
            written = os.write(self._fd, self._unsent)
        except BlockingIOError:
            written = 0
        except OSError:
            # The worker is gone. What it wrote before is still to be read, and then its end.
            self._unsent.clear()
            return
        if written == len(self._unsent):
            self._unsent = bytearray()
        else:
            del self._unsent[:written]
            self._poller.change(self._fd, READABLE | WRITABLE)

    def _lose(self, why: str | None) -> None:
        self.cut()
        self._on_lost(self, why)
