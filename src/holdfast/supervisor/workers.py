"""All workers that there are, and what each of them is told.

Pure. Part of `supervisor/policy.py`.

A worker has `start_timeout` to get ready, and `drain_timeout` to leave after it was told to. One
that has no time left is killed. While it is ready or serves, it is asked every few seconds whether
its loop turns, and killed if it has not answered for `blocked_timeout`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast.supervisor import commands as do
from holdfast.supervisor.plan import Child, ChildState
from holdfast.wire import control
from holdfast.wire import messages as wire

if TYPE_CHECKING:
    from collections.abc import Iterator

    from holdfast.supervisor.plan import Plan

# How often a worker is asked whether its loop still turns.
ASK_EVERY = 5.0  # seconds


class WorkerTable:
    """The workers, in the order in which they were started.

    Args:
        first: the number of the first worker; later ones count up from it.
        commands: what is to be done is put in here.
    """

    def __init__(self, plan: Plan, first: int, commands: list[do.Command]) -> None:
        self._plan = plan
        self._next = first
        self._commands = commands
        self._children: dict[int, Child] = {}

    def all(self) -> list[Child]:
        return list(self._children.values())

    def get(self, worker: int) -> Child | None:
        return self._children.get(worker)

    def of(self, generation: int) -> list[Child]:
        return [child for child in self.all() if child.generation == generation]

    @property
    def are_quiet(self) -> bool:
        """True if no worker that drains accepts requests any more."""
        return not any(child.accepts for child in self.all())

    # --- the life of a worker -------------------------------------------------------------------

    def start(
        self, generation: int, now: float, *, first: bool = False, spare: bool = False
    ) -> Child:
        worker = self._next
        self._next += 1
        child = Child(worker, generation, first, spare, now)
        child.deadline = now + self._plan.start_timeout
        self._children[worker] = child
        self._commands.append(do.StartWorker(worker, generation, first, spare))
        return child

    def note_ready(self, child: Child, now: float) -> None:
        child.state = ChildState.READY
        child.answered = now
        child.ask_at = now + ASK_EVERY

    def serve(self, child: Child) -> None:
        child.state = ChildState.SERVING
        self._tell(child, control.Serve())

    def quiesce(self, child: Child, now: float) -> None:
        """Begin a stop: no more requests, and a limited time for what is left."""
        child.deadline = now + self._plan.drain_timeout
        if child.state is ChildState.STARTING:
            # It may still say that it is ready, and must not start others then.
            self.kill(child)
            child.state = ChildState.DRAINING
        else:
            self._tell(child, control.Quiesce())

    def drain(self, child: Child, now: float) -> None:
        """Replace a worker: it has the drain timeout to leave."""
        child.accepts = child.state is not ChildState.STARTING
        child.deadline = now + self._plan.drain_timeout
        self.drain_at_last(child)

    def drain_at_last(self, child: Child) -> None:
        """End a stop: the time that is left is that of the stop."""
        if child.state is ChildState.STARTING:
            self.kill(child)
        elif not child.is_leaving:
            self._tell(child, control.Drain())
        child.state = ChildState.DRAINING

    def give_up(self, child: Child) -> None:
        """Kill a worker whose generation has failed."""
        child.state = ChildState.DRAINING
        child.deadline = None
        self.kill(child)

    def kill(self, child: Child, why: str = "") -> None:
        self._commands.append(do.Kill(child.worker, why))

    def remove(self, worker: int) -> Child | None:
        """A worker has exited; return what it was, or None if it is not known."""
        return self._children.pop(worker, None)

    # --- time -----------------------------------------------------------------------------------

    def take_overdue(self, now: float) -> Iterator[Child]:
        """Yield each worker that is out of time, once."""
        for child in self.all():
            if child.deadline is not None and child.deadline <= now:
                child.deadline = None
                yield child

    def kill_overdue(self, child: Child) -> None:
        if child.state is ChildState.STARTING:
            self.kill(child, f"it was not ready within {self._plan.start_timeout:g} s")
        else:
            self.kill(child, f"it has not finished within {self._plan.drain_timeout:g} s")

    def ask(self, now: float) -> None:
        """Ask each whose turn it is whether its loop turns; kill it if it has not for too long."""
        for child in self._asked():
            if child.ask_at <= now:
                self._ask(child, now)

    def next_deadline(self) -> list[float]:
        return [child.deadline for child in self.all() if child.deadline is not None]

    def next_question(self) -> list[float]:
        return [child.ask_at for child in self._asked()]

    def _ask(self, child: Child, now: float) -> None:
        silent = now - child.answered
        # It had the whole time, and one question more.
        if silent >= self._plan.blocked_timeout + ASK_EVERY:
            self.kill(child, f"its loop has stood for {silent:.0f} s")
        self._tell(child, wire.Probe())
        child.ask_at = now + ASK_EVERY

    def _asked(self) -> list[Child]:
        """The workers whose loops have to turn; of those that leave, their time is limited."""
        if not self._plan.blocked_timeout:
            return []
        return [child for child in self.all() if child.serves or child.state is ChildState.READY]

    def _tell(self, child: Child, message: control.ToWorker) -> None:
        self._commands.append(do.TellWorker(child.worker, message))
