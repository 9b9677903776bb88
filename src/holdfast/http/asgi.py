"""HTTP through ASGI: one request → one event → one response, or one upgrade.

Shell. The server of a worker calls it. Order of a request with a handshake (RFC 6455 section
4.2): a malformed one is refused; then the `websocketupgrade` listeners may decide; then, as for
every other request, the `fetch` listeners. Nothing is written before a decision, so a listener
that raises yields a clean response: that of its HTTPError, or 500.
"""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from math import inf
from typing import TYPE_CHECKING, Protocol

from holdfast.core.answer import failure_response, is_clients_fault, settle
from holdfast.core.dispatch import Failure, Waiting, dispatch_request, first_step
from holdfast.core.ports import current_outbox
from holdfast.core.request_events import FetchEvent, Upgrade, WebSocketUpgradeEvent
from holdfast.errors import AttachmentError
from holdfast.framing.handshake import check_request
from holdfast.framing.origin import OriginPolicy
from holdfast.http.deadlines import Deadlines
from holdfast.http.exchange import TOO_LARGE_TEXT, Exchange
from holdfast.http.files import respond_with_file
from holdfast.http.mounts import Mounts, Passage
from holdfast.http.paths import split_path
from holdfast.http.reporting import report_failure
from holdfast.web.files import FileBody
from holdfast.web.http_errors import (
    BadRequest,
    ContentTooLarge,
    Forbidden,
    HTTPError,
    ServiceUnavailable,
)
from holdfast.web.request import Request
from holdfast.web.response import Response

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeAlias

    from holdfast.core.ports import Host, Outbox
    from holdfast.core.request_events import RequestEvent
    from holdfast.core.scope import GlobalScope
    from holdfast.http.exchange import Receive, Respond, Scope, Send
    from holdfast.http.mounts import Endpoints

    Decision: TypeAlias = Response | Upgrade | Failure | None

log = logging.getLogger("holdfast.worker")

# The scope extension under which the server puts the UpgradeHandle of a handshake request.
EXTENSION = "holdfast.socket"

# And under which it puts what sends a response that is all there, without ASGI's two messages:
# `http/exchange.py:Respond`.
WHOLE_RESPONSE = "holdfast.response"

FOREIGN_ORIGIN = "pages of this origin may not open a WebSocket here (--allow-origin)"

# Some proxies forward a handshake's scheme as that of the WebSocket. A URL of holdfast's has that
# of the request, which a handshake is.
SCHEMES = {"http": "http", "https": "https", "ws": "http", "wss": "https"}


class HandoverUnavailable(Exception):
    """Nobody takes the socket now; nothing was written, the client can still get a response."""


class UpgradeHandle(Protocol):
    """Gives the socket of one handshake request away."""

    async def give(self, upgrade: Upgrade, outbox: Outbox) -> None:
        """Give it, with what the listener asked for; the outbox is sealed then.

        Raises:
            HandoverUnavailable: nothing was given, nothing was written.
        """


class Late(Exception):
    """The listeners have ended after their time was up, and the client has its answer."""


