"""A worker's ends, in the process of its keeper and of its supervisor: `worker/ends.py:Ends`.

Shell. Private.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from holdfast.http.asgi import HandoverUnavailable
from holdfast.inprocess.link import WorkerEnd
from holdfast.worker.handover import make_record

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Sequence

    from holdfast.core.ports import Outbox
    from holdfast.core.request_events import Upgrade
    from holdfast.keeper.switchboard import Switchboard
    from holdfast.wire import control
    from holdfast.wire import messages as wire
    from holdfast.worker.ends import Control
    from holdfast.worker.handover import SocketTaker
    from holdfast.worker.stream_link import Link


class DirectEnds:
    """What joins a worker to a switchboard, and to what stands in for a supervisor.

    Args:
        worker: its number.
        on_report: called with what the worker says to its supervisor.
    """

    def __init__(
        self,
        worker: int,
        switchboard: Switchboard,
        loop: asyncio.AbstractEventLoop,
        on_report: Callable[[control.FromWorker], None],
    ) -> None:
        self._worker = worker
        self._switchboard = switchboard
        self._loop = loop
        self._on_report = on_report
        self._obey: Callable[[control.ToWorker, list[int]], None] | None = None
        self._link: WorkerEnd | None = None

    def tell(self, message: control.ToWorker) -> None:
        """Say something to the worker, as its supervisor would."""
        assert self._obey is not None
        self._obey(message, [])

    # --- worker/ends.py:Ends --------------------------------------------------------------------

    def join_supervisor(
        self, on_message: Callable[[control.ToWorker, list[int]], None], on_lost: Callable[[], None]
    ) -> Control:
        self._obey = on_message
        return _Reports(self._on_report)

    def join_keeper(
        self,
        on_messages: Callable[[list[wire.ToWorker]], None],
        on_lost: Callable[[str], None],
    ) -> Link:
        self._link = WorkerEnd(self._worker, self._switchboard, self._loop, on_messages)
        return self._link

    def handover(self, leaving: list[wire.Action]) -> SocketTaker:
        assert self._link is not None
        return _Handover(self._link, leaving)

    async def join_other_keeper(self, stream_fd: int, handover_fd: int) -> None:
        raise AssertionError("a keeper that ends takes this process with it")


class _Reports:
    """`worker/ends.py:Control`."""

    def __init__(self, on_report: Callable[[control.FromWorker], None]) -> None:
        self.send = on_report


class _Handover:
    """`worker/handover.py:SocketTaker`."""

    def __init__(self, link: WorkerEnd, leaving: list[wire.Action]) -> None:
        self._link = link
        self._leaving = leaving

    async def give_descriptor(self, serial: int, fd: int) -> None:
        try:
            copy = os.dup(fd)
        except OSError as error:
            raise HandoverUnavailable(f"its descriptor cannot be copied: {error}") from error
        self._link.keeper_end.give_descriptor(serial, copy)

    def announce(
        self,
        upgrade: Upgrade,
        outbox: Outbox,
        request_headers: Sequence[tuple[bytes, bytes]],
        leftover: bytes,
        *,
        address: str,
        lost: bool,
    ) -> None:
        record = make_record(
            upgrade,
            outbox,
            request_headers,
            leftover,
            self._leaving,
            address=address,
            lost=lost,
        )
        self._link.collect(record)
        self._link.flush()
