"""One connection's deliveries, in order, each kept until a worker has acknowledged it.

Pure. The ledger owns one mailbox per connection and decides which worker a delivery goes to.

A delivery is waiting → in flight → acknowledged. When its worker is lost it goes back from in
flight to waiting, in front of all others, one attempt older. Several may be in flight at once,
always to one worker, which runs them one after the other; but a redelivery travels alone, so
that a message that kills its worker is found out and its neighbours are not blamed.

Everything not acknowledged is kept in one row: what is in flight first, then what waits. A number
is a place in that row, counted over the life of the connection.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from holdfast.errors import UnknownDelivery

if TYPE_CHECKING:
    from typing import TypeAlias

    # An idle connection should cost next to nothing, and one delivery at a time is the usual
    # case: a slot holds nothing, one content, or a row of them.
    Row: TypeAlias = "Content | deque[Content] | None"

# Deliveries of one connection that may be in flight together. One would make a client that
# pipelines wait a round trip between processes per message; more than a batch gains nothing.
PIPELINE = 16


class Closed(NamedTuple):
    """The content of the last delivery: how the connection ended."""

    code: int
    reason: str


class Resume(NamedTuple):
    """The content of a delivery that no client sent: begin the endpoint of the connection again."""


Content = str | bytes | Closed | Resume


class Mailbox:
    """What a connection has sent and no worker has acknowledged yet."""

    __slots__ = ("_attempts", "_in_flight", "_oldest", "_row", "count", "size")

    def __init__(self) -> None:
        self._row: Row = None
        self._oldest = 1  # the number of the first in the row
        self._in_flight = 0
        # Attempts of the front of the row, as far as it was in flight before; None for most.
        self._attempts: list[int] | None = None
        self.count = 0
        """Deliveries kept here, in flight and waiting."""
        self.size = 0
        """Bytes, or characters of text, kept here: exact enough for a limit."""

    def __repr__(self) -> str:
        waiting = self.count - self._in_flight
        return f"<Mailbox {waiting} waiting, {self._in_flight} in flight, {self.size} bytes>"

    @property
    def is_in_flight(self) -> bool:
        """True while some delivery is with a worker."""
        return self._in_flight > 0

    def is_last_chance(self, max_attempts: int) -> bool:
        """True if the next delivery was attempted so often that it is the last time."""
        attempts = self._attempts
        return attempts is not None and not self._in_flight and attempts[0] >= max_attempts

    def put(self, content: Content) -> None:
        if self.count == 0:
            self._row = content
        elif isinstance(self._row, deque):
            self._row.append(content)
        else:
            assert self._row is not None
            self._row = deque((self._row, content))
        self.count += 1
        self.size += len(content)

    def take(self) -> tuple[int, int, Content] | None:
        """Return number, attempt and content of the next delivery, now in flight.

        None if none waits, or if enough are in flight.
        """
        place = self._in_flight
        if place == self.count:
            return None
        attempt = 1
        if self._attempts is not None:
            if place:
                return None
            attempt = self._attempts[0]
        elif place >= PIPELINE:
            return None
        self._in_flight = place + 1
        row = self._row
        content = row[place] if isinstance(row, deque) else row
        assert content is not None
        return self._oldest + place, attempt, content

    def put_resume(self) -> None:
        """Put a Resume in front of what waits, unless one is there. Nothing may be in flight."""
        assert not self._in_flight
        row = self._row
        if isinstance(row[0] if isinstance(row, deque) else row, Resume):
            return
        if isinstance(row, deque):
            row.appendleft(Resume())
        else:
            self._row = Resume() if row is None else deque((Resume(), row))
        # The number of the delivery before, which is done with: whoever had that is another
        # worker, or has said that it lets go.
        self._oldest -= 1
        self.count += 1
        if self._attempts is not None:
            self._attempts.insert(0, 1)

    def put_and_take(self, content: Content) -> int:
        """Like `put` and `take` on an empty mailbox; return the number."""
        assert not self.count
        self._row = content
        self._in_flight = self.count = 1
        self.size = len(content)
        return self._oldest

    def ack(self, number: int, attempt: int, count: int = 1) -> Content:
        """Forget the `count` oldest deliveries in flight, whose last is `number`: their worker
        has finished with them. Return the last one.

        Raises:
            UnknownDelivery: they are others; nothing is forgotten.
        """
        if (
            count == self.count == 1
            and self._in_flight
            and self._attempts is None
            and attempt == 1
            and number == self._oldest
        ):
            # By far the most common: the only one. Either slot form holds it alone.
            row, self._row = self._row, None
            self._oldest += 1
            self._in_flight = self.count = self.size = 0
            content = row[0] if isinstance(row, deque) else row
            assert content is not None
            return content
        expected = 1 if self._attempts is None else self._attempts[0]
        if (
            not 0 < count <= self._in_flight
            or number != self._oldest + count - 1
            or attempt != expected
        ):
            raise UnknownDelivery(number, attempt)
        self._in_flight -= count
        for _ in range(count - 1):
            self._pop()
        return self._pop()

    def requeue(self) -> int:
        """Have a lost worker's deliveries wait again, in their place, one attempt older.

        All of them: the worker may have begun each without an acknowledgement getting out.
        Returns how many there were.
        """
        lost = self._in_flight
        if lost:
            before = self._attempts or []
            before += [1] * (lost - len(before))
            self._attempts = [attempt + 1 for attempt in before[:lost]] + before[lost:]
            self._in_flight = 0
        return lost

    def put_back(self) -> int:
        """Have what is in flight wait again, in its place, as if it had never left.

        Its worker says that it has not begun it. Returns how many there were.
        """
        untouched, self._in_flight = self._in_flight, 0
        return untouched

    def clear(self) -> bool:
        """Forget all. Return whether the close was among it."""
        row = self._row
        last = row[-1] if isinstance(row, deque) else row
        self._oldest += self.count
        self._row = self._attempts = None
        self._in_flight = self.count = self.size = 0
        return isinstance(last, Closed)

    def abandon(self, max_attempts: int) -> tuple[int, Content] | None:
        """Drop the next delivery if it was attempted `max_attempts` times; return what it was.

        To be asked after `requeue`.
        """
        if self._attempts is None or self._attempts[0] <= max_attempts:
            return None
        return self._oldest, self._pop()

    def _pop(self) -> Content:
        row = self._row
        self._oldest += 1
        self.count -= 1
        if isinstance(row, deque):
            content = row.popleft()
            if not row:
                self._row = None
        else:
            assert row is not None
            content = row
            self._row = None
        self.size -= len(content)
        if self._attempts is not None:
            del self._attempts[0]
            self._attempts = self._attempts or None
        return content
