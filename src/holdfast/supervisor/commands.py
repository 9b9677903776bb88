"""What the policy asks its shell to do.

Pure. The shell runs them in order; a command about a process that is gone does nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from holdfast.wire import control

__all__ = [
    "Command",
    "ConnectWorker",
    "Exit",
    "GenerationFailed",
    "Kill",
    "Promoted",
    "StartKeeper",
    "StartWorker",
    "StopListening",
    "TellKeeper",
    "TellWorker",
    "Watch",
]


@dataclass(frozen=True, slots=True)
class StartWorker:
    """Start a worker process.

    `first`: it runs install and activate for its generation. `spare`: it takes deliveries only
    when it is told to serve.
    """

    worker: int
    generation: int
    first: bool
    spare: bool = False


@dataclass(frozen=True, slots=True)
class StartKeeper:
    """Start another keeper; the one before has died."""


@dataclass(frozen=True, slots=True)
class ConnectWorker:
    """Give a living worker new links, to a new keeper."""

    worker: int


@dataclass(frozen=True, slots=True)
class TellWorker:
    """Send a message to a worker."""

    worker: int
    message: control.ToWorker


@dataclass(frozen=True, slots=True)
class TellKeeper:
    """Send a message to the keeper."""

    message: control.ToKeeper


@dataclass(frozen=True, slots=True)
class Kill:
    """End a worker. `why` is to be logged, unless it is empty: then it was to be expected."""

    worker: int
    why: str = ""


@dataclass(frozen=True, slots=True)
class Watch:
    """No worker accepts requests: say when one waits. Or, if not `on`, look no more."""

    on: bool


@dataclass(frozen=True, slots=True)
class StopListening:
    """Close the supervisor's own copy of the listening socket."""


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
    | StartKeeper
    | ConnectWorker
    | TellWorker
    | TellKeeper
    | Kill
    | Watch
    | StopListening
    | Promoted
    | GenerationFailed
    | Exit
)
