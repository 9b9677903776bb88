"""The clients' sockets: bytes ↔ messages, and the closing handshake.

Shell. Private. Bare descriptors in one epoll set: an idle connection is one `Socket` here and one
`Connection` in the ledger, with no task, timer or buffer of its own. Called by the poller (bytes
came), by `keeper/switchboard.py` (run a command) and by its clock (ping those who are silent, give
up on slow closers, read again from those who were too fast).

    socket.py          one client's descriptor: the record that all parts work on
    socket_writer.py   what is written, and what waits while the kernel takes no more
    socket_closer.py   does what the table of the closing handshake decides
    socket_reader.py   what comes, and when it is read
    sockets.py         what the switchboard sees of them
"""

from __future__ import annotations

import os
from collections import Counter
from http import HTTPStatus
from operator import itemgetter
from typing import TYPE_CHECKING

from holdfast.framing.close_codes import TRY_AGAIN_LATER, VANISHED
from holdfast.framing.closing import OPEN, Fact
from holdfast.framing.frames import encode_ping
from holdfast.keeper.keepalive import DEAD, Keepalive, Look
from holdfast.keeper.read_scheduler import ReadScheduler
from holdfast.keeper.socket import Socket
from holdfast.keeper.socket_closer import SocketCloser
from holdfast.keeper.socket_reader import SocketReader
from holdfast.keeper.socket_writer import SocketWriter, drop_slow_consumer
from holdfast.ledger.ledger import TICK

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from holdfast.config import KeeperLimits
    from holdfast.keeper.poller import Poller
    from holdfast.keeper.switchboard import Switchboard
    from holdfast.ledger.connection import Connection
    from holdfast.ledger.ledger import Ledger

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
        """Bytes of large reads, counted after they are inflated, as of the last turn."""
        self._poller = poller
        self._keepalive = Keepalive(
            interval=limits.ping_interval, timeout=limits.pong_timeout, tick=TICK
        )
        self._scheduler = ReadScheduler(limits)
        self._writer = SocketWriter(limits, self.hits, on_pressure)
        self._closer = SocketCloser(ledger, poller, self._writer, limits, self.hits, on_left)
        self._reader = SocketReader(
            ledger,
            poller,
            self._scheduler,
            self._keepalive,
            self._writer,
            self._closer,
            limits,
            self.hits,
        )
        # Called once per message, and so without a call in between.
        self.write = self._writer.write
        self.write_many = self._writer.write_many

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
        sock = Socket(fd, connection, self._reader, address_key)
        sock.bits = bits
        connection.socket = sock
        self._poller.watch(fd, sock)
        self._writer.put(sock, response)
        sock.heard = self._keepalive.now
        sock.due = self._keepalive.first_look()
        if sock.due:
            self._keepalive.put(fd, sock.due)
        self._reader.begin(sock, leftover)

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

    def close(self, connection: Connection, code: int, reason: str) -> None:
        """Begin the closing handshake (RFC 6455 section 7.1.2)."""
        if connection.socket is not None:
            self._closer.advance(connection.socket, Fact.WE_CLOSE, code, reason)

    def end(self, connection: Connection) -> None:
        """Fail a connection whose client has broken the protocol some time ago."""
        if connection.socket is not None:
            self._closer.advance(connection.socket, Fact.ANSWERED)

    def pause_reading(self, connection: Connection) -> None:
        if connection.socket is not None:
            self._reader.watch(connection.socket)

    def resume_reading(self, connection: Connection) -> None:
        if connection.socket is not None:
            self._reader.resume(connection.socket)

    def flush(self) -> None:
        """Write what the turn produced: one call per socket. And let those be read who waited."""
        if self._scheduler.has_any:
            self._reader.end_turn()
        self._writer.flush()
        # Copied: a property would cost more, and it is looked at in each turn.
        self.received = self._reader.received

    # --- time and memory ------------------------------------------------------------------------

    def tick(self, now: float) -> None:
        """See who takes too long, and who has waited long enough. Call every TICK seconds."""
        self._closer.tick(now)
        for fd in self._keepalive.turn():
            target = self._poller.target(fd)
            # Else the number is of somebody who is gone, or has been given to somebody else.
            if isinstance(target, Socket) and target.due == self._keepalive.now:
                self._look_after(target)
        self._reader.tick(now)

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
            self._closer.advance(sock, Fact.WE_DROP, VANISHED, "keepalive timeout")
            return
        if look.ping:
            is_rated = self._scheduler.is_rated
            question = encode_ping(self._keepalive.question()) if is_rated else PING
            self._writer.put(sock, question)
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
            if self._writer.is_blocked(sock):
                drop_slow_consumer(sock)
            else:
                self._closer.advance(sock, Fact.WE_FAIL, TRY_AGAIN_LATER, "out of memory")
        return before - len(held)

    def _size(self, sock: Socket) -> int:
        """Return what waits here of this connection: half a message, or what it does not read."""
        unfinished = 0 if sock.decoder is None else sock.decoder.buffered
        return unfinished + self._writer.waiting(sock)


def open_sockets(poller: Poller, switchboard: Switchboard) -> Sockets:
    """Make the sockets of a switchboard whose clients are descriptors."""
    return Sockets(
        switchboard.ledger,
        poller,
        switchboard.limits,
        on_left=switchboard.admission.leave,
        on_pressure=switchboard.tell_pressure,
    )
