"""Clients' sockets that belong to an ASGI server: `keeper/ports.py:ClientSockets`.

Shell. Private. Each connection has a task, the server's own, which receives (`AsgiSockets.serve`).
While the ledger has paused a connection it does not receive, and what the server does then is its
business. What is written waits in a row here; a task that lives only while there is something
hands it to the server, one message after the other.

The closing handshake is the server's. Where the client began it, the one close event is made of
what the server tells. Where the application did, what servers tell then differs, and some tell
nothing: it is made of what the application asked for, as soon as the server is asked.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, deque
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, MutableMapping, Sequence
    from typing import Any

    from holdfast.config import KeeperLimits
    from holdfast.http.exchange import Receive, Send
    from holdfast.ledger.connection import Connection
    from holdfast.ledger.ledger import Ledger

log = logging.getLogger("holdfast.keeper")

# RFC 6455 section 7.4.1: for reporting only, never on the wire.
NO_CODE = 1005
VANISHED = 1006

POLICY_VIOLATION = 1008
TOO_BIG = 1009


class Close(NamedTuple):
    """The last thing in a row: begin the closing handshake."""

    code: int
    reason: str


async def _send_close(send: Send, close: Close) -> None:
    message = {"type": "websocket.close", "code": close.code, "reason": close.reason}
    try:
        await send(message)
    except Exception as error:
        # Autobahn, in Daphne, sends no codes from 1001 to 2999. Better another code than a
        # connection that stays.
        log.debug("the server failed to close with %d: %r", close.code, error)
        await send({"type": "websocket.close"})


def _read_close(message: MutableMapping[str, Any]) -> tuple[int, str]:
    """Return the code and the reason of a `websocket.disconnect`."""
    code: int | None = message.get("code")
    reason: str | None = message.get("reason")
    # An IntEnum is no code for the wire between keeper and worker.
    return NO_CODE if code is None else int(code), reason or ""


class Accepted(Protocol):
    """A handshake that the server has accepted, on its way to the keeper."""

    @property
    def send_message(self) -> Send: ...

    def open(self, serve: Callable[[Receive], Awaitable[None]], /) -> None:
        """The keeper has it; `serve` is to be run until it returns."""

    def refuse(self) -> None:
        """The keeper does not take it."""


class AsgiSocket:
    """One connection, as an ASGI server has it."""

    __slots__ = (
        "closing",
        "connection",
        "ended",
        "is_gone",
        "outbound",
        "presence",
        "resumed",
        "send",
        "violation",
        "waiting",
        "writer",
    )

    def __init__(self, connection: Connection, send: Send) -> None:
        self.connection = connection
        self.send = send
        self.outbound: deque[str | bytes | Close] = deque()
        # Bytes, or characters of text, in that row.
        self.waiting = 0
        # Hands the row to the server, while there is something in it.
        self.writer: asyncio.Task[None] | None = None
        # What the application closed with, as soon as that is in the row.
        self.closing: Close | None = None
        # What the client will be closed with, when what it sent before has been answered.
        self.violation: Close | None = None
        # True when nothing more is received.
        self.is_gone = False
        # What its task waits for: to be read again, or that its close event was handled; and what
        # ends its waiting for the server.
        self.resumed: asyncio.Future[None] | None = None
        self.ended: asyncio.Future[None] | None = None
        self.presence: asyncio.Timeout | None = None

    def __repr__(self) -> str:
        return f"<AsgiSocket {'gone' if self.is_gone else 'open'} {self.connection!r}>"


class AsgiSockets:
    """All connections of one ASGI server.

    Args:
        end_turn: to be called when the ledger was told something.
        on_left: called with the `guest` of each connection that is gone.
    """

    def __init__(
        self,
        ledger: Ledger,
        limits: KeeperLimits,
        loop: asyncio.AbstractEventLoop,
        end_turn: Callable[[], None],
        on_left: Callable[[str], None],
    ) -> None:
        self.hits: Counter[str] = Counter()
        self.received = 0
        self._ledger = ledger
        self._limits = limits
        self._loop = loop
        self._end_turn = end_turn
        self._on_left = on_left
        # Those with something new in their rows.
        self._dirty: list[AsgiSocket] = []
        # Those whose tasks wait until their close events were handled.
        self._ending: set[AsgiSocket] = set()

    # --- one connection, from its adoption to its end -------------------------------------------

    def adopt(
        self,
        given: Accepted,
        /,
        connection: Connection,
        response: bytes,
        leftover: bytes,
        *,
        address_key: str,
        bits: int,
    ) -> None:
        """Own a connection whose handshake the server has answered."""
        sock = connection.socket = AsgiSocket(connection, given.send_message)
        given.open(partial(self.serve, sock, address_key))

    def refuse(self, given: Accepted, status: int, /) -> None:
        given.refuse()

    async def serve(self, sock: AsgiSocket, address_key: str, receive: Receive) -> None:
        """Receive until the connection has ended and its close event was handled."""
        try:
            # A timeout without a time is asyncio's way to cancel a part of a task and no more.
            async with asyncio.timeout(None) as sock.presence:
                await self._receive_all(sock, receive)
        except TimeoutError:
            pass  # `_cut`
        except asyncio.CancelledError:
            self.lose(sock)
            raise
        except Exception as error:
            log.debug("the server failed to receive: %r", error)
            self.lose(sock)
        finally:
            sock.presence = None
        await self._finish(sock)
        self._on_left(address_key)

    async def _receive_all(self, sock: AsgiSocket, receive: Receive) -> None:
        while not sock.is_gone:
            if sock.connection.is_paused:
                sock.resumed = self._loop.create_future()
                await sock.resumed
                sock.resumed = None
                continue
            message = await receive()
            kind = message["type"]
            if kind == "websocket.receive":
                text: str | None = message.get("text")
                self._receive_message(sock, bytes(message["bytes"]) if text is None else text)
            elif kind == "websocket.disconnect":
                self._receive_close(sock, *_read_close(message))
            self._end_turn()

    def _receive_message(self, sock: AsgiSocket, data: str | bytes) -> None:
        size = len(data) if isinstance(data, bytes) or data.isascii() else len(data.encode())
        if size > self._limits.max_message:
            self.hits["max_message"] += 1
            self._receive_violation(sock, Close(TOO_BIG, "the message is too big"))
        else:
            self._ledger.receive_message(sock.connection, data)

    def _receive_violation(self, sock: AsgiSocket, close: Close) -> None:
        """Receive nothing more; what the client sent before is answered first."""
        if self._ledger.receive_violation(sock.connection, *close):
            self._release(sock)
            self._put(sock, close)
        else:
            sock.is_gone = True
            sock.violation = close
            self._loop.call_later(self._limits.close_timeout, self._give_up_answers, sock)

    def _receive_close(self, sock: AsgiSocket, code: int, reason: str) -> None:
        if sock.closing is not None:
            code, reason = sock.closing
        self._release(sock)
        self._ledger.receive_close(sock.connection, code, reason)

    def _note_closed(self, sock: AsgiSocket) -> None:
        """The server is about to do what the application has asked for."""
        if not sock.is_gone and sock.closing is not None:
            self._receive_close(sock, *sock.closing)
            self._end_turn()
            self._cut(sock)

    def lose(self, sock: AsgiSocket) -> None:
        """The server has given up on the connection without saying why."""
        if not sock.is_gone:
            self._release(sock)
            self._ledger.receive_close(sock.connection, VANISHED, "")
            self._end_turn()

    def _fail(self, sock: AsgiSocket, code: int, reason: str) -> None:
        """Fail the connection (RFC 6455 section 7.1.7); what the client still says is lost."""
        self._release(sock)
        self._put(sock, Close(code, reason))
        self._ledger.receive_close(sock.connection, code, reason)

    def _release(self, sock: AsgiSocket) -> None:
        sock.is_gone = True
        sock.connection.socket = None
        sock.outbound.clear()

    async def _finish(self, sock: AsgiSocket) -> None:
        """Return when nothing of the connection is left to do: then the server ends it."""
        if sock.connection.mailbox.count:
            sock.ended = self._loop.create_future()
            self._ending.add(sock)
            await sock.ended
        if sock.writer is not None:
            await asyncio.wait([sock.writer], timeout=self._limits.close_timeout)
        if sock.writer is not None:
            sock.writer.cancel()

    def _note_ends(self) -> None:
        for sock in [sock for sock in self._ending if not sock.connection.mailbox.count]:
            self._ending.discard(sock)
            if sock.ended is not None and not sock.ended.done():
                sock.ended.set_result(None)

    # --- commands -------------------------------------------------------------------------------

    def write(self, connection: Connection, data: str | bytes) -> None:
        sock: AsgiSocket | None = connection.socket
        if sock is None or sock.closing is not None:
            return
        self._put(sock, data)
        sock.waiting += len(data)
        if sock.waiting > self._limits.max_outbound and sock.writer is not None:
            # The client reads more slowly than it is written to; it must not cost the others
            # their memory.
            self.hits["max_outbound"] += 1
            sock.writer.cancel()
            self._fail(sock, POLICY_VIOLATION, "slow consumer")
            self._cut(sock)

    def write_many(self, connections: Sequence[Connection], data: str | bytes) -> None:
        for connection in connections:
            self.write(connection, data)

    def close(self, connection: Connection, code: int, reason: str) -> None:
        sock: AsgiSocket | None = connection.socket
        if sock is not None and sock.closing is None:
            sock.closing = Close(code, reason)
            self._put(sock, sock.closing)
            self._loop.call_later(self._limits.close_timeout, self._give_up, sock)

    def end(self, connection: Connection) -> None:
        sock: AsgiSocket | None = connection.socket
        if sock is not None and sock.violation is not None and sock.closing is None:
            connection.socket = None
            self._put(sock, sock.violation)

    def pause_reading(self, connection: Connection) -> None:
        """Its task looks before it receives."""

    def resume_reading(self, connection: Connection) -> None:
        sock: AsgiSocket | None = connection.socket
        if sock is not None and sock.resumed is not None and not sock.resumed.done():
            sock.resumed.set_result(None)

    def tick(self, now: float) -> None:
        """Deadlines are the loop's."""

    def evict(self, sockets: Iterable[Any], enough: int) -> int:
        return 0  # Memory is the server's business.

    # --- writing --------------------------------------------------------------------------------

    def _put(self, sock: AsgiSocket, item: str | bytes | Close) -> None:
        if not sock.outbound:
            self._dirty.append(sock)
        sock.outbound.append(item)

    def flush(self) -> None:
        """Have written what the turn produced."""
        dirty, self._dirty = self._dirty, []
        for sock in dirty:
            self._start_writer(sock)
        if self._ending:
            self._note_ends()

    def _start_writer(self, sock: AsgiSocket) -> None:
        if sock.writer is None and sock.outbound:
            sock.writer = self._loop.create_task(self._write_all(sock))

    async def _write_all(self, sock: AsgiSocket) -> None:
        row = sock.outbound
        try:
            while row:
                item = row.popleft()
                if type(item) is Close:
                    # Before, since a server may keep it until its own `receive` has returned.
                    self._note_closed(sock)
                    await _send_close(sock.send, item)
                else:
                    await sock.send(
                        {"type": "websocket.send", "text": item}
                        if type(item) is str
                        else {"type": "websocket.send", "bytes": item}
                    )
                    sock.waiting -= len(item)
        except Exception as error:
            # What servers raise when the client has left, differs; that it has, `receive` tells.
            log.debug("the server failed to send: %r", error)
            row.clear()
            sock.waiting = 0
        finally:
            sock.writer = None
            # Cancelled because it took too long, with a close frame after it.
            self._start_writer(sock)

    # --- the end of patience --------------------------------------------------------------------

    def _give_up(self, sock: AsgiSocket) -> None:
        """The closing handshake takes too long."""
        if not sock.is_gone:
            self.lose(sock)
            self._cut(sock)

    def _give_up_answers(self, sock: AsgiSocket) -> None:
        """What a client sent before it broke a rule takes too long to answer."""
        if sock.connection.socket is sock:
            self._ledger.receive_close(sock.connection, VANISHED, "")
            self.end(sock.connection)
            self._end_turn()

    def _cut(self, sock: AsgiSocket) -> None:
        """Have its task wait for the server no longer."""
        if sock.presence is not None:
            sock.presence.reschedule(0)
