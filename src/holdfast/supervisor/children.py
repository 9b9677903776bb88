"""Child processes: started by module name, spoken to over control links, reaped.

Shell. Private.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from holdfast.config import KeeperSettings, WorkerSettings, to_json
from holdfast.process.control import ControlLink, control_pair
from holdfast.wire import control

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Sequence

# What the kernel may keep on the way from keeper to worker: the most that gets through in one turn
# of theirs. Who asks gets 416 KiB at least, who does not 208. Not on the way back: what a worker
# sends to a client that does not read must not be far ahead of being told so.
STREAM_BUFFER = 1024 * 1024  # bytes


@dataclass(slots=True)
class KeeperProcess:
    process: subprocess.Popen[bytes]
    link: ControlLink[control.FromKeeper]
    is_lost: bool = False


@dataclass(slots=True)
class WorkerProcess:
    process: subprocess.Popen[bytes]
    link: ControlLink[control.FromWorker]
    # Its end was asked for, or its reason is in the log: no line about it when it comes.
    is_accounted_for: bool = False


@dataclass(slots=True)
class Processes:
    """The processes of one server; workers by number."""

    keeper: KeeperProcess
    workers: dict[int, WorkerProcess]


def start_keeper(
    settings: KeeperSettings,
    loop: asyncio.AbstractEventLoop,
    on_message: Callable[[control.FromKeeper], None],
) -> KeeperProcess:
    """Start a keeper. Its `control_fd` is set here."""
    ours, theirs = control_pair()
    settings = replace(settings, control_fd=theirs.fileno())
    # -O: its assertions are for tests and readers, and some are on the way of every message.
    process = _spawn("holdfast.keeper.process", to_json(settings), [theirs.fileno()], "-O")
    theirs.close()
    link: ControlLink[control.FromKeeper] = ControlLink(
        ours,
        control.FromKeeper,
        loop,
        on_message=lambda message, _: on_message(message),
        on_lost=_nothing,
    )
    return KeeperProcess(process, link)


def start_worker(
    settings: WorkerSettings,
    loop: asyncio.AbstractEventLoop,
    keeper: KeeperProcess,
    on_message: Callable[[control.FromWorker], None],
) -> WorkerProcess:
    """Start a worker and give the keeper its ends of their links. The descriptors of the links
    are set here.
    """
    ours, theirs = control_pair()
    stream, handover = _join(settings.worker, settings.generation, keeper)
    settings = replace(
        settings,
        control_fd=theirs.fileno(),
        stream_fd=stream.fileno(),
        handover_fd=handover.fileno(),
    )
    inherited = [theirs, stream, handover]
    fds = [end.fileno() for end in inherited]
    if settings.listen_fd >= 0:
        fds.append(settings.listen_fd)
    process = _spawn("holdfast.worker.process", to_json(settings), fds)
    for end in inherited:
        end.close()
    link: ControlLink[control.FromWorker] = ControlLink(
        ours,
        control.FromWorker,
        loop,
        on_message=lambda message, _: on_message(message),
        on_lost=_nothing,
    )
    return WorkerProcess(process, link)


def connect(number: int, generation: int, worker: WorkerProcess, keeper: KeeperProcess) -> None:
    """Give a living worker links to another keeper."""
    ends = _join(number, generation, keeper)
    worker.link.send(control.Connect(), [end.fileno() for end in ends])
    for end in ends:
        end.close()


def _join(
    worker: int, generation: int, keeper: KeeperProcess
) -> tuple[socket.socket, socket.socket]:
    """Give the keeper its ends of two new links; return the worker's: stream and handover."""
    keeper_stream, worker_stream = socket.socketpair()
    keeper_stream.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, STREAM_BUFFER)
    keeper_handover, worker_handover = control_pair()
    fds = [keeper_stream.fileno(), keeper_handover.fileno()]
    keeper.link.send(control.AddWorker(worker, generation), fds)
    keeper_stream.close()
    keeper_handover.close()
    return worker_stream, worker_handover


def kill(child: KeeperProcess | WorkerProcess) -> None:
    child.process.send_signal(signal.SIGKILL)


def await_exit(child: KeeperProcess | WorkerProcess, timeout: float) -> None:
    """Return when a process has ended; kill it if it has not within `timeout` seconds. Blocks."""
    try:
        child.process.wait(timeout)
    except subprocess.TimeoutExpired:
        kill(child)


def describe_exit(status: int) -> str:
    """Say how a process ended, to complete "it …". Below 0, the status is that of a signal."""
    if status >= 0:
        return f"ended with exit status {status}"
    try:
        return f"was killed by {signal.Signals(-status).name}"
    except ValueError:
        return f"was killed by signal {-status}"


def _spawn(
    module: str, settings: str, fds: Sequence[int], *options: str
) -> subprocess.Popen[bytes]:
    # A fresh interpreter, never a fork of this one: nothing of the application's ever gets into
    # the supervisor, and nothing of the supervisor's into a worker.
    return subprocess.Popen(
        [sys.executable, *options, "-m", module, settings, str(os.getpid())],
        stdin=subprocess.DEVNULL,
        pass_fds=fds,
    )


def _nothing() -> None:
    """The end of a process is learnt from the kernel (SIGCHLD), which also knows its status."""
