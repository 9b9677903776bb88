"""What the parts of an open TestClient share: the loop, its clock, patience, and the bad news.

Shell.
"""

from __future__ import annotations

from contextvars import copy_context
from typing import TYPE_CHECKING, NamedTuple

from holdfast.testing.clock import Clock
from holdfast.testing.tasks import TaskWatch

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable


class Report(NamedTuple):
    """A listener, or work it left behind, raised."""

    what: str
    error: BaseException

    def __str__(self) -> str:
        return f"{self.what} raised {type(self.error).__name__}: {self.error}"


class Pulse:
    """Wakes who waits for something to become true."""

    __slots__ = ("_loop", "_waiters")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiters: list[asyncio.Future[None]] = []

    def beat(self) -> None:
        """Something has changed."""
        if self._waiters:
            waiters, self._waiters = self._waiters, []
            for waiter in waiters:
                if not waiter.done():
                    waiter.set_result(None)

    async def until(self, fact: Callable[[], bool]) -> None:
        while not fact():
            waiter = self._loop.create_future()
            self._waiters.append(waiter)
            await waiter


class Session:
    """From entering a TestClient to leaving it.

    Args:
        timeout: seconds that anything may take where nothing else was said.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, timeout: float) -> None:
        self.loop = loop
        self.timeout = timeout
        # Context variables that the test has set are seen by the application.
        self.context = copy_context()
        self.clock = Clock.open(loop)
        self._tasks = TaskWatch.open(loop)
        self.reports: list[Report] = []
        self.changed = Pulse(loop)

    def close(self) -> None:
        """Leave the loop as it was."""
        self._tasks.close(self.loop)
        self.clock.close()

    def report(self, what: str, error: BaseException) -> None:
        self.reports.append(Report(what, error))

    async def until(
        self,
        fact: Callable[[], bool],
        late: Callable[[], str],
        *,
        pulse: Pulse | None = None,
        timeout: float | None = None,
        since: int | None = None,
    ) -> None:
        """Wait for a fact.

        Args:
            late: says what has not happened.
            pulse: beats when the fact may have changed; by default that of everything.
            timeout: seconds.
            since: how many reports were known when it began; later ones are quoted.

        Raises:
            TimeoutError: it has not become true.
        """
        if fact():
            return
        seconds = self.timeout if timeout is None else timeout
        known = len(self.reports) if since is None else since
        try:
            async with self.clock.limit(seconds):
                await (pulse or self.changed).until(fact)
        except TimeoutError:
            if not fact():
                raise self.late(f"{late()} within {seconds:g} s", known) from self.cause(known)

    def late(self, what: str, since: int) -> TimeoutError:
        """Make a TimeoutError that quotes what was reported in the meantime."""
        lines = [what, *(f"  meanwhile {report}" for report in self.reports[since:])]
        return TimeoutError("\n".join(lines))

    def cause(self, since: int) -> BaseException | None:
        """What pytest should show above the TimeoutError: most probably it is the reason."""
        reports = self.reports[since:]
        return reports[0].error if reports else None