class HttpSide:
    """The ASGI application that a worker's HTTP server calls.

    Args:
        host: dispatches and commits.
        develop: show error details to clients.
        max_body: bytes that the body of a request may have.
        request_timeout: seconds that the listeners of a request may take to answer; 0 for ever.
        allow_origins: whose pages may open a WebSocket, beside the server's own; patterns of
            `framing/origin.py:OriginPolicy`.
        on_limit: called with "max_body" for each request that is refused with 413, and with
            "request_timeout" for each whose listeners took too long.
        mounts: what gets the requests that no listener answers.
        endpoints: what runs the WebSocket endpoints of `mounts`; None if nothing does.

    Raises:
        ValueError: a pattern is none.
    """

    def __init__(
        self,
        app: GlobalScope,
        host: Host,
        *,
        develop: bool,
        max_body: int = 16 * 1024 * 1024,
        request_timeout: float = 30.0,
        allow_origins: tuple[str, ...] = (),
        on_limit: Callable[[str], None] = lambda _: None,
        mounts: Mounts | None = None,
        endpoints: Endpoints | None = None,
    ) -> None:
        self._mounts = mounts or Mounts(())
        self._endpoints = endpoints
        self._origins = OriginPolicy(allow_origins)
        self._app = app
        self._host = host
        self._develop = develop
        self._max_body = max_body
        self._on_limit = on_limit
        self._on_too_large = partial(on_limit, "max_body")
        self._request_timeout = request_timeout or inf
        self._deadlines = Deadlines(self._tell_late)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers: list[tuple[bytes, bytes]] = scope["headers"]
        extensions = scope.get("extensions")
        handle: UpgradeHandle | None = None
        at_once: Respond | None = None
        if extensions is not None:
            handle, at_once = extensions.get(EXTENSION), extensions.get(WHOLE_RESPONSE)
        if self._mounts and handle is None and not self._app.registered["fetch"]:
            mounted = self._mounts.find(scope)
            if mounted is not None and _is_small(headers, self._max_body):
                # Nothing of ours to add: no event, no Request.
                mounted.make_child_scope(scope)
                await mounted.app(scope, receive, send)
                return
        scheme: str = scope.get("scheme", "http")
        raw_path, root = split_path(scope)
        exchange = Exchange(receive, send, self._max_body, at_once, keeps=bool(self._mounts))
        request = Request.from_parts(
            scope["method"],
            SCHEMES.get(scheme, scheme),
            raw_path,
            scope["query_string"],
            headers,
            scope.get("client"),
            exchange,
            root,
        )
        if not request.has_valid_url:
            await self._refuse(exchange, request, BadRequest("the Host header is not a host"))
        elif not exchange.check_length(headers):
            self._on_too_large()
            await self._refuse(exchange, request, ContentTooLarge(TOO_LARGE_TEXT))
        else:
            try:
                if handle is None:
                    await self._fetch(exchange, request, scope, send)
                else:
                    await self._upgrade(exchange, request, handle, scope, send)
            except Late:
                pass

    # --- one event after the other --------------------------------------------------------------

    async def _fetch(self, exchange: Exchange, request: Request, scope: Scope, send: Send) -> None:
        outbox = self._host.new_outbox()
        event = FetchEvent(outbox, request, upgradable=False)
        decided = self._begin(event, outbox)
        if isinstance(decided, Waiting):
            decided = await self._wait(exchange, event, outbox, decided, self._time_is_up())
        assert not isinstance(decided, Upgrade)  # An event that is not upgradable was not upgraded.
        if decided is None and (mounted := self._mounts.find(scope)) is not None:
            self._host.commit(outbox)
            passage = Passage(exchange, send, event.set_cookies, self._on_too_large)
            mounted.make_child_scope(scope)
            await mounted.app(scope, passage.receive, passage.send)
            return
        answer = settle(outbox, decided)
        if isinstance(answer, Response) and not answer.is_streaming:
            await exchange.respond(answer, event.set_cookies)
        else:
            await self._respond(exchange, event, answer)

    async def _upgrade(
        self, exchange: Exchange, request: Request, handle: UpgradeHandle, scope: Scope, send: Send
    ) -> None:
        # Those that somebody else's server brings have been checked by it.
        refusal = None
        if scope["type"] != "websocket":
            refusal = check_request(scope["method"], scope["http_version"], scope["headers"])
        if refusal is not None:
            response = Response(refusal.reason, status=refusal.status, headers=refusal.headers)
            await exchange.respond(response)
            return
        if not self._origins.allows(scope["headers"]):
            await self._refuse(exchange, request, Forbidden(FOREIGN_ORIGIN))
            return
        until = self._time_is_up()
        for kind in (WebSocketUpgradeEvent, FetchEvent):
            outbox = self._host.new_outbox()
            event: RequestEvent = kind(outbox, request, upgradable=True)
            decided = self._begin(event, outbox)
            if isinstance(decided, Waiting):
                decided = await self._wait(exchange, event, outbox, decided, until)
            if isinstance(decided, Upgrade):
                decided = _commit_attachment(decided)
            if isinstance(decided, Upgrade):
                await self._give(exchange, event, decided, outbox, handle)
                return
            if decided is not None:
                await self._respond(exchange, event, settle(outbox, decided))
                return
            self._host.commit(outbox)
        mounted = self._mounts.find(scope)
        if mounted is not None and self._endpoints is not None:
            await self._endpoints.begin(mounted, request, scope, exchange.receive, send, handle)
            return
        log.info(
            "%s %r: 426, no listener accepted or rejected the handshake",
            request.method,
            request.path,
        )
        undecided = Response("Upgrade Required", status=426, headers={"upgrade": "websocket"})
        await exchange.respond(undecided)

    def _begin(self, event: RequestEvent, outbox: Outbox) -> Decision | Waiting[Decision]:
        """Run the listeners as far as they go without waiting."""
        current_outbox.set(outbox)
        try:
            return first_step(dispatch_request(event, self._app.registered[event.type]))
        except asyncio.CancelledError as error:
            # Nobody could have cancelled this: a listener awaited what had been before.
            return Failure(error, closes=False)

    def _time_is_up(self) -> float:
        """When, on the loop's clock."""
        return asyncio.get_running_loop().time() + self._request_timeout

    async def _wait(
        self,
        exchange: Exchange,
        event: RequestEvent,
        outbox: Outbox,
        waiting: Waiting[Decision],
        until: float,
    ) -> Decision:
        """Run the listeners to their end.

        Raises:
            Late: that was too late.
        """
        deadline = self._deadlines.add(until, (exchange, event.request))
        try:
            decided = await waiting.finish()
        except asyncio.CancelledError as error:
            # Not cancelled by anybody: a listener awaited what had been.
            decided = Failure(error, closes=False)
            if deadline.is_cancelled_by_others:
                self._host.discard(outbox)
                raise
        finally:
            self._deadlines.remove(deadline)
        if deadline.telling is not None:
            # Whatever they decided, and did.
            self._host.discard(outbox)
            await deadline.told()
            raise Late
        return decided

    # --- what the client gets -------------------------------------------------------------------

    async def _respond(
        self, exchange: Exchange, event: RequestEvent, answer: Response | Failure
    ) -> None:
        cookies = event.set_cookies
        if isinstance(answer, Failure):
            # Cookies are effects of the event, and discarded like the others.
            answer, cookies = await self._fail(event, answer.error, f"a {event.type} listener"), []
        if isinstance(answer.body, FileBody):
            try:
                answer = await respond_with_file(answer, answer.body, event.request)
            except OSError as error:
                answer = await self._fail(event, error, "the file of the response")
        if not answer.is_streaming or event.request.method == "HEAD":
            await exchange.respond(answer, cookies)
            return
        try:
            await exchange.stream(answer, cookies)
        except (Exception, asyncio.CancelledError) as error:
            if _is_cancelled(error):
                raise
            answer = await self._fail(event, error, "the body of the response")
            # Once the head is out, the server sees that the rest is missing and ends the
            # connection: the client must not take what it got for all there is.
            if not exchange.has_started:
                await exchange.respond(answer)

    async def _fail(self, event: RequestEvent, error: BaseException, what: str) -> Response:
        """Report what `what` raised, and return the response for it."""
        request = event.request
        if is_clients_fault(error):
            if isinstance(error, ContentTooLarge):
                self._on_too_large()
            _log_refusal(request, error)
        else:
            what = f"{what}, for {request.method} {request.path!r},"
            await report_failure(self._app, self._host, event, error, what)
        return failure_response(error, develop=self._develop)

    async def _refuse(self, exchange: Exchange, request: Request, error: HTTPError) -> None:
        _log_refusal(request, error)
        await exchange.respond(failure_response(error, develop=False))

    async def _tell_late(self, late: tuple[Exchange, Request]) -> None:
        exchange, request = late
        self._on_limit("request_timeout")
        log.error(
            "%s %r was not answered within %g s: 503, its listeners were cancelled",
            request.method,
            request.path,
            self._request_timeout,
        )
        await exchange.respond(failure_response(ServiceUnavailable(), develop=False))

    async def _give(
        self,
        exchange: Exchange,
        event: RequestEvent,
        upgrade: Upgrade,
        outbox: Outbox,
        handle: UpgradeHandle,
    ) -> None:
        """Hand the socket over, with what the listener asked for."""
        for cookie in event.set_cookies:
            upgrade.headers.append("set-cookie", cookie)
        try:
            await handle.give(upgrade, outbox)
        except HandoverUnavailable as error:
            log.error("an upgrade was lost: %s", error)
            self._host.discard(outbox)
            unavailable = ServiceUnavailable(headers={"retry-after": "1"})
            await exchange.respond(failure_response(unavailable, develop=False))


def _is_small(headers: list[tuple[bytes, bytes]], limit: int) -> bool:
    """Tell whether a body is known to be within the limit: the server reads no more of it."""
    for name, value in headers:
        if name == b"transfer-encoding" or (name == b"content-length" and int(value) > limit):
            return False
    return True


def _is_cancelled(error: BaseException) -> bool:
    """Tell whether `error` is because the server stops, and no failure of the application."""
    task = asyncio.current_task()
    is_it = isinstance(error, asyncio.CancelledError)
    return is_it and task is not None and bool(task.cancelling())


def _commit_attachment(upgrade: Upgrade) -> Upgrade | Failure:
    try:
        upgrade.connection.commit()
    except AttachmentError as error:
        return Failure(error, closes=False)
    return upgrade


def _log_refusal(request: Request, error: BaseException) -> None:
    """Log, in one line, what the client did wrong."""
    assert isinstance(error, HTTPError)
    # Quoted: the text may be the client's, line breaks included. No warning: nothing is wrong here,
    # and whoever asks for what is not there must not fill the log of those who look for faults.
    log.info("%s %r: %d, %r", request.method, request.path, error.status, error.message)
