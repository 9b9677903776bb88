"""The client's side of one WebSocket connection."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from holdfast.core.connection import check_close, check_message
from holdfast.framing.close_codes import GOING_AWAY, NORMAL, VANISHED
from holdfast.testing.errors import ConnectionClosed
from holdfast.web.json import to_json

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from typing import Any

    from holdfast.testing.session import Session
    from holdfast.testing.sockets import Peer
    from holdfast.web.headers import Headers

WITHOUT_ERROR = frozenset({NORMAL, GOING_AWAY})


class WebSocket:
    """A client's end of a connection. Get it from `client.connect`.

    It answers close frames at once, as clients do, and never reads slowly. Iterating over it gives
    messages until the connection is closed with 1000 or 1001; another code raises
    ConnectionClosed.
    """

    def __init__(
        self,
        session: Session,
        peer: Peer,
        settle: Callable[[float | None], Awaitable[None]],
    ) -> None:
        self._session = session
        self._peer = peer
        self._settle = settle
        # Reports that were known when the last message came: later ones may be why none does.
        self._known = len(session.reports)

    def __repr__(self) -> str:
        closed = self._peer.closed
        return f"<WebSocket {self._peer.path} {'open' if closed is None else closed}>"

    @property
    def id(self) -> str:
        """The connection's id, as in `event.source.id`."""
        return self._peer.id

    @property
    def headers(self) -> Headers:
        """The header fields of the 101."""
        assert self._peer.headers is not None
        return self._peer.headers

    @property
    def subprotocol(self) -> str | None:
        """What the application chose, if it did."""
        return self.headers.get("sec-websocket-protocol")

    @property
    def closed(self) -> bool:
        """True when the connection has closed, whoever closed it."""
        return self._peer.closed is not None

    @property
    def close_code(self) -> int | None:
        """The code, as the client sees it; None while open."""
        return None if self._peer.closed is None else self._peer.closed[0]

    @property
    def close_reason(self) -> str | None:
        """The reason, as the client sees it; None while open."""
        return None if self._peer.closed is None else self._peer.closed[1]

    async def send(self, data: str | bytes, timeout: float | None = None) -> None:
        """Send a text (str) or binary (bytes, bytearray, memoryview) message.

        Waits while the application is so far behind that the server has stopped reading. A
        message over the server's limit closes the connection with 1009, as the next `receive`
        tells.

        Args:
            timeout: seconds; None for the client's.

        Raises:
            ConnectionClosed: it has closed.
            TimeoutError: the server did not read on; quotes what listeners raised meanwhile.
            TypeError, ValueError: this is no message.
        """
        data = check_message(data)
        peer = self._peer
        await self._until(
            lambda: not peer.is_paused or self.closed,
            lambda: f"the server read nothing more from {peer.path}",
            timeout,
        )
        self._check_open()
        peer.send(data)

    async def send_json(self, value: Any, timeout: float | None = None) -> None:
        """Send plain data as a text message of JSON. More errors as those of `send`.

        Raises:
            TypeError, ValueError: JSON cannot carry `value`.
        """
        await self.send(to_json(value), timeout)

    async def receive(self, timeout: float | None = None) -> str | bytes:
        """Return the next message: text as str, binary as bytes.

        Args:
            timeout: seconds; None for the client's; 0 for what is here already.

        Raises:
            ConnectionClosed: it has closed, and all messages before that were received.
            TimeoutError: none came; quotes what listeners raised meanwhile.
        """
        peer = self._peer
        await self._until(
            lambda: bool(peer.inbox) or self.closed,
            lambda: f"no message on {peer.path}",
            timeout,
        )
        if not peer.inbox:
            self._check_open()
        self._known = len(self._session.reports)
        return peer.inbox.popleft()

    async def receive_json(self, timeout: float | None = None) -> Any:
        """Return the next message, parsed. More errors as those of `receive`.

        Raises:
            ValueError: it is not JSON.
        """
        return json.loads(await self.receive(timeout))

    async def receive_all(self, timeout: float | None = None) -> list[str | bytes]:
        """Return all that is left to receive when nothing is in flight any more.

        So `== []` says that nothing came and nothing will. A connection that has closed has left
        what came before. Waits as `client.settle` does: until no listener and no `wait_until` work
        runs, of any connection.

        Args:
            timeout: seconds; None for the client's.

        Raises:
            TimeoutError: something goes on; says what, and quotes what listeners raised meanwhile.
        """
        await self._settle(timeout)
        messages = list(self._peer.inbox)
        self._peer.inbox.clear()
        self._known = len(self._session.reports)
        return messages

    async def __aiter__(self) -> AsyncIterator[str | bytes]:
        while True:
            try:
                message = await self.receive()
            except ConnectionClosed as closed:
                if closed.code in WITHOUT_ERROR:
                    return
                raise
            yield message

    async def close(
        self, code: int = NORMAL, reason: str = "", timeout: float | None = None
    ) -> None:
        """Close the connection, and wait until its close event was handled.

        After the other side has closed, it only waits.

        Args:
            code: 1000, 1001, 1003, 1007 to 1014, or 3000 to 4999.
            reason: at most 123 bytes in UTF-8.
            timeout: seconds; None for the client's.

        Raises:
            TimeoutError: the close event was not handled; quotes what listeners raised meanwhile.
            TypeError, ValueError: code or reason cannot be sent.
        """
        reason = check_close(code, reason)
        peer = self._peer
        await self._until(
            lambda: not peer.is_paused or self.closed,
            lambda: f"the server read nothing more from {peer.path}",
            timeout,
        )
        await self._end(code, reason, timeout)

    async def vanish(self, timeout: float | None = None) -> None:
        """Be gone without a close frame, as if the network broke; the close event says 1006.

        Waits until that event was handled. What was sent before is still delivered; what was not
        received before is lost.

        Args:
            timeout: seconds; None for the client's.

        Raises:
            TimeoutError: the close event was not handled; quotes what listeners raised meanwhile.
        """
        self._peer.inbox.clear()
        await self._end(VANISHED, "", timeout)

    def drop(self) -> None:
        """For the kit: close without waiting."""
        self._peer.close(1000, "")

    async def _end(self, code: int, reason: str, timeout: float | None) -> None:
        peer = self._peer
        peer.close(code, reason)
        await self._until(
            lambda: peer.is_forgotten,
            lambda: f"the close event of {peer.path} was not handled",
            timeout,
        )

    async def _until(
        self, fact: Callable[[], bool], late: Callable[[], str], timeout: float | None
    ) -> None:
        await self._session.until(
            fact, late, pulse=self._peer.pulse, timeout=timeout, since=self._known
        )

    def _check_open(self) -> None:
        if self._peer.closed is not None:
            raise ConnectionClosed(*self._peer.closed)
