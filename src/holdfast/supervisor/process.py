"""The supervisor process: binds the port, runs the policy's commands, passes facts to it.

Shell. Private. No data passes through here.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import time
from typing import TYPE_CHECKING

from holdfast.config import KeeperSettings, worker_settings
from holdfast.supervisor import commands as do
from holdfast.supervisor.children import (
    KeeperProcess,
    Processes,
    WorkerProcess,
    await_exit,
    connect,
    describe_exit,
    kill,
    start_keeper,
    start_worker,
)
from holdfast.supervisor.control_socket import ControlSocket
from holdfast.supervisor.operator import Operator
from holdfast.supervisor.plan import ChildState, Plan
from holdfast.supervisor.policy import Policy
from holdfast.supervisor.watch import reload_on_change
from holdfast.wire import control

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from holdfast.config import ServerSettings

log = logging.getLogger("holdfast")


# uvicorn's number. The queue is what keeps TCP connections waiting while no worker accepts.
BACKLOG = 2048

# Seconds. The keeper leaves within one turn of its loop.
KEEPER_TIMEOUT = 2.0


class Supervisor:
    """One server.

    Args:
        listener: bound and listening; the supervisor's own copy, which it never accepts from.
    """

    def __init__(self, settings: ServerSettings, listener: socket.socket) -> None:
        self._settings = settings
        self._listener = listener
        self._loop = asyncio.get_running_loop()
        # Unique over restarts of the server within a second, for connection ids.
        plan = _plan(settings)
        self._policy = Policy(plan, first_worker=int(time.time()))
        self._may_sleep = plan.min_workers < plan.workers
        self._processes = Processes(self._start_keeper(), {})
        self._policy.keeper_started(self._loop.time())
        self._operator = Operator(settings, self._policy, self._processes, self._reload, self._stop)
        self._control = ControlSocket(settings.port, self._operator.answer)
        self._timer: asyncio.TimerHandle | None = None
        self._exit: asyncio.Future[int] = self._loop.create_future()
        self._run: dict[type[do.Command], Callable[[Any], None]] = {
            do.StartWorker: self._start_worker,
            do.TellWorker: self._tell_worker,
            do.TellKeeper: lambda c: self._processes.keeper.link.send(c.message),
            do.ConnectWorker: self._connect,
            do.Kill: self._kill,
            do.StartKeeper: self._replace_keeper,
            do.Watch: self._watch,
            do.StopListening: self._stop_listening,
            do.Promoted: self._operator.promoted,
            do.GenerationFailed: self._operator.failed,
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
            await asyncio.to_thread(await_exit, self._processes.keeper, KEEPER_TIMEOUT)
            self._control.close()

    # --- facts ----------------------------------------------------------------------------------

    def _reload(self) -> int | None:
        generation = self._policy.reload_requested(self._loop.time())
        self._follow()
        return generation

    def _stop(self) -> asyncio.Future[int]:
        self._policy.stop_requested(self._loop.time())
        self._follow()
        return asyncio.shield(self._exit)

    def _interrupt(self) -> None:
        if self._policy.server.is_stopping:
            log.warning("stopped at once")
            for worker in self._processes.workers.values():
                worker.is_accounted_for = True
                kill(worker)
            self._end(do.Exit(130))
            return
        log.info("stopping; press Ctrl-C again to stop at once")
        self._stop()

    def _reap(self) -> None:
        for number, worker in list(self._processes.workers.items()):
            status = worker.process.poll()
            if status is not None:
                del self._processes.workers[number]
                worker.link.close()
                self._log_exit(number, worker, status)
                self._policy.worker_exited(number, status, self._loop.time())
        keeper = self._processes.keeper
        status = keeper.process.poll()
        if status is not None and not (keeper.is_lost or self._exit.done()):
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
            then = "" if self._policy.server.is_stopping else "; another takes its place"
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
                self._operator.count(hits)
            case control.Retiring(why):
                log.info("worker %d will be replaced: %s", number, why)
                policy.worker_retiring(number, now)
            case control.Failed(summary, traceback):
                policy.worker_failed(number, summary, traceback, now)
                if policy.generation:
                    log.error("worker %d could not start: %s", number, summary)
                if number in self._processes.workers:
                    self._processes.workers[number].is_accounted_for = True
        self._follow()

    def _hear_keeper(self, message: control.FromKeeper) -> None:
        if isinstance(message, control.WorkerDropped):
            self._policy.worker_broken(message.worker)
        elif isinstance(message, control.Empty):
            self._policy.connections_closed()
        elif isinstance(message, control.WorkWaits):
            self._policy.work_waits(self._loop.time())
        elif isinstance(message, control.KeeperStatus):
            self._operator.keeper_reported(message)
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
        self._processes.keeper.is_lost = True
        self._processes.keeper.link.close()
        self._operator.keeper_lost()
        self._policy.keeper_exited(self._loop.time())

    def _replace_keeper(self, _: do.StartKeeper) -> None:
        self._processes.keeper = self._start_keeper()
        self._policy.keeper_started(self._loop.time())
        log.info("another keeper was started (pid %d)", self._processes.keeper.process.pid)

    def _connect(self, command: do.ConnectWorker) -> None:
        for child in self._policy.children:
            worker = self._processes.workers.get(child.worker)
            if child.worker == command.worker and worker is not None:
                connect(child.worker, child.generation, worker, self._processes.keeper)

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
        self._processes.workers[number] = start_worker(
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
            self._processes.keeper,
            lambda message: self._hear_worker(number, message),
        )

    def _tell_worker(self, command: do.TellWorker) -> None:
        worker = self._processes.workers.get(command.worker)
        if worker is not None:
            worker.link.send(command.message)

    def _kill(self, command: do.Kill) -> None:
        worker = self._processes.workers.get(command.worker)
        if worker is not None:
            if command.why:
                log.error("worker %d is killed: %s", command.worker, command.why)
            worker.is_accounted_for = True
            kill(worker)

    def _stop_listening(self, _: do.StopListening) -> None:
        self._loop.remove_reader(self._listener.fileno())
        self._listener.close()

    def _end(self, command: do.Exit) -> None:
        if not self._exit.done():
            self._exit.set_result(command.status)
            # It finishes its turn, with the close frames of a stop, and goes.
            self._processes.keeper.link.close()


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
