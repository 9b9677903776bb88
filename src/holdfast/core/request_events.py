"""The two events that answer a request: `fetch` and `websocketupgrade`.

Pure. They share every guard; the rules are at the top of `core/events.py`.
"""

from __future__ import annotations

from inspect import isawaitable
from typing import TYPE_CHECKING, NamedTuple

from holdfast.core.connection import Connection
from holdfast.core.events import ExtendableEvent, discard
from holdfast.core.ports import Metadata
from holdfast.errors import AlreadyDecided, EventSettled, NotAnUpgradeRequest
from holdfast.web.cookies import serialize_cookie
from holdfast.web.headers import Headers, is_token
from holdfast.web.response import Response

if TYPE_CHECKING:
    from collections.abc import Awaitable
    from typing import Any

    from holdfast.core.ports import Outbox
    from holdfast.web.headers import HeadersInit
    from holdfast.web.request import Request

# What the handshake itself decides (RFC 6455 section 4.2.2), and what a response without a body
# must not say (RFC 9110 section 8.6, RFC 9112 section 6.1): whoever writes the 101 would refuse.
_NOT_FOR_APPLICATIONS = frozenset(
    {
        "connection",
        "content-length",
        "sec-websocket-accept",
        "sec-websocket-extensions",
        "sec-websocket-protocol",
        "transfer-encoding",
        "upgrade",
    }
)


class Upgrade(NamedTuple):
    """The answer of a handler that upgraded: what the 101 will carry."""

    connection: Connection
    subprotocol: str | None
    headers: Headers
    # Of a mounted application's endpoint, which attends the connection: what begins it again
    # elsewhere, and whether its connection closes instead when its worker goes.
    endpoint: bytes = b""
    closes: bool = False


class RequestEvent(ExtendableEvent):
    """Base of the two events that answer a request.

    Attributes:
        request: what is asked for.
    """

    __slots__ = ("_cookies", "_decision", "_upgradable", "request")

    request: Request

    def __init__(self, outbox: Outbox, request: Request, *, upgradable: bool) -> None:
        super().__init__(outbox)
        self.request = request
        self._upgradable = upgradable
        self._decision: Response | Awaitable[Response] | Upgrade | None = None
        self._cookies: list[str] | None = None

    @property
    def decision(self) -> Response | Awaitable[Response] | Upgrade | None:
        """For hosts: how the request was answered, if it was."""
        return self._decision

    @property
    def set_cookies(self) -> list[str]:
        """For hosts: Set-Cookie values for the response or the 101."""
        return self._cookies or []

    def set_cookie(self, name: str, value: str, **options: Any) -> None:
        """Set a cookie with the response, or with the 101 of an upgrade (RFC 6265).

        Args:
            options: as in `Response.set_cookie`.

        Raises:
            ValueError: name, value or an option cannot be put into a header.
            TypeError: one of them is of the wrong type.
            EventSettled: no listener runs any more.
        """
        self._check_open()
        self._cookies = [*(self._cookies or ()), serialize_cookie(name, value, **options)]

    def answer(self, response: Response) -> None:
        """For hosts: a listener returned `response`."""
        self._decide_response(response)

    def _decide_upgrade(
        self, data: Any, subprotocol: str | None, headers: HeadersInit | None
    ) -> Connection:
        if self._decision is not None:
            raise AlreadyDecided
        if not self._upgradable:
            raise NotAnUpgradeRequest
        self._check_open()
        extra = _handshake_headers(headers)
        subprotocol = _offered(subprotocol, self.request.headers.get("sec-websocket-protocol", ""))
        about = Metadata(self.request.url.href, subprotocol, frozenset())
        connection = Connection(
            self._outbox, self._outbox.host.new_serial(), about, b"", closed=False
        )
        if data is not None:
            connection.data = data
        self._decision = Upgrade(connection, subprotocol, extra)
        return connection

    def _decide_response(self, response: Response | Awaitable[Response]) -> None:
        if self._decision is not None:
            discard(response)
            raise AlreadyDecided
        if not isinstance(response, Response) and not isawaitable(response):
            kind = type(response).__qualname__
            raise TypeError(f"a response is a Response or an awaitable of one, not {kind}")
        if self._outbox.is_sealed:
            discard(response)
            raise EventSettled(self.type)
        self._decision = response


