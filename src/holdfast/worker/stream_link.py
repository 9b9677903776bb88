"""The worker's end of the stream link.

Shell. Private. One write per turn of the loop carries everything the turn produced.
"""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING, Protocol

from msgspec.structs import replace

from holdfast.errors import BrokenWire
from holdfast.framing.close_codes import INTERNAL_ERROR
from holdfast.wire.messages import Ack, Close, ToWorker
from holdfast.wire.stream import BatchEncoder, BatchReader

if TYPE_CHECKING:
    import asyncio

    import msgspec

log = logging.getLogger("holdfast.worker")


# Well below 128 KiB, from where malloc maps and unmaps fresh pages for each read.
READ_SIZE = 64 * 1024

# For a batch that is large: many wait behind it, so it must not take a turn for each part.
READS_PER_TURN = 16


class Receiver(Protocol):
    """Who is at the worker's end of a link."""

    def receive(self, messages: list[ToWorker], /) -> None:
        """The keeper has said something."""

    def lose_keeper(self, why: str, /) -> None:
        """The keeper is gone; until there is another one, what is sent goes nowhere."""


class Link(Protocol):
    """The way to the keeper, as the other parts of a worker see it."""

    def start(self, receiver: Receiver, /) -> None:
        """Receive from now on; to be called once."""

    def send(self, message: msgspec.Struct) -> None:
        """Have the message sent at the end of this turn of the loop."""

    def collect(self, message: msgspec.Struct) -> None:
        """Have the message sent by a `flush` that the caller promises for this turn."""

    def flush(self) -> None:
        """Send now what was collected in this turn."""

    async def drain(self) -> None:
        """Return when everything sent so far is with the kernel, or the keeper is gone."""


class Nowhere:
    """The link to a keeper that is gone."""

    def start(self, receiver: Receiver, /) -> None: ...
    def send(self, message: msgspec.Struct) -> None: ...
    def collect(self, message: msgspec.Struct) -> None: ...
    def flush(self) -> None: ...
    async def drain(self) -> None: ...


class StreamLink:
    """Sends and receives batches on an inherited descriptor."""

    def __init__(self, fd: int, loop: asyncio.AbstractEventLoop) -> None:
        self._fd = fd
        self._loop = loop
        self._receiver: Receiver | None = None
        self._reader: BatchReader[ToWorker] = BatchReader(ToWorker)
        self._encoder = BatchEncoder()
        self._messages: list[msgspec.Struct] = []
        self._unsent = bytearray()
        self._is_flush_due = False
        self._is_open = True
        self._drained: asyncio.Future[None] | None = None
        os.set_blocking(fd, False)

    def start(self, receiver: Receiver, /) -> None:
        self._receiver = receiver
        self._loop.add_reader(self._fd, self._read)

    def open(self, fd: int) -> None:
        """Go on with another keeper. What was meant for the one before is forgotten."""
        self.close()
        self._fd = fd
        self._reader = BatchReader(ToWorker)
        self._messages.clear()
        self._unsent.clear()
        self._is_open = True
        os.set_blocking(fd, False)
        self._loop.add_reader(fd, self._read)

    def close(self) -> None:
        """Neither send nor receive any more; told again, it changes nothing."""
        if self._is_open:
            self._is_open = False
            self._loop.remove_reader(self._fd)
            self._loop.remove_writer(self._fd)
            os.close(self._fd)
            self._wake_drainers()

    def send(self, message: msgspec.Struct) -> None:
        """Have the message sent at the end of this turn of the loop."""
        if not self._is_flush_due:
            self._is_flush_due = True
            self._loop.call_soon(self.flush)
        self._messages.append(message)

    def collect(self, message: msgspec.Struct) -> None:
        """Have the message sent by a `flush` that the caller promises for this turn."""
        self._messages.append(message)

    def flush(self) -> None:
        """Send now what was collected in this turn."""
        self._is_flush_due = False
        if not self._messages:
            return
        messages, self._messages = self._messages, []
        batch = self._encode(messages)
        if self._unsent:
            self._unsent += batch
        else:
            self._unsent = batch
            self._write()

    def _encode(self, messages: list[msgspec.Struct]) -> bytearray:
        try:
            return self._encoder.encode(messages)
        except BrokenWire:
            return bytearray().join(map(self._encode_alone, messages))

    def _encode_alone(self, message: msgspec.Struct) -> bytearray:
        """Encode one of several messages, one of which at least is too long.

        It is the application's fault: an event asked for more than fits into one batch.
        """
        try:
            return self._encoder.encode([message])
        except BrokenWire as error:
            if type(message) is not Ack:
                log.error("what was asked for outside of an event is dropped: %s", error)
                return bytearray()
            number, serial = message.number, message.connection
            log.error("what event %d of connection %#x asked for is dropped, and the connection "
                      "closed: %s", number, serial, error)  # fmt: skip
            too_much = [Close(serial, INTERNAL_ERROR, "")]
            return self._encoder.encode([replace(message, actions=too_much)])

    async def drain(self) -> None:
        """Return when everything sent so far is with the kernel, or the keeper is gone."""
        self.flush()
        if self._unsent and self._is_open:
            if self._drained is None:
                self._drained = self._loop.create_future()
            await self._drained

    def _read(self) -> None:
        messages: list[ToWorker] = []
        reads = 0
        while not messages and reads < READS_PER_TURN:
            try:
                data = os.read(self._fd, READ_SIZE)
            except BlockingIOError:
                return
            except OSError as error:
                self._lose(f"the link to the keeper broke: {error}")
                return
            if not data:
                self._lose("the keeper closed the link")
                return
            try:
                messages = self._reader.receive(data)
            except BrokenWire as error:
                self._lose(str(error))
                return
            reads += 1
        if messages:
            assert self._receiver is not None  # Nothing is read before.
            self._receiver.receive(messages)

    def _write(self) -> None:
        if not self._is_open:
            self._unsent.clear()
            return
        try:
            written = os.write(self._fd, self._unsent)
        except BlockingIOError:
            written = 0
        except OSError:
            self._unsent.clear()  # The keeper is gone; reading tells.
            return
        if written < len(self._unsent):
            del self._unsent[:written]
            self._loop.add_writer(self._fd, self._continue)
        else:
            self._unsent = bytearray()

    def _continue(self) -> None:
        self._loop.remove_writer(self._fd)
        self._write()
        if not self._unsent:
            self._wake_drainers()

    def _wake_drainers(self) -> None:
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)
        self._drained = None

    def _lose(self, why: str) -> None:
        self.close()
        assert self._receiver is not None
        self._receiver.lose_keeper(why)
