"""HTTP through ASGI: one request → one event → one response, or one upgrade.

Shell. The worker runs it under uvicorn. Order of a request with a handshake (RFC 6455 section
4.2): a malformed one is refused; then the `websocketupgrade` listeners may decide; then, as for
every other request, the `fetch` listeners. Nothing is written before a decision, so a listener
that raises yields a clean 500.
"""

from __future__ import annotations

import logging
import traceback
from typing import TYPE_CHECKING, Protocol

from holdfast.core.dispatch import Failure, dispatch_request
from holdfast.core.errors import AttachmentError
from holdfast.core.events import FetchEvent, Upgrade, WebSocketUpgradeEvent
from holdfast.core.http import Request, Response
from holdfast.core.outbox import current_outbox
from holdfast.framing.handshake import check_request
from holdfast.hosts.reporting import report_failure

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
    from typing import Any, TypeAlias

    from holdfast.core.events import RequestEvent
    from holdfast.core.ports import CommittingHost, Outbox
    from holdfast.core.scope import ServiceWorker

    Scope: TypeAlias = MutableMapping[str, Any]
    Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]
    Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]

__all__ = ["EXTENSION", "HandoverUnavailable", "HttpSide", "SocketGiver"]

log = logging.getLogger("holdfast.worker")

# The scope extension under which the server puts the SocketGiver of a handshake request.
EXTENSION = "holdfast.socket"


class HandoverUnavailable(Exception):
    """Nobody takes the socket now; nothing was written, the client can still get a response."""


class SocketGiver(Protocol):
    """Gives the socket of one handshake request away."""

    async def give(self, upgrade: Upgrade, outbox: Outbox) -> None:
        """Give it, with what the listener asked for; the outbox is sealed then.

        Raises:
            HandoverUnavailable: nothing was given, nothing was written.
        """


class HttpSide:
    """The ASGI application that a worker's HTTP server calls.

    Args:
        host: dispatches and commits.
        develop: show error details to clients.
    """

    def __init__(self, app: ServiceWorker, host: CommittingHost, *, develop: bool) -> None:
        self._app = app
        self._host = host
        self._develop = develop

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = _request(scope, receive)
        giver: SocketGiver | None = scope.get("extensions", {}).get(EXTENSION)
        if not request.has_valid_url:
            await _respond(send, scope, _plain(400, "the Host header is not a host"), [])
        elif giver is None:
            await self._fetch(scope, send, request)
        else:
            await self._upgrade(scope, send, request, giver)

    async def _fetch(self, scope: Scope, send: Send, request: Request) -> None:
        outbox = self._host.new_outbox()
        event = FetchEvent(outbox, request, upgradable=False)
        answer = await self._dispatch(event, outbox)
        if answer is None:
            answer = _plain(404, "Not Found")
        assert isinstance(answer, Response)  # An event that is not upgradable was not upgraded.
        await _respond(send, scope, answer, event.set_cookies)

    async def _upgrade(
        self, scope: Scope, send: Send, request: Request, giver: SocketGiver
    ) -> None:
        refusal = check_request(scope["method"], scope["http_version"], scope["headers"])
        if refusal is not None:
            answer = _plain(refusal.status, refusal.reason, refusal.headers)
            await _respond(send, scope, answer, [])
            return
        for kind in (WebSocketUpgradeEvent, FetchEvent):
            outbox = self._host.new_outbox()
            event: RequestEvent = kind(outbox, request, upgradable=True)
            decided = await self._dispatch(event, outbox)
            if isinstance(decided, Upgrade):
                decided = await self._give(giver, event, decided, outbox)
                if decided is None:
                    return
            if decided is not None:
                await _respond(send, scope, decided, event.set_cookies)
                return
        undecided = _plain(426, "Upgrade Required", (("upgrade", "websocket"),))
        await _respond(send, scope, undecided, [])

    async def _dispatch(self, event: RequestEvent, outbox: Outbox) -> Response | Upgrade | None:
        """Run the listeners; commit, unless an Upgrade is returned, whose handover commits."""
        current_outbox.set(outbox)
        answer = await dispatch_request(event, self._app.registered[event.type])
        if isinstance(answer, Upgrade):
            answer = _commit_attachment(answer)
        if isinstance(answer, Failure):
            self._host.discard(outbox)
            return await self._fail(event, answer.error)
        if not isinstance(answer, Upgrade):
            self._host.commit(outbox)
        return answer

    async def _give(
        self, giver: SocketGiver, event: RequestEvent, upgrade: Upgrade, outbox: Outbox
    ) -> Response | None:
        """Hand the socket over; return what to answer if nobody takes it."""
        for cookie in event.set_cookies:
            upgrade.headers.append("set-cookie", cookie)
        try:
            await giver.give(upgrade, outbox)
        except HandoverUnavailable as error:
            log.error("an upgrade was lost: %s", error)
            self._host.discard(outbox)
            return _plain(503, "Service Unavailable", (("retry-after", "1"),))
        return None

    async def _fail(self, event: RequestEvent, error: BaseException) -> Response:
        what = f"a {event.type} listener, for {event.request.method} {event.request.path!r},"
        await report_failure(self._app, self._host, event, error, what)
        if not self._develop:
            return _plain(500, "Internal Server Error")
        return _plain(500, "".join(traceback.format_exception(error)))


def _commit_attachment(upgrade: Upgrade) -> Upgrade | Failure:
    try:
        upgrade.connection.commit()
    except AttachmentError as error:
        return Failure(error, closes=False)
    return upgrade


def _request(scope: Scope, receive: Receive) -> Request:
    return Request.from_parts(
        scope["method"],
        scope["scheme"],
        scope["raw_path"],
        scope["query_string"],
        scope["headers"],
        scope["client"],
        _body(receive),
    )


async def _body(receive: Receive) -> AsyncIterator[bytes]:
    """The request's body, asked for only when the application reads it."""
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise ConnectionResetError("the client left before its request was complete")
        if message["body"]:
            yield message["body"]
        if not message["more_body"]:
            return


async def _respond(send: Send, scope: Scope, response: Response, cookies: list[str]) -> None:
    headers = response.raw_headers()
    for cookie in cookies:
        headers.append((b"set-cookie", cookie.encode("latin-1")))
    await send({"type": "http.response.start", "status": response.status, "headers": headers})
    if response.is_streaming and scope["method"] != "HEAD":
        async for chunk in response.iter_bytes():
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b""})
    elif response.is_streaming:
        await send({"type": "http.response.body", "body": b""})
    else:
        await send({"type": "http.response.body", "body": response.body})


def _plain(status: int, text: str, headers: tuple[tuple[str, str], ...] = ()) -> Response:
    return Response(text, status=status, headers=headers)
