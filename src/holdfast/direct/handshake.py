"""A WebSocket handshake that an ASGI server brings, on its way to a connection or a rejection.

Shell. Private. To `hosts/asgi.py:HttpSide` it looks like a request whose socket can be given away
(`SocketGiver`), so that both kinds of handshake go through the same events. The server has
checked it (RFC 6455 section 4.2.1, or RFC 8441) and answers it.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from holdfast.hosts.asgi import EXTENSION

if TYPE_CHECKING:
    from collections.abc import MutableMapping
    from typing import Any

    from holdfast.core.ports import Outbox
    from holdfast.core.request_events import Upgrade
    from holdfast.direct.asgi_sockets import AsgiSocket
    from holdfast.direct.service import Service
    from holdfast.hosts.exchange import Receive, Scope, Send

__all__ = ["Handshake", "Warnings"]

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

# The version of ASGI's WebSocket part that brought headers.
WITH_HEADERS = (2, 1)

NORMAL = 1000


class Warnings:
    """Says a thing once."""

    def __init__(self) -> None:
        self._said: set[str] = set()

    def say(self, text: str) -> None:
        if text not in self._said:
            self._said.add(text)
            log.warning(text)


class Handshake:
    """One of them; `run` once."""

    def __init__(
        self, service: Service, scope: Scope, receive: Receive, send: Send, warnings: Warnings
    ) -> None:
        self._service = service
        self._scope = scope
        self._receive = receive
        self._send = send
        self._warnings = warnings
        self._can_deny = DENIAL in (scope.get("extensions") or ())
        self._socket: AsgiSocket | None = None
        # Whether the request, which has no body, was asked for; and whether a 403 is out.
        self._was_read = self._is_refused = False

    async def run(self) -> None:
        """Return when the connection has ended, or was not opened."""
        message = await self._receive()
        if message["type"] != "websocket.connect":
            return  # The client has left already.
        await self._service.http(self._as_request(), self.receive, self.send)
        if self._socket is not None:
            await self._service.serve(self._socket, self._receive)

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

    # --- hosts/asgi.py:SocketGiver --------------------------------------------------------------

    async def give(self, upgrade: Upgrade, outbox: Outbox) -> None:
        accept: dict[str, Any] = {
            "type": "websocket.accept",
            "subprotocol": upgrade.subprotocol,
        }
        headers = upgrade.headers.raw
        if headers and _spec_version(self._scope) < WITH_HEADERS:
            self._warnings.say(NO_HEADERS)
        elif headers:
            accept["headers"] = headers
        lost = False
        try:
            await self._send(accept)
        except Exception as error:
            # Servers raise when the client has left, and which error that is, differs.
            log.debug("the server failed to accept: %r", error)
            lost = True
        self._socket = self._service.adopt(upgrade, outbox, self._send, lost=lost)


def _spec_version(scope: Scope) -> tuple[int, ...]:
    asgi = scope.get("asgi") or {}
    return tuple(int(part) for part in asgi.get("spec_version", "2.0").split(".") if part.isdigit())
