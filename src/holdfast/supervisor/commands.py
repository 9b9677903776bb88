"""What the policy asks its shell to do.

Pure. The shell runs them in order; a command about a process that is gone does nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

__all__ = [
    "Ask",
    "CloseConnections",
    "Command",
    "Connect",
    "Drain",
    "Exit",
    "GenerationFailed",
    "Kill",
    "Prefer",
    "Promoted",
    "Quiesce",
    "Retire",
    "Serve",
    "StartKeeper",
    "StartWorker",
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
class Connect:
    """Give a living worker new links, to a new keeper."""

    worker: int


@dataclass(frozen=True, slots=True)
class Serve:
    """Tell a worker to accept requests, and deliveries."""

    worker: int


@dataclass(frozen=True, slots=True)
class Prefer:
    """Tell the keeper which generation gets deliveries."""

    generation: int


@dataclass(frozen=True, slots=True)
class Retire:
    """Tell the keeper to deliver nothing new to this worker."""

    worker: int


@dataclass(frozen=True, slots=True)
class Quiesce:
    """Tell a worker to accept no more requests."""

    worker: int


@dataclass(frozen=True, slots=True)
class Drain:
    """Tell a worker to finish and leave."""

    worker: int


@dataclass(frozen=True, slots=True)
class Ask:
    """Ask a worker whether its loop still turns."""

    worker: int


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
    | StartKeeper
    | Connect
    | Serve
    | Prefer
    | Retire
    | Quiesce
    | Drain
    | Ask
    | Kill
    | Watch
    | CloseConnections
    | Promoted
    | GenerationFailed
    | Exit
)