class FetchEvent(RequestEvent):
    """A request, `event.request`, to answer (Service Workers, FetchEvent).

    A listener returns a Response, or None to leave the request to the next listener; anything else
    it returns is an error. Unanswered, the client gets a 404.

    Also dispatched for a WebSocket handshake that no `websocketupgrade` listener decided;
    unanswered, that gets a 426.
    """

    __slots__ = ()
    type = "fetch"

    def respond_with(self, response: Response | Awaitable[Response]) -> None:
        """Answer the request. Returning a Response from the listener does the same.

        Args:
            response: one, or an awaitable of one. If a listener or the awaitable raises, the client
                gets a 500 instead, or the HTTPError that was raised.

        Raises:
            AlreadyDecided: the event was answered before.
            EventSettled: no listener runs any more.
            TypeError: `response` is neither.
        """
        self._decide_response(response)

    def upgrade_websocket(
        self,
        data: Any = None,
        subprotocol: str | None = None,
        headers: HeadersInit | None = None,
    ) -> Connection:
        """Turn the request into a WebSocket connection.

        The 101 is sent when the listeners have returned, and what they sent after it.

        Args:
            data: the connection's first attachment: plain data, at most 16 KiB encoded.
            subprotocol: one that the client offered (RFC 6455 section 1.9).
            headers: more header fields for the 101.

        Raises:
            AlreadyDecided: the event was answered before.
            NotAnUpgradeRequest: the client did not ask for a WebSocket.
            EventSettled: no listener runs any more.
            ValueError: the client did not offer `subprotocol`, or a header cannot be sent or is
                the handshake's own.
        """
        return self._decide_upgrade(data, subprotocol, headers)


class WebSocketUpgradeEvent(RequestEvent):
    """A WebSocket handshake, `event.request`, to accept or reject.

    Asynchronous work before that is fine. Well-formed it is already (RFC 6455 section 4.2.1). What
    nobody decides is a `fetch` event next. `app.clients` does not find the connection yet.
    """

    __slots__ = ()
    type = "websocketupgrade"

    def accept(
        self,
        data: Any = None,
        subprotocol: str | None = None,
        headers: HeadersInit | None = None,
    ) -> Connection:
        """Accept the handshake: the client gets a 101 when the listeners have returned.

        Args:
            data: the connection's first attachment: plain data, at most 16 KiB encoded.
            subprotocol: one that the client offered (RFC 6455 section 1.9). Browsers give up if
                they offered some and none is chosen.
            headers: more header fields for the 101.

        Raises:
            AlreadyDecided: the event was answered before.
            EventSettled: no listener runs any more.
            ValueError: the client did not offer `subprotocol`, or a header cannot be sent or is
                the handshake's own.
        """
        return self._decide_upgrade(data, subprotocol, headers)

    def reject(self, response: Response | Awaitable[Response]) -> None:
        """Answer with an ordinary response instead of a connection. Returning one does the same.

        Args:
            response: one, or an awaitable of one.

        Raises:
            AlreadyDecided: the event was answered before.
            EventSettled: no listener runs any more.
            TypeError: `response` is neither.
        """
        self._decide_response(response)


def _handshake_headers(init: HeadersInit | None) -> Headers:
    headers = Headers(init)
    for name in headers:
        if name in _NOT_FOR_APPLICATIONS:
            raise ValueError(f"the header {name!r} of a 101 response is not the application's")
    return headers


def _offered(chosen: str | None, offers: str) -> str | None:
    """Return the client's own offer, or raise here what the handshake could not carry."""
    if chosen is None:
        return None
    for offer in offers.split(","):
        if chosen == offer.strip() and is_token(chosen):
            return offer.strip()
    raise ValueError(f"the client did not offer the subprotocol {chosen!r}")
