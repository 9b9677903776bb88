"""The ends of a worker: what joins it to its supervisor, to the keeper, and to whoever requests.

Shell. Private. A worker's life (`worker/runtime.py`) is one for all hosts; these are what differs.
In a process of its own the ends are sockets, inherited from the supervisor (`InheritedEnds`).
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Protocol

from holdfast.process.control import ControlLink
from holdfast.wire import control
from holdfast.worker.handover import HandoverLink
from holdfast.worker.stream_link import StreamLink

if TYPE_CHECKING:
    import asyncio

    from holdfast.config import WorkerSettings
    from holdfast.http.asgi import HttpSide
    from holdfast.worker.handover import Descriptors
    from holdfast.worker.stream_link import Link


class Requests(Protocol):
    """Where requests come from: a listening socket, or a test."""

    async def start(self, side: HttpSide, /) -> None:
        """Bring requests from now on."""

    def count(self, limit: str, /) -> None:
        """A request was refused, or broken off, for the limit of this name."""

    def stop_accepting(self, *, lingers: bool) -> None:
        """Bring no more.

        Args:
            lingers: whether connections that are kept alive get one more answer: others take over
                from this worker.
        """

    async def finish(self) -> None:
        """Return when all requests have been answered. Call `stop_accepting` first."""


class Control(Protocol):
    """The way to the supervisor."""

    def send(self, message: control.FromWorker, /) -> None: ...


class Obedient(Protocol):
    """Who takes a supervisor's orders."""

    def obey(self, message: control.ToWorker, fds: list[int], /) -> None: ...
    def lose_supervisor(self) -> None: ...


class Ends(Protocol):
    """What joins a worker to its supervisor and to the keeper."""

    @property
    def link(self) -> Link: ...

    @property
    def descriptors(self) -> Descriptors: ...

    def join_supervisor(self, worker: Obedient, /) -> Control:
        """Have the worker told what the supervisor says; return the way back."""

    async def join_other_keeper(self, stream_fd: int, handover_fd: int, /) -> None:
        """Go on with a keeper that came in the place of the one before."""


class InheritedEnds:
    """Three sockets that the supervisor has made and that lead out of this process."""

    def __init__(self, settings: WorkerSettings, loop: asyncio.AbstractEventLoop) -> None:
        self._control = socket.socket(fileno=settings.control_fd)
        self._loop = loop
        self.link = StreamLink(settings.stream_fd, loop)
        self.descriptors = HandoverLink(settings.handover_fd, loop)

    def join_supervisor(self, worker: Obedient, /) -> Control:
        return ControlLink(
            self._control,
            control.ToWorker,
            self._loop,
            on_message=worker.obey,
            on_lost=worker.lose_supervisor,
        )

    async def join_other_keeper(self, stream_fd: int, handover_fd: int, /) -> None:
        await self.descriptors.open(handover_fd)
        self.link.open(stream_fd)
