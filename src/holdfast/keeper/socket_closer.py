"""The closing handshakes of the clients' sockets: does what `framing/closing.py` decides.

Shell. Private. A part of `keeper/sockets.py`.
"""

from __future__ import annotations

import os
import socket
from collections import deque
from typing import TYPE_CHECKING

from holdfast.framing.close_codes import INTERNAL_ERROR, NO_CODE, VANISHED
from holdfast.framing.closing import ANSWERING, GONE, Do, Fact, step
from holdfast.framing.frames import encode_close

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable

    from holdfast.config import KeeperLimits
    from holdfast.keeper.poller import Poller
    from holdfast.keeper.socket import Socket
    from holdfast.keeper.socket_writer import SocketWriter
    from holdfast.ledger.ledger import Ledger


class SocketCloser:
    """Takes each socket of one keeper to its end.

    Args:
        hits: counts by the name of a setting how often its limit made a difference.
        on_left: called with the `guest` of each socket that is gone.
    """

    def __init__(
        self,
        ledger: Ledger,
        poller: Poller,
        writer: SocketWriter,
        limits: KeeperLimits,
        hits: Counter[str],
        on_left: Callable[[str], None],
    ) -> None:
        self._ledger = ledger
        self._poller = poller
        self._writer = writer
        self._hits = hits
        self._on_left = on_left
        self._close_timeout = limits.close_timeout
        self._now = 0.0
        # Every deadline is `close_timeout` ahead, so the queue is in order by itself.
        self._deadlines: deque[tuple[float, Socket]] = deque()
        # Code and reason of those whose violation waits for answers.
        self._violations: dict[Socket, tuple[int, str]] = {}
        self._run: dict[Do, Callable[[Socket, int, str], None]] = {
            Do.SEND_CLOSE: self._send_close,
            Do.ECHO_CLOSE: self._echo_close,
            Do.TELL: self._tell,
            Do.ASK: self._ask,
            Do.START_TIMER: self._start_timer,
            Do.FINISH: self._finish,
            Do.SHUT_DOWN_WRITING: _shut_down_writing,
            Do.RELEASE: self._release,
        }

    def advance(self, sock: Socket, fact: Fact, code: int = VANISHED, reason: str = "") -> None:
        """Do what follows from a fact.

        Args:
            code, reason: what the fact comes with. They are sent and told, unless the client has
                broken the protocol before.
        """
        if sock.stage is ANSWERING:
            code, reason = self._violations[sock]
        sock.stage, todo = step(sock.stage, fact)
        for do in todo:
            self._run[do](sock, code, reason)

    def tick(self, now: float) -> None:
        """Look for those who take too long. Call every TICK seconds."""
        self._now = now
        while self._deadlines and self._deadlines[0][0] <= now:
            _, sock = self._deadlines.popleft()
            if sock.stage is not ANSWERING and sock.stage is not GONE:
                self._hits["close_timeout"] += 1
            self.advance(sock, Fact.DEADLINE)

    # --- what the table asks for ----------------------------------------------------------------

    def _send_close(self, sock: Socket, code: int, reason: str) -> None:
        self._writer.put(sock, _close_frame(code, reason))

    def _echo_close(self, sock: Socket, code: int, reason: str) -> None:
        self._writer.put(sock, encode_close(None if code == NO_CODE else code))

    def _tell(self, sock: Socket, code: int, reason: str) -> None:
        self._ledger.receive_close(sock.connection, code, reason)

    def _ask(self, sock: Socket, code: int, reason: str) -> None:
        self._violations[sock] = (code, reason)
        if self._ledger.receive_violation(sock.connection, code, reason):
            self.advance(sock, Fact.ANSWERED)

    def _start_timer(self, sock: Socket, code: int, reason: str) -> None:
        self._deadlines.append((self._now + self._close_timeout, sock))

    def _finish(self, sock: Socket, code: int, reason: str) -> None:
        if sock.stage is GONE:
            return  # It did not take its Close frame.
        sock.decoder = None
        self._writer.finish(sock)
        if sock.connection.is_paused:
            # From here on it is read again, to its end.
            sock.owner.watch(sock)

    def _release(self, sock: Socket, code: int, reason: str) -> None:
        sock.connection.socket = None
        sock.decoder = None
        self._violations.pop(sock, None)
        self._writer.forget(sock)
        sock.owner.forget(sock)
        self._poller.forget(sock.fd)
        os.close(sock.fd)
        self._on_left(sock.address_key)


def _close_frame(code: int, reason: str) -> bytes:
    try:
        return encode_close(code, reason)
    except ValueError:
        # Applications are checked in the worker (core/connection.py), so only a broken worker
        # gets here; its client still deserves a proper end.
        return encode_close(INTERNAL_ERROR)


def _shut_down_writing(sock: Socket, code: int, reason: str) -> None:
    borrowed = socket.socket(fileno=sock.fd)
    try:
        borrowed.shutdown(socket.SHUT_WR)
    except OSError:
        pass  # The peer is gone already; the next read will tell.
    finally:
        borrowed.detach()
