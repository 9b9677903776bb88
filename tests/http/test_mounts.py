"""Requests that no listener answers, on their way to mounted applications."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from holdfast.app import ServiceWorker
from holdfast.http.asgi import HttpSide
from holdfast.http.lifespan import LifespanFailed
from holdfast.http.mounts import Mounts
from holdfast.web.response import Response
from tests import jumping
from tests.core.fakes import FakeHost
from tests.http.asgi import Client

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from holdfast.core.request_events import FetchEvent

LENGTH = [(b"content-length", b"5")]
CHUNKED = [(b"transfer-encoding", b"chunked")]


class Echo:
    """An application that says what it got."""

    def __init__(self, name: str = "echo") -> None:
        self.name = name
        self.scopes: list[dict[str, Any]] = []
        self.lines: list[str] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await self.live(scope, receive, send)
            return
        self.scopes.append(dict(scope))
        body = b""
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                self.lines.append("disconnected")
                break
            body += message["body"]
            if not message["more_body"]:
                break
        headers = [(b"x-echo", self.name.encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def live(self, scope: Any, receive: Any, send: Any) -> None:
        scope["state"]["name"] = self.name
        for step in ("startup", "shutdown"):
            await receive()
            self.lines.append(step)
            await send({"type": f"lifespan.{step}.complete"})


def request(
    app: ServiceWorker,
    client: Client,
    *,
    max_body: int = 100,
    on_limit: Callable[[str], None] = lambda _: None,
) -> Client:
    """Have the request answered, by listeners or by what is mounted."""

    async def main() -> None:
        mounts = Mounts(app.mounts)
        side = HttpSide(
            app,
            FakeHost(),
            develop=False,
            max_body=max_body,
            on_limit=on_limit,
            mounts=mounts,
        )
        async with asyncio.timeout(5):
            await mounts.startup()
            await side(client.scope, client.receive, client.send)
            await mounts.shutdown()

    jumping.run(main())
    return client


def mounted(echo: Any, path: str = "/") -> ServiceWorker:
    app = ServiceWorker()
    app.mount(echo, path)
    return app


def listening(app: ServiceWorker, listener: Callable[[FetchEvent], Any]) -> ServiceWorker:
    app.add_event_listener("fetch", listener)
    return app


async def leave(event: FetchEvent) -> None:
    """Leave the request to others."""


# --- whose request it is ------------------------------------------------------------------------


@pytest.mark.parametrize("has_listener", [False, True])
def test_a_request_that_no_listener_answers_goes_to_the_mount(has_listener: bool) -> None:
    app = mounted(Echo())
    if has_listener:
        listening(app, leave)
    client = request(app, Client(b"hello", method="POST"))
    assert (client.status, client.body) == (200, b"hello")
    assert (b"x-echo", b"echo") in client.headers


def test_listeners_are_asked_first() -> None:
    echo = Echo()
    client = request(listening(mounted(echo), lambda _: Response("mine")), Client())
    assert client.body == b"mine"
    assert echo.scopes == []


def test_a_path_of_nobody_is_not_found() -> None:
    assert request(mounted(Echo(), "/api"), Client(path=b"/other")).status == 404


def test_the_longest_path_counts() -> None:
    app = ServiceWorker()
    for path in ("/", "/api", "/api/v2"):
        app.mount(Echo(path), path)
    answers = [
        request(app, Client(path=path)).headers[-1][1]
        for path in (b"/x", b"/api", b"/api/v1", b"/api/v2/y")
    ]
    assert answers == [b"/", b"/api", b"/api", b"/api/v2"]


# --- what it finds in the scope -----------------------------------------------------------------


def test_at_the_root_the_scope_is_the_servers() -> None:
    echo = Echo()
    client = Client(path=b"/x")
    expected = {**client.scope, "state": {"name": "echo"}}
    request(mounted(echo), client)
    assert echo.scopes == [expected]


@pytest.mark.parametrize("has_listener", [False, True])
def test_mount_sets_root_path_and_keeps_path(has_listener: bool) -> None:
    echo = Echo()
    app = mounted(echo, "/api")
    if has_listener:
        listening(app, leave)
    request(app, Client(path=b"/api/x"))
    (scope,) = echo.scopes
    assert (scope["root_path"], scope["path"], scope["raw_path"]) == ("/api", "/api/x", b"/api/x")


def test_behind_a_root_path_of_the_server_the_paths_add_up() -> None:
    echo = Echo()
    client = Client(path=b"/outer/api/x")
    client.scope["root_path"] = "/outer"
    request(mounted(echo, "/api"), client)
    assert echo.scopes[0]["root_path"] == "/outer/api"


def test_state_is_copied_for_each_request() -> None:
    echo = Echo()

    async def change(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            scope["state"]["mine"] = True
        await echo(scope, receive, send)

    app = mounted(change)
    request(app, Client())
    request(app, Client())
    assert [scope["state"] for scope in echo.scopes] == [{"name": "echo", "mine": True}] * 2
    assert "mine" not in Mounts(app.mounts)._mounted[0]._state


def test_an_application_of_asgi_2_is_called_twice() -> None:
    echo = Echo()

    def two(scope: Any) -> Any:
        async def instance(receive: Any, send: Any) -> None:
            await echo({**scope, "type": scope["type"]}, receive, send)

        return instance

    client = Client(b"hello", method="POST")
    client.scope["asgi"] = {"version": "3.0", "spec_version": "2.3"}
    assert request(mounted(two), client).body == b"hello"
    assert echo.scopes[0]["asgi"] == {"version": "2.0", "spec_version": "2.3"}


# --- bodies -------------------------------------------------------------------------------------


def test_what_a_listener_has_read_comes_again() -> None:
    async def read(event: FetchEvent) -> None:
        assert await event.request.text() == "hello"

    app = listening(mounted(Echo()), read)
    assert request(app, Client(b"he", b"llo", method="POST")).body == b"hello"


def test_mount_gets_body_a_listener_read() -> None:
    async def read(event: FetchEvent) -> None:
        async for part in event.request.stream():
            assert part == b"he"
            break

    app = listening(mounted(Echo()), read)
    assert request(app, Client(b"he", b"llo", method="POST")).body == b"hello"


def test_an_empty_body_that_was_read_comes_again() -> None:
    async def read(event: FetchEvent) -> None:
        assert await event.request.bytes() == b""

    assert request(listening(mounted(Echo()), read), Client()).body == b""


@pytest.mark.parametrize("has_listener", [False, True])
@pytest.mark.parametrize("headers", [LENGTH, CHUNKED])
def test_a_body_that_is_too_large_is_a_413(
    headers: Iterable[tuple[bytes, bytes]], has_listener: bool
) -> None:
    hits: list[str] = []
    echo = Echo()
    app = mounted(echo)
    if has_listener:
        listening(app, leave)
    client = Client(b"hello", method="POST", headers=headers)
    request(app, client, max_body=4, on_limit=hits.append)
    assert client.status == 413
    assert client.is_complete
    assert b"close" in dict(client.headers)[b"connection"]
    assert hits == ["max_body"]
    assert echo.lines[1:-1] == ([] if headers is LENGTH else ["disconnected"])


@pytest.mark.parametrize("headers", [LENGTH, CHUNKED])
def test_a_body_of_the_largest_size_is_taken(headers: Iterable[tuple[bytes, bytes]]) -> None:
    client = Client(b"hello", method="POST", headers=headers)
    assert request(mounted(Echo()), client, max_body=5).body == b"hello"


def test_a_body_that_a_listener_found_too_large_is_not_passed_on() -> None:
    async def read(event: FetchEvent) -> None:
        try:
            await event.request.bytes()
        except Exception as error:
            assert type(error).__name__ == "ContentTooLarge"  # noqa: PT017

    app = listening(mounted(Echo()), read)
    client = Client(b"hello", method="POST", headers=CHUNKED)
    assert request(app, client, max_body=4).status == 413


def test_a_response_that_has_begun_is_cut_off_when_the_body_is_too_large() -> None:
    async def early(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "http"
        await send({"type": "http.response.start", "status": 200, "headers": []})
        kinds = [(await receive())["type"] for _ in range(3)]
        assert kinds == ["http.request", "http.disconnect", "http.disconnect"]
        await send({"type": "http.response.body", "body": b"too late"})

    client = Client(b"he", b"llo", method="POST", headers=CHUNKED)
    request(mounted(early), client, max_body=4)
    assert (client.status, client.body, client.is_complete) == (200, b"", False)


# --- effects of listeners -----------------------------------------------------------------------


def test_cookies_of_listeners_go_with_the_response_of_the_mount() -> None:
    app = listening(mounted(Echo()), lambda event: event.set_cookie("a", "b"))
    names = [(name, value) for name, value in request(app, Client()).headers if name != b"x-echo"]
    assert [name for name, _ in names] == [b"set-cookie"]
    assert names[0][1].startswith(b"a=b")


# --- lifespans ----------------------------------------------------------------------------------


def test_lifespans_run_around_the_requests() -> None:
    echo = Echo()
    request(mounted(echo), Client())
    assert echo.lines == ["startup", "shutdown"]


def test_an_application_that_is_mounted_twice_lives_once() -> None:
    echo = Echo()
    app = mounted(echo)
    app.mount(echo, "/again")
    request(app, Client(path=b"/again"))
    assert echo.lines == ["startup", "shutdown"]
    assert echo.scopes[0]["root_path"] == "/again"


async def fail(scope: Any, receive: Any, send: Any) -> None:
    await receive()
    await send({"type": "lifespan.startup.failed", "message": "no database"})


def test_failed_lifespan_ends_earlier_ones() -> None:
    echo = Echo()
    app = mounted(echo, "/longer")
    app.mount(fail, "/x")
    with pytest.raises(LifespanFailed, match="no database"):
        request(app, Client())
    assert echo.lines == ["startup", "shutdown"]


def test_if_one_does_not_end_the_others_do(caplog: pytest.LogCaptureFixture) -> None:
    async def hang(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.failed", "message": "still busy"})

    echo = Echo()
    app = mounted(echo, "/longer")
    app.mount(hang, "/x")
    request(app, Client(path=b"/longer"))
    assert echo.lines == ["startup", "shutdown"]
    assert "still busy" in caplog.text


async def raises(scope: Any, receive: Any, send: Any) -> None:
    raise OSError("broken")


def test_what_a_mount_raises_is_the_servers_to_report() -> None:
    with pytest.raises(OSError, match="broken"):
        request(mounted(raises), Client())
