from __future__ import annotations

import asyncio
import logging
import os
from typing import TYPE_CHECKING, Any

import pytest

from holdfast.app import ServiceWorker
from holdfast.core.ports import current_outbox
from holdfast.errors import AttachmentError
from holdfast.http.asgi import EXTENSION, HandoverUnavailable, HttpSide
from holdfast.http.files import CHUNK
from holdfast.web.http_errors import (
    ClientLeft,
    ContentTooLarge,
    Forbidden,
    HTTPError,
    ServiceUnavailable,
)
from holdfast.web.response import Response
from tests import jumping
from tests.core.fakes import FakeHost
from tests.http.asgi import Client

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
    from pathlib import Path

    from holdfast.core.events import ErrorEvent
    from holdfast.core.ports import Outbox
    from holdfast.core.request_events import FetchEvent, Upgrade, WebSocketUpgradeEvent

HANDSHAKE = (
    (b"connection", b"Upgrade"),
    (b"upgrade", b"websocket"),
    (b"sec-websocket-version", b"13"),
    (b"sec-websocket-key", b"dGhlIHNhbXBsZSBub25jZQ=="),
)


class SocketHandle:
    """Takes sockets, or refuses to."""

    def __init__(self, *, refuses: bool = False) -> None:
        self.given: list[Upgrade] = []
        self._refuses = refuses

    async def give(self, upgrade: Upgrade, outbox: Outbox) -> None:
        if self._refuses:
            raise HandoverUnavailable("nobody is there")
        outbox.host.commit(outbox)
        self.given.append(upgrade)


def handshake(handle: SocketHandle, **options: Any) -> Client:
    return Client(headers=HANDSHAKE, extensions={EXTENSION: handle}, **options)


class Side:
    """An application whose only fetch listener is `listener`, and its HTTP side."""

    def __init__(
        self,
        fetch: Callable[[FetchEvent], object] | None = None,
        *,
        upgrade: Callable[[WebSocketUpgradeEvent], object] | None = None,
        max_body: int = 100,
        request_timeout: float = 30.0,
        develop: bool = False,
    ) -> None:
        self.host = FakeHost()
        self.errors: list[BaseException] = []
        self.over: list[str] = []
        """The limits that requests were over."""
        app = ServiceWorker()
        if fetch is not None:
            app.add_event_listener("fetch", fetch)
        if upgrade is not None:
            app.add_event_listener("websocketupgrade", upgrade)

        @app.on("error")
        def note(event: ErrorEvent) -> None:
            self.errors.append(event.error)

        self._side = HttpSide(
            app,
            self.host,
            develop=develop,
            max_body=max_body,
            request_timeout=request_timeout,
            on_limit=self.over.append,
        )

    async def answer(self, client: Client) -> Client:
        await self._side(client.scope, client.receive, client.send)
        return client

    def get(self, **options: Any) -> Client:
        """Return a client whose request without a body was answered."""

        async def ask() -> Client:
            return await self.answer(Client(**options))

        return jumping.run(ask())

    def post(self, *parts: bytes, **options: Any) -> Client:
        async def ask() -> Client:
            return await self.answer(Client(*parts, method="POST", **options))

        return jumping.run(ask())


def run(work: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        await work()

    jumping.run(main())


def publish(text: str) -> None:
    current_outbox.get().publish("lobby", text, 0, 0)


@pytest.fixture(autouse=True)
def _log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)


# -- answers


def test_a_response_is_sent_with_its_cookies_and_the_events() -> None:
    # Each cookie is a field of its own.
    def fetch(event: FetchEvent) -> Response:
        publish("yes")
        event.set_cookie("b", "2")
        event.set_cookie("c", "3")
        response = Response("hi", status=201)
        response.set_cookie("a", "1")
        return response

    side = Side(fetch)
    client = side.get()
    assert (client.status, client.body, client.is_complete) == (201, b"hi", True)
    cookies = [value[0:3] for name, value in client.headers if name == b"set-cookie"]
    assert cookies == [b"a=1", b"b=2", b"c=3"]
    assert side.host.commits == [[("publish", "lobby", "yes", 0, 0)]]


