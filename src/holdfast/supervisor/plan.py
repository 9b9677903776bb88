"""What there should be, and what there is: the values that the policy works with.

Pure. `supervisor/policy.py` and its parts alone change what is in here.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class ChildState(Enum):
    """starting → ready → serving → draining → gone; from each of them, gone."""

    STARTING = "starting"
    READY = "ready"
    SERVING = "serving"
    RETIRING = "retiring"  # it serves, and drains when another serves in its place
    DRAINING = "draining"


@dataclass(frozen=True, slots=True)
class Plan:
    """What there should be.

    Args:
        workers: how many a generation has.
        min_workers: how many of them stay when all are idle.
        spares: how many more are loaded and wait.
        start_timeout: seconds a worker may take to get ready.
        drain_timeout: seconds a worker may take to finish.
        blocked_timeout: seconds a worker's loop may not turn; 0 for any time.
    """

    workers: int
    min_workers: int
    spares: int
    start_timeout: float
    drain_timeout: float
    blocked_timeout: float


@dataclass(slots=True)
class Child:
    """A worker as the supervisor sees it."""

    worker: int
    generation: int
    first: bool
    spare: bool
    started: float
    state: ChildState = ChildState.STARTING
    deadline: float | None = None  # when a starting or draining worker is killed
    is_idle: bool = False
    accepts: bool = False  # it drains, and has not said yet that it accepts nothing more
    ask_at: float = 0.0  # when it is asked next
    answered: float = 0.0  # when it answered last

    @property
    def serves(self) -> bool:
        return self.state in (ChildState.SERVING, ChildState.RETIRING)

    @property
    def is_leaving(self) -> bool:
        return self.state is ChildState.DRAINING
