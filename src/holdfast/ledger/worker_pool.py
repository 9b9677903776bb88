"""The workers, and which of them gets the next delivery.

Pure. The ledger tells it who came, went or stood still, and asks it to choose.

A delivery goes to the worker that had the connection last, unless that one is much busier than
the least busy: moving costs nothing but cache warmth.
"""

from __future__ import annotations

import sys
from enum import IntEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from holdfast.wire.messages import Delivery

# A worker may have this many deliveries in flight more than the least busy one before a
# connection leaves it.
SLACK = 32


class WorkerState(IntEnum):
    """ready → draining → gone; ready, with the wrong generation, gets nothing either."""

    READY = 0
    DRAINING = 1
    GONE = 2


class Worker:
    """What the ledger knows of one worker."""

    __slots__ = (
        "acks", "acks_before", "deliveries", "generation", "has_suspect", "is_blocked",
        "is_probed", "is_serving", "load", "number", "state", "welcome",
    )  # fmt: skip

    def __init__(self, number: int, generation: int) -> None:
        self.number = number
        self.generation = generation
        self.state = WorkerState.READY
        # Ready and of the preferred generation.
        self.is_serving = False
        # Below this load it gets another delivery of its connections without comparing it with
        # the others; 0 while it serves not at all. Kept, because it is asked for per message.
        self.welcome = 0
        self.load = 0  # deliveries in flight
        self.acks = 0  # acknowledgements seen
        self.acks_before = 0  # at the last tick
        # A Probe was sent and not answered yet; for longer than a tick: its loop stands.
        self.is_probed = False
        self.is_blocked = False
        # A delivery is in flight there that will not be attempted again.
        self.has_suspect = False
        # What this turn has for it, already part of a DeliverTo.
        self.deliveries: list[Delivery] | None = None

    def __repr__(self) -> str:
        return (
            f"<Worker {self.number} generation {self.generation} "
            f"{self.state.name.lower()} load {self.load}>"
        )


READY = WorkerState.READY


class WorkerPool:
    """All workers that the keeper knows."""

    def __init__(self) -> None:
        self.generation = 0
        """The preferred one; only its workers get deliveries."""
        self.serving: list[Worker] = []
        """Those that may get deliveries; kept because it is asked for often."""
        self._workers: dict[int, Worker] = {}
        # Those that are more welcome than usual until the end of this turn.
        self._compared: list[Worker] = []

    def get(self, number: int) -> Worker | None:
        return self._workers.get(number)

    def add(self, worker: Worker) -> None:
        self._workers[worker.number] = worker
        self.refresh()

    def remove(self, worker: Worker) -> bool:
        """Forget a worker; False if it was not there."""
        is_known = self._workers.pop(worker.number, None) is worker
        worker.is_serving = False
        worker.welcome = 0
        self.refresh()
        return is_known

    def prefer(self, generation: int) -> list[Worker]:
        """Prefer a generation from now on; return the older workers that were ready."""
        self.generation = max(generation, self.generation)
        return [
            worker
            for worker in self._workers.values()
            if worker.generation < self.generation and worker.state is READY
        ]

    def refresh(self) -> None:
        """Find out who may get deliveries now."""
        self._compared.clear()
        current = [
            worker
            for worker in self._workers.values()
            if worker.generation == self.generation and worker.state is READY
        ]
        # Better to a worker whose loop stands than to nobody: it may turn again.
        self.serving = [worker for worker in current if not worker.is_blocked] or current
        for worker in self._workers.values():
            worker.is_serving = worker in self.serving
            worker.welcome = SLACK if worker.is_serving else 0
        if len(self.serving) == 1:
            self.serving[0].welcome = sys.maxsize

    def end_turn(self) -> None:
        """Nothing of this turn is of interest any more."""
        for worker in self._workers.values():
            worker.deliveries = None
        for worker in self._compared:
            worker.welcome = SLACK
        self._compared.clear()

    # --- choosing -------------------------------------------------------------------------------

    def choose(self, last: Worker | None) -> Worker | None:
        """Return who gets a delivery whose connection was at `last`; None if nobody serves."""
        if not self.serving:
            return None
        least = min(self.serving, key=_load)
        if last is None or not last.is_serving or last.load > least.load + SLACK:
            # Last in line from now on: after a reload, idle workers share those who move.
            self.serving.remove(least)
            self.serving.append(least)
            return least
        # Compared with the others it is well enough off for the rest of this turn.
        last.welcome = least.load + SLACK
        self._compared.append(last)
        return last

    def choose_for_suspect(self) -> Worker | None:
        """Return who gets a last attempt: one that has no other in hand. None if all have."""
        free: Iterable[Worker] = (worker for worker in self.serving if not worker.has_suspect)
        return min(free, key=_load, default=None)

    # --- loops that stand -----------------------------------------------------------------------

    def find_silent(self) -> list[Worker]:
        """Return those to probe; from now on, those that did not answer the last one get nothing.

        To be called a few times a second.
        """
        silent, has_changed = [], False
        for worker in self._workers.values():
            # One that has acknowledged anything since the last time needs no probe.
            is_silent = worker.load > 0 and worker.acks == worker.acks_before
            is_blocked = is_silent and worker.is_probed
            if is_silent and not is_blocked:
                silent.append(worker)
            has_changed |= is_blocked != worker.is_blocked
            worker.is_blocked = is_blocked
            worker.is_probed = is_silent
            worker.acks_before = worker.acks
        if has_changed:
            self.refresh()
        return silent


def _load(worker: Worker) -> int:
    return worker.load