def test_a_request_nobody_answers_is_404() -> None:
    client = Side().get()
    assert (client.status, client.body) == (404, b"Not Found")


@pytest.mark.parametrize("status", [204, 205, 304])
def test_a_response_without_a_body_is_complete(status: int) -> None:
    client = Side(lambda event: Response(status=status)).get()
    assert (client.status, client.chunks, client.is_complete) == (status, [b""], True)


def test_the_request_is_that_of_the_client() -> None:
    # Host, scheme and address, as the server understood them.
    seen: list[object] = []

    def fetch(event: FetchEvent) -> None:
        seen.append((event.request.url.href, event.request.client))

    Side(fetch).get(scheme="https", path=b"/a%20b")
    assert seen == [("https://example.org/a%20b", ("192.0.2.1", 4711))]


def test_a_host_that_makes_no_url_is_400_without_an_event() -> None:
    events: list[object] = []
    client = Side(events.append).get(headers=[(b"host", b"a")])
    assert (client.status, events) == (400, [])


# -- listeners that raise


def failing(error: BaseException) -> Callable[[FetchEvent], object]:
    def fetch(event: FetchEvent) -> Response:
        publish("never")
        event.set_cookie("a", "1")
        event.respond_with(Response("never"))
        raise error

    return fetch


@pytest.mark.parametrize("develop", [False, True])
def test_refusal_logs_one_line_only(develop: bool, caplog: pytest.LogCaptureFixture) -> None:
    # The event has failed: A31.
    error = Forbidden("not\nyours", headers={"x-a": "1"})
    side = Side(failing(error), develop=develop)
    client = side.get()
    assert (client.status, client.body) == (403, b"not\nyours")
    assert dict(client.headers) == {
        b"x-a": b"1",
        b"content-type": b"text/plain; charset=utf-8",
        b"content-length": b"9",
    }
    (record,) = caplog.records
    assert record.levelname == "INFO"
    assert record.getMessage() == "GET '/x': 403, 'not\\nyours'"
    assert (side.host.reports, side.errors, side.host.commits) == ([], [], [])


@pytest.mark.parametrize("error", [RuntimeError("secret"), ServiceUnavailable("secret")])
def test_a_failure_is_reported_and_told_without_details(error: Exception) -> None:
    side = Side(failing(error))
    client = side.get()
    assert client.status == getattr(error, "status", 500)
    assert client.body in (b"Internal Server Error", b"Service Unavailable")
    assert b"set-cookie" not in dict(client.headers)
    assert side.host.reports == [("a fetch listener, for GET '/x',", error)]
    assert side.errors == [error]
    assert side.host.commits == [[]]  # that of the error event


def test_while_developing_a_failure_shows_its_traceback() -> None:
    client = Side(failing(RuntimeError("detail")), develop=True).get()
    assert client.status == 500
    assert client.body.startswith(b"Traceback")
    assert b"detail" in client.body


@pytest.mark.parametrize("waits", [False, True])
def test_awaiting_what_was_cancelled_is_a_failure_as_any(waits: bool) -> None:
    async def fetch(event: FetchEvent) -> None:
        if waits:
            await asyncio.sleep(0)
        future = asyncio.get_running_loop().create_future()
        future.cancel()
        await future

    side = Side(fetch)
    assert side.get().status == 500
    assert [type(error) for error in side.errors] == [asyncio.CancelledError]


def test_cancelled_request_has_no_effects() -> None:
    started = asyncio.Event()

    async def fetch(event: FetchEvent) -> None:
        publish("never")
        started.set()
        await asyncio.Event().wait()

    async def work() -> None:
        side, client = Side(fetch), Client()
        task = asyncio.create_task(side.answer(client))
        await started.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (side.host.commits, side.errors, client.sent) == ([], [], [])

    run(work)


# -- bodies of requests


async def echo(event: FetchEvent) -> Response:
    return Response(await event.request.bytes())


