"""What to start, promote, drain and stop, and when.

Pure: facts in, commands out, time as a number of seconds. `supervisor/process.py` runs the
commands.

A generation is starting → serving → draining → gone. The first one serves as soon as its first
worker is ready; a later one when all its workers are, and only then is the one before it drained.
A generation that fails while it starts is given up, and the one that serves goes on. It fails when
its application cannot be started, when two of its workers die before they are ready, or when its
first worker takes too long.

Rules of the generation that serves:

1. It has as many workers as wanted, and spares beside them, which are loaded but take nothing. A
   worker that dies is replaced at once, by a spare if there is one; while they keep dying young,
   replacements come later and later.
2. A worker that asks to be replaced is retired when its replacement serves.
3. When all its workers are idle it keeps `min_workers` of them, or none. Then it sleeps, until
   something waits for a worker.
4. A worker whose loop does not turn for too long is killed, like one that does not leave in time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast.supervisor import commands as do
from holdfast.supervisor.back_off import BackOff
from holdfast.supervisor.plan import Child, ChildState

if TYPE_CHECKING:
    from holdfast.supervisor.plan import Plan

# Deaths before ready that end a starting generation, and deaths during a stop after which the
# close events are given up: one may be bad luck.
DEATHS_ALLOWED = 1
DEATHS_ALLOWED_IN_STOP = 3

# How often a worker is asked whether its loop still turns.
ASK_EVERY = 5.0  # seconds


class Policy:
    """Decides for one server.

    Args:
        first_worker: the number of the first worker; later ones count up from it.
    """

    def __init__(self, plan: Plan, first_worker: int) -> None:
        self._plan = plan
        self._next_worker = first_worker
        self._last_generation = 0
        self._children: dict[int, Child] = {}
        self._serving: int | None = None
        self._starting: int | None = None
        self._is_asleep = False
        # From the first sign of work until a worker is there.
        self._is_waking = False
        self._deaths_while_starting = 0
        self._deaths_in_stop = 0
        self._workers_back_off = BackOff()
        self._keeper_back_off = BackOff()
        self._keeper_started: float | None = None
        self._is_keeper_lost = False
        # Retired workers that have not said yet that they accept nothing more.
        self._accepting: set[int] = set()
        self._is_announced = True
        self._is_reload_wanted = False
        self._is_stopping = False
        self._are_connections_closed = False
        self._status = 0
        self._has_exited = False
        self._commands: list[do.Command] = []

    @property
    def children(self) -> list[Child]:
        return list(self._children.values())

    @property
    def generation(self) -> int:
        """The one that serves; 0 while none does."""
        return self._serving or 0

    @property
    def is_asleep(self) -> bool:
        """True when workers have left because they were idle."""
        return self._is_asleep

    def take_commands(self) -> list[do.Command]:
        """Return what follows from the facts told so far, and forget it."""
        taken, self._commands = self._commands, []
        return taken

    # --- facts: the operator --------------------------------------------------------------------

    def reload_requested(self, now: float) -> int | None:
        """Start the next generation; also the way the first one starts.

        While one is starting the request waits, and several of them count as one. Returns the
        number of the generation that will be the answer, or None if there will be none because
        the server is stopping.
        """
        if self._is_stopping:
            return None
        if self._starting is not None or not self._is_announced:
            self._is_reload_wanted = True
            return self._last_generation + 1
        self._is_reload_wanted = False
        self._last_generation += 1
        self._starting = self._last_generation
        self._deaths_while_starting = 0
        self._start(self._starting, now, first=True)
        return self._starting

    def stop_requested(self, now: float) -> None:
        """Close listeners and connections, let everything finish, then leave."""
        if self._is_stopping:
            return
        self._is_stopping = True
        for child in self.children:
            if child.is_leaving:
                continue  # It has a deadline already.
            child.deadline = now + self._plan.drain_timeout
            if child.state is ChildState.STARTING:
                # It may still say that it is ready, and must not start others then.
                child.state = ChildState.DRAINING
                self._commands.append(do.Kill(child.worker))
            else:
                self._commands.append(do.Quiesce(child.worker))
        self._commands.append(do.CloseConnections())
        if self._is_keeper_lost:
            self.connections_closed()
        self._start_for_close_events(now)
        self._exit_if_alone()

    # --- facts: workers -------------------------------------------------------------------------

    def worker_ready(self, worker: int, now: float) -> None:
        child = self._children.get(worker)
        if child is None or child.state is not ChildState.STARTING:
            return
        child.state = ChildState.READY
        child.answered = now
        child.ask_at = now + ASK_EVERY
        if self._is_stopping:
            return  # It is there for close events, and has a deadline.
        child.deadline = None
        if child.generation == self._serving:
            self._join(child, now)
            return
        if child.first:
            for _ in range(self._plan.workers - 1):
                self._start(child.generation, now)
        ready = [each for each in self._of(child.generation) if each.state is ChildState.READY]
        if self._serving is None or len(ready) >= self._plan.workers:
            self._promote(child.generation, now)

    def worker_failed(self, worker: int, summary: str, traceback: str, now: float) -> None:
        """A worker could not start its application; it exits by itself."""
        child = self._children.get(worker)
        if child is not None and child.generation == self._starting:
            self._give_up(child.generation, summary, traceback, now)

    def worker_exited(self, worker: int, status: int, now: float) -> None:
        child = self._children.pop(worker, None)
        if child is None:
            return
        self.worker_quiet(worker, now)
        if self._is_stopping:
            self._deaths_in_stop += not child.is_leaving
            self._start_for_close_events(now)
            self._exit_if_alone()
        elif child.generation == self._starting:
            self._lose_starting(child, status, now)
        elif child.generation == self._serving and not child.is_leaving:
            self._workers_back_off.note_death(now - child.started, now)
            self._promote_spare(now)
            self._fill(now)

    def worker_quiet(self, worker: int, now: float) -> None:
        """A worker accepts nothing more."""
        self._accepting.discard(worker)
        self._announce(now)

    def worker_broken(self, worker: int) -> None:
        """The keeper cut this worker off: it must not go on."""
        if worker in self._children:
            self._commands.append(do.Kill(worker))

    def worker_answered(self, worker: int, now: float) -> None:
        """A worker's loop turns."""
        child = self._children.get(worker)
        if child is not None:
            child.answered = now

    def worker_retiring(self, worker: int, now: float) -> None:
        """A worker has done enough, and wants to be replaced."""
        child = self._children.get(worker)
        if child is not None and child.state is ChildState.SERVING and not self._is_stopping:
            child.is_retiring = True
            self._promote_spare(now)
            self._fill(now)

    def worker_idle(self, worker: int, now: float) -> None:
        """A worker has had nothing to do for a while."""
        child = self._children.get(worker)
        if child is None or child.state is not ChildState.SERVING:
            return
        child.is_idle = True
        staff = self._staff()
        if all(each.is_idle for each in staff) and self._starting is None:
            self._fall_asleep(staff, now)

    def worker_busy(self, worker: int, now: float) -> None:
        """A worker that was idle has something to do again."""
        child = self._children.get(worker)
        if child is not None:
            child.is_idle = False
            self.work_waits(now)

    def work_waits(self, now: float) -> None:
        """Something waits for a worker."""
        if self._is_asleep and not self._is_stopping:
            self._wake_up()
            self._is_waking = not self._staff()
            self._fill(now)

    # --- facts: keeper, time --------------------------------------------------------------------

    def keeper_started(self, now: float) -> None:
        """A keeper is there. One that takes the place of another knows nothing yet."""
        self._keeper_started = now
        if not self._is_keeper_lost:
            return  # The first one; workers are told of it when they start.
        self._is_keeper_lost = False
        for child in self.children:
            self._commands.append(do.Connect(child.worker))
        if self._serving is not None:
            self._commands.append(do.Prefer(self._serving))

    def keeper_exited(self, now: float) -> None:
        """The keeper is gone, and all connections with it."""
        started = now if self._keeper_started is None else self._keeper_started
        self._is_keeper_lost = True
        if self._is_stopping:
            self.connections_closed()
        else:
            self._keeper_back_off.note_death(now - started, now)
            self._start_keeper(now)

    def connections_closed(self) -> None:
        """The keeper holds no connection any more: every close event was acknowledged."""
        if not self._is_stopping or self._serving is None:
            return
        self._are_connections_closed = True
        # A generation that will never be: so that the keeper drains all workers there are.
        self._commands.append(do.Prefer(self._last_generation + 1))
        for child in self.children:
            if child.state is ChildState.STARTING:
                self._commands.append(do.Kill(child.worker))
            elif not child.is_leaving:
                self._commands.append(do.Drain(child.worker))
            child.state = ChildState.DRAINING

    def tick(self, now: float) -> None:
        """Do what has come due. Call when `next_tick` says, or more often."""
        for child in self.children:
            if child.deadline is not None and child.deadline <= now:
                self._run_out_of_time(child, now)
        for child in self._asked():
            self._look_after(child, now)
        if not self._is_stopping:
            self._start_keeper(now)
            self._fill(now)

    def next_tick(self) -> float | None:
        """When `tick` has something to do next, if ever."""
        times = [child.deadline for child in self.children if child.deadline is not None]
        times += [child.ask_at for child in self._asked()]
        if not self._is_stopping:
            back_offs = (self._workers_back_off, self._keeper_back_off)
            times += [back_off.until for back_off in back_offs if back_off.until is not None]
        return min(times, default=None)

    # --- generations ----------------------------------------------------------------------------

    def _promote(self, generation: int, now: float) -> None:
        """Replace before you retire: the new one serves, then the old one drains."""
        old = self._serving
        self._serving, self._starting = generation, None
        self._is_announced = False
        self._workers_back_off.forget()
        self._wake_up()
        self._is_waking = False
        self._commands.append(do.Prefer(generation))
        for child in self._of(generation):
            if child.state is ChildState.READY:
                self._serve(child)
        if old is not None:
            for child in self._of(old):
                if not child.is_leaving:
                    self._retire(child, now)
        self._announce(now)
        self._fill(now)

    def _announce(self, now: float) -> None:
        """Say that a generation serves when it alone does: no older worker accepts any more."""
        if not self._is_announced and not self._accepting:
            self._is_announced = True
            self._commands.append(do.Promoted(self.generation))
            self._reload_if_wanted(now)

    def _retire(self, child: Child, now: float) -> None:
        if child.state is ChildState.STARTING:
            self._commands.append(do.Kill(child.worker))
        else:
            self._commands.append(do.Drain(child.worker))
            self._accepting.add(child.worker)
        child.state = ChildState.DRAINING
        child.deadline = now + self._plan.drain_timeout

    def _give_up(self, generation: int, summary: str, traceback: str, now: float) -> None:
        self._starting = None
        for child in self._of(generation):
            child.state = ChildState.DRAINING
            child.deadline = None
            self._commands.append(do.Kill(child.worker))
        self._commands.append(do.GenerationFailed(generation, summary, traceback))
        if self._serving is None and not self._is_stopping:
            # Nothing to fall back on.
            self._is_stopping = True
            self._status = 1
        if self._is_stopping:
            self._exit_if_alone()
        self._reload_if_wanted(now)

    def _reload_if_wanted(self, now: float) -> None:
        if self._is_reload_wanted:
            self.reload_requested(now)

    def _lose_starting(self, child: Child, status: int, now: float) -> None:
        self._deaths_while_starting += 1
        if self._deaths_while_starting > DEATHS_ALLOWED:
            summary = f"a worker died before it was ready ({_describe(status)})"
            self._give_up(child.generation, summary, "", now)
        else:
            # Install and activate run once: not again if this one had got past them.
            first = child.first and child.state is ChildState.STARTING
            self._start(child.generation, now, first=first)

    # --- the staff of the generation that serves ------------------------------------------------

    def _staff(self) -> list[Child]:
        """Its workers, those that start included, without spares and those who leave."""
        return [
            child
            for child in self._of(self.generation)
            if not (child.spare or child.is_leaving or child.is_retiring)
        ]

    def _join(self, child: Child, now: float) -> None:
        """A worker of the generation that serves is ready."""
        if child.spare:
            return
        self._is_waking = False
        self._serve(child)
        self._relieve(now)
        self._fill(now)

    def _relieve(self, now: float) -> None:
        """Let those go who want to, as far as others serve in their place."""
        serving = [c for c in self._of(self.generation) if c.state is ChildState.SERVING]
        surplus = len(serving) - self._wanted()
        for child in [child for child in serving if child.is_retiring][: max(surplus, 0)]:
            self._retire_one(child, now)

    def _promote_spare(self, now: float) -> None:
        """Let a spare take the place of a worker that is gone, or goes."""
        spares = [child for child in self._of(self.generation) if child.spare]
        if spares and len(self._staff()) < self._wanted():
            # A ready one, if there is one, before one that starts.
            spare = min(spares, key=lambda child: child.state is ChildState.STARTING)
            spare.spare = False
            if spare.state is ChildState.READY:
                self._serve(spare)
                self._relieve(now)

    def _wanted(self) -> int:
        return self._plan.min_workers if self._is_asleep else self._plan.workers

    def _fill(self, now: float) -> None:
        """Start what is missing, as soon as the back-off lets it."""
        if self._serving is None or self._is_stopping or not self._workers_back_off.is_over(now):
            return
        # The first one after a sleep is there soonest if no other starts beside it.
        wanted = 1 if self._is_waking else self._wanted()
        for _ in range(wanted - len(self._staff())):
            self._start(self._serving, now)
        if not self._is_asleep and not self._is_waking:
            present = sum(child.spare for child in self._of(self._serving))
            for _ in range(self._plan.spares - present):
                self._start(self._serving, now, spare=True)

    def _retire_one(self, child: Child, now: float) -> None:
        """Retire a worker of the generation that serves: the keeper has to be told."""
        self._commands.append(do.Retire(child.worker))
        self._retire(child, now)

    def _fall_asleep(self, staff: list[Child], now: float) -> None:
        surplus = len(staff) - self._plan.min_workers
        if surplus <= 0:
            return
        self._is_asleep = True
        self._workers_back_off.forget()
        for child in [*staff[:surplus], *(c for c in self._of(self.generation) if c.spare)]:
            self._retire_one(child, now)
        if not self._plan.min_workers:
            self._commands.append(do.Watch(on=True))

    def _wake_up(self) -> None:
        if self._is_asleep:
            self._is_asleep = False
            if not self._plan.min_workers:
                self._commands.append(do.Watch(on=False))

    # --- processes ------------------------------------------------------------------------------

    def _start(
        self, generation: int, now: float, *, first: bool = False, spare: bool = False
    ) -> None:
        worker = self._next_worker
        self._next_worker += 1
        child = Child(worker, generation, first, spare, now)
        child.deadline = now + self._plan.start_timeout
        self._children[worker] = child
        self._commands.append(do.StartWorker(worker, generation, first, spare))

    def _serve(self, child: Child) -> None:
        child.state = ChildState.SERVING
        self._commands.append(do.Serve(child.worker))

    def _start_for_close_events(self, now: float) -> None:
        """Close events need a worker, or they would be lost: when asleep, or after a crash."""
        is_hopeless = self._deaths_in_stop > DEATHS_ALLOWED_IN_STOP
        if self._serving is None or self._are_connections_closed or is_hopeless:
            return
        if not any(child.generation == self._serving for child in self.children):
            self._start(self._serving, now)
            self.children[-1].deadline = now + self._plan.drain_timeout

    def _start_keeper(self, now: float) -> None:
        if self._keeper_back_off.is_waiting and self._keeper_back_off.is_over(now):
            self._commands.append(do.StartKeeper())

    def _run_out_of_time(self, child: Child, now: float) -> None:
        child.deadline = None
        timeout = self._plan.start_timeout
        if child.state is not ChildState.STARTING:
            drain = self._plan.drain_timeout
            self._commands.append(do.Kill(child.worker, f"it has not finished within {drain:g} s"))
        elif child.generation == self._starting and child.first:
            why = f"its first worker was not ready within {timeout:g} s"
            self._give_up(child.generation, why, "", now)
        else:
            self._commands.append(do.Kill(child.worker, f"it was not ready within {timeout:g} s"))

    def _look_after(self, child: Child, now: float) -> None:
        """Ask a worker whether its loop turns; kill it if it has not for too long."""
        if now < child.ask_at:
            return
        silent = now - child.answered
        # It had the whole time, and one question more.
        if silent >= self._plan.blocked_timeout + ASK_EVERY:
            self._commands.append(do.Kill(child.worker, f"its loop has stood for {silent:.0f} s"))
        self._commands.append(do.Ask(child.worker))
        child.ask_at = now + ASK_EVERY

    def _asked(self) -> list[Child]:
        """The workers whose loops have to turn; of those that leave, their time is limited."""
        states = (ChildState.READY, ChildState.SERVING)
        if self._is_stopping or not self._plan.blocked_timeout:
            return []
        return [child for child in self.children if child.state in states]

    def _of(self, generation: int) -> list[Child]:
        return [child for child in self.children if child.generation == generation]

    def _exit_if_alone(self) -> None:
        if not self._children and not self._has_exited:
            self._has_exited = True
            self._commands.append(do.Exit(self._status))


def _describe(status: int) -> str:
    return f"signal {-status}" if status < 0 else f"exit status {status}"
