"""Which clients have been silent for so long that they must be asked whether they are there.

Pure: time is a count of ticks. One timing wheel for all connections: a connection stands in the
slot of the tick at which it is looked at next, as its descriptor's number. A look costs one
comparison when the client has spoken since, so hearing from it costs nothing but a note of when.

An entry is never taken out. A connection that closes leaves its number behind, for at most the
ping interval; whoever looks finds no connection there, or another one that is due at another time.
"""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

DEAD = -1


class Look(NamedTuple):
    """What to do about a client that was looked at."""

    ping: bool
    asked: int
    """To be passed to the next look."""
    due: int
    """The tick of the next look. DEAD: it was asked and has not answered in time."""


class Keepalive:
    """The wheel, and when to ask.

    Args:
        interval: seconds of silence after which a client is pinged; 0 for never.
        timeout: seconds that it may take to answer.
        tick: seconds between two calls of `turn`.
    """

    def __init__(self, *, interval: float, timeout: float, tick: float) -> None:
        self.now = 0
        """The current tick. Note it when a client is heard."""
        self._interval = ceil(interval / tick)
        self._timeout = ceil(timeout / tick)
        self._slots: dict[int, list[int]] = {}

    def put(self, fd: int, due: int) -> None:
        """Have `fd` looked at in tick `due`."""
        slot = self._slots.get(due)
        if slot is None:
            self._slots[due] = [fd]
        else:
            slot.append(fd)

    def first_look(self) -> int:
        """Return when to look at a new connection, or 0 for never."""
        return self.now + self._interval if self._interval else 0

    def turn(self) -> Iterable[int]:
        """One more tick: return the descriptors to look at."""
        self.now += 1
        return self._slots.pop(self.now, ())

    def judge(self, heard: int, asked: int) -> Look:
        """Judge a client that is looked at in this tick.

        Args:
            heard: the tick in which it was heard last.
            asked: the tick of the first ping that it had not answered at the last look, 0 for
                none. It has from then on to answer: it was silent before because it had nothing to
                say.
        """
        if self.now - heard < self._interval:
            return Look(False, 0, heard + self._interval)
        if heard >= asked:
            asked = self.now  # Whatever was asked before is answered.
        left = asked + self._timeout - self.now
        if left <= 0:
            return Look(False, asked, DEAD)
        return Look(True, asked, self.now + min(self._interval, left))

    def question(self) -> bytes:
        """Return what to ask in a ping, where only its answer counts."""
        return self.now.to_bytes(4, "big")

    def is_answer(self, payload: bytes) -> bool:
        """Tell whether a pong answers a ping that is not too long ago."""
        age = self.now - int.from_bytes(payload, "big")
        return len(payload) == 4 and 0 <= age <= self._interval + self._timeout