@pytest.mark.parametrize("parts", [(b"",), (b"ab", b"", b"c")])
def test_a_body_is_read_as_it_comes(parts: tuple[bytes, ...]) -> None:
    # The model differs: there, a pool reads all of it first.
    assert Side(echo).post(*parts).body == b"".join(parts)


def test_a_body_that_is_not_json_is_the_clients_fault() -> None:
    async def fetch(event: FetchEvent) -> Response:
        return Response.json(await event.request.json())

    side = Side(fetch)
    client = side.post(b"{")
    assert client.status == 400
    assert client.body.startswith(b"the body is not JSON: ")
    assert side.errors == []
    assert side.post(b"{}").body == b"{}"


def test_a_body_that_is_not_a_form_is_the_clients_fault() -> None:
    async def fetch(event: FetchEvent) -> Response:
        return Response(str((await event.request.form()).items()))

    def post(body: bytes, content_type: bytes) -> Client:
        return Side(fetch).post(body, headers=[(b"content-type", content_type)])

    assert post(b"", b"multipart/form-data; boundary=X").status == 400
    assert post(b"", b"text/plain").status == 415
    assert post(b"a=1", b"application/x-www-form-urlencoded").body == b"[('a', '1')]"


def test_client_leaving_mid_request_is_no_error() -> None:
    caught: list[BaseException] = []

    async def fetch(event: FetchEvent) -> None:
        try:
            await event.request.bytes()
        except ConnectionResetError as error:
            caught.append(error)
            raise

    async def work() -> None:
        side, client = Side(fetch), Client(b"a", method="POST", more=True)
        task = asyncio.create_task(side.answer(client))
        await asyncio.sleep(0)
        client.leave()
        await task
        assert [type(error) for error in caught] == [ClientLeft]
        assert (side.errors, side.host.reports, client.sent) == ([], [], [])

    run(work)


# -- bodies that are too large


