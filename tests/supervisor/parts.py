"""The parts of a policy, for the tests of each."""

from __future__ import annotations

from holdfast.supervisor.plan import Child, ChildState, Plan
from holdfast.supervisor.policy import Policy

START_TIMEOUT = 120.0
DRAIN_TIMEOUT = 30.0


class Parts:
    """The first worker is 1, and so is the first generation."""

    def __init__(
        self,
        workers: int = 2,
        *,
        min_workers: int | None = None,
        spares: int = 0,
        blocked: float = 0.0,
    ) -> None:
        least = workers if min_workers is None else min_workers
        plan = Plan(workers, least, spares, START_TIMEOUT, DRAIN_TIMEOUT, blocked)
        policy = Policy(plan, first_worker=1)
        self.server = policy.server
        self.workers = policy.workers
        self.serving = policy.serving
        self.reload = policy.reload
        self.taken = policy.take_commands

    def serve(self, generation: int = 1) -> None:
        """Have a generation serve with all its workers, spares included."""
        if not self.workers.of(generation):
            self.workers.start(generation, 0.0)
        for child in self.workers.of(generation):
            self.workers.note_ready(child, 0.0)
        self.serving.take_over(generation)
        self.serving.fill(0.0)
        while starting := self.of_state(ChildState.STARTING):
            self.workers.note_ready(self.child(starting[0]), 0.0)
            self.serving.worker_ready(self.child(starting[0]), 0.0)
        self.taken()

    def child(self, worker: int) -> Child:
        child = self.workers.get(worker)
        assert child is not None
        return child

    def of_state(self, state: ChildState) -> list[int]:
        return [child.worker for child in self.workers.all() if child.state is state]
