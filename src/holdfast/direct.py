"""`holdfast serve --direct`: keeper and worker in one process and one event loop.

Shell. Private. The same switchboard with the same sockets, and the same worker. What they say to
each other passes as it is (`inprocess/link.py`). The keeper's own epoll set is one descriptor of
the loop. Of a supervisor little is left: one start, one stop, and nobody to replace.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import signal
import time
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING

from holdfast.framing.close_codes import GOING_AWAY
from holdfast.inprocess.ends import GENERATION, NEVER, CopiedDescriptors, settings_of_worker
from holdfast.inprocess.link import WorkerEnd
from holdfast.keeper.poller import Poller
from holdfast.keeper.process import allow_descriptors
from holdfast.keeper.sockets import open_sockets
from holdfast.keeper.switchboard import Switchboard
from holdfast.ledger.ledger import TICK
from holdfast.supervisor.control_socket import ControlSocket
from holdfast.supervisor.status import count_http, describe
from holdfast.wire import control
from holdfast.wire.identity import KEY_BYTES, NODE_BYTES
from holdfast.worker.process import WorkerProcess

if TYPE_CHECKING:
    import socket
    from types import FrameType
    from typing import Any

    from holdfast.config import ServerSettings
    from holdfast.worker.ends import Control, Obedient

log = logging.getLogger("holdfast")


# Exit statuses; the second is what shells make of SIGINT.
FAILED = 1
INTERRUPTED = 130

CANNOT_RELOAD = (
    "direct mode cannot replace its code: stop this server and start it again; or serve without "
    "--direct, where connections stay open meanwhile"
)


class DirectEnds:
    """`worker/ends.py:Ends` in the process of keeper and supervisor.

    Args:
        reports: takes what the worker says to its supervisor.
    """

    def __init__(self, link: WorkerEnd, reports: Control) -> None:
        self.link = link
        self.descriptors = CopiedDescriptors(link.keeper_end)
        self._reports = reports

    def join_supervisor(self, worker: Obedient, /) -> Control:
        return self._reports

    async def join_other_keeper(self, stream_fd: int, handover_fd: int, /) -> None:
        raise AssertionError("a keeper that ends takes this process with it")


class DirectServer:
    """One server in one process.

    Args:
        listener: bound and listening; owned from here on.
    """

    def __init__(self, settings: ServerSettings, listener: socket.socket) -> None:
        self._settings = settings
        self._loop = asyncio.get_running_loop()
        self._poller = Poller()
        self._switchboard = Switchboard(
            allow_descriptors(settings.keeper),
            secrets.token_bytes(NODE_BYTES),
            secrets.token_bytes(KEY_BYTES),
            self._hear_keeper,
            sockets=partial(open_sockets, self._poller),
        )
        # Unique over restarts of the server within a second, for connection ids.
        self._number = int(time.time())
        self._worker = WorkerProcess(
            settings_of_worker(settings, worker=self._number, listen_fd=listener.detach()),
            self._loop,
            DirectEnds(WorkerEnd(self._number, self._switchboard, self._loop), self),
        )
        self._control = ControlSocket(settings.port, self._answer)
        # What was refused over HTTP; by limit.
        self._http_hits: Counter[str] = Counter()
        self._exit: asyncio.Future[int] = self._loop.create_future()
        self._is_serving = self._is_stopping = self._has_stopped = False

    async def run(self) -> int:
        """Serve until told to stop; return the exit status."""
        # Not `loop.add_signal_handler`: it would not be called while a listener does not return,
        # and nobody else is there who could end this process.
        signal.signal(signal.SIGHUP, self._handle_hangup)
        signal.signal(signal.SIGTERM, self._handle_stop)
        signal.signal(signal.SIGINT, self._handle_stop)
        signal.signal(signal.SIGALRM, self._handle_late)
        await self._control.open()
        self._loop.add_reader(self._poller.fileno(), self._turn)
        self._tick()
        working = self._loop.create_task(self._worker.run())
        working.add_done_callback(self._note_end)
        try:
            status = await self._exit
            await self._control.finish()
            return status
        finally:
            self._control.close()

    # --- the keeper's part ----------------------------------------------------------------------

    def _turn(self) -> None:
        """Serve the clients whose sockets are ready."""
        try:
            self._poller.turn(0)
            self._switchboard.end_turn()
        except Exception:
            self._fail()

    def _tick(self) -> None:
        self._loop.call_later(TICK, self._tick)
        try:
            self._switchboard.tick(time.monotonic())
            self._switchboard.end_turn()
        except Exception:
            self._fail()

    def _fail(self) -> None:
        """End, as a keeper ends that is wrong."""
        log.critical("the keeper's part failed", exc_info=True)
        self._end(FAILED)

    def _hear_keeper(self, message: control.FromKeeper) -> None:
        if isinstance(message, control.Empty):
            self._switchboard.prefer(NEVER)
            self._worker.obey(control.Drain(), [])
        elif isinstance(message, control.WorkerDropped):
            # The switchboard has logged why.
            self._end(FAILED)

    # --- the supervisor's part ------------------------------------------------------------------

    def send(self, message: control.FromWorker, /) -> None:
        """Take what the worker says: `worker/ends.py:Control`."""
        if isinstance(message, control.Loaded):
            self._switchboard.discount_memory()
            self._switchboard.prefer(GENERATION)
            self._switchboard.end_turn()
            self._is_serving = True
            log.info("serving %s on %s", self._settings.application, self._url())
            self._worker.obey(control.Serve(), [])
        elif isinstance(message, control.Counted):
            count_http(self._http_hits, message.hits, self._settings)
        elif isinstance(message, control.Failed):
            log.error("%s\n%s", message.summary, message.traceback)
            self._end(FAILED)

    def _note_end(self, working: asyncio.Task[int]) -> None:
        if working.cancelled():
            return
        error = working.exception()
        if error is not None:
            log.critical("the worker's part failed", exc_info=error)
        self._end(FAILED if error is not None else working.result())

    def _begin_stop(self) -> None:
        """Have an end in sight, whatever does not come to one by itself."""
        if not self._is_stopping:
            self._is_stopping = True
            # Zero would be never.
            signal.setitimer(signal.ITIMER_REAL, self._settings.drain_timeout or 0.001)

    def _stop(self) -> None:
        self._begin_stop()
        if self._has_stopped:
            return
        self._has_stopped = True
        if not self._is_serving:
            self._end(0)
            return
        self._worker.obey(control.Quiesce(), [])
        self._switchboard.close_all(GOING_AWAY, "")
        self._switchboard.end_turn()

    def _end(self, status: int) -> None:
        if not self._exit.done():
            self._exit.set_result(status)

    # --- signals, which may come at any point ---------------------------------------------------

    def _handle_stop(self, number: int, _: FrameType | None) -> None:
        if number == signal.SIGINT and self._is_stopping:
            _leave("stopped at once", INTERRUPTED)
        self._begin_stop()
        self._loop.call_soon_threadsafe(self._stop_by, number)

    def _handle_hangup(self, number: int, _: FrameType | None) -> None:
        self._loop.call_soon_threadsafe(log.warning, CANNOT_RELOAD)

    def _handle_late(self, number: int, _: FrameType | None) -> None:
        timeout = self._settings.drain_timeout
        _leave(f"stopped before everything had finished: --drain-timeout is {timeout:g} s", 0)

    def _stop_by(self, number: int) -> None:
        if number == signal.SIGINT and not self._has_stopped:
            log.info("stopping; press Ctrl-C again to stop at once")
        self._stop()

    # --- the command line -----------------------------------------------------------------------

    async def _answer(self, request: dict[str, Any]) -> object:
        command = request.get("command")
        if command == "status":
            return self._status()
        if command == "stop":
            self._stop()
            await asyncio.shield(self._exit)
            return {"ok": True}
        if command == "reload":
            return {"ok": False, "summary": CANNOT_RELOAD, "traceback": ""}
        return {"ok": False, "summary": f"there is no command {command!r}"}

    def _status(self) -> dict[str, Any]:
        state = "serving" if self._is_serving else "starting"
        state, pid = "stopping" if self._is_stopping else state, os.getpid()
        worker = {"worker": self._number, "pid": pid, "generation": GENERATION, "state": state}
        return {
            "url": self._url(),
            "application": self._settings.application,
            "generation": GENERATION if self._is_serving else 0,
            "supervisor": {"pid": pid, "state": state},
            "keeper": {"pid": pid, "state": state},
            "workers": [worker],
            **describe(self._switchboard.status(), self._http_hits, self._settings),
        }

    def _url(self) -> str:
        host = self._settings.host
        return f"http://{f'[{host}]' if ':' in host else host}:{self._settings.port}"


def _leave(why: str, status: int) -> None:
    """End the process where it stands."""
    # Not by logging, which a signal may have interrupted.
    os.write(2, f"WARNING holdfast: {why}\n".encode())
    os._exit(status)


async def _serve(settings: ServerSettings, listener: socket.socket) -> int:
    return await DirectServer(settings, listener).run()


def serve(settings: ServerSettings, listener: socket.socket) -> int:
    """Run a server until it is told to stop; return the exit status.

    Raises:
        NoServer: there can be no control socket.
    """
    try:
        import uvloop
    except ImportError:
        return asyncio.run(_serve(settings, listener))
    return uvloop.run(_serve(settings, listener))
