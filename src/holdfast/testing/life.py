"""One worker in memory: a life (`worker/runtime.py`) whose ends are the test's.

Shell. Its link is in memory and encoded, its requests are `RoundTrip` objects, its time is the
test's, and its loss is staged.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

from holdfast.config import AsgiSettings
from holdfast.inprocess.ends import settings_of_worker
from holdfast.inprocess.link import WorkerEnd
from holdfast.testing.round_trip import current_round_trip
from holdfast.testing.tasks import OwnedLoop, Owner, current_owner, retrieve
from holdfast.worker.handover import make_record
from holdfast.worker.host import WorkerHost
from holdfast.worker.loader import as_new
from holdfast.worker.runtime import Runtime

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine, Sequence
    from contextvars import Context
    from typing import Any

    from holdfast.app import ServiceWorker
    from holdfast.core.ports import Outbox
    from holdfast.core.request_events import Upgrade
    from holdfast.http.asgi import HttpSide
    from holdfast.testing.round_trip import RoundTrip
    from holdfast.testing.session import Session
    from holdfast.testing.sockets import MemoryKeeper, Peer
    from holdfast.worker.stream_link import Link


class Life:
    """One worker.

    Args:
        number: never used twice with one keeper.
    """

    def __init__(
        self,
        number: int,
        generation: int,
        app: ServiceWorker,
        session: Session,
        keeper: MemoryKeeper,
        *,
        first: bool,
    ) -> None:
        self.number = number
        self.owner = Owner()
        self._generation = generation
        self._app = app
        self._session = session
        self._keeper = keeper
        # All that this worker runs, runs in copies of this.
        self._context = session.context.copy()
        self._context.run(current_owner.set, self.owner)
        beat = session.changed.beat
        loop = OwnedLoop(session.loop, self.owner, beat).as_loop()
        self.link = self._context.run(
            partial(WorkerEnd, number, keeper.switchboard, loop, is_encoded=True, on_arrival=beat)
        )
        self.host = Host(number, self.link, loop, session, self.owner)
        self.requests = RoundTrips(session, self.host, self.owner, self._context)
        timeouts = AsgiSettings(lifecycle_timeout=session.timeout, drain_timeout=session.timeout)
        self._runtime = Runtime(
            settings_of_worker(timeouts, worker=number, generation=generation, first=first),
            self.host,
            self.link,
            loop,
            requests=self.requests,
            patience=self._be_patient,
        )

    def __repr__(self) -> str:
        return f"<Worker {self.number} generation {self._generation}>"

    @property
    def is_idle(self) -> bool:
        """True when it runs nothing, and nothing is on its way to or from it."""
        return self.link.is_idle and self.host.is_idle and not self.requests.busy

    @property
    def may_give(self) -> bool:
        """True while the keeper may get another connection from here."""
        return bool(self.requests.all or self.link.keeper_end.given)

    def busy(self) -> list[str]:
        """Say what goes on."""
        works = [f"work passed to wait_until: {_name(task)}" for task in self.host.works]
        return [*map(str, self.requests.busy), *works]

    # --- its life -------------------------------------------------------------------------------

    async def start(self) -> None:
        """Take the application through its start, and be ready for deliveries and requests.

        Raises:
            ApplicationError: the application cannot be started; `lose` and `reap` it.
        """
        await self._run(self._start())

    async def _start(self) -> None:
        # Each worker process has an object of its own; here they share the application object.
        await self._runtime.start(partial(as_new, self._app))
        await self._runtime.serve()
        keeper_end = self.link.keeper_end
        await self._session.until(lambda: keeper_end.ready is not None, lambda: "not ready")

    def quiesce(self, *, stops: bool) -> None:
        """Let what has no end by itself come to one: no request will follow."""
        self._context.copy().run(partial(self._runtime.quiesce, stops=stops))

    async def leave(self) -> None:
        """Finish what is in hand, run shutdown, and go. The keeper has been told to drain it.

        Raises:
            TimeoutError: it has more to finish than the time allows.
            ApplicationError: the shutdown event failed.
        """
        await self._run(self._runtime.leave())

    def lose(self) -> None:
        """Be gone, at once: nothing that still runs has any effect from here on."""
        if not self.owner.is_lost:
            self._runtime.cut()
            self.link.cut()
            self.requests.lose()
            self.owner.lose()

    async def reap(self) -> None:
        """Return when its tasks have ended and the keeper knows. Call `lose` first."""
        session, keeper_end = self._session, self.link.keeper_end
        await self.owner.reap(session.timeout)
        # What had left before is read before the end is noticed.
        await session.until(lambda: self.link.has_left, lambda: "the link is not empty")
        keeper_end.lose(None)
        # What was given without a record goes down with the link.
        for peer in keeper_end.given:
            peer.lose()

    @asynccontextmanager
    async def _be_patient(self) -> AsyncIterator[None]:
        """Limit the time that finishing may take, and say what did not finish."""
        session = self._session
        known = len(session.reports)
        try:
            async with session.clock.limit(session.timeout):
                yield
        except TimeoutError as error:
            paths = self._keeper.in_flight()
            what = "; ".join([*self.busy(), *(f"{path}, a message in flight" for path in paths)])
            late = f"{self!r} was to leave and did not finish ({what or 'nothing known'})"
            late = f"{late} within {session.timeout:g} s"
            raise session.late(late, known) from session.cause(known) or error

    async def _run(self, work: Coroutine[Any, Any, None]) -> None:
        """Run a part of its life as a task of its own, in its own context.

        Raises:
            ConnectionResetError: the worker was lost meanwhile.
        """
        task = self._session.loop.create_task(work, context=self._context.copy())
        # Whoever waits here may be cancelled; then the worker is lost, and this task with it.
        task.add_done_callback(retrieve)
        await asyncio.wait([task])
        if task.cancelled():
            raise ConnectionResetError(f"{self!r} was lost")
        task.result()


class RoundTrips:
    """The requests that one worker answers: `worker/ends.py:Requests`."""

    def __init__(self, session: Session, host: Host, owner: Owner, context: Context) -> None:
        self._session = session
        self._host = host
        self._owner = owner
        self._context = context
        self._side: HttpSide | None = None
        self.all: set[RoundTrip] = set()

    @property
    def busy(self) -> list[RoundTrip]:
        """Requests that are not answered, but for streams that the test holds open."""
        return [trip for trip in self.all if not trip.is_held]

    def begin(self, trip: RoundTrip) -> None:
        """Have a request answered."""
        context = self._context.copy()
        context.run(current_round_trip.set, trip)
        self.all.add(trip)
        self._session.loop.create_task(self._answer(trip), context=context)

    def lose(self) -> None:
        """The worker is no more."""
        trips, self.all = self.all, set()
        for trip in trips:
            trip.lose()

    async def _answer(self, trip: RoundTrip) -> None:
        failure: Exception | None = None
        assert self._side is not None  # It has started.
        try:
            await self._side(trip.scope(), trip.receive, trip.send)
        except Exception as error:
            failure = error
            if error not in trip.errors:
                self._host.report(f"the answer to {trip}", error)
        finally:
            if not self._owner.is_lost:
                trip.end(failure)
                self.all.discard(trip)
                self._session.changed.beat()

    # --- worker/ends.py:Requests ----------------------------------------------------------------

    async def start(self, side: HttpSide, /) -> None:
        self._side = side

    def count(self, limit: str, /) -> None:
        """Nobody asks."""

    def stop_accepting(self, *, lingers: bool) -> None:
        """What `begin` was called for before is answered."""

    async def finish(self) -> None:
        await self._session.changed.until(lambda: not self.all)


class SocketHandle:
    """The client's end of one handshake request; `http/asgi.py:UpgradeHandle`."""

    def __init__(self, life: Life, peer: Peer, headers: Sequence[tuple[bytes, bytes]]) -> None:
        self._life = life
        self._peer = peer
        self._headers = headers

    async def give(self, upgrade: Upgrade, outbox: Outbox) -> None:
        life = self._life
        life.link.keeper_end.give_socket(upgrade.connection.serial, self._peer)
        life.link.send(
            make_record(
                upgrade, outbox, self._headers, b"", life.host.leaving, address="", lost=False
            )
        )
        # To HTTP it looks as if the client had left (`http/upgrade_handle.py:SocketHandle.give`).
        current_round_trip.get().leave()


class Host(WorkerHost):
    """The worker's host, which also tells the test what listeners raised."""

    def __init__(
        self,
        worker: int,
        link: Link,
        loop: asyncio.AbstractEventLoop,
        session: Session,
        owner: Owner,
    ) -> None:
        super().__init__(worker, link, loop, shares_channels=True)
        self._session = session
        self._owner = owner

    def report(self, what: str, error: BaseException) -> None:
        if self._owner.is_lost:
            # A listener was cancelled because its worker is lost: no failure to handle. Raised
            # again, it ends the task before that takes the next delivery.
            if asyncio.current_task() is not None:
                raise asyncio.CancelledError
            return
        super().report(what, error)
        self._session.report(what, error)
        trip = current_round_trip.get(None)
        # Work passed to `wait_until` is reported when its task has ended, by no task: its failure
        # does not change the response.
        if trip is not None and asyncio.current_task() is not None:
            trip.errors.append(error)


def _name(task: asyncio.Task[None]) -> str:
    """Return what the test calls the work: it is what our own coroutine awaits."""
    work: object = getattr(task.get_coro(), "cr_await", None)
    return str(getattr(work, "__qualname__", work))
