"""A worker as the keeper sees it.

Pure. `ledger/ledger.py` alone changes what is in here.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from holdfast.wire.messages import Delivery


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
