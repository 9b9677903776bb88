"""Which worker serves: starts, replaces, hibernates and crashes them, one at a time.

Shell. The real switchboard, between clients and workers in memory. What `supervisor/policy.py`
decides for processes is a handful of steps here: there is one worker per generation, and a test
says when something happens to it.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

from holdfast.testing.life import Life
from holdfast.testing.sockets import MemoryKeeper
from holdfast.testing.tasks import retrieve

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from typing import Any

    from holdfast.app import ServiceWorker
    from holdfast.testing.session import Session

GOING_AWAY = 1001

T = TypeVar("T")


class Jobs:
    """Changes that go on whoever has asked for them.

    Args:
        session: each of them runs in a copy of its context.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self.running: set[asyncio.Task[Any]] = set()

    def start(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        session = self._session
        job = session.loop.create_task(work, context=session.context.copy())
        self.running.add(job)
        job.add_done_callback(self._end)
        return job

    async def do(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a change to its end, even if the caller is part of what it ends."""
        return await asyncio.shield(self.start(work))

    async def abort(self) -> None:
        """Cancel all of them."""
        jobs = list(self.running)
        for job in jobs:
            job.cancel()
        if jobs:
            await asyncio.wait(jobs)

    def _end(self, job: asyncio.Task[Any]) -> None:
        self.running.discard(job)
        # Its caller may have been cancelled meanwhile.
        retrieve(job)
        self._session.changed.beat()


class Lives:
    """All workers of one TestClient."""

    def __init__(self, app: ServiceWorker, session: Session) -> None:
        self._app = app
        self._session = session
        self.keeper = MemoryKeeper(session, on_waiting=self._wake, on_dropped=self._drop)
        self._generation = 1
        self._last_number = 0
        # Who serves; None while hibernating, or between a loss and its replacement.
        self._current: Life | None = None
        # All that are not reaped.
        self._workers: set[Life] = set()
        # One change at a time.
        self._turn = asyncio.Lock()
        self._jobs = Jobs(session)
        self._is_waking = False
        self._is_closing = False
        # The last one that was to serve did not start, or has not yet.
        self._has_failed = False

    # --- questions ------------------------------------------------------------------------------

    @property
    def is_idle(self) -> bool:
        """True when nothing is in flight, running, or changing."""
        return (
            not self._jobs.running
            and not self.keeper.in_flight()
            and all(worker.is_idle for worker in self._workers)
        )

    def busy(self) -> list[str]:
        """Say what goes on."""
        found = [f"{path}: a message in flight" for path in self.keeper.in_flight()]
        for worker in self._workers:
            found += worker.busy()
        found += [str(getattr(job.get_coro(), "__qualname__", job)) for job in self._jobs.running]
        return found

    async def worker(self) -> Life:
        """Return who serves, started if nobody does.

        Raises:
            ApplicationError: it does not start.
        """
        worker = self._current
        while worker is None:
            await self._jobs.do(self._begin_anew())
            worker = self._current
        return worker

    # --- what a test does -----------------------------------------------------------------------

    async def open(self) -> None:
        self.keeper.prefer(self._generation)
        await self._jobs.do(self._begin(first=True))

    async def crash(self) -> None:
        while self._current is None:
            if not self._jobs.running:
                raise RuntimeError("there is no worker to crash: it hibernates")
            # Perhaps one is just about to serve.
            await self._session.until(
                lambda: self._current is not None or not self._jobs.running,
                lambda: "no worker to crash",
            )
        worker, self._current = self._current, None
        worker.lose()
        await self._jobs.do(self._replace(worker))

    async def reload(self, app: ServiceWorker, *, wait: bool) -> None:
        old = await self._jobs.do(self._switch(app))
        if old is not None:
            leaving = self._jobs.start(self._retire(old))
            if wait:
                await asyncio.shield(leaving)

    async def hibernate(self) -> None:
        await self._jobs.do(self._hibernate())

    async def close(self) -> None:
        """Close all connections, let the workers finish, and end them whatever happens.

        Raises:
            TimeoutError: something did not finish.
            ApplicationError: the shutdown event failed.
        """
        session, keeper = self._session, self.keeper
        try:
            await session.until(lambda: not self._jobs.running, self._late)
            if self._current is not None:
                self._current.quiesce(stops=True)
            # A handshake that is still answered may become a connection to close.
            await session.until(lambda: not any(w.may_give for w in self._workers), self._late)
            keeper.close_all(GOING_AWAY, "")
            await session.until(lambda: keeper.is_empty and not self._jobs.running, self._late)
            self._is_closing = True
            worker, self._current = self._current, None
            if worker is not None:
                self._prefer_next()
                await self._finish(worker)
        finally:
            self._is_closing = True
            await self.abort()

    # --- one change -----------------------------------------------------------------------------

    async def _begin(self, *, first: bool) -> None:
        worker = self._new_worker(self._app, self._generation, first=first)
        self._has_failed = True
        await self._start(worker)
        self._has_failed = False
        self._current = worker

    async def _begin_anew(self) -> None:
        async with self._turn:
            if self._current is None:
                await self._begin(first=False)

    async def _replace(self, lost: Life) -> None:
        async with self._turn:
            await self._reap(lost)
            # In the meantime a reload may have put another one in its place.
            if self._current is None and not self._is_closing:
                await self._begin(first=False)

    async def _switch(self, app: ServiceWorker) -> Life | None:
        """Have a new generation serve; return who did before."""
        async with self._turn:
            worker = self._new_worker(app, self._generation + 1, first=True)
            registration = app.registration
            try:
                await self._start(worker)
            except BaseException:
                if app is self._app:
                    # The old worker goes on with the same object.
                    app.registration = registration
                raise
            old, self._current = self._current, worker
            self._app = app
            self._prefer_next()
            return old

    async def _hibernate(self) -> None:
        async with self._turn:
            worker, self._current = self._current, None
            # The next worker is of another generation, or the ledger would not drain this one.
            self._prefer_next()
        if worker is not None:
            await self._retire(worker)

    def _prefer_next(self) -> None:
        self._generation += 1
        self.keeper.prefer(self._generation)

    def _new_worker(self, app: ServiceWorker, generation: int, *, first: bool) -> Life:
        self._last_number += 1
        session, keeper = self._session, self.keeper
        worker = Life(self._last_number, generation, app, session, keeper, first=first)
        self._workers.add(worker)
        return worker

    async def _start(self, worker: Life) -> None:
        try:
            await worker.start()
        except BaseException:
            worker.lose()
            await self._reap(worker)
            raise

    async def _retire(self, worker: Life) -> None:
        worker.quiesce(stops=False)
        await self._finish(worker)

    async def _finish(self, worker: Life) -> None:
        try:
            await worker.leave()
        finally:
            # What it left running ends with its process.
            worker.lose()
            await self._reap(worker)

    async def abort(self) -> None:
        """End everything, finished or not."""
        for worker in self._workers:
            worker.lose()
        await self._jobs.abort()
        for worker in list(self._workers):
            await self._reap(worker)

    async def _reap(self, worker: Life) -> None:
        await worker.reap()
        self._workers.discard(worker)
        self.keeper.calm_down()
        self._session.changed.beat()

    # --- what the keeper says -------------------------------------------------------------------

    def _wake(self) -> None:
        """Something waits for a worker."""
        if self._current is None and not self._is_waking and not self._is_closing:
            self._has_failed = False
            self._is_waking = True
            self._jobs.start(self._wake_up())

    async def _wake_up(self) -> None:
        try:
            # Whoever tried in the meantime has told its own caller.
            if not self._has_failed:
                await self._begin_anew()
        except Exception as error:
            # There is nobody to raise it to; who waits for an answer will be told.
            self._session.report("starting a worker", error)
        finally:
            self._is_waking = False

    def _drop(self, number: int, why: str) -> None:
        """The keeper does not want this worker any more: a fault of holdfast."""
        for worker in self._workers:
            if worker.number == number and not worker.owner.is_lost:
                self._session.report(f"worker {number}", RuntimeError(f"it was cut off: {why}"))
                if worker is self._current:
                    self._current = None
                worker.lose()
                self._jobs.start(self._replace(worker))

    def _late(self) -> str:
        return f"the client was left and this did not finish ({'; '.join(self.busy()) or '?'})"
