"""TestClient: an application in memory, and what a test can do to it.

No socket, no process, no file: the real switchboard and the real life of a worker, joined in the
event loop that the test runs in.
"""

from __future__ import annotations

import asyncio
import base64
import logging
import os
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from holdfast.http.asgi import EXTENSION
from holdfast.testing.errors import UpgradeRefused
from holdfast.testing.life import SocketHandle
from holdfast.testing.lives import Lives
from holdfast.testing.round_trip import RoundTrip
from holdfast.testing.session import Session
from holdfast.testing.sockets import Peer
from holdfast.testing.stream import Stream, raise_first
from holdfast.testing.websocket import WebSocket
from holdfast.web.headers import Headers
from holdfast.web.json import to_json
from holdfast.web.request import Request
from holdfast.web.url import URL, SearchParams

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator, Sequence
    from types import TracebackType
    from typing import Any, NoReturn, Self

    from holdfast.app import ServiceWorker
    from holdfast.testing.clock import Clock
    from holdfast.web.headers import HeadersInit
    from holdfast.web.response import Response
    from holdfast.web.url import SearchParamsInit

log = logging.getLogger("holdfast.testing")

TIMEOUT = 5.0  # seconds: long for anything in memory, short for who waits for a test


class TestClient:
    """Drives an application in memory. Use it with `async with`, in any running asyncio loop.

    Entering runs install, activate and startup. Leaving closes every connection with 1001, has the
    close events handled, waits for `wait_until` work, and runs shutdown.

    There is one worker at a time, and it is in this process. So, unlike on a server, what the
    application keeps in global variables survives `crash_worker`, `reload` and `hibernate`, and a
    thread that a listener has started goes on. BroadcastChannel objects belong to the process too:
    with several clients open, one of them hears the publications of all that have its name.

    Args:
        app: the application.
        base_url: what relative URLs are relative to.
        raise_errors: raise in the test what a listener of a request raised, and what went wrong on
            leaving; else the client gets the response that a real one would get (500). What
            listeners of other events raised is in `errors`.
        timeout: seconds that anything may take for which nothing else was said.
    """

    __test__ = False  # pytest would take the name for that of a test class.

    def __init__(
        self,
        app: ServiceWorker,
        *,
        base_url: str = "http://testserver",
        raise_errors: bool = True,
        timeout: float = TIMEOUT,
    ) -> None:
        self._app = app
        self._base_url = URL(base_url)
        self._raise_errors = raise_errors
        self._timeout = timeout
        self._session: Session | None = None
        # None while the client is not open.
        self._lives: Lives | None = None

    def __repr__(self) -> str:
        state = "closed" if self._lives is None else f"{self.connections} connections"
        return f"<TestClient {self._base_url} {state}>"

    async def __aenter__(self) -> Self:
        """Start the application.

        Raises:
            ApplicationError: install, activate or startup failed; `__cause__` is what was raised.
            RuntimeError: the client is open already.
        """
        if self._lives is not None:
            raise RuntimeError("this TestClient is open already; make another one")
        self._session = session = Session(asyncio.get_running_loop(), self._timeout)
        self._lives = lives = Lives(self._app, session)
        session.clock.follow(lives.keeper.tick)
        try:
            await lives.open()
        except BaseException:
            self._lives = None
            await lives.abort()
            self._leave(session, lives)
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop the application.

        Raises:
            TimeoutError: something did not finish; says what. It was cancelled.
            ApplicationError: shutdown failed; `__cause__` is what was raised.
        """
        # What the test itself raised is the better news.
        await self._close(quietly=error is not None or not self._raise_errors)

    # --- requests -------------------------------------------------------------------------------

    async def fetch(
        self,
        url: str | URL,
        *,
        method: str = "GET",
        headers: HeadersInit | None = None,
        body: str | bytes | AsyncIterable[bytes] | None = None,
        json: Any = None,
        form: SearchParamsInit | None = None,
        timeout: float | None = None,
    ) -> Response:
        """Make a request; return the response with its complete body.

        No redirect is followed, and there is no cookie jar: send cookies with
        `headers={"cookie": "name=value"}`, and look at `response.headers.get_set_cookie()`.

        Args:
            url: relative to the client's `base_url`, or absolute.
            headers: Host and Content-Length are added.
            body: str is sent as UTF-8, an async iterable chunk by chunk.
            json: plain data, instead of `body`.
            form: the fields of a form, instead of `body`; sent urlencoded.
            timeout: seconds; None for the client's.

        Raises:
            TimeoutError: the response did not come; quotes what listeners raised meanwhile.
            ConnectionResetError: the worker was lost, or the application broke off the response.
            ValueError, TypeError: the request is not possible, as a GET with a body.
            ApplicationError: no worker served, and a new one did not start.
            Exception: what a listener raised, with `raise_errors`. An HTTPError is returned as the
                response that it stands for, unless its status is 500.
        """
        request = self._request(url, method, headers, body, json, form)
        lives, session = self._open()
        trip = RoundTrip(session.loop, request)
        chunks: list[bytes] = []

        def is_complete() -> bool:
            while trip.has_chunks:
                chunks.append(trip.take())
            return trip.is_over or trip.is_complete

        known = len(session.reports)
        (await lives.worker()).requests.begin(trip)
        try:
            late = f"no complete response to {trip}"
            await session.until(
                is_complete, lambda: late, pulse=trip.pulse, timeout=timeout, since=known
            )
            self._check(trip)
        finally:
            trip.leave()
        return trip.response(b"".join(chunks))

    @asynccontextmanager
    async def stream(
        self,
        url: str | URL,
        *,
        method: str = "GET",
        headers: HeadersInit | None = None,
        body: str | bytes | AsyncIterable[bytes] | None = None,
        timeout: float | None = None,
    ) -> AsyncIterator[Stream]:
        """Make a request whose response is read while it comes, as server-sent events.

            async with client.stream("/events") as stream:
                assert await stream.read() == b"data: hello\\n\\n"

        Leaving the block is a client that disconnects. Arguments and errors as for `fetch`;
        `timeout` is for the start of the response.
        """
        request = self._request(url, method, headers, body)
        lives, session = self._open()
        trip = RoundTrip(session.loop, request)
        known = len(session.reports)
        (await lives.worker()).requests.begin(trip)
        try:
            late = f"no response to {trip}"
            await session.until(
                lambda: trip.has_started,
                lambda: late,
                pulse=trip.pulse,
                timeout=timeout,
                since=known,
            )
            if trip.status in (0, 500):
                # Later, what is wrong with the body is the reader's to find out.
                self._check(trip)
            trip.is_held = True
            yield Stream(session, trip, raise_errors=self._raise_errors)
        finally:
            trip.leave()

    @asynccontextmanager
    async def connect(
        self,
        url: str | URL,
        *,
        headers: HeadersInit | None = None,
        subprotocols: Sequence[str] = (),
        timeout: float | None = None,
    ) -> AsyncIterator[WebSocket]:
        """Open a WebSocket connection.

            async with client.connect("/ws") as ws:
                await ws.send("x")

        Leaving the block closes it with 1000, and waits until the close event was handled.

        Args:
            url: relative to the client's `base_url`, or absolute.
            headers: those of the handshake are added.
            subprotocols: to offer, most preferred first.
            timeout: seconds until the handshake is answered; None for the client's.

        Raises:
            UpgradeRefused: the answer was an ordinary response, also that of an HTTPError that a
                listener raised.
            TimeoutError: there was no answer; quotes what listeners raised meanwhile.
            ConnectionResetError: the worker was lost.
            ApplicationError: no worker served, and a new one did not start.
            Exception: what a listener raised, with `raise_errors`.
        """
        request = self._request(url, "GET", _handshake(headers, subprotocols))
        lives, session = self._open()
        peer = Peer(session.loop, request.url.pathname)
        worker = await lives.worker()
        handle = SocketHandle(worker, peer, request.headers.raw)
        trip = RoundTrip(session.loop, request, extensions={EXTENSION: handle}, pulse=peer.pulse)
        known = len(session.reports)
        worker.requests.begin(trip)
        try:
            await session.until(
                lambda: peer.is_answered or trip.is_complete or trip.is_broken,
                lambda: f"no answer to the handshake of {peer.path}",
                pulse=peer.pulse,
                timeout=timeout,
                since=known,
            )
            if peer.headers is None:
                self._refuse(peer, trip)
        except BaseException:
            trip.leave()
            peer.has_left = True
            raise
        ws = WebSocket(session, peer, self.settle)
        try:
            yield ws
        except BaseException:
            ws.drop()
            raise
        await ws.close()

    # --- what may happen ------------------------------------------------------------------------

    async def crash_worker(self) -> None:
        """Lose the worker, as with `kill -9`; return when another one serves.

        Nothing that it still does has any effect; its listeners are cancelled. What it had in hand
        is delivered again with `attempt` + 1; requests fail with ConnectionResetError; connections
        stay. The new worker runs startup, not install. A listener may call this, too.

        Raises:
            RuntimeError: there is no worker: it hibernates.
            ApplicationError: the new worker does not start.
        """
        await self._open()[0].crash()

    async def reload(self, app: ServiceWorker, *, wait: bool = True) -> None:
        """Replace the code, as `holdfast reload` does; connections stay.

        The new application runs install, activate and startup and gets everything from then on;
        the old one finishes what it has in hand, its `wait_until` work too, and runs shutdown.

        Args:
            app: the new application; it may be the same object.
            wait: until the old one has finished; else return as soon as the new one serves.

        Raises:
            ApplicationError: the new application does not start, and the old one goes on; or the
                old one's shutdown failed.
            TimeoutError: the old one did not finish; says what it did not. It was cancelled.
        """
        await self._open()[0].reload(app, wait=wait)

    async def hibernate(self) -> None:
        """Have the worker finish and go, as an idle server's do; connections stay.

        The next request or message starts another one, which runs startup.

        Raises:
            ApplicationError: shutdown failed.
            TimeoutError: it did not finish; says what it did not. It was cancelled.
        """
        await self._open()[0].hibernate()

    async def settle(self, timeout: float | None = None) -> None:
        """Return when nothing is in flight, and no listener and no `wait_until` work runs.

        A stream that you hold open does not count.

        Args:
            timeout: seconds; None for the client's.

        Raises:
            TimeoutError: something goes on; says what, and quotes what listeners raised meanwhile.
        """
        lives, session = self._open()
        await session.until(
            lambda: lives.is_idle,
            lambda: f"not settled ({'; '.join(lives.busy())})",
            timeout=timeout,
        )

    # --- what is known --------------------------------------------------------------------------

    @property
    def clock(self) -> Clock:
        """Makes time pass at once: `await client.clock.advance(seconds)`."""
        return self._open()[1].clock

    @property
    def connections(self) -> int:
        """How many WebSocket connections are open."""
        return self._open()[0].keeper.open_connections

    @property
    def errors(self) -> list[BaseException]:
        """What listeners and `wait_until` work have raised, in order. A copy."""
        reports = [] if self._session is None else self._session.reports
        return [report.error for report in reports]

    # --- inside ---------------------------------------------------------------------------------

    def _open(self) -> tuple[Lives, Session]:
        if self._lives is None or self._session is None:
            raise RuntimeError("this TestClient is not open: use it inside of `async with`")
        return self._lives, self._session

    async def _close(self, *, quietly: bool) -> None:
        lives, session = self._open()
        self._lives = None
        try:
            await lives.close()
        except Exception as error:
            if not quietly:
                raise
            log.error("the application did not stop properly: %s", error)
        finally:
            self._leave(session, lives)

    def _leave(self, session: Session, lives: Lives) -> None:
        session.clock.unfollow(lives.keeper.tick)
        session.close()

    def _request(
        self,
        url: str | URL,
        method: str,
        headers: HeadersInit | None,
        body: str | bytes | AsyncIterable[bytes] | None = None,
        json: Any = None,
        form: SearchParamsInit | None = None,
    ) -> Request:
        fields = Headers(headers)
        if sum(one is not None for one in (body, json, form)) > 1:
            raise TypeError("a request has one of body, json and form")
        kind = None
        if json is not None:
            body, kind = to_json(json).encode(), "application/json"
        elif form is not None:
            body, kind = str(SearchParams(form)).encode(), "application/x-www-form-urlencoded"
        if kind is not None and not fields.has("content-type"):
            fields.append("content-type", kind)
        request = Request(URL(url, self._base_url), method=method, headers=fields, body=body)
        if isinstance(body, str | bytes):
            size = len(body.encode() if isinstance(body, str) else body)
            request.headers.set("content-length", str(size))
        elif body is not None:
            request.headers.set("transfer-encoding", "chunked")
        return request

    def _check(self, trip: RoundTrip) -> None:
        """Raise what the application raised, or what its client would notice."""
        # Another status than 500 is one that the application has chosen.
        if self._raise_errors and (trip.status in (0, 500) or trip.is_broken):
            raise_first(trip)
        trip.check()

    def _refuse(self, peer: Peer, trip: RoundTrip) -> NoReturn:
        """The handshake was not answered with 101."""
        if peer.refusal is not None:
            raise UpgradeRefused(peer.refusal)
        if peer.is_lost:
            raise ConnectionResetError("the worker was lost before it had answered the handshake")
        self._check(trip)
        raise UpgradeRefused(trip.response(trip.take_all()))


def _handshake(headers: HeadersInit | None, subprotocols: Sequence[str]) -> Headers:
    """Add what makes a handshake (RFC 6455 section 4.1); what was given stays."""
    fields = Headers(headers)
    ours = {
        "connection": "Upgrade",
        "upgrade": "websocket",
        "sec-websocket-version": "13",
        "sec-websocket-key": base64.b64encode(os.urandom(16)).decode(),
    }
    if subprotocols:
        ours["sec-websocket-protocol"] = ", ".join(subprotocols)
    for name, value in ours.items():
        if not fields.has(name):
            fields.append(name, value)
    return fields
