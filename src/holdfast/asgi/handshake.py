"""A WebSocket handshake that an ASGI server brings, on its way to a connection or a rejection.

Shell. Private. To `http/asgi.py:HttpSide` it looks like a request whose socket can be given away
(`UpgradeHandle`), so that both kinds of handshake go through the same events. The server has
checked it (RFC 6455 section 4.2.1, or RFC 8441) and answers it.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Protocol

from holdfast.framing.close_codes import GOING_AWAY, NO_CODE, NORMAL, VANISHED
from holdfast.http.asgi import EXTENSION

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, MutableMapping
    from typing import Any

    from holdfast.core.ports import Outbox
    from holdfast.core.request_events import Upgrade
    from holdfast.http.exchange import Receive, Scope, Send
    from holdfast.http.mounts import Mounted
    from holdfast.web.request import Request

log = logging.getLogger("holdfast")

# The extension of ASGI with which a handshake can be refused by an ordinary response.
DENIAL = "websocket.http.response"

NO_DENIAL = (
    f"this ASGI server has no {DENIAL!r}: a rejected handshake gets a 403, and not the status, the "
    "headers and the body of the Response"
)
NO_HEADERS = (
    "this ASGI server cannot send headers with the 101: headers and cookies of accepted handshakes "
    "are lost"
)

# The version of ASGI's WebSocket part that brought headers; and that of servers that tell why a
# client has closed, if it has.
WITH_HEADERS = (2, 1)
WITH_REASONS = (2, 4)


class Warnings:
    """Says a thing once."""

    def __init__(self) -> None:
        self._said: set[str] = set()

    def say(self, text: str, level: int = logging.WARNING) -> None:
        if text not in self._said:
            self._said.add(text)
            log.log(level, "%s", text)


class Keeping(Protocol):
    """What decides handshakes, and keeps the connections: `asgi/service.py:Service`."""

    @property
    def http(self) -> Callable[[Scope, Receive, Send], Awaitable[None]]: ...

    async def give(self, accepted: Handshake, upgrade: Upgrade, outbox: Outbox, /) -> None:
        """Give an accepted handshake to the keeper; return when it was opened, or refused."""


class Handshake:
    """One of them; `run` once."""

    def __init__(
        self, service: Keeping, scope: Scope, receive: Receive, send: Send, warnings: Warnings
    ) -> None:
        self._service = service
        self._scope = scope
        self._receive = receive
        self._send = send
        self._warnings = warnings
        self._can_deny = DENIAL in (scope.get("extensions") or ())
        version = _spec_version(scope)
        self._can_send_headers = version >= WITH_HEADERS
        self._tells_reasons = version >= WITH_REASONS
        self.send_message = send
        # Receives for the keeper; None until it has the connection.
        self._serve: Callable[[Receive], Awaitable[None]] | None = None
        # Whether the client had left before the accept.
        self._is_lost = False
        # Whether the request, which has no body, was asked for; and whether a 403 is out.
        self._was_read = self._is_refused = False

    async def run(self) -> None:
        """Return when the connection has ended, or was not opened."""
        message = await self._receive()
        if message["type"] != "websocket.connect":
            return  # The client has left already.
        await self._service.http(self._as_request(), self.receive, self.send)
        if self._serve is not None:
            await self._serve(self._receive_message)

    async def _receive_message(self) -> MutableMapping[str, Any]:
        if self._is_lost:
            raise ConnectionResetError("the client left before its handshake was answered")
        message = await self._receive()
        if message.get("code") == NO_CODE and "reason" not in message and self._tells_reasons:
            # uvicorn, of a client that has vanished. Of one that closed, it tells a reason too.
            return {**message, "code": VANISHED}
        return message

    def _as_request(self) -> Scope:
        scope = {**self._scope, "method": "GET", "extensions": {EXTENSION: self}}
        offers = ", ".join(scope.get("subprotocols") or ())
        name = b"sec-websocket-protocol"
        if offers and not any(key == name for key, _ in scope["headers"]):
            scope["headers"] = [*scope["headers"], (name, offers.encode("latin-1"))]
        return scope

    # --- the request and its response, to HttpSide ----------------------------------------------

    async def receive(self) -> MutableMapping[str, Any]:
        if not self._was_read:
            self._was_read = True
            return {"type": "http.request", "body": b"", "more_body": False}
        while not self._is_refused:
            message = await self._receive()
            if message["type"] == "websocket.disconnect":
                break
        return {"type": "http.disconnect"}

    async def send(self, message: MutableMapping[str, Any]) -> None:
        if self._can_deny:
            await self._send({**message, "type": f"websocket.{message['type']}"})
        elif not self._is_refused:
            self._is_refused = True
            self._warnings.say(NO_DENIAL)
            await self._send({"type": "websocket.close", "code": NORMAL})

    async def pass_on(self, mounted: Mounted) -> None:
        """Let a mounted application have it as the server brought it."""
        scope = dict(self._scope)
        mounted.make_child_scope(scope)
        has_begun = False

        async def receive() -> MutableMapping[str, Any]:
            nonlocal has_begun
            if has_begun:
                return await self._receive()
            has_begun = True
            return {"type": "websocket.connect"}

        await mounted.app(scope, receive, self._send)

    # --- http/asgi.py:UpgradeHandle --------------------------------------------------------------

    async def give(self, upgrade: Upgrade, outbox: Outbox) -> None:
        accept: dict[str, Any] = {
            "type": "websocket.accept",
            "subprotocol": upgrade.subprotocol,
        }
        headers = upgrade.headers.raw
        if headers and not self._can_send_headers:
            self._warnings.say(NO_HEADERS)
        elif headers:
            accept["headers"] = headers
        try:
            await self._send(accept)
        except Exception as error:
            # Servers raise when the client has left, and which error that is, differs.
            log.debug("the server failed to accept: %r", error)
            self._is_lost = True
        await self._service.give(self, upgrade, outbox)
        if self._serve is None:
            # Accepted, and then refused: the server stops.
            await self._send({"type": "websocket.close", "code": GOING_AWAY})

    # --- asgi/sockets.py:Accepted --------------------------------------------------------

    def open(self, serve: Callable[[Receive], Awaitable[None]], /) -> None:
        self._serve = serve

    def refuse(self) -> None:
        """Nothing serves it."""


class NativeEndpoints:
    """`http/mounts.py:Endpoints` over the server's own sockets: they end with this process."""

    async def begin(
        self,
        mounted: Mounted,
        request: Request,
        scope: Scope,
        receive: Receive,
        send: Send,
        handle: Handshake,
    ) -> None:
        await handle.pass_on(mounted)


def _spec_version(scope: Scope) -> tuple[int, ...]:
    asgi = scope.get("asgi") or {}
    return tuple(int(part) for part in asgi.get("spec_version", "2.0").split(".") if part.isdigit())
