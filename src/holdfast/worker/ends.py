"""A worker's ends of what joins it to its supervisor and to the keeper.

Shell. Private. In a process of its own they are sockets, inherited from the supervisor
(`InheritedEnds`). Direct mode brings others (`inprocess/ends.py`).
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
    from collections.abc import Callable

    from holdfast.config import WorkerSettings
    from holdfast.wire import messages as wire
    from holdfast.worker.handover import SocketTaker
    from holdfast.worker.stream_link import Link


class Control(Protocol):
    """The way to the supervisor."""

    def send(self, message: control.FromWorker, /) -> None: ...


class Ends(Protocol):
    """Where a worker gets its ends from; each is asked for once, in this order."""

    def join_supervisor(
        self, on_message: Callable[[control.ToWorker, list[int]], None], on_lost: Callable[[], None]
    ) -> Control: ...

    def join_keeper(
        self,
        on_messages: Callable[[list[wire.ToWorker]], None],
        on_lost: Callable[[str], None],
    ) -> Link: ...

    def handover(self, leaving: list[wire.Action]) -> SocketTaker:
        """Return what gives sockets to the keeper.

        Args:
            leaving: where actions go from events that have ended.
        """

    async def join_other_keeper(self, stream_fd: int, handover_fd: int) -> None:
        """Go on with a keeper that came in the place of the one before."""


class InheritedEnds:
    """Three sockets that the supervisor has made and that lead out of this process."""

    def __init__(self, settings: WorkerSettings, loop: asyncio.AbstractEventLoop) -> None:
        self._settings = settings
        self._loop = loop
        self._stream: StreamLink | None = None
        self._handover: HandoverLink | None = None

    def join_supervisor(
        self, on_message: Callable[[control.ToWorker, list[int]], None], on_lost: Callable[[], None]
    ) -> Control:
        return ControlLink(
            socket.socket(fileno=self._settings.control_fd),
            control.ToWorker,
            self._loop,
            on_message=on_message,
            on_lost=on_lost,
        )

    def join_keeper(
        self,
        on_messages: Callable[[list[wire.ToWorker]], None],
        on_lost: Callable[[str], None],
    ) -> Link:
        self._stream = StreamLink(
            self._settings.stream_fd, self._loop, on_messages=on_messages, on_lost=on_lost
        )
        return self._stream

    def handover(self, leaving: list[wire.Action]) -> SocketTaker:
        assert self._stream is not None
        self._handover = HandoverLink(self._settings.handover_fd, self._stream, leaving, self._loop)
        return self._handover

    async def join_other_keeper(self, stream_fd: int, handover_fd: int) -> None:
        assert self._handover is not None
        assert self._stream is not None
        await self._handover.open(handover_fd)
        self._stream.open(stream_fd)
