"""The clients' sockets: bytes ↔ messages, and the closing handshake.

Shell. Private. Bare descriptors in one epoll set: an idle connection is one `Socket` here and one
`Connection` in the ledger, with no task, timer or buffer of its own. Called by the poller (bytes
came), by `keeper/switchboard.py` (run a command) and by its clock (ping those who are silent, give
up on slow closers, read again from those who were too fast).
"""

from __future__ import annotations

import os
import socket
import sys
import time
from collections import Counter, deque
from http import HTTPStatus
from operator import itemgetter
from os import read, write
from typing import TYPE_CHECKING

from holdfast.framing.decoder import Decoder
from holdfast.framing.deflate import encode
from holdfast.framing.frames import (
    Close,
    Ping,
    Pong,
    Violation,
    encode_close,
    encode_message,
    encode_ping,
    encode_pong,
)
from holdfast.keeper.keepalive import DEAD, Keepalive, Look
from holdfast.keeper.poller import READABLE, WRITABLE
from holdfast.keeper.read_scheduler import LARGE, READ_SIZE, ReadScheduler, payload
from holdfast.keeper.socket import CLOSING, FINISHING, GONE, LINGERING, OPEN, Socket
from holdfast.ledger.ledger import TICK

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from holdfast.config import KeeperLimits
    from holdfast.framing.frames import Event
    from holdfast.keeper.poller import Poller
    from holdfast.keeper.socket import Stage
    from holdfast.keeper.switchboard import Switchboard
    from holdfast.ledger.connection import Connection
    from holdfast.ledger.ledger import Ledger

# RFC 6455 section 7.4.1: for reporting only, never on the wire.
NO_CODE = 1005
VANISHED = 1006

TOO_BIG = 1009

INTERNAL_ERROR = 1011
POLICY_VIOLATION = 1008
TRY_AGAIN_LATER = 1013

SLOW_CONSUMER = "slow consumer"

# When a client that was turned away may come again. It has to be said, or all come at once.
RETRY_AFTER = 5  # seconds

PING = encode_ping()


