"""The stages of a server, from its start to its end.

Pure. `supervisor/policy.py` and its parts tell facts; the table says what comes next.

A server is starting until its first generation serves. If that one fails, there is nothing to fall
back on, and the server ends by itself. A server that serves falls asleep when all its workers are
idle, wakes up when something waits for a worker, and serves again as soon as a worker is there.

A stop closes all connections first, which needs workers for the close events. When the last
connection is gone the workers drain, and when the last worker is gone the server has stopped.
Before anything serves there are no connections to close.
"""

from __future__ import annotations

from enum import Enum, auto


class ServerStage(Enum):
    STARTING = "starting"
    SERVING = "serving"
    ASLEEP = "asleep"
    WAKING = "waking"
    FAILED = "failed"
    CLOSING = "closing"
    DRAINING = "draining"
    STOPPED = "stopped"


class ServerFact(Enum):
    PROMOTED = auto()  # a generation serves
    FAILED = auto()  # a generation was given up
    ALL_IDLE = auto()  # the workers that are too many leave
    WORK_WAITS = auto()
    WORKER_SERVES = auto()
    STOP = auto()
    CONNECTIONS_CLOSED = auto()
    NO_WORKERS = auto()


_Stage, _Fact = ServerStage, ServerFact

# What is not in here changes nothing.
STAGES: dict[tuple[ServerStage, ServerFact], ServerStage] = {
    (_Stage.STARTING, _Fact.PROMOTED): _Stage.SERVING,
    (_Stage.STARTING, _Fact.FAILED): _Stage.FAILED,
    (_Stage.STARTING, _Fact.STOP): _Stage.DRAINING,
    (_Stage.SERVING, _Fact.ALL_IDLE): _Stage.ASLEEP,
    (_Stage.SERVING, _Fact.STOP): _Stage.CLOSING,
    (_Stage.ASLEEP, _Fact.WORK_WAITS): _Stage.WAKING,
    (_Stage.ASLEEP, _Fact.PROMOTED): _Stage.SERVING,
    (_Stage.ASLEEP, _Fact.STOP): _Stage.CLOSING,
    (_Stage.WAKING, _Fact.WORKER_SERVES): _Stage.SERVING,
    (_Stage.WAKING, _Fact.PROMOTED): _Stage.SERVING,
    (_Stage.WAKING, _Fact.STOP): _Stage.CLOSING,
    (_Stage.FAILED, _Fact.NO_WORKERS): _Stage.STOPPED,
    (_Stage.CLOSING, _Fact.CONNECTIONS_CLOSED): _Stage.DRAINING,
    (_Stage.CLOSING, _Fact.NO_WORKERS): _Stage.STOPPED,
    (_Stage.DRAINING, _Fact.NO_WORKERS): _Stage.STOPPED,
}


STOPPING = (_Stage.FAILED, _Stage.CLOSING, _Stage.DRAINING, _Stage.STOPPED)


class ServerStages:
    """At which stage a server is."""

    def __init__(self) -> None:
        self.stage = ServerStage.STARTING

    def tell(self, fact: ServerFact) -> bool:
        """Go where the fact leads; return False if it changes nothing at this stage."""
        after = STAGES.get((self.stage, fact))
        self.stage = after or self.stage
        return after is not None

    @property
    def is_asleep(self) -> bool:
        return self.stage is ServerStage.ASLEEP

    @property
    def is_waking(self) -> bool:
        return self.stage is ServerStage.WAKING

    @property
    def is_stopping(self) -> bool:
        """True from the stop on, or from when there was nothing to serve with."""
        return self.stage in STOPPING
