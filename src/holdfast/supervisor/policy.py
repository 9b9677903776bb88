"""What to start, promote, drain and stop, and when.

Pure: facts in, commands out, time as a number of seconds. `supervisor/process.py` runs the
commands.

The rules are in the parts: which stages a server goes through in `stage.py`, how one generation
follows another in `reload.py`, how many workers the one that serves has in `serving.py`, and how
long a worker may take for what in `workers.py`. Here a fact finds the part it is for. And there are
the rules of the keeper and of the end:

1. A keeper that dies is replaced; while keepers keep dying young, replacements come later and
   later. The living workers are connected to the new one, which is told what serves.
2. A stop lets no more requests in and has all connections closed. When the last close event was
   handled, the workers drain. If there is no worker for the close events one is started, unless
   they have killed too many.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast.supervisor import commands as do
from holdfast.supervisor.back_off import BackOff
from holdfast.supervisor.plan import ChildState
from holdfast.supervisor.reload import Reload
from holdfast.supervisor.serving import ServingGeneration
from holdfast.supervisor.stage import ServerFact, ServerStage, ServerStages
from holdfast.supervisor.workers import WorkerTable
from holdfast.wire import control

if TYPE_CHECKING:
    from holdfast.supervisor.plan import Child, Plan

# Deaths during a stop after which the close events are given up.
DEATHS_ALLOWED_IN_STOP = 3

GOING_AWAY = 1001  # RFC 6455 section 7.4.1


class Policy:
    """Decides for one server.

    Args:
        first_worker: the number of the first worker; later ones count up from it.
    """

    def __init__(self, plan: Plan, first_worker: int) -> None:
        self.server = ServerStages()
        self._plan = plan
        self._commands: list[do.Command] = []
        self.workers = WorkerTable(plan, first_worker, self._commands)
        self.serving = ServingGeneration(plan, self.workers, self.server, self._commands)
        self.reload = Reload(plan, self.workers, self.serving, self.server, self._commands)
        self._keeper_back_off = BackOff()
        self._keeper_started: float | None = None
        self._is_keeper_lost = False
        self._deaths_in_stop = 0

    @property
    def children(self) -> list[Child]:
        return self.workers.all()

    @property
    def generation(self) -> int:
        """The one that serves; 0 while none does."""
        return self.serving.number

    @property
    def is_asleep(self) -> bool:
        """True when workers have left because they were idle."""
        return self.server.is_asleep

    def take_commands(self) -> list[do.Command]:
        """Return what follows from the facts told so far, and forget it."""
        taken = self._commands[:]
        self._commands.clear()
        return taken

    # --- facts: the operator --------------------------------------------------------------------

    def reload_requested(self, now: float) -> int | None:
        """Start the next generation; also the way the first one starts.

        While one is starting the request waits, and several of them count as one. Returns the
        number of the generation that will be the answer, or None if there will be none because
        the server is stopping.
        """
        return None if self.server.is_stopping else self.reload.request(now)

    def stop_requested(self, now: float) -> None:
        """Close listeners and connections, let everything finish, then leave."""
        if not self.server.tell(ServerFact.STOP):
            return
        for child in self.children:
            if not child.is_leaving:  # Those that are have a deadline already.
                self.workers.quiesce(child, now)
        self._commands.append(do.StopListening())
        self._commands.append(do.TellKeeper(control.CloseAll(GOING_AWAY, "")))
        if self._is_keeper_lost:
            self.connections_closed()
        self._go_on_stopping(now)

    # --- facts: workers -------------------------------------------------------------------------

    def worker_ready(self, worker: int, now: float) -> None:
        child = self.workers.get(worker)
        if child is None or child.state is not ChildState.STARTING:
            return
        self.workers.note_ready(child, now)
        if self.server.is_stopping:
            return  # It is there for close events, and has a deadline.
        child.deadline = None
        if self.reload.starts(child):
            self.reload.worker_ready(child, now)
        else:
            self.serving.worker_ready(child, now)

    def worker_failed(self, worker: int, summary: str, traceback: str, now: float) -> None:
        """A worker could not start its application; it exits by itself."""
        child = self.workers.get(worker)
        if child is not None and self.reload.starts(child):
            self.reload.give_up(summary, traceback, now)

    def worker_exited(self, worker: int, status: int, now: float) -> None:
        child = self.workers.remove(worker)
        if child is None:
            return
        self.reload.finish_if_quiet(now)
        if self.server.is_stopping:
            self._deaths_in_stop += not child.is_leaving
        elif self.reload.starts(child):
            self.reload.worker_lost(child, status, now)
        elif child.generation == self.generation and not child.is_leaving:
            self.serving.worker_lost(child, now)
        self._go_on_stopping(now)

    def worker_quiet(self, worker: int, now: float) -> None:
        """A worker accepts nothing more."""
        child = self.workers.get(worker)
        if child is not None:
            child.accepts = False
            self.reload.finish_if_quiet(now)

    def worker_broken(self, worker: int) -> None:
        """The keeper cut this worker off: it must not go on."""
        child = self.workers.get(worker)
        if child is not None:
            self.workers.kill(child)

    def worker_answered(self, worker: int, now: float) -> None:
        """A worker's loop turns."""
        child = self.workers.get(worker)
        if child is not None:
            child.answered = now

    def worker_retiring(self, worker: int, now: float) -> None:
        """A worker has done enough, and wants to be replaced."""
        child = self.workers.get(worker)
        if child is None or child.state is not ChildState.SERVING or self.server.is_stopping:
            return
        self.serving.worker_retiring(child, now)

    def worker_idle(self, worker: int, now: float) -> None:
        """A worker has had nothing to do for a while."""
        child = self.workers.get(worker)
        if child is not None and child.serves:
            child.is_idle = True
            if not self.reload.is_starting:
                self.serving.sleep_if_idle(now)

    def worker_busy(self, worker: int, now: float) -> None:
        """A worker that was idle has something to do again."""
        child = self.workers.get(worker)
        if child is not None:
            child.is_idle = False
            self.serving.work_waits(now)

    def work_waits(self, now: float) -> None:
        """Something waits for a worker."""
        self.serving.work_waits(now)

    # --- facts: keeper, time --------------------------------------------------------------------

    def keeper_started(self, now: float) -> None:
        """A keeper is there. One that takes the place of another knows nothing yet."""
        self._keeper_started = now
        if not self._is_keeper_lost:
            return  # The first one; workers are told of it when they start.
        self._is_keeper_lost = False
        for child in self.children:
            self._commands.append(do.ConnectWorker(child.worker))
        if self.generation:
            self._commands.append(do.TellKeeper(control.Prefer(self.generation)))

    def keeper_exited(self, now: float) -> None:
        """The keeper is gone, and all connections with it."""
        started = now if self._keeper_started is None else self._keeper_started
        self._is_keeper_lost = True
        if self.server.is_stopping:
            self.connections_closed()
        else:
            self._keeper_back_off.note_death(now - started, now)
            self._start_keeper(now)

    def connections_closed(self) -> None:
        """The keeper holds no connection any more: every close event was acknowledged."""
        if self.server.tell(ServerFact.CONNECTIONS_CLOSED):
            # A generation that will never be: so that the keeper drains all workers there are.
            never = self.reload.next_generation
            self._commands.append(do.TellKeeper(control.Prefer(never)))
            for child in self.children:
                self.workers.drain_at_last(child)

    def tick(self, now: float) -> None:
        """Do what has come due. Call when `next_tick` says, or more often."""
        for child in self.workers.take_overdue(now):
            if self.reload.starts(child) and child.state is ChildState.STARTING:
                self.reload.worker_late(child, now)
            else:
                self.workers.kill_overdue(child)
        if not self.server.is_stopping:
            self.workers.ask(now)
            self._start_keeper(now)
            self.serving.fill(now)

    def next_tick(self) -> float | None:
        """When `tick` has something to do next, if ever."""
        times = self.workers.next_deadline()
        if not self.server.is_stopping:
            times += self.workers.next_question()
            back_offs = (self.serving.back_off, self._keeper_back_off)
            times += [back_off.until for back_off in back_offs if back_off.until is not None]
        return min(times, default=None)

    # --- what follows ---------------------------------------------------------------------------

    def _start_keeper(self, now: float) -> None:
        if self._keeper_back_off.is_waiting and self._keeper_back_off.is_over(now):
            self._commands.append(do.StartKeeper())

    def _go_on_stopping(self, now: float) -> None:
        """Have a worker for close events while there may be some; leave when the last is gone."""
        stage, is_hopeless = self.server.stage, self._deaths_in_stop > DEATHS_ALLOWED_IN_STOP
        # There is none when the server was asleep, or after a crash.
        if stage is ServerStage.CLOSING and not is_hopeless and not self.serving.children():
            child = self.workers.start(self.generation, now)
            child.deadline = now + self._plan.drain_timeout
        if not self.children and self.server.tell(ServerFact.NO_WORKERS):
            self._commands.append(do.Exit(int(stage is ServerStage.FAILED)))
