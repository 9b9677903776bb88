"""Decides whose bytes are read now, how many of them, and whose later.

Pure: time is passed in. `keeper/socket_reader.py` asks before it reads, and tells what came.

No byte is refused. The rules keep a client that sends much from delaying those that send little:

1. A read takes few bytes of a client that is between two messages. It takes more in the middle of
   a message, the more of that message there is. What one read has brought is passed on whatever
   the limits say: it cannot be put back.
2. A client is *greedy* when it has more to say than one read takes. A new client counts as greedy
   until it has been read once. In each turn one millisecond is spent on all greedy clients
   together, and they take turns.
3. Greedy clients are not read while workers have so much to do that other clients wait for it.
4. A client that has sent more than its rate allows is read again when its rate allows it.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from holdfast.framing.frames import Ping, Pong
from holdfast.keeper.rates import Rates

if TYPE_CHECKING:
    from collections.abc import Sequence

    from holdfast.config import KeeperLimits
    from holdfast.framing.frames import Event
    from holdfast.keeper.socket import Socket
    from holdfast.ledger.connection import Connection

# One read takes at most this much; a client with more to say comes again in the next turn, after
# all others.
READ_SIZE = 64 * 1024

# What a read takes of a client that is greedy, and not in the middle of a large message: 64 KiB of
# the smallest frames are 10,922.
GREEDY_READ_SIZE = 16 * 1024

# What a read takes of anybody where the number of messages per second is limited: some 80 of the
# smallest.
RATED_READ_SIZE = 512

# Always so little where messages may be compressed: 1,000 bytes may be 1 MiB.
INFLATING_READ_SIZE = 2 * 1024

# Seconds of each turn for all greedy clients together. A turn without them takes as long on a busy
# server.
SHARE = 0.001

# How many of the clients that were put off may be read in the next turn.
AT_ONCE = 16

# Greedy clients wait when workers have more than so many bytes in hand: some 10 ms for the links.
IN_HAND = 1024 * 1024

# A message that is not acknowledged after so many seconds has arrived: its listener takes its time.
LATEST = 0.05

# A client that is answered within so many seconds has not waited for others.
SOON = 0.005

# A smaller read does not count as something that others wait for.
LARGE = 4 * 1024

# What the head of a frame takes: 6 bytes for the smallest, 14 for the largest, 8 for those in
# between (RFC 6455 section 5.2).
HEAD_SIZE = 8


class ReadScheduler:
    """Decides for all clients of one keeper."""

    def __init__(self, limits: KeeperLimits) -> None:
        rates = Rates(frames=limits.max_message_rate, bytes=limits.max_byte_rate)
        self._rates = rates if rates else None
        self.is_rated = bool(rates)
        """True if there is a limit to what a client may send per second."""
        self.first_read = RATED_READ_SIZE if limits.max_message_rate else READ_SIZE
        """How much to read of a client that is between messages, and not greedy."""
        # Clients that are over their rate, and when each is read again.
        self._throttled: dict[Socket, float] = {}
        # Greedy clients that have to wait, in the order in which they began to.
        self._put_off: dict[Socket, None] = {}
        self._share = SHARE  # what is left of it in this turn
        # What workers have in hand: the bytes of each client, and since when; and the sum of them.
        self._holders: dict[Connection, tuple[int, float]] = {}
        self._in_hand = 0
        self.is_full = False
        """True while workers have so much in hand that others might wait behind it. To be read
        only: a plain attribute, since it is asked for once per read."""
        # A client that sent little while workers had too much in hand, and when it sent that. How
        # soon it is answered tells whether others have to wait.
        self._sample: tuple[Connection, float] | None = None
        # Until then others are known to have to wait.
        self._busy_until = 0.0
        self.has_any = False
        """True if `end_turn` has anything to do. To be read only, as `is_full`."""

    def holds_back(self, sock: Socket) -> bool:
        """True while this client is not to be read."""
        return sock in self._throttled or sock in self._put_off

    def is_waiting(self, sock: Socket) -> bool:
        """True while this client is not to be read because others come first."""
        return sock in self._put_off

    def admit(self, sock: Socket, now: float) -> bool:
        """Return whether a greedy client may be read now. If not, `end_turn` returns it later."""
        if self._share > 0 and not self._is_busy(now):
            return True
        self._put_off[sock] = None
        self.has_any = True
        return False

    def size(self, sock: Socket) -> int:
        """Return how many bytes to read.

        In the middle of a message it is a few times what there is of that message. So a large
        message takes few reads, and little is read behind the end of a small one.
        """
        if sock.bits:
            return min(self.first_read, INFLATING_READ_SIZE)
        first = min(self.first_read, GREEDY_READ_SIZE) if sock.is_greedy else self.first_read
        decoder = sock.decoder
        return first if decoder is None else min(READ_SIZE, first + 4 * decoder.buffered)

    def note(self, sock: Socket, size: int, *, is_full: bool, took: float = 0.0) -> bool:
        """Note that a read of at most `size` bytes has ended; return whether the next waits.

        Args:
            is_full: there may be more.
            took: seconds, if the client was greedy.
        """
        if took:
            self._share -= took
            self.has_any = True
        decoder = sock.decoder
        if is_full and decoder is not None and size // 2 < decoder.buffered < READ_SIZE:
            # In the middle of a message that is not large; nothing else came with it.
            is_full = False
        # Nobody knows beforehand what a compressed message makes of itself.
        sock.is_greedy = is_full or sock.bits > 0
        if is_full and self._put_off:
            self._put_off[sock] = None
            return True
        return False

    def hand_over(self, connection: Connection, size: int, now: float) -> None:
        """Note that a worker gets so many bytes of this client."""
        if size > LARGE:
            before, _ = self._holders.pop(connection, (0, now))
            self._holders[connection] = (before + size, now)
            self._in_hand += size
            self.has_any = True
            self.is_full = self._in_hand > IN_HAND

    def note_small(self, connection: Connection, now: float) -> None:
        """Note that a worker gets little of this client while it has too much in hand.

        Greedy clients wait only if there is such a client and it is not answered at once.
        """
        if self._sample is None and connection.mailbox.count == 1:
            self._sample = connection, now

    def end_turn(self, now: float) -> Sequence[Socket]:
        """Return clients that were put off and may be read now."""
        self._share = SHARE
        if self._holders:
            self._forget_what_arrived(now)
        if self._sample is not None:
            self._judge(*self._sample, now)
        released: Sequence[Socket] = ()
        if self._put_off and not self._is_busy(now):
            released = list(islice(self._put_off, AT_ONCE))
            for sock in released:
                del self._put_off[sock]
        self.has_any = bool(self._holders or self._put_off)
        return released

    def _is_busy(self, now: float) -> bool:
        return self.is_full and (self._sample is not None or now < self._busy_until)

    def _judge(self, connection: Connection, since: float, now: float) -> None:
        """Look whether a client that sent little was answered, and how soon."""
        if now - since > LATEST:
            self._sample = None  # Its listener takes its time.
        elif not connection.mailbox.count:
            self._sample = None
            if now - since > SOON:
                self._busy_until = now + LATEST

    def _forget_what_arrived(self, now: float) -> None:
        holders = self._holders
        for connection, (size, since) in list(holders.items()):
            if not connection.mailbox.count or now - since > LATEST:
                del holders[connection]
                self._in_hand -= size
        self.is_full = self._in_hand > IN_HAND

    # --- rates ----------------------------------------------------------------------------------

    def charge(
        self, sock: Socket, size: int, events: Sequence[Event], growth: int, now: float
    ) -> float:
        """Note what a read brought; return how much of its rate the client has spent.

        1 is what it may send in a second. It is not read for as many seconds as this is over 1.

        Args:
            size: bytes that were read.
            events: what they completed.
            growth: of what is kept of messages that are not complete, in bytes.
        """
        assert self._rates is not None
        plain = payload(events)
        frames = len(events)
        if sock.bits:
            # What the client says counts, not the bytes that it took to say it.
            size = max(size, plain)
        if not (frames and sock.bits):
            # A fragment costs as much as a message, but is no event. Bytes that are no payload are
            # the heads of frames, and tell how many came. (Not where a message was compressed: its
            # payload is not what came.)
            frames = max(frames, (size - plain - growth) // HEAD_SIZE)
        spent = self._rates.spend(sock, frames, size, now)
        if spent > 1:
            self._throttled[sock] = now + spent - 1
        return spent

    def due(self, now: float) -> list[Socket]:
        """Return clients that were over their rate and may be read now."""
        due = [sock for sock, until in self._throttled.items() if until <= now]
        for sock in due:
            del self._throttled[sock]
        return due

    def forget(self, sock: Socket) -> None:
        """Forget a client that is gone."""
        self._throttled.pop(sock, None)
        self._put_off.pop(sock, None)
        if self._rates is not None:
            self._rates.forget(sock)


def payload(events: Sequence[Event]) -> int:
    """Return how many bytes of payload these events were."""
    return sum(map(_payload, events))


def _payload(event: Event) -> int:
    if type(event) is str:
        return len(event) if event.isascii() else len(event.encode())
    if type(event) is bytes:
        return len(event)
    return len(event.payload) if isinstance(event, Ping | Pong) else 0
