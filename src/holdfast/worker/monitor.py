"""Watches how much a worker does, and how much memory it takes.

Shell. Private. Looks about once a second, so that nothing is paid per event. Tells the supervisor
when the worker has had nothing to do for a while, when it has something to do again, and when it
has done enough and wants to be replaced.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple, Protocol

from holdfast.wire.control import Busy, Idle, Retiring

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from holdfast.wire.control import FromWorker

INTERVAL = 1.0  # seconds
PAGE = os.sysconf("SC_PAGE_SIZE")  # bytes


class Thresholds(NamedTuple):
    """See `config.py:ServerSettings`; 0 means never."""

    idle_timeout: float
    max_events: int
    max_rss: int


class Work(Protocol):
    """What the monitor asks about."""

    @property
    def handled(self) -> int:
        """Events that have ended."""

    @property
    def is_idle(self) -> bool:
        """True while nothing is in hand."""


class Monitor:
    """Looks after one worker.

    Args:
        works: all that a worker may have in hand.
        tell: sends a message to the supervisor.
    """

    def __init__(
        self,
        thresholds: Thresholds,
        works: Callable[[], list[Work]],
        loop: asyncio.AbstractEventLoop,
        tell: Callable[[FromWorker], None],
    ) -> None:
        self._thresholds = thresholds
        self._works = works
        self._loop = loop
        self._tell = tell
        self._handled = 0
        self._since = loop.time()
        self._is_idle = False
        self._is_retiring = False
        # Sleep is measured in seconds or minutes, but in tests it is not.
        self._interval = min(INTERVAL, thresholds.idle_timeout / 4 or INTERVAL)

    def start(self) -> None:
        if any(self._thresholds):
            self._loop.call_later(self._interval, self._look)

    def _look(self) -> None:
        works = self._works()
        handled = sum(work.handled for work in works)
        now = self._loop.time()
        if handled != self._handled or not all(work.is_idle for work in works):
            self._since = now
        self._handled = handled
        if self._thresholds.idle_timeout:
            self._look_for_idleness(now)
        self._look_for_age(handled)
        self._loop.call_later(self._interval, self._look)

    def _look_for_idleness(self, now: float) -> None:
        is_idle = now - self._since >= self._thresholds.idle_timeout
        if is_idle != self._is_idle:
            self._is_idle = is_idle
            self._tell(Idle() if is_idle else Busy())

    def _look_for_age(self, handled: int) -> None:
        _, max_events, max_rss = self._thresholds
        if self._is_retiring:
            return
        if max_events and handled >= max_events:
            self._retire(f"it has handled {handled} events")
        elif max_rss and (rss := _rss()) >= max_rss:
            self._retire(f"it takes {rss / 2**20:.0f} MiB of memory")

    def _retire(self, why: str) -> None:
        self._is_retiring = True
        self._tell(Retiring(why))


def _rss() -> int:
    """Bytes of memory this process has in RAM."""
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * PAGE
