"""What comes from the clients' sockets: bytes → messages for the ledger, and facts.

Shell. Private. A part of `keeper/sockets.py`. Told by the poller when a descriptor is ready. Whose
bytes are read, how many and when is decided by `keeper/read_scheduler.py`.
"""

from __future__ import annotations

import time
from os import read
from typing import TYPE_CHECKING

from holdfast.framing.close_codes import NO_CODE, TOO_BIG, VANISHED
from holdfast.framing.closing import ANSWERING, GONE, OPEN, Fact
from holdfast.framing.decoder import Decoder
from holdfast.framing.frames import Close, Ping, Pong, Violation, encode_pong
from holdfast.keeper.poller import READABLE, WRITABLE
from holdfast.keeper.read_scheduler import LARGE, READ_SIZE, payload
from holdfast.keeper.socket import SocketOwner

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Sequence

    from holdfast.config import KeeperLimits
    from holdfast.framing.frames import Event
    from holdfast.keeper.keepalive import Keepalive
    from holdfast.keeper.poller import Poller
    from holdfast.keeper.read_scheduler import ReadScheduler
    from holdfast.keeper.socket import Socket
    from holdfast.keeper.socket_closer import SocketCloser
    from holdfast.keeper.socket_writer import SocketWriter
    from holdfast.ledger.connection import Connection
    from holdfast.ledger.ledger import Ledger


class SocketReader(SocketOwner):
    """Reads from all clients of one keeper.

    Args:
        keepalive: is told when a client was heard.
        hits: counts by the name of a setting how often its limit made a difference.
    """

    def __init__(
        self,
        ledger: Ledger,
        poller: Poller,
        scheduler: ReadScheduler,
        keepalive: Keepalive,
        writer: SocketWriter,
        closer: SocketCloser,
        limits: KeeperLimits,
        hits: Counter[str],
    ) -> None:
        self.received = 0
        """Bytes of large reads, counted after they are inflated."""
        self._ledger = ledger
        self._receive_message = ledger.receive_message
        self._poller = poller
        self._scheduler = scheduler
        self._first_read = scheduler.first_read
        self._is_rated = scheduler.is_rated
        self._rate = "max_message_rate" if limits.max_message_rate else "max_byte_rate"
        self._keepalive = keepalive
        self._writer = writer
        self._closer = closer
        self._hits = hits
        if limits.auto_response is not None:
            self._request, self._response = limits.auto_response
            self._receive_message = self._respond_or_receive
        self._max_message = limits.max_message
        # An idle decoder equals a new one: all connections that are between frames share these.
        self._spare = Decoder(max_message=limits.max_message)
        self._inflating = Decoder(max_message=limits.max_message, deflates=True)
        # What came with the handshake, of those who may not be read yet.
        self._early: dict[Socket, bytes] = {}

    # --- what the poller and the other parts tell -----------------------------------------------

    def read(self, sock: Socket) -> None:
        if sock.is_greedy:
            self._read_greedy(sock)
            return
        size = self._first_read if sock.decoder is None else self._scheduler.size(sock)
        if self._read(sock, size) and self._scheduler.note(sock, size, is_full=True):
            self.watch(sock)

    def resume_writing(self, sock: Socket) -> None:
        self._writer.resume(sock)

    def hang_up(self, sock: Socket) -> None:
        """The client is gone. If it is not read at present, what it sent is lost."""
        if self._is_reading(sock):
            self.read(sock)
        else:
            self.advance(sock, Fact.PEER_GONE)

    def advance(self, sock: Socket, fact: Fact, code: int = VANISHED, reason: str = "") -> None:
        self._closer.advance(sock, fact, code, reason)

    def watch(self, sock: Socket) -> None:
        """Tell the poller what this socket waits for now."""
        if sock.stage is not GONE:
            events = READABLE if self._is_reading(sock) else 0
            if self._writer.is_blocked(sock):
                events |= WRITABLE
            self._poller.change(sock.fd, events)

    def forget(self, sock: Socket) -> None:
        self._early.pop(sock, None)
        self._scheduler.forget(sock)

    # --- whose turn it is -----------------------------------------------------------------------

    def begin(self, sock: Socket, early: bytes) -> None:
        """Take what came with the handshake, as far as the client may be read now."""
        if early:
            self._early[sock] = early
            self._read_early(sock)

    def resume(self, sock: Socket) -> None:
        """The ledger has room for what this client sends."""
        if not self._scheduler.holds_back(sock):
            # While nobody read, nobody heard either.
            sock.heard = self._keepalive.now
        self._read_on(sock)

    def end_turn(self) -> None:
        """Let those be read who waited for others."""
        for sock in self._scheduler.end_turn(time.monotonic()):
            self._read_on(sock)

    def tick(self, now: float) -> None:
        """Let those be read who were over their rate."""
        for sock in self._scheduler.due(now):
            self._read_on(sock)

    def _read_on(self, sock: Socket) -> None:
        self.watch(sock)
        if sock in self._early:
            self._read_early(sock)

    def _is_reading(self, sock: Socket) -> bool:
        if sock.stage >= ANSWERING:
            return not self._scheduler.is_waiting(sock)
        return not (sock.connection.is_paused or self._scheduler.holds_back(sock))

    # --- bytes ----------------------------------------------------------------------------------

    def _read_early(self, sock: Socket) -> None:
        early = self._early
        while sock in early and sock.stage < ANSWERING and self._is_reading(sock):
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
            size = READ_SIZE if sock.stage >= ANSWERING else scheduler.size(sock)
            is_full = self._read(sock, size)
            waits = scheduler.note(sock, size, is_full=is_full, took=time.monotonic() - began)
        if waits:
            self.watch(sock)

    def _read(self, sock: Socket, size: int) -> bool:
        """Read once; return whether there may be more."""
        try:
            data = read(sock.fd, size)
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        if not data:
            self.advance(sock, Fact.PEER_GONE)
        elif sock.stage < ANSWERING:
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
        else:
            self._keep(sock, decoder)

    def _keep(self, sock: Socket, decoder: Decoder) -> None:
        """A frame or a message is incomplete, or nothing is decoded any more."""
        if decoder is self._spare:
            self._spare = Decoder(max_message=self._max_message)
        elif decoder is self._inflating:
            self._inflating = Decoder(max_message=self._max_message, deflates=True)
        sock.decoder = decoder if sock.stage < ANSWERING else None

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
            self._hits[self._rate] += 1
            self.watch(sock)

    def _is_answer(self, event: Event) -> bool:
        return type(event) is Pong and self._keepalive.is_answer(event.payload)

    # --- events ---------------------------------------------------------------------------------

    def _respond_or_receive(self, connection: Connection, data: str | bytes) -> None:
        """Answer what is configured to be answered here; all else goes its way."""
        if data == self._request:
            self._writer.write(connection, self._response)
        else:
            self._ledger.receive_message(connection, data)

    def _control(self, sock: Socket, event: Event) -> None:
        if isinstance(event, Ping):
            if sock.stage is OPEN:
                self._writer.put(sock, encode_pong(event.payload))
        elif isinstance(event, Close):
            code = NO_CODE if event.code is None else event.code
            self.advance(sock, Fact.PEER_CLOSES, code, event.reason)
        elif isinstance(event, Violation):
            self._hits["max_message" if event.code == TOO_BIG else "violations"] += 1
            self.advance(sock, Fact.PEER_VIOLATES, event.code, event.reason)
        else:
            assert isinstance(event, Pong)  # An unasked pong means nothing (section 5.5.3).
