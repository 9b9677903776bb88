"""The clients' sockets: bytes ↔ messages, and the closing handshake.

Shell. Private. Bare descriptors in one epoll set: an idle connection is one `Socket` here and one
`Connection` in the ledger, with no task, timer or buffer of its own. Called by the poller (bytes
came), by `keeper/switchboard.py` (run a command) and by its clock (give up on slow closers).
"""

from __future__ import annotations

import os
import socket
import sys
from collections import deque
from enum import IntEnum
from os import read, write
from typing import TYPE_CHECKING

from holdfast.framing.decoder import Decoder
from holdfast.framing.frames import (
    Close,
    Ping,
    Pong,
    Violation,
    encode_close,
    encode_message,
    encode_pong,
)
from holdfast.keeper.poller import READABLE, WRITABLE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from holdfast.framing.frames import Event
    from holdfast.keeper.connection import Connection
    from holdfast.keeper.ledger import Ledger
    from holdfast.keeper.poller import Poller

__all__ = ["Socket", "Sockets"]

# One read takes at most this much; a client with more to say comes again in the next turn, after
# all others.
READ_SIZE = 64 * 1024

# RFC 6455 section 7.4.1: for reporting only, never on the wire.
NO_CODE = 1005
VANISHED = 1006

INTERNAL_ERROR = 1011
POLICY_VIOLATION = 1008


class Stage(IntEnum):
    """How far a socket is from its end."""

    OPEN = 0
    CLOSING = 1  # our close frame is out; waiting for the peer's
    FINISHING = 2  # nothing is read any more; closes when the last byte is written
    LINGERING = 3  # we have shut down writing; the peer's last bytes are thrown away
    GONE = 4


# Looked up once: a member of an enum costs more than a name, and these are asked for per message.
OPEN, CLOSING, FINISHING, LINGERING, GONE = Stage


class Socket:
    """One client's descriptor."""

    __slots__ = ("connection", "decoder", "fd", "outbound", "owner", "stage")

    def __init__(self, fd: int, connection: Connection, owner: Sockets) -> None:
        self.fd = fd
        self.connection = connection
        self.owner = owner
        self.stage: Stage = OPEN
        # Only while a frame or a fragmented message is incomplete.
        self.decoder: Decoder | None = None
        # What this turn produced, or what the kernel did not take yet.
        self.outbound: bytes | list[bytes] | None = None

    def __repr__(self) -> str:
        return f"<Socket fd {self.fd} {self.stage.name.lower()} {self.connection!r}>"

    def on_ready(self, events: int) -> None:
        if events == READABLE:
            self.owner.read(self)
            return
        if events & WRITABLE:
            self.owner.resume_writing(self)
        if events & ~WRITABLE:
            self.owner.read(self)


