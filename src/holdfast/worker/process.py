"""A worker process: `python -m holdfast.worker.process SETTINGS PARENT`.

Shell. Private. Started by the supervisor. Loads the application, says hello to the keeper, serves
until told to drain, and leaves. If the keeper or the supervisor is gone, so is the worker.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import socket
import sys
from typing import TYPE_CHECKING

from holdfast.config import WorkerSettings, from_json
from holdfast.core.events import ShutdownEvent
from holdfast.core.ports import current_outbox
from holdfast.http.asgi import HttpSide
from holdfast.http.limits import HttpCounts
from holdfast.http.server import HttpServer
from holdfast.process.lifeline import die_with, keep_from_children
from holdfast.process.log import log_to_stderr
from holdfast.wire import control
from holdfast.wire import messages as wire
from holdfast.worker.ends import InheritedEnds
from holdfast.worker.host import WorkerHost
from holdfast.worker.loader import ApplicationError, load, run_event, start, start_mounts
from holdfast.worker.monitor import Monitor, Thresholds
from holdfast.worker.websocket_side import WebSocketSide

if TYPE_CHECKING:
    from holdfast.core.scope import GlobalScope
    from holdfast.http.mounts import Mounts
    from holdfast.worker.ends import Ends
    from holdfast.worker.monitor import Work

log = logging.getLogger("holdfast.worker")

FAILED = 3  # exit status: the application could not be started


class WorkerProcess:
    """One worker, from its start to its exit.

    Args:
        ends: of what joins it to the supervisor and the keeper.
    """

    def __init__(
        self, settings: WorkerSettings, loop: asyncio.AbstractEventLoop, ends: Ends
    ) -> None:
        self._settings = settings
        self._loop = loop
        self._ends = ends
        # None: started for the last close events of a server that accepts nothing any more.
        self._listener = (
            None if settings.listen_fd < 0 else socket.socket(fileno=settings.listen_fd)
        )
        self._control = ends.join_supervisor(
            self._obey, lambda: self._leave("the supervisor is gone")
        )
        self._link = ends.join_keeper(
            lambda messages: self._side.receive(messages), self._lose_keeper
        )
        self._host = WorkerHost(settings.worker, self._link, loop)
        self._handover = ends.handover(self._host.leaving)
        self._side = WebSocketSide(
            self._host,
            self._link,
            loop,
            event_timeout=settings.event_timeout,
            on_stranger=self._leave,
        )
        self._serve = asyncio.Event()
        self._quiesce = asyncio.Event()
        self._drain = asyncio.Event()
        self._connecting: asyncio.Task[None] | None = None

    async def run(self) -> int:
        """Return the exit status."""
        settings = self._settings
        # What the application does outside of events leaves at once.
        outside = self._host.new_outbox()
        outside.seal(self._host.leaving)
        current_outbox.set(outside)
        await self._side.greet()
        try:
            app = load(settings.application)
            await start(app, self._host, first=settings.first, timeout=settings.lifecycle_timeout)
            mounts = await start_mounts(app)
        except ApplicationError as error:
            self._control.send(control.Failed(error.summary, error.traceback))
            return FAILED
        # What was loaded stays; the collector need not look at it again. A turn makes more young
        # objects than its default threshold, all of them gone when the turn ends.
        gc.freeze()
        gc.set_threshold(10_000, 10, 10)
        self._side.runner.open(mounts)
        if not settings.spare:
            self._side.join(app, settings.generation)
        self._control.send(control.Loaded())
        await self._serve_until_drained(app, mounts)
        return 0

    async def _serve_until_drained(self, app: GlobalScope, mounts: Mounts) -> None:
        settings = self._settings
        counts = HttpCounts()
        side = HttpSide(
            app,
            self._host,
            develop=settings.develop,
            max_body=settings.max_body,
            request_timeout=settings.request_timeout,
            allow_origins=settings.allow_origins,
            on_limit=counts.count,
            mounts=mounts,
            endpoints=self._side.runner,
        )
        server = HttpServer(
            side,
            self._handover,
            limits=settings.http,
            counts=counts,
            on_counted=lambda counted: self._control.send(control.Counted(counted)),
            drain_timeout=settings.drain_timeout,
            trusted_proxies=settings.forwarded_allow_ips,
        )
        await self._serve.wait()
        if not self._quiesce.is_set():
            if self._side.inbox is None:
                self._side.join(app, settings.generation)
            assert self._listener is not None
            await server.start(self._listener)
            self._start_monitor(server)
        await self._quiesce.wait()
        if not self._drain.is_set():
            self._side.runner.stop(settings.drain_timeout)
        server.stop_accepting(lingers=self._drain.is_set())
        self._host.leave()
        self._control.send(control.Quiet())
        await server.finish()
        await self._drain.wait()
        await self._side.runner.finish(settings.drain_timeout)
        await self._side.drained()
        self._host.detach()
        await self._host.finish_works()
        await mounts.shutdown()
        try:
            await run_event(app, self._host, ShutdownEvent, settings.lifecycle_timeout)
        except ApplicationError as error:
            log.error("%s\n%s", error.summary, error.traceback)
        app.registration.step("retire")
        await self._link.drain()

    def _start_monitor(self, server: HttpServer) -> None:
        settings = self._settings
        thresholds = Thresholds(settings.idle_timeout, settings.max_events, settings.max_rss)

        def works() -> list[Work]:
            # The inbox may be another one by then: each keeper gets one.
            assert self._side.inbox is not None
            return [self._side.inbox, self._side.runner, server, self._host]

        Monitor(thresholds, works, self._loop, self._control.send).start()

    def _obey(self, message: control.ToWorker, fds: list[int]) -> None:
        if isinstance(message, wire.Probe):
            self._control.send(wire.Alive())
        elif isinstance(message, control.Connect):
            self._connecting = self._loop.create_task(self._connect(*fds))
        elif isinstance(message, control.Serve):
            self._serve.set()
        elif isinstance(message, control.Quiesce):
            self._quiesce.set()
        else:
            # A worker that never served is drained all the same.
            self._serve.set()
            self._quiesce.set()
            self._drain.set()
            # At once: requests that are being answered need not hold up connections.
            self._side.runner.drain()

    def _lose_keeper(self, why: str) -> None:
        """Go on; the supervisor starts another keeper."""
        log.warning("worker %d: %s", self._settings.worker, why)
        self._side.lose_keeper()

    async def _connect(self, stream_fd: int, handover_fd: int) -> None:
        """Another keeper is there."""
        self._host.keeper_lost()
        await self._ends.join_other_keeper(stream_fd, handover_fd)
        self._side.greet_another()

    def _leave(self, why: str) -> None:
        """Stop where we stand: without keeper and supervisor nothing can be finished."""
        log.debug("worker %d leaves: %s", self._settings.worker, why)
        os._exit(1)


async def run(settings: WorkerSettings) -> int:
    loop = asyncio.get_running_loop()
    # The terminal's Ctrl-C reaches the whole group; when to stop is the supervisor's decision.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, lambda: None)
    return await WorkerProcess(settings, loop, InheritedEnds(settings, loop)).run()


def main() -> None:
    die_with(int(sys.argv[2]))
    settings = from_json(WorkerSettings, sys.argv[1])
    fds = (settings.control_fd, settings.stream_fd, settings.handover_fd, settings.listen_fd)
    keep_from_children(*(fd for fd in fds if fd >= 0))
    log_to_stderr()
    try:
        import uvloop
    except ImportError:
        status = asyncio.run(run(settings))
    else:
        status = uvloop.run(run(settings))
    sys.exit(status)


if __name__ == "__main__":
    main()
