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
from functools import partial
from typing import TYPE_CHECKING

from holdfast.config import WorkerSettings, from_json
from holdfast.http.limits import HttpCounts
from holdfast.http.server import HttpServer
from holdfast.process.lifeline import die_with, keep_from_children
from holdfast.process.log import log_to_stderr
from holdfast.wire import control
from holdfast.wire import messages as wire
from holdfast.worker.ends import InheritedEnds
from holdfast.worker.handover import SocketSender
from holdfast.worker.host import WorkerHost
from holdfast.worker.loader import ApplicationError, load
from holdfast.worker.monitor import Monitor, Thresholds
from holdfast.worker.runtime import Runtime

if TYPE_CHECKING:
    from holdfast.http.asgi import HttpSide
    from holdfast.worker.ends import Control, Ends
    from holdfast.worker.handover import SocketTaker
    from holdfast.worker.monitor import Work

log = logging.getLogger("holdfast.worker")

FAILED = 3  # exit status: the application could not be started


class WorkerProcess:
    """A worker that obeys a supervisor, from its start to its exit."""

    def __init__(
        self, settings: WorkerSettings, loop: asyncio.AbstractEventLoop, ends: Ends
    ) -> None:
        self._settings = settings
        self._loop = loop
        self._ends = ends
        self._serve = asyncio.Event()
        self._quiesce = asyncio.Event()
        self._drain = asyncio.Event()
        self._connecting: asyncio.Task[None] | None = None
        self._host = host = WorkerHost(settings.worker, ends.link, loop)
        self._control = ends.join_supervisor(self)
        sender = SocketSender(ends.descriptors, ends.link, host.leaving)
        self._requests = Listening(settings, sender, self._control)
        self._runtime = Runtime(
            settings, host, ends.link, loop, requests=self._requests, on_stranger=self._leave
        )

    async def run(self) -> int:
        """Return the exit status."""
        runtime = self._runtime
        try:
            await runtime.start(partial(load, self._settings.application))
        except ApplicationError as error:
            self._control.send(control.Failed(error.summary, error.traceback))
            return FAILED
        # What was loaded stays; the collector need not look at it again. A turn makes more young
        # objects than its default threshold, all of them gone when the turn ends.
        gc.freeze()
        gc.set_threshold(10_000, 10, 10)
        self._control.send(control.Loaded())
        await self._serve.wait()
        if not self._quiesce.is_set():
            await runtime.serve()
            self._start_monitor()
        await self._quiesce.wait()
        # A worker that is told to drain at once is replaced; else all stop.
        runtime.quiesce(stops=not self._drain.is_set())
        self._control.send(control.Quiet())
        await self._drain.wait()
        try:
            await runtime.leave()
        except ApplicationError as error:
            log.error("%s\n%s", error.summary, error.traceback)
        return 0

    def _start_monitor(self) -> None:
        settings, runtime, requests = self._settings, self._runtime, self._requests
        thresholds = Thresholds(settings.idle_timeout, settings.max_events, settings.max_rss)

        def works() -> list[Work]:
            # The inbox may be another one by then: each keeper gets one.
            return [*runtime.works, *requests.works]

        Monitor(thresholds, works, self._loop, self._control.send).start()

    # --- worker/ends.py:Obedient ----------------------------------------------------------------

    def obey(self, message: control.ToWorker, fds: list[int], /) -> None:
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
            self._runtime.drain()

    def lose_supervisor(self) -> None:
        self._leave("the supervisor is gone")

    async def _connect(self, stream_fd: int, handover_fd: int) -> None:
        """Another keeper is there."""
        self._host.keeper_lost()
        await self._ends.join_other_keeper(stream_fd, handover_fd)
        self._runtime.greet_another()

    def _leave(self, why: str) -> None:
        """Stop where we stand: without keeper and supervisor nothing can be finished."""
        log.debug("worker %d leaves: %s", self._settings.worker, why)
        os._exit(1)


class Listening:
    """Requests that clients bring to the listening socket: `worker/ends.py:Requests`."""

    def __init__(self, settings: WorkerSettings, sockets: SocketTaker, reports: Control) -> None:
        self._settings = settings
        self._sockets = sockets
        self._control = reports
        self._counts = HttpCounts()
        self.count = self._counts.count
        # None: started for the last close events of a server that accepts nothing any more.
        self._listener = (
            None if settings.listen_fd < 0 else socket.socket(fileno=settings.listen_fd)
        )
        self._server: HttpServer | None = None

    async def start(self, side: HttpSide, /) -> None:
        settings = self._settings
        assert self._listener is not None
        self._server = HttpServer(
            side,
            self._sockets,
            limits=settings.http,
            counts=self._counts,
            on_counted=lambda counted: self._control.send(control.Counted(counted)),
            drain_timeout=settings.drain_timeout,
            trusted_proxies=settings.forwarded_allow_ips,
        )
        await self._server.start(self._listener)

    def stop_accepting(self, *, lingers: bool) -> None:
        if self._server is not None:
            self._server.stop_accepting(lingers=lingers)

    async def finish(self) -> None:
        if self._server is not None:
            await self._server.finish()

    @property
    def works(self) -> list[Work]:
        return [] if self._server is None else [self._server]


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
