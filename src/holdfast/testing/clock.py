"""A clock that jumps: timers of the running loop run now instead of later.

Shell. While a client is open, `time` and `call_at` of the loop object are replaced: time is the
real one plus what was advanced, and timers are noted, so that `advance` can stop at each. All
clients on one loop share one clock.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from typing import Any

# What runs after a timer may go on for ever (`while True: await sleep(0)`); then the next timer
# has to come all the same.
MAX_TURNS = 10_000

# Forgotten timers are looked for when the row has grown to this many, and then when it doubles.
MIN_TIMERS = 256


class Clock:
    """Controls the time of the running event loop. Get it as `client.clock`."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._users = 0
        self._ahead = 0.0  # seconds
        self._timers: list[asyncio.TimerHandle] = []
        self._many = MIN_TIMERS
        self._time = loop.time
        self._call_at = loop.call_at
        self._call_soon = loop.call_soon
        # Ours are put in front of whatever somebody else may have put there.
        self._before: dict[str, Any] = {}
        self._turn = asyncio.Lock()
        self._followers: list[Callable[[float], None]] = []

    def __repr__(self) -> str:
        return f"<Clock {self._ahead:g} s ahead>"

    async def advance(self, seconds: float) -> None:
        """Have so much time pass at once.

        Timers of the running loop that fall due within it (`asyncio.sleep`, `asyncio.timeout`,
        `loop.call_later`) run now, in their order, and those that they start in turn. Before the
        next one, everything runs that needs neither time nor another process or thread.

        An `asyncio.timeout` around the client falls due as well. The client's own timeouts are not
        affected, nor are `time.time()` and `time.monotonic()`.

        Args:
            seconds: 0 or more; with 0, what is ready runs.

        Raises:
            ValueError: a negative number.
            RuntimeError: this loop's time cannot be set: it is not asyncio's own (uvloop is not).
        """
        if seconds < 0:
            raise ValueError(f"time does not go back: {seconds}")
        if not _can_be_set(self._loop):
            kind = type(self._loop)
            raise RuntimeError(
                f"the time of a {kind.__module__}.{kind.__qualname__} cannot be set; "
                "run this test on asyncio's own event loop"
            )
        async with self._turn:
            await self._rest()
            target = self._now() + seconds
            while (due := self._next_timer(target)) is not None:
                await self._jump(due)
            await self._jump(target)

    # --- for the kit ----------------------------------------------------------------------------

    @classmethod
    def open(cls, loop: asyncio.AbstractEventLoop) -> Clock:
        """For the kit: return the clock of this loop, put in place; `close` undoes it."""
        clock = getattr(loop.time, "__self__", None)
        if not isinstance(clock, Clock):
            clock = cls(loop)
            if _can_be_set(loop):
                own = {"time": clock._now, "call_at": clock._note_timer}
                clock._before = {name: vars(loop)[name] for name in own if name in vars(loop)}
                vars(loop).update(own)
        clock._users += 1
        return clock

    def close(self) -> None:
        """For the kit: one user less; after the last one, the loop is as it was before."""
        self._users -= 1
        if not self._users and _can_be_set(self._loop):
            del vars(self._loop)["time"], vars(self._loop)["call_at"]
            vars(self._loop).update(self._before)

    def follow(self, tick: Callable[[float], None]) -> None:
        """For the kit: have `tick` called with the new time after each jump."""
        self._followers.append(tick)

    def unfollow(self, tick: Callable[[float], None]) -> None:
        """For the kit: undo `follow`."""
        self._followers.remove(tick)

    @asynccontextmanager
    async def limit(self, seconds: float) -> AsyncIterator[None]:
        """For the kit: `asyncio.timeout` in real time, which `advance` does not make expire.

        Raises:
            TimeoutError: the block took longer.
        """
        if not _can_be_set(self._loop):
            async with asyncio.timeout(seconds):
                yield
            return
        async with asyncio.timeout(None) as scope:
            deadline = self._time() + seconds

            timer: list[asyncio.TimerHandle] = []

            def look() -> None:
                left = deadline - self._time()
                if left > 0:  # It has only just begun, or the time has jumped.
                    timer[:] = [self._call_at(self._now() + left, look)]
                else:
                    scope.reschedule(self._now())

            look()
            try:
                yield
            finally:
                for one in timer:
                    one.cancel()

    # --- the loop's methods ---------------------------------------------------------------------

    def _now(self) -> float:
        return self._time() + self._ahead

    def _note_timer(
        self, when: float, callback: Callable[..., object], *args: Any, context: Any = None
    ) -> asyncio.TimerHandle:
        timer = self._call_at(when, callback, *args, context=context)
        timers = self._timers
        timers.append(timer)
        if len(timers) > self._many:
            self._forget_timers(self._now())
            self._many = max(MIN_TIMERS, 2 * len(self._timers))
        return timer

    # --- jumping --------------------------------------------------------------------------------

    def _forget_timers(self, until: float) -> None:
        self._timers = [t for t in self._timers if t.when() > until and not t.cancelled()]

    def _next_timer(self, target: float) -> float | None:
        due = [t.when() for t in self._timers if t.when() <= target and not t.cancelled()]
        return min(due, default=None)

    async def _jump(self, when: float) -> None:
        self._ahead += max(0.0, when - self._now())
        now = self._now()
        for tick in self._followers:
            tick(now)
        await self._rest()
        self._forget_timers(now)

    async def _rest(self) -> None:
        """Return when nothing is ready to run but what runs again and again.

        Whatever has more to do in the next turn of the loop says so with `call_soon`. When two
        turns bring no call but that of our own waiting, nothing is ready: in the first, timers
        and descriptors that are due queue up behind us, in the second they have run.
        """
        calls = 0

        def call_soon(callback: Callable[..., object], *args: Any, context: Any = None) -> Any:
            nonlocal calls
            calls += 1
            return self._call_soon(callback, *args, context=context)

        before = vars(self._loop).get("call_soon")
        vars(self._loop)["call_soon"] = call_soon
        try:
            quiet_turns = 0
            for _ in range(MAX_TURNS):
                known = calls
                await asyncio.sleep(0)
                quiet_turns = quiet_turns + 1 if calls == known + 1 else 0
                if quiet_turns == 2:
                    break
        finally:
            if before is None:
                del vars(self._loop)["call_soon"]
            else:
                vars(self._loop)["call_soon"] = before


def _can_be_set(loop: asyncio.AbstractEventLoop) -> bool:
    """True for asyncio's own loops, which look their own methods up when they need the time."""
    return isinstance(loop, asyncio.BaseEventLoop)
