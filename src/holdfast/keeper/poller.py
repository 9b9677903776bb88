"""The keeper's event loop: one epoll set, one turn after another.

Shell. Private. Not asyncio's: `add_reader` keeps a handle, a callback and a watcher per descriptor
(0.85 KB with uvloop) where a bare epoll set keeps nothing, and hands descriptors over one at a
time, where this hands over all that are ready and then ends the turn. That is what makes one
write per socket and turn possible.
"""

from __future__ import annotations

import select
import time
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

# epoll(7). By number, so that direct/ can be imported where there is no epoll.
READABLE = 0x001
WRITABLE = 0x004

# Descriptors looked at in one turn. More in one go saves turns, fewer lets replies leave sooner.
MAX_EVENTS = 256


class Target(Protocol):
    """What is told when its descriptor is ready."""

    def on_ready(self, events: int) -> None: ...


class Turns(Protocol):
    """What is told of a poller's turns; `keeper/switchboard.py:Switchboard` in a keeper."""

    def tick(self, now: float, /) -> None:
        """An interval has passed; it is called before the next turn."""

    def end_turn(self) -> None:
        """All targets of a turn were called: send what the turn produced."""


class Poller:
    """Calls targets whose descriptors are ready."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        # By descriptor: the kernel gives the lowest free number, so the list stays dense.
        self._targets: list[Target | None] = []
        self._is_running = False

    def fileno(self) -> int:
        """Readable while a `turn` would find something: for whoever waits for other things too."""
        return self._epoll.fileno()

    def watch(self, fd: int, target: Target, events: int = READABLE) -> None:
        while len(self._targets) <= fd:
            self._targets.append(None)
        self._targets[fd] = target
        self._epoll.register(fd, events)

    def target(self, fd: int) -> Target | None:
        """Return who is told of this descriptor, if anybody."""
        return self._targets[fd] if fd < len(self._targets) else None

    def change(self, fd: int, events: int) -> None:
        """Watch for other events; errors and hang-ups are always reported."""
        self._epoll.modify(fd, events)

    def forget(self, fd: int) -> None:
        """Call before the descriptor is closed."""
        self._targets[fd] = None
        self._epoll.unregister(fd)

    def turn(self, timeout: float) -> None:
        """Wait up to `timeout` seconds for descriptors to be ready, and serve those that are."""
        for fd, events in self._epoll.poll(timeout, MAX_EVENTS):
            # A target earlier in this turn may have ended this one; its number cannot have been
            # used again yet unless a new descriptor came in, and that one is then asked too
            # early, finds nothing to read, and waits.
            target = self._targets[fd]
            if target is not None:
                target.on_ready(events)

    def run(self, turns: Turns, interval: float) -> None:
        """Turn until `stop`, with a tick every `interval` seconds."""
        self._is_running = True
        due = time.monotonic()
        while self._is_running:
            now = time.monotonic()
            if now >= due:
                due = now + interval
                turns.tick(now)
            self.turn(due - now)
            turns.end_turn()

    def stop(self) -> None:
        """End `run` with this turn."""
        self._is_running = False

    # --- process/control.py:Watcher, for the few descriptors that want callbacks ----------------

    def add_reader(self, fd: int, callback: Callable[[], None]) -> None:
        self.watch(fd, _Callbacks(callback))

    def remove_reader(self, fd: int) -> None:
        self.forget(fd)

    def add_writer(self, fd: int, callback: Callable[[], None]) -> None:
        target = self._targets[fd]
        assert isinstance(target, _Callbacks)
        target.on_writable = callback
        self.change(fd, READABLE | WRITABLE)

    def remove_writer(self, fd: int) -> None:
        target = self._targets[fd]
        if isinstance(target, _Callbacks) and target.on_writable is not None:
            target.on_writable = None
            self.change(fd, READABLE)


class _Callbacks:
    """A target with a callback per direction."""

    def __init__(self, on_readable: Callable[[], None]) -> None:
        self._on_readable = on_readable
        self.on_writable: Callable[[], None] | None = None

    def on_ready(self, events: int) -> None:
        if events & WRITABLE and self.on_writable is not None:
            self.on_writable()
        if events & ~WRITABLE:
            self._on_readable()