class Sockets:
    """All clients' sockets of this keeper.

    Args:
        on_left: called with the `guest` of each socket that is gone.
        on_pressure: called with an attended connection and True when its client does not read what
            is written, with False when it does again.
    """

    def __init__(
        self,
        ledger: Ledger,
        poller: Poller,
        limits: KeeperLimits,
        on_left: Callable[[str], None],
        on_pressure: Callable[[Connection, bool], None],
    ) -> None:
        self.hits: Counter[str] = Counter()
        """How often a limit made a difference, by the name of its setting."""
        self.received = 0
        """Bytes that came in large reads, as they are when they are inflated, since somebody set
        this to 0."""
        self._ledger = ledger
        self._receive_message = ledger.receive_message
        self._poller = poller
        self._on_left = on_left
        self._on_pressure = on_pressure
        self._max_message = limits.max_message
        self._max_outbound = limits.max_outbound
        self._drops = limits.slow_consumer == "drop"
        self._close_timeout = limits.close_timeout
        self._keepalive = Keepalive(
            interval=limits.ping_interval, timeout=limits.pong_timeout, tick=TICK
        )
        self._scheduler = ReadScheduler(limits)
        self._first_read = self._scheduler.first_read
        self._is_rated = self._scheduler.is_rated
        self._rate = "max_message_rate" if limits.max_message_rate else "max_byte_rate"
        if limits.auto_response is not None:
            self._request, self._response = limits.auto_response
            self._receive_message = self._respond_or_receive
        self._now = 0.0
        # An idle decoder equals a new one: all connections that are between frames share these.
        self._spare = Decoder(max_message=limits.max_message)
        self._inflating = Decoder(max_message=limits.max_message, deflates=True)
        # Sockets with something to write at the end of this turn.
        self._dirty: list[Socket] = []
        # Bytes that wait for sockets whose kernel buffer is full.
        self._blocked: dict[Socket, int] = {}
        # What came with the handshake, of those who may not be read yet.
        self._early: dict[Socket, bytes] = {}
        # Those that have broken the protocol and wait for answers: their last frame.
        self._ending: dict[Socket, bytes] = {}
        # Every deadline is `close_timeout` ahead, so the queue is in order by itself.
        self._deadlines: deque[tuple[float, Socket]] = deque()

    # --- adoption -------------------------------------------------------------------------------

    def adopt(
        self,
        fd: int,
        connection: Connection,
        response: bytes,
        leftover: bytes,
        *,
        address_key: str,
        bits: int,
    ) -> None:
        """Own this descriptor, answer its handshake, and take what the client sent early.

        Args:
            guest: what `on_left` is to be called with.
            bits: the window agreed on for compressed messages; 0 for none.
        """
        os.set_blocking(fd, False)
        sock = Socket(fd, connection, self, address_key)
        sock.bits = bits
        connection.socket = sock
        self._poller.watch(fd, sock)
        self._write(sock, response)
        sock.heard = self._keepalive.now
        sock.due = self._keepalive.first_look()
        if sock.due:
            self._keepalive.put(fd, sock.due)
        if leftover:
            self._early[sock] = leftover
            self._read_early(sock)

    def refuse(self, fd: int, status: int) -> None:
        """Answer a handshake with an error, and close the socket."""
        phrase = HTTPStatus(status).phrase
        body = f"{phrase}\n"
        head = (
            f"HTTP/1.1 {status} {phrase}\r\nContent-Type: text/plain\r\n"
            f"Content-Length: {len(body)}\r\nRetry-After: {RETRY_AFTER}\r\n"
            "Connection: close\r\n\r\n"
        )
        try:
            os.write(fd, (head + body).encode())
        except OSError:
            pass  # The client is gone; nobody is left to tell.
        finally:
            os.close(fd)

    # --- commands -------------------------------------------------------------------------------

    def write(self, connection: Connection, data: str | bytes) -> None:
        sock = connection.socket
        if sock is None or sock.stage is not OPEN:
            return
        frame = encode(data, sock.bits) if sock.bits else encode_message(data)
        if sock.outbound is None and not self._blocked:
            sock.outbound = frame
            self._dirty.append(sock)
        else:
            self._write(sock, frame)

    def write_many(self, connections: Sequence[Connection], data: str | bytes) -> None:
        plain = encode_message(data)
        compressed: dict[int, bytes] = {}
        for connection in connections:
            sock = connection.socket
            if sock is not None and sock.stage is OPEN:
                frame = plain
                if sock.bits:
                    if sock.bits not in compressed:
                        compressed[sock.bits] = encode(data, sock.bits)
                    frame = compressed[sock.bits]
                if self._drops and self._is_full(sock, len(frame)):
                    self.hits["slow_consumer"] += 1
                else:
                    self._write(sock, frame)

    def close(self, connection: Connection, code: int, reason: str) -> None:
        """Begin the closing handshake (RFC 6455 section 7.1.2)."""
        sock = connection.socket
        if sock in self._ending:
            self.end(connection)
        elif sock is not None and sock.stage is OPEN:
            self._write(sock, _close_frame(code, reason))
            sock.stage = CLOSING
            self._set_deadline(sock)

    def end(self, connection: Connection) -> None:
        """Fail a connection whose client has broken the protocol some time ago."""
        sock = connection.socket
        if sock is not None and sock in self._ending:
            self._write(sock, self._ending.pop(sock))
            self._finish(sock, LINGERING)

    def pause_reading(self, connection: Connection) -> None:
        if connection.socket is not None:
            self._watch(connection.socket)

    def resume_reading(self, connection: Connection) -> None:
        sock = connection.socket
        if sock is not None:
            if not self._scheduler.holds_back(sock):
                # While nobody read, nobody heard either.
                sock.heard = self._keepalive.now
            self._watch(sock)

    # --- reading --------------------------------------------------------------------------------

    def read(self, sock: Socket) -> None:
        if sock.is_greedy:
            self._read_greedy(sock)
            return
        size = self._first_read if sock.decoder is None else self._scheduler.size(sock)
        if self._read(sock, size) and self._scheduler.note(sock, size, is_full=True):
            self._watch(sock)

    def _read_early(self, sock: Socket) -> None:
        """Take what came with the handshake, as far as the client may be read now."""
        early = self._early
        while sock in early and sock.stage < FINISHING and self._is_reading(sock):
            data, size = early.pop(sock), self._scheduler.size(sock)
            if len(data) > size:
                early[sock] = data[size:]
            self._receive(sock, data[:size])

    def _read_greedy(self, sock: Socket) -> None:
        """Read a client that has much to say, if it is its turn."""
        scheduler = self._scheduler
        began = time.monotonic()
        waits = not scheduler.admit(sock, began)
        if not waits:
            size = READ_SIZE if sock.stage >= FINISHING else scheduler.size(sock)
            is_full = self._read(sock, size)
            waits = scheduler.note(sock, size, is_full=is_full, took=time.monotonic() - began)
        if waits:
            self._watch(sock)

    def _read(self, sock: Socket, size: int) -> bool:
        """Read once; return whether there may be more."""
        try:
            data = read(sock.fd, size)
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        if not data:
            self._vanish(sock)
        elif sock.stage < FINISHING:
            self._receive(sock, data)
        return len(data) == size and sock.stage is not GONE

    def _receive(self, sock: Socket, data: bytes) -> None:
        decoder = sock.decoder or (self._inflating if sock.bits else self._spare)
        before = decoder.buffered if self._is_rated else 0
        events = decoder.receive(data)
        for event in events:
            if type(event) is str or type(event) is bytes:
                self._receive_message(sock.connection, event)
            else:
                self._control(sock, event)
        size = len(data)
        if size > LARGE or sock.bits:
            plain = max(size, payload(events))
            self.received += plain
            if events:
                self._scheduler.hand_over(sock.connection, plain, time.monotonic())
        elif self._scheduler.is_full and events:
            self._scheduler.note_small(sock.connection, time.monotonic())
        if self._is_rated:
            self._charge(sock, size, events, decoder.buffered - before)
        else:
            sock.heard = self._keepalive.now
        if decoder.is_idle:
            sock.decoder = None
        elif decoder is self._spare:
            sock.decoder = decoder
            self._spare = Decoder(max_message=self._max_message)
        elif decoder is self._inflating:
            sock.decoder = decoder
            self._inflating = Decoder(max_message=self._max_message, deflates=True)

    def _charge(self, sock: Socket, size: int, events: Sequence[Event], growth: int) -> None:
        """Read a client that sends too much later; TCP slows it down."""
        if sock.stage is not OPEN:
            return
        spent = self._scheduler.charge(sock, size, events, growth, time.monotonic())
        # Of whoever sends as much as it may, more is waiting perhaps than is read in hours, whether
        # it is still there or not. Only an answer to our ping tells.
        if spent < 0.5 or any(map(self._is_answer, events)):
            sock.heard = self._keepalive.now
        if spent > 1:
            self.hits[self._rate] += 1
            self._watch(sock)

    def _is_answer(self, event: Event) -> bool:
        return type(event) is Pong and self._keepalive.is_answer(event.payload)

    def _respond_or_receive(self, connection: Connection, data: str | bytes) -> None:
        """Answer what is configured to be answered here; all else goes its way."""
        if data == self._request:
            self.write(connection, self._response)
        else:
            self._ledger.receive_message(connection, data)

    def _control(self, sock: Socket, event: Event) -> None:
        if isinstance(event, Ping):
            if sock.stage is OPEN:
                self._write(sock, encode_pong(event.payload))
        elif isinstance(event, Close):
            self._receive_close(sock, event)
        elif isinstance(event, Violation):
            self.hits["max_message" if event.code == TOO_BIG else "violations"] += 1
            self._receive_violation(sock, event)
        else:
            assert isinstance(event, Pong)  # An unasked pong means nothing (section 5.5.3).

    def hang_up(self, sock: Socket) -> None:
        """The client is gone, and with it, if it is not read at present, what it sent."""
        if self._is_reading(sock):
            self.read(sock)
        else:
            self._vanish(sock)

    def _receive_close(self, sock: Socket, close: Close) -> None:
        """The peer closes, or answers our close frame (RFC 6455 section 5.5.1)."""
        if sock.stage is OPEN:
            self._write(sock, encode_close(close.code))
        code = NO_CODE if close.code is None else close.code
        self._ledger.receive_close(sock.connection, code, close.reason)
        self._finish(sock, FINISHING)

    def _receive_violation(self, sock: Socket, violation: Violation) -> None:
        code, reason = violation.code, violation.reason
        was_open = sock.stage is OPEN
        if self._ledger.receive_violation(sock.connection, code, reason) or not was_open:
            if was_open:
                self._write(sock, _close_frame(code, reason))
            self._finish(sock, LINGERING)
        else:
            self._ending[sock] = _close_frame(code, reason)
            self._set_deadline(sock)

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
            self.hits["max_outbound"] += 1
            self._give_up(sock)
        elif sock.connection.endpoint is not None:
            # Said before, but perhaps to another worker than the one that has it now.
            self._on_pressure(sock.connection, True)

    def _is_full(self, sock: Socket, size: int) -> bool:
        return self._blocked.get(sock, 0) + size > self._max_outbound and sock in self._blocked

    def _give_up(self, sock: Socket) -> None:
        """Close a client that reads more slowly than it is written to."""
        # It must not cost the others their memory. No close frame: it would wait behind what the
        # client does not read.
        self._ledger.receive_close(sock.connection, POLICY_VIOLATION, SLOW_CONSUMER)
        self._release(sock)

    def flush(self) -> None:
        """Write what the turn produced: one call per socket. And let those be read who waited."""
        if self._scheduler.has_any:
            for sock in self._scheduler.end_turn(time.monotonic()):
                self._watch(sock)
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
            if sock.connection.endpoint is not None and sock not in self._blocked:
                self._on_pressure(sock.connection, False)

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
        if sock.connection.endpoint is not None:
            self._on_pressure(sock.connection, True)

    def _watch(self, sock: Socket) -> None:
        """Tell the poller what this socket waits for now."""
        if sock.stage is GONE:
            return
        events = READABLE if self._is_reading(sock) else 0
        if sock in self._blocked:
            events |= WRITABLE
        self._poller.change(sock.fd, events)
        if sock in self._early:
            self._read_early(sock)

    # --- the end --------------------------------------------------------------------------------

    def _finish(self, sock: Socket, stage: Stage) -> None:
        if sock.stage is GONE:
            return
        sock.stage = stage
        sock.decoder = None
        self._set_deadline(sock)
        if sock.outbound is None:
            # Nothing is left to write; the end of the turn takes it from here all the same.
            self._dirty.append(sock)

    def _is_reading(self, sock: Socket) -> bool:
        if sock.stage >= FINISHING:
            return not self._scheduler.is_waiting(sock)
        return not (sock.connection.is_paused or self._scheduler.holds_back(sock))

    def _set_deadline(self, sock: Socket) -> None:
        self._deadlines.append((self._now + self._close_timeout, sock))

    def tick(self, now: float) -> None:
        """See who takes too long, and who has waited long enough. Call every TICK seconds."""
        self._now = now
        while self._deadlines and self._deadlines[0][0] <= now:
            _, sock = self._deadlines.popleft()
            if sock in self._ending:
                self._ledger.receive_close(sock.connection, VANISHED, "")
                self.end(sock.connection)
            elif sock.stage is not GONE:
                self.hits["close_timeout"] += 1
                self._vanish(sock)
        for fd in self._keepalive.turn():
            target = self._poller.target(fd)
            # Else the number is of somebody who is gone, or has been given to somebody else.
            if isinstance(target, Socket) and target.due == self._keepalive.now:
                self._look_after(target)
        for sock in self._scheduler.due(now):
            self._watch(sock)

    def _look_after(self, sock: Socket) -> None:
        """Ping a client that is silent; give up on one that does not answer."""
        if sock.stage is not OPEN:
            return  # It has a deadline.
        if sock.connection.is_paused or self._scheduler.is_waiting(sock):
            # Its answer would not be read. Its proxies shall see a sign of life all the same.
            look = Look(True, 0, self._keepalive.first_look())
        else:
            look = self._keepalive.judge(sock.heard, sock.asked)
        if look.due == DEAD:
            self.hits["pong_timeout"] += 1
            self._ledger.receive_close(sock.connection, VANISHED, "keepalive timeout")
            self._release(sock)
            return
        if look.ping:
            self._write(sock, encode_ping(self._keepalive.question()) if self._is_rated else PING)
        sock.asked, sock.due = look.asked, look.due
        self._keepalive.put(sock.fd, look.due)

    def evict(self, sockets: Iterable[Socket], enough: int) -> int:
        """Close those that hold most memory, until they hold no more than `enough` bytes.

        Args:
            sockets: all there are.

        Returns:
            How many were closed.
        """
        held = [(size, sock) for sock in sockets if (size := self._size(sock))]
        held.sort(key=itemgetter(0))
        total, before = sum(size for size, _ in held), len(held)
        while total > enough:
            size, sock = held.pop()
            total -= size
            self.hits["max_memory"] += 1
            if sock in self._blocked:
                self._give_up(sock)
            else:
                self._fail(sock, TRY_AGAIN_LATER, "out of memory")
        return before - len(held)

    def _size(self, sock: Socket) -> int:
        """Return what waits here of this connection: half a message, or what it does not read."""
        unfinished = 0 if sock.decoder is None else sock.decoder.buffered
        return unfinished + self._blocked.get(sock, 0)

    def _release(self, sock: Socket) -> None:
        if sock.stage is GONE:
            return
        sock.stage = GONE
        sock.connection.socket = None
        self._ending.pop(sock, None)
        sock.outbound = sock.decoder = None
        self._blocked.pop(sock, None)
        self._scheduler.forget(sock)
        self._early.pop(sock, None)
        self._poller.forget(sock.fd)
        os.close(sock.fd)
        self._on_left(sock.address_key)


def open_sockets(poller: Poller, switchboard: Switchboard) -> Sockets:
    """Make the sockets of a switchboard whose clients are descriptors."""
    return Sockets(
        switchboard.ledger,
        poller,
        switchboard.limits,
        on_left=switchboard.admission.leave,
        on_pressure=switchboard.tell_pressure,
    )


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
