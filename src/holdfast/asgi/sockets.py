"""Clients' sockets that belong to an ASGI server: `keeper/ports.py:ClientSockets`.

Shell. Private. The server runs one task per connection, and that task receives
(`AsgiSockets.serve`). It does not receive while the ledger has paused the connection; whether the
server then stops reading from the client is the server's business. What is to be sent waits in the
connection's row. A second task hands the row to the server, one message after the other; it runs
only while there is something in the row.

The server does the closing handshake, so `framing/closing.py` is told what the server tells:

- A `websocket.disconnect` is PEER_GONE: the server has answered whatever there was to answer.
- When the server is asked to close, that is PEER_GONE too. What servers tell afterwards differs,
  and some tell nothing. So the close event has the code that the application has closed with.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, deque
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, Protocol

from holdfast.framing.close_codes import NO_CODE, POLICY_VIOLATION, TOO_BIG, VANISHED
from holdfast.framing.closing import ANSWERING, CLOSING, GONE, OPEN, Do, Fact, step

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, MutableMapping, Sequence
    from typing import Any

    from holdfast.config import KeeperLimits
    from holdfast.framing.closing import Stage
    from holdfast.http.exchange import Receive, Send
    from holdfast.ledger.connection import Connection
    from holdfast.ledger.ledger import Ledger

log = logging.getLogger("holdfast.keeper")


class Close(NamedTuple):
    """The last thing in a row: ask the server to close."""

    code: int
    reason: str


WITHOUT_CLOSE = Close(VANISHED, "")


async def _send_close(send: Send, close: Close) -> None:
    message = {"type": "websocket.close", "code": close.code, "reason": close.reason}
    try:
        await send(message)
    except Exception as error:
        # Autobahn, in Daphne, sends no codes from 1001 to 2999. Better another code than a
        # connection that stays.
        log.debug("the server failed to close with %d: %r", close.code, error)
        await send({"type": "websocket.close"})


def _read_close(message: MutableMapping[str, Any]) -> Close:
    """Return the code and the reason of a `websocket.disconnect`."""
    code: int | None = message.get("code")
    reason: str | None = message.get("reason")
    # An IntEnum is no code for the wire between keeper and worker.
    return Close(NO_CODE if code is None else int(code), reason or "")


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
        "close",
        "connection",
        "ended",
        "outbound",
        "presence",
        "resumed",
        "send",
        "stage",
        "waiting",
        "writer",
    )

    def __init__(self, connection: Connection, send: Send) -> None:
        self.connection = connection
        self.send = send
        self.stage: Stage = OPEN
        # What the application has closed with, or what a violation is closed with.
        self.close: Close | None = None
        self.outbound: deque[str | bytes | Close] = deque()
        # Bytes, or characters of text, in that row.
        self.waiting = 0
        # Hands the row to the server, while there is something in it.
        self.writer: asyncio.Task[None] | None = None
        # The task of the connection waits for one of these: the ledger has room again; the close
        # event was handled; the server has received something, for which it waits no longer than
        # `presence` lets it.
        self.resumed: asyncio.Future[None] | None = None
        self.ended: asyncio.Future[None] | None = None
        self.presence: asyncio.Timeout | None = None

    def __repr__(self) -> str:
        return f"<AsgiSocket {self.stage.name.lower()} {self.connection!r}>"


class AsgiSockets:
    """All connections of one ASGI server.

    Args:
        end_turn: to be called when the ledger was told something.
        on_left: called with the `address_key` of each connection that is gone.
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
                try:
                    await self._receive_all(sock, receive)
                finally:
                    sock.presence = None
        except TimeoutError:
            pass  # `_advance` has ended the waiting.
        except asyncio.CancelledError:
            self.lose(sock)
            raise
        except Exception as error:
            log.debug("the server failed to receive: %r", error)
            self.lose(sock)
        await self._finish(sock)
        self._on_left(address_key)

    async def _receive_all(self, sock: AsgiSocket, receive: Receive) -> None:
        while sock.stage < ANSWERING:
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
                self._advance(sock, Fact.PEER_GONE, sock.close or _read_close(message))
            self._end_turn()

    def _receive_message(self, sock: AsgiSocket, data: str | bytes) -> None:
        size = len(data) if isinstance(data, bytes) or data.isascii() else len(data.encode())
        if size > self._limits.max_message:
            self.hits["max_message"] += 1
            self._advance(sock, Fact.PEER_VIOLATES, Close(TOO_BIG, "the message is too big"))
        else:
            self._ledger.receive_message(sock.connection, data)

    def lose(self, sock: AsgiSocket) -> None:
        """The server has given up on the connection without saying why."""
        if sock.stage is not GONE:
            self._advance(sock, Fact.PEER_GONE)
            self._end_turn()

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
        self._advance(sock, Fact.PEER_GONE)

    def _note_ends(self) -> None:
        for sock in [sock for sock in self._ending if not sock.connection.mailbox.count]:
            self._ending.discard(sock)
            if sock.ended is not None and not sock.ended.done():
                sock.ended.set_result(None)

    # --- commands -------------------------------------------------------------------------------

    def write(self, connection: Connection, data: str | bytes) -> None:
        sock: AsgiSocket | None = connection.socket
        if sock is None or (sock.stage is not OPEN and sock.stage is not ANSWERING):
            return
        self._put(sock, data)
        sock.waiting += len(data)
        if sock.waiting > self._limits.max_outbound and sock.writer is not None:
            # The client reads more slowly than it is written to; it must not cost the others
            # their memory.
            self.hits["max_outbound"] += 1
            sock.writer.cancel()
            sock.outbound.clear()
            self._advance(sock, Fact.WE_FAIL, Close(POLICY_VIOLATION, "slow consumer"))

    def write_many(self, connections: Sequence[Connection], data: str | bytes) -> None:
        for connection in connections:
            self.write(connection, data)

    def close(self, connection: Connection, code: int, reason: str) -> None:
        if connection.socket is not None:
            self._advance(connection.socket, Fact.WE_CLOSE, Close(code, reason))

    def end(self, connection: Connection) -> None:
        if connection.socket is not None:
            self._advance(connection.socket, Fact.ANSWERED)

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
                    if sock.stage is CLOSING:
                        self._advance(sock, Fact.PEER_GONE, item)
                        self._end_turn()
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

    # --- the closing handshake ------------------------------------------------------------------

    def _advance(self, sock: AsgiSocket, fact: Fact, close: Close = WITHOUT_CLOSE) -> None:
        """Do what follows from a fact, with the code and the reason that it comes with."""
        if sock.stage is ANSWERING and sock.close is not None:
            close = sock.close
        sock.stage, todo = step(sock.stage, fact)
        for do in todo:
            self._do(do, sock, close)
        if sock.stage >= ANSWERING and sock.presence is not None:
            # Its task waits for the server no longer.
            sock.presence.reschedule(0)
            sock.presence = None

    def _do(self, do: Do, sock: AsgiSocket, close: Close) -> None:
        """Do what the table asks for; what is not here, the server does."""
        if do is Do.SEND_CLOSE:
            sock.close = close
            self._put(sock, close)
        elif do is Do.TELL:
            self._ledger.receive_close(sock.connection, *close)
        elif do is Do.ASK:
            sock.close = close
            if self._ledger.receive_violation(sock.connection, *close):
                self._advance(sock, Fact.ANSWERED)
        elif do is Do.START_TIMER:
            self._loop.call_later(self._limits.close_timeout, self._pass_deadline, sock)
        elif do is Do.RELEASE:
            sock.connection.socket = None
            sock.outbound.clear()

    def _pass_deadline(self, sock: AsgiSocket) -> None:
        if sock.stage is not GONE:
            self._advance(sock, Fact.DEADLINE)
            self._end_turn()
