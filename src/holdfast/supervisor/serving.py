"""The generation that serves: how many workers it has.

Pure. Part of `supervisor/policy.py`.

1. It has as many workers as wanted, and spares beside them, which are loaded but take nothing. A
   worker that dies is replaced at once, by a spare if there is one; while workers keep dying
   young, replacements come later and later.
2. A worker that asks to be replaced drains when its replacement serves.
3. When all its workers are idle it keeps `min_workers` of them, or none. Then it sleeps, until
   something waits for a worker. The first worker after a sleep starts alone, and the others when
   that one serves.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast.supervisor import commands as do
from holdfast.supervisor.back_off import BackOff
from holdfast.supervisor.plan import ChildState
from holdfast.supervisor.stage import ServerFact
from holdfast.wire import control

if TYPE_CHECKING:
    from holdfast.supervisor.plan import Child, Plan
    from holdfast.supervisor.stage import ServerStages
    from holdfast.supervisor.workers import WorkerTable


class ServingGeneration:
    """Keeps as many workers serving as there should be."""

    def __init__(
        self, plan: Plan, workers: WorkerTable, server: ServerStages, commands: list[do.Command]
    ) -> None:
        self.number = 0
        """The generation that serves; 0 while none does."""
        self.back_off = BackOff()
        self._plan = plan
        self._workers = workers
        self._server = server
        self._commands = commands

    def children(self) -> list[Child]:
        """All its workers, spares and those that leave included."""
        return self._workers.of(self.number)

    # --- facts ----------------------------------------------------------------------------------

    def take_over(self, generation: int) -> None:
        """Serve with this generation from now on."""
        self.number = generation
        self.back_off.forget()
        if self._server.is_asleep:
            self._watch(on=False)
        self._server.tell(ServerFact.PROMOTED)
        self._commands.append(do.TellKeeper(control.Prefer(generation)))
        for child in self.children():
            if child.state is ChildState.READY:
                self._workers.serve(child)

    def worker_ready(self, child: Child, now: float) -> None:
        if child.spare:
            return
        self._server.tell(ServerFact.WORKER_SERVES)
        self._workers.serve(child)
        self._relieve(now)
        self.fill(now)

    def worker_lost(self, child: Child, now: float) -> None:
        self.back_off.note_death(now - child.started, now)
        self._replace(now)

    def worker_retiring(self, child: Child, now: float) -> None:
        child.state = ChildState.RETIRING
        self._replace(now)

    def sleep_if_idle(self, now: float) -> None:
        """Let those go that are too many, if nobody has anything to do."""
        present = self._present()
        surplus = len(present) - self._plan.min_workers
        if surplus <= 0 or not all(child.is_idle for child in present):
            return
        if self._server.tell(ServerFact.ALL_IDLE):
            self.back_off.forget()
            for child in [*present[:surplus], *self._spares()]:
                self._drain(child, now)
            self._watch(on=True)

    def work_waits(self, now: float) -> None:
        if self._server.tell(ServerFact.WORK_WAITS):
            self._watch(on=False)
            if self._present():
                self._server.tell(ServerFact.WORKER_SERVES)
            self.fill(now)

    def fill(self, now: float) -> None:
        """Start what is missing, as soon as the back-off lets it."""
        if not self.number or self._server.is_stopping or not self.back_off.is_over(now):
            return
        # The first one after a sleep is there soonest if no other starts beside it.
        wanted = 1 if self._server.is_waking else self._wanted()
        for _ in range(wanted - len(self._present())):
            self._workers.start(self.number, now)
        if not (self._server.is_asleep or self._server.is_waking):
            for _ in range(self._plan.spares - len(self._spares())):
                self._workers.start(self.number, now, spare=True)

    # --- what follows ---------------------------------------------------------------------------

    def _wanted(self) -> int:
        return self._plan.min_workers if self._server.is_asleep else self._plan.workers

    def _present(self) -> list[Child]:
        """Those that start included, without spares and those that leave or are to leave."""
        gone = (ChildState.RETIRING, ChildState.DRAINING)
        return [child for child in self.children() if not (child.spare or child.state in gone)]

    def _spares(self) -> list[Child]:
        return [child for child in self.children() if child.spare and not child.is_leaving]

    def _replace(self, now: float) -> None:
        """Let a spare take the place of a worker that is gone, or goes; start what is missing."""
        spares = self._spares()
        if spares and len(self._present()) < self._wanted():
            # A ready one, if there is one, before one that starts.
            spare = min(spares, key=lambda child: child.state is ChildState.STARTING)
            spare.spare = False
            if spare.state is ChildState.READY:
                self._workers.serve(spare)
                self._relieve(now)
        self.fill(now)

    def _relieve(self, now: float) -> None:
        """Let those go who want to, as far as others serve in their place."""
        serving = [child for child in self.children() if child.serves]
        retiring = [child for child in serving if child.state is ChildState.RETIRING]
        for child in retiring[: max(len(serving) - self._wanted(), 0)]:
            self._drain(child, now)

    def _drain(self, child: Child, now: float) -> None:
        """The keeper has to be told as well: it prefers this generation."""
        self._commands.append(do.TellKeeper(control.DrainWorker(child.worker)))
        self._workers.drain(child, now)

    def _watch(self, *, on: bool) -> None:
        """While nobody serves, look for requests."""
        if not self._plan.min_workers:
            self._commands.append(do.Watch(on=on))
