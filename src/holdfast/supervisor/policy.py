"""What to start, promote, drain and stop, and when.

Pure: facts in, commands out, time as a number of seconds. `supervisor/process.py` runs the
commands.

A generation is starting → serving → draining → gone. The first one serves as soon as its first
worker is ready; a later one when all its workers are, and only then is the one before it drained.
A generation that fails while it starts is given up, and the one that serves goes on.

A generation fails when its application cannot be started, or when two of its workers die before
they are ready. A worker of a serving generation that dies is replaced: at once the first time,
later and later while its followers keep dying young.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias

__all__ = [
    "Child",
    "ChildState",
    "CloseConnections",
    "Command",
    "Drain",
    "Exit",
    "GenerationFailed",
    "Kill",
    "Policy",
    "Prefer",
    "Promoted",
    "Quiesce",
    "Serve",
    "StartWorker",
]

# A worker that lived this long did not die of its start.
YOUNG = 5.0  # seconds

BACK_OFF_FIRST = 0.1  # seconds; doubled with each young death
BACK_OFF_MOST = 10.0  # seconds
DOUBLINGS = 7  # reach BACK_OFF_MOST; an hour of young deaths would reach the end of all floats

# Deaths before ready that end a starting generation: one may be bad luck.
DEATHS_ALLOWED = 1


class ChildState(Enum):
    STARTING = "starting"
    READY = "ready"
    SERVING = "serving"
    DRAINING = "draining"


@dataclass(slots=True)
class Child:
    """A worker as the supervisor sees it."""

    worker: int
    generation: int
    first: bool
    started: float
    state: ChildState = ChildState.STARTING
    deadline: float | None = None  # when a draining worker is killed


@dataclass(frozen=True, slots=True)
class StartWorker:
    worker: int
    generation: int
    first: bool


@dataclass(frozen=True, slots=True)
class Serve:
    """Tell a worker to accept requests."""

    worker: int


@dataclass(frozen=True, slots=True)
class Prefer:
    """Tell the keeper which generation gets deliveries."""

    generation: int


@dataclass(frozen=True, slots=True)
class Quiesce:
    """Tell a worker to accept no more requests."""

    worker: int


@dataclass(frozen=True, slots=True)
class Drain:
    """Tell a worker to finish and leave."""

    worker: int


@dataclass(frozen=True, slots=True)
class Kill:
    worker: int


@dataclass(frozen=True, slots=True)
class CloseConnections:
    """Tell the keeper to close every connection."""


@dataclass(frozen=True, slots=True)
class Promoted:
    """A generation serves now, and it alone. For whoever asked for it."""

    generation: int


@dataclass(frozen=True, slots=True)
class GenerationFailed:
    """A generation was given up. For whoever asked for it."""

    generation: int
    summary: str
    traceback: str


@dataclass(frozen=True, slots=True)
class Exit:
    """All workers are gone; end the keeper and leave with this status."""

    status: int


Command: TypeAlias = (
    StartWorker
    | Serve
    | Prefer
    | Quiesce
    | Drain
    | Kill
    | CloseConnections
    | Promoted
    | GenerationFailed
    | Exit
)


class Policy:
    """Decides for one server.

    Args:
        workers: how many a generation has.
        drain_timeout: seconds a worker may take to finish.
        first_worker: the number of the first worker; later ones count up from it.
    """

    def __init__(self, *, workers: int, drain_timeout: float, first_worker: int) -> None:
        self._workers = workers
        self._drain_timeout = drain_timeout
        self._next_worker = first_worker
        self._last_generation = 0
        self._children: dict[int, Child] = {}
        self._serving: int | None = None
        self._starting: int | None = None
        self._deaths_while_starting = 0
        self._young_deaths = 0
        # Retired workers that have not said yet that they accept nothing more.
        self._accepting: set[int] = set()
        self._is_announced = True
        # Times at which a replacement for a dead worker is due.
        self._due: list[float] = []
        self._is_reload_wanted = False
        self._is_stopping = False
        self._status = 0
        self._has_exited = False
        self._commands: list[Command] = []

    @property
    def children(self) -> list[Child]:
        return list(self._children.values())

    @property
    def generation(self) -> int:
        """The one that serves; 0 while none does."""
        return self._serving or 0

    def take_commands(self) -> list[Command]:
        """Return what follows from the facts told so far, and forget it."""
        taken, self._commands = self._commands, []
        return taken

    # --- facts ----------------------------------------------------------------------------------

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

    def worker_ready(self, worker: int, now: float) -> None:
        child = self._children.get(worker)
        if child is None or child.state is not ChildState.STARTING:
            return
        child.state = ChildState.READY
        if child.generation == self._serving:
            self._serve(child)
            return
        if child.first:
            for _ in range(self._workers - 1):
                self._start(child.generation, now, first=False)
        ready = [each for each in self._of(child.generation) if each.state is ChildState.READY]
        if self._serving is None or len(ready) >= self._workers:
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
            self._exit_if_alone()
        elif child.generation == self._starting:
            self._lose_starting(child, status, now)
        elif child.generation == self._serving and child.state is not ChildState.DRAINING:
            self._schedule_replacement(child, now)

    def worker_quiet(self, worker: int, now: float) -> None:
        """A worker accepts nothing more."""
        self._accepting.discard(worker)
        self._announce(now)

    def worker_broken(self, worker: int) -> None:
        """The keeper cut this worker off: it must not go on."""
        if worker in self._children:
            self._commands.append(Kill(worker))

    def keeper_started(self) -> None:
        """A new keeper knows nothing yet."""
        if self._serving is not None:
            self._commands.append(Prefer(self._serving))

    def stop_requested(self, now: float) -> None:
        """Close listeners and connections, let everything finish, then leave."""
        if self._is_stopping:
            return
        self._is_stopping = True
        self._due.clear()
        for child in self.children:
            if child.state is ChildState.DRAINING:
                continue  # It has a deadline already.
            child.deadline = now + self._drain_timeout
            if child.state is ChildState.STARTING:
                # It may still say that it is ready, and must not start others then.
                child.state = ChildState.DRAINING
                self._commands.append(Kill(child.worker))
            else:
                self._commands.append(Quiesce(child.worker))
        self._commands.append(CloseConnections())
        self._exit_if_alone()

    def connections_closed(self) -> None:
        """The keeper holds no connection any more: every close event was acknowledged."""
        if not self._is_stopping:
            return
        # A generation that will never be: so that the keeper drains all workers there are.
        self._commands.append(Prefer(self._last_generation + 1))
        for child in self.children:
            if child.state in (ChildState.READY, ChildState.SERVING):
                child.state = ChildState.DRAINING
                self._commands.append(Drain(child.worker))

    def tick(self, now: float) -> None:
        """Do what has come due. Call when `next_tick` says, or more often."""
        for child in self.children:
            if child.deadline is not None and child.deadline <= now:
                child.deadline = None
                self._commands.append(Kill(child.worker))
        due = [when for when in self._due if when <= now]
        self._due = [when for when in self._due if when > now]
        if self._serving is not None:
            for _ in due:
                self._start(self._serving, now, first=False)

    def next_tick(self) -> float | None:
        """When `tick` has something to do next, if ever."""
        deadlines = [child.deadline for child in self.children if child.deadline is not None]
        return min([*self._due, *deadlines], default=None)

    # --- generations ----------------------------------------------------------------------------

    def _promote(self, generation: int, now: float) -> None:
        """Replace before you retire: the new one serves, then the old one drains."""
        old = self._serving
        self._serving, self._starting = generation, None
        self._is_announced = False
        self._young_deaths = 0
        self._due.clear()
        self._commands.append(Prefer(generation))
        for child in self._of(generation):
            if child.state is ChildState.READY:
                self._serve(child)
        if old is not None:
            for child in self._of(old):
                self._retire(child, now)
        self._announce(now)

    def _announce(self, now: float) -> None:
        """Say that a generation serves when it alone does: no older worker accepts any more."""
        if not self._is_announced and not self._accepting:
            self._is_announced = True
            self._commands.append(Promoted(self.generation))
            self._reload_if_wanted(now)

    def _retire(self, child: Child, now: float) -> None:
        if child.state is ChildState.STARTING:
            self._commands.append(Kill(child.worker))
        else:
            self._commands.append(Drain(child.worker))
            self._accepting.add(child.worker)
        child.state = ChildState.DRAINING
        child.deadline = now + self._drain_timeout

    def _give_up(self, generation: int, summary: str, traceback: str, now: float) -> None:
        self._starting = None
        for child in self._of(generation):
            child.state = ChildState.DRAINING
            self._commands.append(Kill(child.worker))
        self._commands.append(GenerationFailed(generation, summary, traceback))
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

    # --- workers --------------------------------------------------------------------------------

    def _start(self, generation: int, now: float, *, first: bool) -> None:
        worker = self._next_worker
        self._next_worker += 1
        self._children[worker] = Child(worker, generation, first, now)
        self._commands.append(StartWorker(worker, generation, first))

    def _serve(self, child: Child) -> None:
        child.state = ChildState.SERVING
        self._commands.append(Serve(child.worker))

    def _schedule_replacement(self, child: Child, now: float) -> None:
        self._young_deaths = self._young_deaths + 1 if now - child.started < YOUNG else 0
        if self._young_deaths <= 1:
            self._start(child.generation, now, first=False)
            return
        doublings = min(self._young_deaths - 2, DOUBLINGS)
        self._due.append(now + min(BACK_OFF_FIRST * 2.0**doublings, BACK_OFF_MOST))

    def _of(self, generation: int) -> list[Child]:
        return [child for child in self.children if child.generation == generation]

    def _exit_if_alone(self) -> None:
        if not self._children and not self._has_exited:
            self._has_exited = True
            self._commands.append(Exit(self._status))


def _describe(status: int) -> str:
    return f"signal {-status}" if status < 0 else f"exit status {status}"