class Sockets:
    """All clients' sockets of this keeper."""

    def __init__(
        self,
        ledger: Ledger,
        poller: Poller,
        *,
        max_message: int,
        max_outbound: int,
        close_timeout: float,
    ) -> None:
        self._ledger = ledger
        self._receive_message = ledger.receive_message
        self._poller = poller
        self._max_message = max_message
        self._max_outbound = max_outbound
        self._close_timeout = close_timeout
        self._now = 0.0
        # An idle decoder equals a new one: all connections that are between frames share this.
        self._spare = Decoder(max_message=max_message)
        # Sockets with something to write at the end of this turn.
        self._dirty: list[Socket] = []
        # Bytes that wait for sockets whose kernel buffer is full.
        self._blocked: dict[Socket, int] = {}
        # Every deadline is `close_timeout` ahead, so the queue is in order by itself.
        self._deadlines: deque[tuple[float, Socket]] = deque()

    # --- adoption -------------------------------------------------------------------------------

    def adopt(self, fd: int, connection: Connection, response: bytes, leftover: bytes) -> None:
        """Own this descriptor, answer its handshake, and take what the client sent early."""
        os.set_blocking(fd, False)
        sock = Socket(fd, connection, self)
        connection.socket = sock
        self._poller.watch(fd, sock)
        self._write(sock, response)
        if leftover:
            self._receive(sock, leftover)

    # --- commands -------------------------------------------------------------------------------

    def write(self, connection: Connection, data: str | bytes) -> None:
        sock = connection.socket
        if sock is None or sock.stage is not OPEN:
            return
        if sock.outbound is None and not self._blocked:
            sock.outbound = encode_message(data)
            self._dirty.append(sock)
        else:
            self._write(sock, encode_message(data))

    def write_many(self, connections: Sequence[Connection], data: str | bytes) -> None:
        frame = encode_message(data)
        for connection in connections:
            sock = connection.socket
            if sock is not None and sock.stage is OPEN:
                self._write(sock, frame)

    def close(self, connection: Connection, code: int, reason: str) -> None:
        """Begin the closing handshake (RFC 6455 section 7.1.2)."""
        sock = connection.socket
        if sock is not None and sock.stage is OPEN:
            self._write(sock, _close_frame(code, reason))
            sock.stage = CLOSING
            self._set_deadline(sock)

    def pause_reading(self, connection: Connection) -> None:
        if connection.socket is not None:
            self._watch(connection.socket)

    def resume_reading(self, connection: Connection) -> None:
        if connection.socket is not None:
            self._watch(connection.socket)

    # --- reading --------------------------------------------------------------------------------

    def read(self, sock: Socket) -> None:
        try:
            data = read(sock.fd, READ_SIZE)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._vanish(sock)
        elif sock.stage < FINISHING:
            self._receive(sock, data)

    def _receive(self, sock: Socket, data: bytes) -> None:
        decoder = sock.decoder or self._spare
        for event in decoder.receive(data):
            if type(event) is str or type(event) is bytes:
                self._receive_message(sock.connection, event)
            else:
                self._control(sock, event)
        if decoder.is_idle:
            sock.decoder = None
        elif decoder is self._spare:
            sock.decoder = decoder
            self._spare = Decoder(max_message=self._max_message)

    def _control(self, sock: Socket, event: Event) -> None:
        if isinstance(event, Ping):
            if sock.stage is OPEN:
                self._write(sock, encode_pong(event.payload))
        elif isinstance(event, Close):
            self._receive_close(sock, event)
        elif isinstance(event, Violation):
            self._fail(sock, event.code, event.reason)
        else:
            assert isinstance(event, Pong)  # An unasked pong means nothing (section 5.5.3).

    def _receive_close(self, sock: Socket, close: Close) -> None:
        """The peer closes, or answers our close frame (RFC 6455 section 5.5.1)."""
        if sock.stage is OPEN:
            self._write(sock, encode_close(close.code))
        code = NO_CODE if close.code is None else close.code
        self._ledger.receive_close(sock.connection, code, close.reason)
        self._finish(sock, FINISHING)

    def _fail(self, sock: Socket, code: int, reason: str) -> None:
        """Fail the connection (RFC 6455 section 7.1.7)."""
        if sock.stage is OPEN:
            self._write(sock, _close_frame(code, reason))
        self._ledger.receive_close(sock.connection, code, reason)
        # Closing with unread bytes would make the kernel send a reset, which can overtake the
        # close frame and destroy it; so the rest is read and thrown away.
        self._finish(sock, LINGERING)

    def _vanish(self, sock: Socket) -> None:
        self._ledger.receive_close(sock.connection, VANISHED, "")
        self._release(sock)

    # --- writing --------------------------------------------------------------------------------

    def _write(self, sock: Socket, data: bytes) -> None:
        outbound = sock.outbound
        if outbound is None:
            sock.outbound = data
            self._dirty.append(sock)
        elif isinstance(outbound, list):
            outbound.append(data)
        else:
            sock.outbound = [outbound, data]
        if self._blocked and sock in self._blocked:
            self._grow(sock, len(data))

    def _grow(self, sock: Socket, size: int) -> None:
        self._blocked[sock] += size
        if self._blocked[sock] > self._max_outbound:
            # The client reads more slowly than it is written to; it must not cost the others
            # their memory. No close frame: it would wait behind what the client does not read.
            self._ledger.receive_close(sock.connection, POLICY_VIOLATION, "slow consumer")
            self._release(sock)

    def flush(self) -> None:
        """Write what the turn produced: one call per socket."""
        dirty, self._dirty = self._dirty, []
        for sock in dirty:
            data = sock.outbound
            if type(data) is bytes and sock.stage is OPEN and not self._blocked:
                # By far the most common: one frame, for a client that reads.
                sock.outbound = None
                try:
                    written = write(sock.fd, data)
                except OSError as error:
                    written = self._failed_write(sock, error)
                if written < len(data):
                    self._block(sock, data[written:])
            elif sock not in self._blocked:
                self._flush(sock)

    def _failed_write(self, sock: Socket, error: OSError) -> int:
        """Return how much was written: nothing, or, to a client that is gone, as good as all."""
        if isinstance(error, BlockingIOError):
            return 0
        self._vanish(sock)
        return sys.maxsize

    def resume_writing(self, sock: Socket) -> None:
        if sock.stage is not GONE and self._blocked.pop(sock, None) is not None:
            self._flush(sock)
            self._watch(sock)

    def _flush(self, sock: Socket) -> None:
        data = sock.outbound
        if data is not None:
            sock.outbound = None
            if isinstance(data, list):
                data = b"".join(data)
            try:
                written = write(sock.fd, data)
            except OSError as error:
                written = self._failed_write(sock, error)
            if written < len(data):
                self._block(sock, data[written:])
                return
        if sock.stage is not OPEN:
            self._end_writing(sock)

    def _end_writing(self, sock: Socket) -> None:
        if sock.stage is FINISHING:
            self._release(sock)
        elif sock.stage is LINGERING:
            _shut_down_writing(sock.fd)

    def _block(self, sock: Socket, rest: bytes) -> None:
        sock.outbound = [rest]
        self._blocked[sock] = len(rest)
        self._watch(sock)

    def _watch(self, sock: Socket) -> None:
        """Tell the poller what this socket waits for now."""
        if sock.stage is GONE:
            return
        is_reading = not sock.connection.is_paused or sock.stage >= FINISHING
        events = READABLE if is_reading else 0
        if sock in self._blocked:
            events |= WRITABLE
        self._poller.change(sock.fd, events)

    # --- the end --------------------------------------------------------------------------------

    def _finish(self, sock: Socket, stage: Stage) -> None:
        if sock.stage is GONE:
            return
        sock.stage = stage
        self._set_deadline(sock)
        if sock.outbound is None:
            # Nothing is left to write; the end of the turn takes it from here all the same.
            self._dirty.append(sock)

    def _set_deadline(self, sock: Socket) -> None:
        self._deadlines.append((self._now + self._close_timeout, sock))

    def tick(self, now: float) -> None:
        """Give up on sockets that take too long to close. Call about once a second."""
        self._now = now
        while self._deadlines and self._deadlines[0][0] <= now:
            _, sock = self._deadlines.popleft()
            if sock.stage is not GONE:
                self._vanish(sock)

    def _release(self, sock: Socket) -> None:
        if sock.stage is GONE:
            return
        sock.stage = GONE
        sock.connection.socket = None
        sock.outbound = sock.decoder = None
        self._blocked.pop(sock, None)
        self._poller.forget(sock.fd)
        os.close(sock.fd)


def _close_frame(code: int, reason: str) -> bytes:
    try:
        return encode_close(code, reason)
    except ValueError:
        # Applications are checked in the worker (core/connection.py), so only a broken worker
        # gets here; its client still deserves a proper end.
        return encode_close(INTERNAL_ERROR)


def _shut_down_writing(fd: int) -> None:
    borrowed = socket.socket(fileno=fd)
    try:
        borrowed.shutdown(socket.SHUT_WR)
    except OSError:
        pass  # The peer is gone already; the next read will tell.
    finally:
        borrowed.detach()
