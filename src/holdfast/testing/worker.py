"""One worker in memory, from its hello to its shutdown or its loss.

Shell. The same parts as in a worker process, in the same order (`worker/process.py`); only that
the link is no socket, that HTTP comes from `RoundTrip` objects, and that a loss is staged.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from holdfast.config import WorkerSettings
from holdfast.core.events import ShutdownEvent
from holdfast.core.ports import current_outbox
from holdfast.core.registration import Registration
from holdfast.endpoints.runner import EndpointRunner
from holdfast.http.asgi import HttpSide
from holdfast.http.mounts import Mounts
from holdfast.inprocess.pipe import Pipe
from holdfast.testing.keeper import KeeperLink
from holdfast.testing.round_trip import current_round_trip
from holdfast.testing.tasks import Owner, Works, current_owner, retrieve
from holdfast.wire import messages as wire
from holdfast.worker.handover import make_record
from holdfast.worker.host import WorkerHost
from holdfast.worker.inbox import Inbox
from holdfast.worker.loader import run_event, start, start_mounts

if TYPE_CHECKING:
    from collections.abc import Coroutine, Sequence
    from typing import Any

    from holdfast.app import ServiceWorker
    from holdfast.core.ports import Outbox
    from holdfast.core.request_events import Upgrade
    from holdfast.testing.keeper import Keeper, Peer
    from holdfast.testing.round_trip import RoundTrip
    from holdfast.testing.session import Session
    from holdfast.worker.stream_link import Link

DELIVERIES = (wire.DeliverText, wire.DeliverBinary, wire.DeliverClose)


class Worker:
    """One worker.

    Args:
        number: never used twice with one keeper.
    """

    def __init__(
        self, number: int, generation: int, app: ServiceWorker, session: Session, keeper: Keeper
    ) -> None:
        self.number = number
        self.owner = Owner()
        self._generation = generation
        self._app = app
        self._session = session
        self._keeper = keeper
        # All that this worker runs, runs in copies of this.
        self._context = session.context.copy()
        self._works = Works(session.loop, self.owner, session.changed.beat)
        self._runners = Works(session.loop, self.owner, session.changed.beat)
        self._from_keeper: Pipe[wire.ToWorker] = Pipe(
            wire.ToWorker,
            session.loop,
            self._context,
            on_messages=self._receive,
            on_broken=lambda why: keeper.drop_worker(number, why),
        )
        self._link = KeeperLink(number, self._from_keeper)
        self._to_keeper: Pipe[wire.FromWorker] = Pipe(
            wire.FromWorker,
            session.loop,
            session.context,
            on_messages=lambda messages: keeper.receive(self._link, messages),
            on_broken=lambda why: keeper.drop_worker(number, why),
        )
        self._host = Host(number, self._to_keeper, self._works.as_loop(), session, self.owner)
        # The server's defaults.
        self._settings = WorkerSettings(
            control_fd=-1,
            stream_fd=-1,
            handover_fd=-1,
            listen_fd=-1,
            worker=number,
            generation=generation,
            application="",
            first=False,
        )
        # Of the loop itself: an endpoint that waits for a message is nothing that is running.
        self._runner = EndpointRunner(
            self._host,
            self._to_keeper,
            session.loop,
            event_timeout=self._settings.event_timeout,
        )
        self._mounts = Mounts(())
        self._side: HttpSide | None = None
        self._inbox: Inbox | None = None
        self._is_welcome = self._is_drained = False
        self._registration = Registration()
        self.round_trips: set[RoundTrip] = set()
        outside = self._host.new_outbox()
        outside.seal(self._host.leaving)
        self._context.run(current_outbox.set, outside)
        self._context.run(current_owner.set, self.owner)

    def __repr__(self) -> str:
        return f"<Worker {self.number} generation {self._generation}>"

    @property
    def is_idle(self) -> bool:
        """True when it runs nothing, and nothing is on its way to or from it."""
        return (
            self._to_keeper.is_idle
            and self._from_keeper.is_idle
            and not self._works.running
            and not self.busy_round_trips()
        )

    def busy_round_trips(self) -> list[RoundTrip]:
        """Requests that are not answered, but for streams that the test holds open."""
        return [trip for trip in self.round_trips if not trip.is_held]

    @property
    def works(self) -> list[str]:
        """What was passed to `wait_until` and goes on, or hears channels."""
        return [_name(task) for task in self._works.running]

    # --- its life -------------------------------------------------------------------------------

    async def start(self, *, first: bool) -> None:
        """Say hello, take the application through its start, and be ready for deliveries.

        Raises:
            ApplicationError: the application cannot be started; `lose` and `bury` it.
        """
        await self._run(self._start(first=first))

    async def _start(self, *, first: bool) -> None:
        self._keeper.add_worker(self._link)
        self._to_keeper.send(wire.Hello(wire.VERSION))
        session, app = self._session, self._app
        await session.until(lambda: self._is_welcome, lambda: "no welcome by the keeper")
        # Each worker process has its own; here they share the application object.
        app.registration = self._registration
        await start(app, self._host, first=first, timeout=session.timeout)
        self._mounts = await start_mounts(app)
        self._runner.open(self._mounts)
        self._side = HttpSide(
            app,
            self._host,
            develop=False,
            max_body=self._settings.max_body,
            request_timeout=self._settings.request_timeout,
            mounts=self._mounts,
            endpoints=self._runner,
        )
        self._inbox = Inbox(
            app,
            self._host,
            self._to_keeper,
            self._runners.as_loop(),
            event_timeout=self._settings.event_timeout,
        )
        self._host.attach()
        self._to_keeper.send(wire.Ready(self._generation))
        await session.until(lambda: self._link.ready is not None, lambda: "not ready")

    def quiesce(self) -> None:
        """Let what has no end by itself come to one: no request will follow."""
        self._context.copy().run(self._host.leave)

    async def leave(self) -> None:
        """Finish what is in hand, run shutdown, and go. The keeper has been told to drain it.

        Raises:
            TimeoutError: it has more to finish than the time allows.
            ApplicationError: the shutdown event failed.
        """
        await self._run(self._leave())

    async def _leave(self) -> None:
        session = self._session
        self.quiesce()
        self._runner.drain()
        await session.until(lambda: not self.round_trips, self._late)
        await self._runner.finish(session.timeout)
        await session.until(lambda: self._is_drained, self._late)
        self._host.detach()
        await session.until(lambda: not self._works.running, self._late)
        await self._mounts.shutdown()
        await run_event(self._app, self._host, ShutdownEvent, session.timeout)
        self._registration.step("retire")
        await self._to_keeper.drain()

    def lose(self) -> None:
        """Be gone, at once: nothing that still runs has any effect from here on."""
        if self.owner.is_lost:
            return
        self._host.detach()
        self._runner.cut()
        self._to_keeper.cut()
        for trip in list(self.round_trips):
            trip.lose()
        self.round_trips.clear()
        self.owner.lose()

    async def bury(self) -> None:
        """Return when its tasks have ended and the keeper knows. Call `lose` first."""
        session = self._session
        await self.owner.bury(session.timeout)
        # What had left before is read before the end is noticed.
        await session.until(lambda: self._to_keeper.is_idle, lambda: "the link is not empty")
        self._keeper.lose_worker(self.number)

    def _late(self) -> str:
        busy = [*map(str, self.round_trips), *self.works]
        busy += [f"{peer.path}, a message in flight" for peer in self._keeper.busy_peers()]
        return f"{self!r} was to leave and did not finish ({'; '.join(busy) or 'nothing known'})"

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

    # --- its work -------------------------------------------------------------------------------

    def begin(self, trip: RoundTrip) -> None:
        """Have a request answered."""
        context = self._context.copy()
        context.run(current_round_trip.set, trip)
        self.round_trips.add(trip)
        self._session.loop.create_task(self._answer(trip), context=context)

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
            if not self.owner.is_lost:
                trip.end(failure)
                self.round_trips.discard(trip)
                self._session.changed.beat()

    def _receive(self, messages: list[wire.ToWorker]) -> None:
        if self.owner.is_lost:
            return
        deliveries: list[wire.Deliver | wire.DeliverClose] = []
        for message in messages:
            if self._runner.takes(message):
                continue
            if isinstance(message, DELIVERIES):
                deliveries.append(message)
            elif isinstance(message, wire.Welcome):
                self._host.be_named(message.node, message.key)
                self._is_welcome = True
            elif isinstance(message, wire.Probe):
                self._to_keeper.send(wire.Alive())
            elif isinstance(message, wire.Refused):
                # The keeper has logged it, and the client has its answer.
                self._runner.refuse(message.serial)
            elif isinstance(message, wire.Drained):
                self._is_drained = True
            else:
                self._host.receive(message)
        if deliveries:
            assert self._inbox is not None  # It exists before this worker says that it is ready.
            self._inbox.put_all(deliveries)
        self._session.changed.beat()

    def give(
        self, peer: Peer, upgrade: Upgrade, outbox: Outbox, headers: Sequence[tuple[bytes, bytes]]
    ) -> None:
        """Give a client's end to the keeper, and then the record."""
        self._keeper.give(upgrade.connection.serial, peer)
        leaving = self._host.leaving
        self._to_keeper.send(
            make_record(upgrade, outbox, headers, b"", leaving, address="", lost=peer.has_left)
        )


class SocketHandle:
    """The client's end of one handshake request; `http/asgi.py:UpgradeHandle`."""

    def __init__(self, worker: Worker, peer: Peer, headers: Sequence[tuple[bytes, bytes]]) -> None:
        self._worker = worker
        self._peer = peer
        self._headers = headers

    async def give(self, upgrade: Upgrade, outbox: Outbox) -> None:
        self._worker.give(self._peer, upgrade, outbox, self._headers)
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
        super().__init__(worker, link, loop)
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
