"""Looks at all connections of the HTTP side, and ends those that get nowhere.

Shell. Private. One timer for all, and none per request. A limit is kept to within one turn.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from math import inf
from typing import TYPE_CHECKING, Protocol

from holdfast.http.limits import Phase, seconds

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Collection
    from typing import Any

    from holdfast.config import HttpLimits
    from holdfast.http.limits import HttpCounts, Refusal, Vigil

log = logging.getLogger("holdfast.worker")

INTERVAL = 1.0  # seconds, at most
SHORTEST = 0.02  # seconds

# Connections that are looked at before something else gets a turn: about 1 ms.
AT_ONCE = 500


class Connection(Protocol):
    """What is looked at; `http/protocol.py:HttpProtocol`."""

    vigil: Vigil
    transport: asyncio.Transport

    def condition(self) -> tuple[Phase, object]:
        """Return what it is doing, and what changes when it gets on with that."""

    def expire(self, phase: Phase) -> None:
        """End it."""


class Sweep:
    """Looks after all connections of one server.

    Args:
        counts: what is told when it has changed.
        connections: those that are open; they come and go.
        on_counted: called with what was counted since the last call, about once a second.
    """

    def __init__(
        self,
        limits: HttpLimits,
        counts: HttpCounts,
        connections: Collection[Any],
        on_counted: Callable[[dict[str, int]], None],
    ) -> None:
        self._seconds = {phase: seconds(limits, phase) for phase in Phase}
        self._counts = counts
        self._on_counted = on_counted
        self._on_turn: Callable[[], None] = lambda: None
        self._told = replace(counts)
        self._last: tuple[Refusal, str | None] | None = None
        self._connections: Collection[Connection] = connections
        times = (limits.keep_alive, limits.header_timeout, limits.write_timeout)
        shortest = min((each for each in times if each), default=inf)
        self.interval = min(INTERVAL, max(SHORTEST, shortest / 4))
        self._timer: asyncio.TimerHandle | None = None

    def start(
        self, loop: asyncio.AbstractEventLoop, on_turn: Callable[[], None] = lambda: None
    ) -> None:
        """Look from now on.

        Args:
            on_turn: called now, and then about once a second.
        """
        self._on_turn = on_turn
        on_turn()
        self._timer = loop.call_later(self.interval, self._turn, loop)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._tell()

    def note(self, refusal: Refusal, client: tuple[str, int] | None) -> None:
        """Keep a refusal, one of many perhaps, as an example for the log."""
        self._last = (refusal, None if client is None else client[0])

    def look(self, now: float) -> None:
        """End what has been as it is for too long.

        Args:
            now: seconds, of a clock that does not go back.
        """
        self._look_at(tuple(self._connections), now)

    def _look_at(self, connections: tuple[Connection, ...], now: float) -> None:
        for connection in connections:
            try:
                phase, progress = connection.condition()
                if connection.vigil.look(phase, progress, now) >= self._seconds[phase]:
                    connection.expire(phase)
            except Exception:
                # Whatever is wrong with it, the others are looked after.
                log.exception("a connection is ended by a fault of holdfast's")
                connection.transport.abort()

    def _turn(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = loop.call_later(self.interval, self._turn, loop)
        self._on_turn()
        self._go_on(loop, tuple(self._connections))

    def _go_on(self, loop: asyncio.AbstractEventLoop, rest: tuple[Connection, ...]) -> None:
        self._look_at(rest[:AT_ONCE], loop.time())
        if len(rest) > AT_ONCE:
            loop.call_soon(self._go_on, loop, rest[AT_ONCE:])
        else:
            self._tell()

    def _tell(self) -> None:
        """Tell what was refused since the last time; the log in one line, however much it was."""
        counted = self._counts.since(self._told)
        if not counted:
            return
        self._told = replace(self._counts)
        self._on_counted(counted)
        news = ", ".join(f"{name} {count}" for name, count in counted.items())
        if self._last is None:
            log.info("HTTP: %s", news)
            return
        refusal, host = self._last
        self._last = None
        log.info("HTTP: %s; the last one: %d to %r, %r", news, refusal.status, host, refusal.why)