@pytest.mark.parametrize(("length", "status"), [(b"100", 200), (b"101", 413), (b"9" * 30, 413)])
def test_a_length_over_the_limit_is_refused_before_any_listener_runs(
    length: bytes, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    events: list[object] = []

    def fetch(event: FetchEvent) -> Response:
        events.append(event)
        return Response()

    side = Side(fetch)
    client = side.post(headers=[(b"content-length", length)])
    assert client.status == status
    assert side.over == ["max_body"] * (status == 413)
    assert client.is_complete
    assert bool(events) is (status == 200)
    assert ((b"connection", b"close") in client.headers) is (status == 413)
    assert len(caplog.records) == (status == 413)


def test_a_body_without_a_length_is_refused_while_it_is_read() -> None:
    assert Side(echo).post(b"a" * 60, b"b" * 40).body == b"a" * 60 + b"b" * 40
    side = Side(echo)
    client = side.post(b"a" * 60, b"b" * 41)
    assert (client.status, client.is_complete) == (413, True)
    assert client.body == b"the body is larger than this server takes"
    assert (b"connection", b"close") in client.headers
    assert side.errors == []


def test_answer_to_too_large_body_closes() -> None:
    seen: list[bytes] = []

    async def fetch(event: FetchEvent) -> Response:
        try:
            async for chunk in event.request.stream():
                seen.append(chunk)  # noqa: PERF401 - it shall raise meanwhile
        except ContentTooLarge:
            return Response("too much", status=400)
        return Response()

    client = Side(fetch).post(b"a" * 60, b"b" * 41, b"c", b"d")
    assert (client.status, client.body) == (400, b"too much")
    assert (b"connection", b"close") in client.headers
    assert seen == [b"a" * 60]


def test_refused_body_is_drained() -> None:
    # RFC 9112 section 9.6: closing at once would reset the connection under the response.
    async def work() -> None:
        side, client = Side(), Client(b"a", method="POST", more=True)
        client.scope["headers"].append((b"content-length", b"101"))
        task = asyncio.create_task(side.answer(client))
        await client.until(b"the body is larger than this server takes")
        assert not client.is_complete
        client.say(b"b", more=True)
        client.say(b"c", more=False)
        await task
        assert client.is_complete
        assert client.received == 3

    run(work)


def test_draining_a_refused_body_is_bounded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("holdfast.http.exchange.LINGER", 0.01)

    async def work() -> None:
        client = Client(b"a", method="POST", headers=[(b"content-length", b"101")], more=True)
        await Side().answer(client)
        assert (client.status, client.is_complete) == (413, True)

    run(work)


# -- streams


class Source:
    """A body that notes how it ends."""

    def __init__(self) -> None:
        self.ended: list[str] = []
        self.is_waiting = asyncio.Event()

    async def parts(self, *parts: str) -> AsyncIterator[str]:
        """Yield `parts` and wait for ever."""
        try:
            for part in parts:
                yield part
            self.is_waiting.set()
            await asyncio.Event().wait()
        finally:
            self.ended.append("cleaning")
            await asyncio.sleep(0)
            self.ended.append("clean")


async def parts(*chunks: str | bytes) -> AsyncIterator[str | bytes]:
    for chunk in chunks:
        yield chunk


async def later(*chunks: str | bytes) -> AsyncIterator[str | bytes]:
    for chunk in chunks:
        await asyncio.sleep(0)
        yield chunk


@pytest.mark.parametrize("make", [parts, later])
def test_a_stream_is_sent_chunk_by_chunk(make: Callable[..., AsyncIterator[str]]) -> None:
    client = Side(lambda event: Response(make("a", b"", b"b"))).get()
    assert client.chunks == [b"a", b"b", b""]
    assert client.is_complete
    assert Side(lambda event: Response(make())).get().chunks == [b""]


@pytest.mark.parametrize("body", [parts("never"), "never", b"never", None])
def test_head_gets_the_head_of_what_get_would_get(body: Any) -> None:
    response = Response(body)
    client = Side(lambda event: response).get(method="HEAD")
    assert client.status == 200
    assert client.is_complete
    if isinstance(body, str | bytes):
        assert dict(client.headers)[b"content-length"] == b"5"
    else:
        assert client.chunks == [b""]


def test_the_head_of_a_stream_does_not_wait_for_its_first_chunk() -> None:
    async def work() -> None:
        source, client = Source(), Client()
        task = asyncio.create_task(Side(lambda event: Response(source.parts())).answer(client))
        await source.is_waiting.wait()
        while client.status is None:
            await asyncio.sleep(0)
        client.leave()
        await task

    run(work)


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("is_complete", [True, False])
def test_a_stream_that_waits_ends_when_its_client_leaves(method: str, is_complete: bool) -> None:
    # Its request may not have been read, or not even be complete.
    async def work() -> None:
        source, client = Source(), Client(b"unread", method=method, more=not is_complete)
        side = Side(lambda event: Response(source.parts("a")))
        task = asyncio.create_task(side.answer(client))
        await source.is_waiting.wait()
        client.leave()
        await task
        assert source.ended == ["cleaning", "clean"]
        assert client.chunks == [b"a"]
        assert side.errors == []

    run(work)


def test_a_stream_that_never_waits_ends_when_its_client_leaves() -> None:
    ended: list[str] = []

    async def endless() -> AsyncIterator[str]:
        try:
            while True:
                yield "a"
        finally:
            for _ in range(3):
                await asyncio.sleep(0)
            ended.append("clean")

    async def work() -> None:
        client = Client()
        task = asyncio.create_task(Side(lambda event: Response(endless())).answer(client))
        await client.until(b"a")
        client.leave()
        await task
        assert ended == ["clean"]

    run(work)


def test_stream_that_catches_cancellation_ends() -> None:
    async def stubborn() -> AsyncIterator[str]:
        yield "a"
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            yield "b"
        yield "never"

    async def work() -> None:
        side, client = Side(lambda event: Response(stubborn())), Client()
        task = asyncio.create_task(side.answer(client))
        await client.until(b"a")
        client.leave()
        await task
        assert side.errors == []

    run(work)


def test_the_end_of_a_stream_leaves_other_work_alone() -> None:
    steps: list[str] = []

    async def work() -> None:
        source, client = Source(), Client()

        async def other() -> None:
            await asyncio.sleep(0)
            steps.append("done")

        def fetch(event: FetchEvent) -> Response:
            event.wait_until(other())
            return Response(source.parts())

        side = Side(fetch)
        task = asyncio.create_task(side.answer(client))
        await source.is_waiting.wait()
        client.leave()
        await task
        await side.host.spawned.pop()

    run(work)
    assert steps == ["done"]


def test_a_stream_may_be_made_of_the_request_as_it_comes() -> None:
    async def upper(event: FetchEvent) -> AsyncIterator[bytes]:
        async for chunk in event.request.stream():
            yield chunk.upper()

    side = Side(lambda event: Response(upper(event)))
    client = side.post(b"a", b"b", b"c")
    assert client.body == b"ABC"
    assert client.is_complete

    async def work() -> None:
        client = Client(b"a", method="POST", more=True)
        task = asyncio.create_task(side.answer(client))
        for part in (b"b", b"c"):
            await client.until(part.upper() if part == b"a" else b"A")
            client.say(part, more=True)
            await client.until(part.upper())
        client.say(b"", more=False)
        await task
        assert client.body == b"ABC"
        assert client.is_complete

    run(work)


def test_unread_input_is_kept_for_stream() -> None:
    async def work() -> None:
        go = asyncio.Event()

        async def slow(event: FetchEvent) -> AsyncIterator[bytes]:
            yield b"first"
            await go.wait()
            async for chunk in event.request.stream():
                yield chunk

        client = Client(b"a", method="POST", more=True)
        task = asyncio.create_task(Side(lambda event: Response(slow(event))).answer(client))
        await client.until(b"first")
        client.say(b"b", more=False)
        while client.received < 2:
            await asyncio.sleep(0)
        go.set()
        await task
        assert client.chunks == [b"first", b"a", b"b", b""]

    run(work)


def test_a_stream_whose_request_grows_too_large_is_cut_off() -> None:
    async def work() -> None:
        source, client = Source(), Client(b"a" * 101, method="POST", more=True)
        side = Side(lambda event: Response(source.parts("a")))
        await side.answer(client)
        assert source.ended == ["cleaning", "clean"]
        assert not client.is_complete

    run(work)


def test_stream_failing_at_once_is_500() -> None:
    async def broken() -> AsyncIterator[str]:
        raise error
        yield ""

    error = RuntimeError("secret")
    side = Side(lambda event: Response(broken()))
    client = side.get()
    assert (client.status, client.body) == (500, b"Internal Server Error")
    assert client.is_complete
    assert side.host.reports == [("the body of the response, for GET '/x',", error)]
    assert side.errors == [error]


@pytest.mark.parametrize("make", [parts, later])
@pytest.mark.parametrize("chunks", [(), ("a",)])
def test_what_a_stream_raises_later_leaves_the_response_incomplete(
    make: Callable[..., AsyncIterator[str]], chunks: tuple[str, ...]
) -> None:
    # The server ends the connection then; see tests/flow/test_http.py.
    async def broken() -> AsyncIterator[str]:
        async for chunk in make(*chunks):
            yield chunk
        await asyncio.sleep(0)
        raise error

    error = RuntimeError("secret")
    side = Side(lambda event: Response(broken()))
    client = side.get()
    assert client.status == 200
    assert client.chunks == [chunk.encode() for chunk in chunks]
    assert not client.is_complete
    assert side.errors == [error]


@pytest.mark.parametrize("waits", [0, 1])
@pytest.mark.parametrize("error", [TimeoutError("own"), asyncio.CancelledError("own")])
def test_a_stream_has_timeouts_and_cancellations_of_its_own(
    error: BaseException, waits: int
) -> None:
    async def broken() -> AsyncIterator[str]:
        for _ in range(waits):
            await asyncio.sleep(0)
        raise error
        yield ""

    side = Side(lambda event: Response(broken()))
    assert side.get().is_complete is (waits == 0)
    assert side.errors == [error]


def test_a_server_that_stops_may_cancel_a_stream() -> None:
    async def work() -> None:
        source, client = Source(), Client()
        side = Side(lambda event: Response(source.parts("a")))
        task = asyncio.create_task(side.answer(client))
        await source.is_waiting.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert source.ended == ["cleaning", "clean"]
        assert side.errors == []
        assert not client.is_complete

    run(work)


def test_a_stream_has_the_cookies_of_its_event() -> None:
    def fetch(event: FetchEvent) -> Response:
        event.set_cookie("a", "1")
        return Response(parts("a"))

    assert (b"set-cookie", b"a=1; Path=/; Secure; SameSite=Lax") in Side(fetch).get().headers


def test_a_stream_that_waits_may_turn_out_to_be_empty() -> None:
    async def empty(*chunks: str) -> AsyncIterator[str]:
        await asyncio.sleep(0)
        for chunk in chunks:
            yield chunk

    assert Side(lambda event: Response(empty())).get().chunks == [b""]


def test_a_chunk_that_cannot_be_sent_is_a_failure() -> None:
    side = Side(lambda event: Response(parts(5)))  # type: ignore[arg-type]
    assert side.get().status == 500
    assert "consists of str and bytes, not int" in str(side.errors)


def test_a_stream_that_was_read_before_is_a_failure() -> None:
    kept = Response(parts("a"))
    side = Side(lambda event: kept)
    assert side.get().status == 200
    assert side.get().status == 500


# -- files


def test_a_file_is_opened_when_its_response_is_sent(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("hello")

    def fetch(event: FetchEvent) -> Response:
        event.set_cookie("a", "1")
        return Response.file(event.request.path[1:], root=tmp_path)

    client = Side(fetch).get(path=b"/a.txt")
    assert (client.status, client.body, client.is_complete) == (200, b"hello", True)
    assert b"set-cookie" in dict(client.headers)
    assert dict(client.headers)[b"content-length"] == b"5"
    etag = dict(client.headers)[b"etag"]
    client = Side(fetch).get(path=b"/a.txt", headers=[(b"if-none-match", etag)])
    assert (client.status, client.body) == (304, b"")
    client = Side(fetch).get(path=b"/a.txt", method="HEAD")
    assert (client.status, client.body) == (200, b"")
    assert Side(fetch).get(path=b"/b.txt").status == 404


def test_a_large_file_is_sent_in_chunks(tmp_path: Path) -> None:
    data = os.urandom(CHUNK * 2 + 1)
    (tmp_path / "large").write_bytes(data)
    client = Side(lambda event: Response.file(tmp_path / "large")).get()
    assert [len(chunk) for chunk in client.chunks] == [CHUNK, CHUNK, 1, 0]
    assert client.body == data
    assert dict(client.headers)[b"content-length"] == str(len(data)).encode()


def test_a_file_that_cannot_be_opened_for_our_fault_is_500(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = OSError(24, "Too many open files")

    def refuse(*_: object) -> int:
        raise error

    side = Side(lambda event: Response.file(tmp_path / "a"))
    with monkeypatch.context() as patch:
        patch.setattr(os, "open", refuse)
        assert side.get().status == 500
    assert side.host.reports == [("the file of the response, for GET '/x',", error)]


# -- time


async def wait_for_ever(event: FetchEvent) -> None:
    publish("never")
    event.set_cookie("a", "1")
    await asyncio.Event().wait()


def test_request_timeout_cancels_listeners_with_503(
    caplog: pytest.LogCaptureFixture,
) -> None:
    # Not 500.
    ended: list[str] = []

    async def fetch(event: FetchEvent) -> None:
        try:
            await wait_for_ever(event)
        finally:
            ended.append("cancelled")

    side = Side(fetch, request_timeout=0.01)
    client = side.get()
    assert (client.status, client.body) == (503, b"Service Unavailable")
    assert b"set-cookie" not in dict(client.headers)
    assert ended == ["cancelled"]
    assert (side.host.commits, side.errors, side.over) == ([], [], ["request_timeout"])
    (record,) = caplog.records
    assert record.levelname == "ERROR"
    assert record.getMessage().startswith("GET '/x' was not answered within 0.01 s: 503")


def test_awaited_response_has_the_timeout_too() -> None:
    side = Side(
        lambda event: event.respond_with(wait_for_ever(event)),  # type: ignore[arg-type]
        request_timeout=0.01,
    )
    assert side.get().status == 503


def test_listeners_that_never_wait_are_never_too_late() -> None:
    assert Side(lambda event: Response("hi"), request_timeout=1e-9).get().status == 200


def test_there_may_be_no_limit() -> None:
    async def fetch(event: FetchEvent) -> Response:
        await asyncio.sleep(0)
        return Response("hi")

    assert Side(fetch, request_timeout=0).get().status == 200


def test_a_stream_may_take_longer_than_its_listener() -> None:
    async def slow() -> AsyncIterator[str]:
        await asyncio.sleep(40)
        yield "a"

    async def fetch(event: FetchEvent) -> Response:
        await asyncio.sleep(0)
        return Response(slow())

    assert Side(fetch, request_timeout=30).get().body == b"a"


def test_late_listener_does_not_delay_the_503() -> None:
    async def work() -> None:
        go, result = asyncio.Event(), []

        async def fetch(event: FetchEvent) -> Response:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                await go.wait()
            publish("never")
            result.append(event.is_settled)
            return Response("too late")

        side, client = Side(fetch, request_timeout=0.01), Client()
        task = asyncio.create_task(side.answer(client))
        await client.until(b"Service Unavailable")
        assert client.is_complete
        go.set()
        await task
        assert (client.status, client.body) == (503, b"Service Unavailable")
        assert result == [False]
        assert (side.host.commits, side.errors) == ([], [])

    run(work)


def test_late_request_ends_after_its_503() -> None:
    class Slow(Client):
        async def send(self, message: MutableMapping[str, Any]) -> None:
            for _ in range(5):
                await asyncio.sleep(0)
            await super().send(message)

    async def work() -> None:
        client = await Side(wait_for_ever, request_timeout=0.01).answer(Slow())
        assert client.is_complete
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0

    run(work)


def test_failure_after_timeout_is_not_reported() -> None:
    async def fetch(event: FetchEvent) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            raise RuntimeError("from the clean-up")

    side = Side(fetch, request_timeout=0.01)
    assert side.get().status == 503
    assert side.errors == []


def test_listeners_own_timeout_is_left_alone() -> None:
    async def fetch(event: FetchEvent) -> Response:
        try:
            async with asyncio.timeout(0.01):
                await asyncio.Event().wait()
        except TimeoutError:
            await asyncio.sleep(0)
            return Response("in time")
        return Response()

    assert Side(fetch).get().body == b"in time"


# -- handshakes


def test_an_upgrade_is_given_with_the_cookies_of_its_event() -> None:
    handle = SocketHandle()

    async def upgrade(event: WebSocketUpgradeEvent) -> None:
        await asyncio.sleep(0)
        event.set_cookie("a", "1")
        event.set_cookie("b", "2")
        event.accept(data="x").send("hi")

    async def work() -> None:
        side, client = Side(upgrade=upgrade), handshake(handle)
        await side.answer(client)
        assert client.sent == []
        assert [entry[0] for entry in side.host.commits[0]] == ["send", "attach"]

    run(work)
    (upgraded,) = handle.given
    cookies = [cookie.partition(";")[0] for cookie in upgraded.headers.get_set_cookie()]
    assert cookies == ["a=1", "b=2"]


def test_a_handshake_is_refused_by_an_http_error() -> None:
    def upgrade(event: WebSocketUpgradeEvent) -> None:
        event.accept()
        raise HTTPError(418, "short", headers={"x-a": "1"})

    async def work() -> None:
        handle = SocketHandle()
        side, client = Side(upgrade=upgrade), handshake(handle)
        await side.answer(client)
        assert (client.status, client.body) == (418, b"short")
        assert (b"x-a", b"1") in client.headers
        assert (handle.given, side.host.commits, side.errors) == ([], [], [])

    run(work)


@pytest.mark.parametrize(
    ("scheme", "href"),
    [
        ("http", "http://example.org/x"),
        ("https", "https://example.org/x"),
        ("ws", "http://example.org/x"),
        ("wss", "https://example.org/x"),
    ],
)
def test_the_url_of_a_handshake_has_the_scheme_of_its_request(scheme: str, href: str) -> None:
    # Upstream's is always http. Some proxies say wss.
    async def work() -> None:
        handle = SocketHandle()
        await Side(upgrade=lambda event: event.accept()).answer(handshake(handle, scheme=scheme))
        assert [upgrade.connection.url for upgrade in handle.given] == [href]

    run(work)


@pytest.mark.parametrize("event_type", ["upgrade", "fetch"])
def test_an_upgrade_that_comes_too_late_leaves_nothing(event_type: str) -> None:
    # No phantom.
    async def work() -> None:
        handle = SocketHandle()

        async def decide(event: Any) -> None:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                upgrade = event.accept if event_type == "upgrade" else event.upgrade_websocket
                upgrade().send("never")

        listener: Any = {event_type: decide}
        side, client = Side(**listener, request_timeout=0.01), handshake(handle)
        await side.answer(client)
        assert (client.status, client.is_complete) == (503, True)
        assert handle.given == []
        assert not any(side.host.commits)

    run(work)


def test_handshake_timeout_spans_both_events() -> None:
    async def work() -> None:
        loop, noted = asyncio.get_running_loop(), []
        begin = loop.time()

        async def upgrade(event: WebSocketUpgradeEvent) -> None:
            await asyncio.sleep(20)

        async def fetch(event: FetchEvent) -> None:
            noted.append(round(loop.time() - begin))
            try:
                await asyncio.Event().wait()
            finally:
                noted.append(round(loop.time() - begin))

        client = handshake(SocketHandle())
        await Side(fetch, upgrade=upgrade, request_timeout=30).answer(client)
        assert client.status == 503
        assert noted == [20, 30]

    run(work)


@pytest.mark.parametrize(
    ("field", "value", "status"),
    [("http_version", "1.0", 400), ("method", "POST", 405), ("headers", HANDSHAKE[:-1], 400)],
)
def test_a_malformed_handshake_is_refused_without_an_event(
    field: str, value: object, status: int
) -> None:
    async def work() -> None:
        events: list[object] = []
        client = handshake(SocketHandle())
        client.scope[field] = value
        await Side(events.append, upgrade=events.append).answer(client)
        assert (client.status, events) == (status, [])

    run(work)


def test_undecided_handshake_is_426_and_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def work() -> None:
        client = handshake(SocketHandle())
        await Side().answer(client)
        assert client.status == 426
        assert (b"upgrade", b"websocket") in client.headers

    run(work)
    (record,) = caplog.records
    assert record.levelname == "INFO"
    assert record.getMessage() == "GET '/x': 426, no listener accepted or rejected the handshake"


def test_an_attachment_that_cannot_be_kept_is_a_failure() -> None:
    async def work() -> None:
        handle = SocketHandle()
        side, client = Side(upgrade=lambda event: event.accept(data=object())), handshake(handle)
        await side.answer(client)
        assert (client.status, handle.given) == (500, [])
        assert [type(error) for error in side.errors] == [AttachmentError]

    run(work)


def test_failed_handover_is_503_with_retry_after() -> None:
    # The model differs: there, it is 500, and a close event tells of a connection that
    # never was.
    # What the listener asked for is forgotten, and the client is told.
    async def work() -> None:
        side = Side(upgrade=lambda event: event.accept().send("never"))
        client = handshake(SocketHandle(refuses=True))
        await side.answer(client)
        assert client.status == 503
        assert (b"retry-after", b"1") in client.headers
        assert side.host.commits == []

    run(work)
