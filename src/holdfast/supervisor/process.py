"""The supervisor process: binds the port, runs the policy's commands, passes facts to it.

Shell. Private. No data passes through here.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import subprocess
import time
from collections import Counter
from typing import TYPE_CHECKING

from holdfast.config import KeeperSettings, worker_settings
from holdfast.supervisor import commands as do
from holdfast.supervisor.children import (
    KeeperProcess,
    WorkerProcess,
    connect,
    describe_exit,
    kill,
    start_keeper,
    start_worker,
)
from holdfast.supervisor.control_socket import ControlSocket
from holdfast.supervisor.plan import ChildState, Plan
from holdfast.supervisor.policy import Policy
from holdfast.supervisor.status import count_http, describe
from holdfast.supervisor.watch import reload_on_change
from holdfast.wire import control

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from holdfast.config import ServerSettings

log = logging.getLogger("holdfast")


# uvicorn's number. The queue is what keeps TCP connections waiting while no worker accepts.
BACKLOG = 2048

# Seconds. The keeper answers, and leaves, within one turn of its loop.
STATUS_TIMEOUT = 5.0
KEEPER_TIMEOUT = 2.0


# What a keeper that is gone would say.
NO_STATUS = control.KeeperStatus(0, 0, 0, 0, 0, 0, 0, {})


class Supervisor:
    """One server.

    Args:
        listener: bound and listening; the supervisor's own copy, which it never accepts from.
    """

    def __init__(self, settings: ServerSettings, listener: socket.socket) -> None:
        self._settings = settings
        self._listener = listener
        self._loop = asyncio.get_running_loop()
        self._workers: dict[int, WorkerProcess] = {}
        # Unique over restarts of the server within a second, for connection ids.
        plan = _plan(settings)
        self._policy = Policy(plan, first_worker=int(time.time()))
        self._may_sleep = plan.min_workers < plan.workers
        self._keeper = self._start_keeper()
        self._policy.keeper_started(self._loop.time())
        self._control = ControlSocket(settings.port, self._answer)
        # Who asked for a reload, by the generation that will be the answer.
        self._reloads: dict[int, list[asyncio.Future[dict[str, Any]]]] = {}
        self._statuses: list[asyncio.Future[control.KeeperStatus]] = []
        # What workers have refused over HTTP, those that are gone too; by limit.
        self._http_hits: Counter[str] = Counter()
        self._timer: asyncio.TimerHandle | None = None
        self._exit: asyncio.Future[int] = self._loop.create_future()
        self._is_stopping = False
        self._has_keeper = True
        self._run: dict[type[do.Command], Callable[[Any], None]] = {
            do.StartWorker: self._start_worker,
            do.TellWorker: self._tell_worker,
            do.TellKeeper: lambda c: self._keeper.link.send(c.message),
            do.ConnectWorker: self._connect,
            do.Kill: self._kill,
            do.StartKeeper: self._replace_keeper,
            do.Watch: self._watch,
            do.StopListening: self._stop_listening,
            do.Promoted: self._report_promoted,
            do.GenerationFailed: self._report_failed,
            do.Exit: self._end,
        }

    async def run(self) -> int:
        """Serve until told to stop; return the exit status."""
        for number, react in (
            (signal.SIGCHLD, self._reap),
            (signal.SIGHUP, self._reload),
            (signal.SIGTERM, self._stop),
            (signal.SIGINT, self._interrupt),
        ):
            self._loop.add_signal_handler(number, react)
        await self._control.open()
        self._reload()
        watching = [
            asyncio.create_task(reload_on_change(path, self._settings.watch_patterns, self._reload))
            for path in self._settings.watch
        ]
        try:
            return await self._exit
        finally:
            for task in watching:
                task.cancel()
            await self._bury_keeper()
            self._control.close()

    async def _bury_keeper(self) -> None:
        try:
            await asyncio.to_thread(self._keeper.process.wait, KEEPER_TIMEOUT)
        except subprocess.TimeoutExpired:
            kill(self._keeper)

    # --- facts ----------------------------------------------------------------------------------

    def _reload(self, waiter: asyncio.Future[dict[str, Any]] | None = None) -> None:
        generation = self._policy.reload_requested(self._loop.time())
        if waiter is not None and generation is not None:
            self._reloads.setdefault(generation, []).append(waiter)
        elif waiter is not None:
            waiter.set_result({"ok": False, "summary": "the server is stopping", "traceback": ""})
        self._follow()

    def _stop(self) -> None:
        self._is_stopping = True
        self._policy.stop_requested(self._loop.time())
        self._follow()

    def _interrupt(self) -> None:
        if self._is_stopping:
            log.warning("stopped at once")
            for worker in self._workers.values():
                worker.is_accounted_for = True
                kill(worker)
            self._end(do.Exit(130))
            return
        log.info("stopping; press Ctrl-C again to stop at once")
        self._stop()

    def _reap(self) -> None:
        for number, worker in list(self._workers.items()):
            status = worker.process.poll()
            if status is not None:
                del self._workers[number]
                worker.link.close()
                self._log_exit(number, worker, status)
                self._policy.worker_exited(number, status, self._loop.time())
        status = self._keeper.process.poll()
        if status is not None and self._has_keeper and not self._exit.done():
            self._lose_keeper(status)
        self._follow()

    def _log_exit(self, number: int, worker: WorkerProcess, status: int) -> None:
        """Log the end of a worker, unless it was to leave."""
        (child,) = [each for each in self._policy.children if each.worker == number]
        if child.is_leaving or worker.is_accounted_for:
            return
        if child.state is ChildState.STARTING:
            then = " before it was ready"
        else:
            then = "" if self._is_stopping else "; another takes its place"
        how = describe_exit(status)
        log.warning("worker (pid %d) %s%s", worker.process.pid, how, then)

    def _hear_worker(self, number: int, message: control.FromWorker) -> None:
        now = self._loop.time()
        policy = self._policy
        # Whatever a worker says, its loop turns.
        policy.worker_answered(number, now)
        match message:
            case control.Loaded():
                policy.worker_ready(number, now)
            case control.Quiet():
                policy.worker_quiet(number, now)
            case control.Idle():
                policy.worker_idle(number, now)
            case control.Busy():
                policy.worker_busy(number, now)
            case control.Counted(hits):
                count_http(self._http_hits, hits, self._settings)
            case control.Retiring(why):
                log.info("worker %d will be replaced: %s", number, why)
                policy.worker_retiring(number, now)
            case control.Failed(summary, traceback):
                policy.worker_failed(number, summary, traceback, now)
                if policy.generation:
                    log.error("worker %d could not start: %s", number, summary)
                if number in self._workers:
                    self._workers[number].is_accounted_for = True
        self._follow()

    def _hear_keeper(self, message: control.FromKeeper) -> None:
        if isinstance(message, control.WorkerDropped):
            self._policy.worker_broken(message.worker)
        elif isinstance(message, control.Empty):
            self._policy.connections_closed()
        elif isinstance(message, control.WorkWaits):
            self._policy.work_waits(self._loop.time())
        elif isinstance(message, control.KeeperStatus):
            for waiter in self._statuses:
                if not waiter.done():
                    waiter.set_result(message)
            self._statuses.clear()
        self._follow()

    # --- commands -------------------------------------------------------------------------------

    def _follow(self) -> None:
        """Run what follows, and be back when the next thing comes due."""
        while commands := self._policy.take_commands():
            for command in commands:
                self._run[type(command)](command)
        if self._timer is not None:
            self._timer.cancel()
        when = self._policy.next_tick()
        self._timer = None if when is None else self._loop.call_at(when, self._tick)

    def _tick(self) -> None:
        self._policy.tick(self._loop.time())
        self._follow()

    def _start_keeper(self) -> KeeperProcess:
        return start_keeper(
            KeeperSettings(
                control_fd=-1,
                event_timeout=self._settings.event_timeout,
                limits=self._settings.keeper,
            ),
            self._loop,
            self._hear_keeper,
        )

    def _lose_keeper(self, status: int) -> None:
        log.critical(
            "the keeper died (%s): every WebSocket connection is lost",
            f"signal {-status}" if status < 0 else f"exit status {status}",
        )
        self._has_keeper = False
        self._keeper.link.close()
        for waiter in self._statuses:
            if not waiter.done():
                waiter.set_result(NO_STATUS)
        self._statuses.clear()
        self._policy.keeper_exited(self._loop.time())

    def _replace_keeper(self, _: do.StartKeeper) -> None:
        self._keeper = self._start_keeper()
        self._has_keeper = True
        self._policy.keeper_started(self._loop.time())
        log.info("another keeper was started (pid %d)", self._keeper.process.pid)

    def _connect(self, command: do.ConnectWorker) -> None:
        for child in self._policy.children:
            worker = self._workers.get(child.worker)
            if child.worker == command.worker and worker is not None:
                connect(child.worker, child.generation, worker, self._keeper)

    def _watch(self, command: do.Watch) -> None:
        """Look whether a TCP connection waits; nobody accepts it."""
        if command.on:
            self._loop.add_reader(self._listener.fileno(), self._notice_connection)
        elif self._listener.fileno() >= 0:
            self._loop.remove_reader(self._listener.fileno())

    def _notice_connection(self) -> None:
        self._policy.work_waits(self._loop.time())
        self._follow()

    def _start_worker(self, command: do.StartWorker) -> None:
        settings = self._settings
        number = command.worker
        self._workers[number] = start_worker(
            worker_settings(
                settings,
                control_fd=-1,
                stream_fd=-1,
                handover_fd=-1,
                listen_fd=self._listener.fileno(),
                worker=number,
                generation=command.generation,
                first=command.first,
                spare=command.spare,
                idle_timeout=settings.idle_timeout if self._may_sleep else 0.0,
            ),
            self._loop,
            self._keeper,
            lambda message: self._hear_worker(number, message),
        )

    def _tell_worker(self, command: do.TellWorker) -> None:
        worker = self._workers.get(command.worker)
        if worker is not None:
            worker.link.send(command.message)

    def _kill(self, command: do.Kill) -> None:
        worker = self._workers.get(command.worker)
        if worker is not None:
            if command.why:
                log.error("worker %d is killed: %s", command.worker, command.why)
            worker.is_accounted_for = True
            kill(worker)

    def _stop_listening(self, _: do.StopListening) -> None:
        self._loop.remove_reader(self._listener.fileno())
        self._listener.close()

    def _report_promoted(self, command: do.Promoted) -> None:
        if command.generation == 1:
            log.info("serving %s on %s", self._settings.application, self._url())
        else:
            log.info("generation %d serves", command.generation)
        answer = {"ok": True, "generation": command.generation}
        self._tell_reloaders(command.generation, answer)

    def _report_failed(self, command: do.GenerationFailed) -> None:
        if command.generation == 1:
            what = "the application was not started"
        else:
            what = f"generation {command.generation} was given up"
        log.error("%s: %s\n%s", what, command.summary, command.traceback)
        answer = {"ok": False, "summary": command.summary, "traceback": command.traceback}
        self._tell_reloaders(command.generation, answer)

    def _tell_reloaders(self, generation: int, answer: dict[str, Any]) -> None:
        for waiter in self._reloads.pop(generation, ()):
            if not waiter.done():
                waiter.set_result(answer)

    def _end(self, command: do.Exit) -> None:
        if not self._exit.done():
            self._exit.set_result(command.status)
            # It finishes its turn, with the close frames of a stop, and goes.
            self._keeper.link.close()

    # --- the command line -----------------------------------------------------------------------

    async def _answer(self, request: dict[str, Any]) -> object:
        command = request.get("command")
        if command == "status":
            return await self._status()
        if command == "reload":
            waiter: asyncio.Future[dict[str, Any]] = self._loop.create_future()
            self._reload(waiter)
            return await waiter
        if command == "stop":
            self._stop()
            await asyncio.shield(self._exit)
            return {"ok": True}
        return {"ok": False, "summary": f"there is no command {command!r}"}

    async def _status(self) -> dict[str, Any]:
        waiter: asyncio.Future[control.KeeperStatus] = self._loop.create_future()
        if self._has_keeper:
            self._statuses.append(waiter)
            self._keeper.link.send(control.Report())
        else:
            waiter.set_result(NO_STATUS)
        keeper = await asyncio.wait_for(waiter, STATUS_TIMEOUT)
        return {
            "url": self._url(),
            "application": self._settings.application,
            "generation": self._policy.generation,
            "supervisor": {"pid": os.getpid(), "state": self._state()},
            "keeper": {
                "pid": self._keeper.process.pid,
                "state": "serving" if self._has_keeper else "lost",
            },
            "workers": [
                {
                    "worker": child.worker,
                    "pid": self._workers[child.worker].process.pid,
                    "generation": child.generation,
                    "state": "spare" if child.spare else child.state.value,
                }
                for child in self._policy.children
                if child.worker in self._workers
            ],
            **describe(keeper, self._http_hits, self._settings),
        }

    def _state(self) -> str:
        if self._is_stopping:
            return "stopping"
        if self._policy.is_asleep:
            return "asleep"
        return "serving" if self._policy.generation else "starting"

    def _url(self) -> str:
        host = self._settings.host
        return f"http://{f'[{host}]' if ':' in host else host}:{self._settings.port}"


def _plan(settings: ServerSettings) -> Plan:
    min_workers = settings.workers if settings.min_workers is None else settings.min_workers
    spares = settings.spares
    if spares is None:
        spares = int(settings.workers == 1 and min_workers == 1)
    return Plan(
        workers=settings.workers,
        min_workers=min_workers,
        spares=spares,
        start_timeout=settings.start_timeout,
        drain_timeout=settings.drain_timeout,
        blocked_timeout=settings.event_timeout,
    )


def bind(host: str, port: int) -> socket.socket:
    """Return a listening socket.

    Raises:
        OSError: the address cannot be bound.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


async def serve(settings: ServerSettings, listener: socket.socket) -> int:
    """Run a server until it is told to stop; return the exit status."""
    return await Supervisor(settings, listener).run()
