"""From one generation to the next.

Pure. Part of `supervisor/policy.py`.

A generation is starting → serving → draining → gone. It begins with one worker, which runs install
and activate; the others start when that one is ready. The first generation of a server serves as
soon as its first worker is ready. A later one serves when all its workers are, and only then is
the one before it drained. A reload is through when no worker of an older generation accepts any
more; a reload that is asked for in the meantime waits, and several of them count as one.

A generation that fails while it starts is given up, and the one that serves goes on. A generation
fails when its application cannot be started, when two of its workers die before they are ready, or
when its first worker takes too long.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import TYPE_CHECKING

from holdfast.supervisor import commands as do
from holdfast.supervisor.plan import ChildState
from holdfast.supervisor.stage import ServerFact

if TYPE_CHECKING:
    from holdfast.supervisor.plan import Child, Plan
    from holdfast.supervisor.serving import ServingGeneration
    from holdfast.supervisor.stage import ServerStages
    from holdfast.supervisor.workers import WorkerTable

# Deaths before ready that end a starting generation: one may be bad luck.
DEATHS_ALLOWED = 1


class ReloadStage(Enum):
    """none → starting → replacing → none; from starting also none, when the generation fails."""

    NONE = auto()
    STARTING = auto()  # the next generation is not there yet
    REPLACING = auto()  # it serves, but older workers accept requests as well


class Reload:
    """Starts generations one after the other."""

    def __init__(
        self,
        plan: Plan,
        workers: WorkerTable,
        serving: ServingGeneration,
        server: ServerStages,
        commands: list[do.Command],
    ) -> None:
        self._plan = plan
        self._workers = workers
        self._serving = serving
        self._server = server
        self._commands = commands
        self._stage = ReloadStage.NONE
        self._last = 0  # the youngest generation; numbers do not come again
        self._deaths = 0  # of its workers, before they were ready
        self._is_wanted = False

    @property
    def next_generation(self) -> int:
        return self._last + 1

    @property
    def is_starting(self) -> bool:
        return self._stage is ReloadStage.STARTING

    def starts(self, child: Child) -> bool:
        """Tell whether this worker is of the generation that starts."""
        return self.is_starting and child.generation == self._last

    def request(self, now: float) -> int:
        """Start the next generation as soon as may be; return its number."""
        answer = self.next_generation
        self._is_wanted = True
        self._begin_if_wanted(now)
        return answer

    # --- facts about the generation that starts -------------------------------------------------

    def worker_ready(self, child: Child, now: float) -> None:
        if child.first:
            for _ in range(self._plan.workers - 1):
                self._workers.start(self._last, now)
        of_it = self._workers.of(self._last)
        ready = [each for each in of_it if each.state is ChildState.READY]
        if not self._serving.number or len(ready) >= self._plan.workers:
            self._promote(now)

    def worker_lost(self, child: Child, status: int, now: float) -> None:
        self._deaths += 1
        if self._deaths > DEATHS_ALLOWED:
            how = f"signal {-status}" if status < 0 else f"exit status {status}"
            self.give_up(f"a worker died before it was ready ({how})", "", now)
        else:
            # Install and activate run once: not again if this one had got past them.
            first = child.first and child.state is ChildState.STARTING
            self._workers.start(self._last, now, first=first)

    def worker_late(self, child: Child, now: float) -> None:
        """A worker is not ready in time. Without the first one there is no generation."""
        if child.first:
            timeout = self._plan.start_timeout
            self.give_up(f"its first worker was not ready within {timeout:g} s", "", now)
        else:
            self._workers.kill_overdue(child)

    def give_up(self, summary: str, traceback: str, now: float) -> None:
        """The generation has failed; the one that serves goes on."""
        self._stage = ReloadStage.NONE
        for child in self._workers.of(self._last):
            self._workers.give_up(child)
        self._commands.append(do.GenerationFailed(self._last, summary, traceback))
        self._server.tell(ServerFact.FAILED)
        self._begin_if_wanted(now)

    # --- what follows ---------------------------------------------------------------------------

    def finish_if_quiet(self, now: float) -> None:
        """A generation has replaced the one before when it alone accepts requests."""
        if self._stage is ReloadStage.REPLACING and self._workers.are_quiet:
            self._stage = ReloadStage.NONE
            self._commands.append(do.Promoted(self._serving.number))
            self._begin_if_wanted(now)

    def _begin_if_wanted(self, now: float) -> None:
        is_free = self._stage is ReloadStage.NONE and not self._server.is_stopping
        if self._is_wanted and is_free:
            self._is_wanted = False
            self._stage = ReloadStage.STARTING
            self._last += 1
            self._deaths = 0
            self._workers.start(self._last, now, first=True)

    def _promote(self, now: float) -> None:
        """Replace before you retire: the new generation serves, then the old one drains."""
        old = self._serving.children()
        self._serving.take_over(self._last)
        self._stage = ReloadStage.REPLACING
        for child in old:
            if not child.is_leaving:
                self._workers.drain(child, now)
        self.finish_if_quiet(now)
        self._serving.fill(now)
