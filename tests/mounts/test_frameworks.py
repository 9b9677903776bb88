"""Frameworks, as people use them: the same on uvicorn and on holdfast."""

from __future__ import annotations

import http.client
import json
import os
import signal
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from tests.flow.server import Server, wait_for
from tests.mounts.servers import APPS, SERVERS, serve

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.mounts.servers import Peer

FRAMEWORKS = ("starlette", "fastapi", "django", "litestar", "quart")

TIMEOUT = 10.0  # seconds


class Site:
    """One framework on one server."""

    def __init__(self, peer: Peer, framework: str, path: str = "") -> None:
        self.peer = peer
        self.framework = framework
        self.path = path

    def request(
        self, method: str, path: str, body: Any = None, **headers: str
    ) -> http.client.HTTPResponse:
        """Make a request; the response can still be read."""
        client = http.client.HTTPConnection("127.0.0.1", self.peer.port, timeout=TIMEOUT)
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        # "close" has the response own the socket.
        client.request(method, self.path + path, body, {"connection": "close", **fields})
        return client.getresponse()

    def get(self, path: str, **headers: str) -> tuple[int, bytes]:
        with self.request("GET", path, **headers) as response:
            return response.status, response.read()


@pytest.fixture(scope="module", params=FRAMEWORKS)
def framework(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module", params=SERVERS)
def site(request: pytest.FixtureRequest, framework: str) -> Iterator[Site]:
    with serve(request.param, f"{framework}_app:app", APPS) as peer:
        yield Site(peer, framework)


@contextmanager
def starlette(server: str) -> Iterator[Site]:
    with serve(server, "starlette_app:app", APPS) as peer:
        yield Site(peer, "starlette")


@pytest.fixture(scope="module", params=SERVERS)
def shop(request: pytest.FixtureRequest) -> Iterator[Site]:
    """A Starlette site, with all there is."""
    with starlette(request.param) as site:
        yield site


@pytest.fixture(scope="module", params=SERVERS)
def api(request: pytest.FixtureRequest) -> Iterator[Site]:
    with serve(request.param, "fastapi_app:app", APPS) as peer:
        yield Site(peer, "fastapi")


# --- each framework -----------------------------------------------------------------------------


def test_a_request_is_answered(site: Site) -> None:
    status, body = site.get("/hello")
    assert (status, json.loads(body)) == (200, {"hello": "world"})


def test_a_body_arrives(site: Site) -> None:
    body = bytes(range(256)) * 500
    with site.request("POST", "/echo", body, content_type="application/octet-stream") as response:
        assert (response.status, response.read()) == (200, body)


def test_a_chunked_body_arrives(site: Site) -> None:
    with site.request("POST", "/echo", iter([b"a", b"b" * 1000, b"c"])) as response:
        assert (response.status, response.read()) == (200, b"a" + b"b" * 1000 + b"c")


def test_a_stream_comes_while_it_is_made(site: Site) -> None:
    with site.request("GET", "/stream") as response:
        assert response.readline() == b"0\n"
        # What makes it waits for another request.
        site.get("/hello")
        assert response.read() == b"1\n"


def test_urls_lead_back(site: Site) -> None:
    assert site.get("/url")[1].decode().strip('"') == f"{site.peer.url}/hello"


def test_what_is_not_there_is_a_404(site: Site) -> None:
    assert site.get("/nothing")[0] == 404


def test_what_raises_is_a_500(site: Site) -> None:
    assert site.get("/broken")[0] == 500


def test_background_tasks_run(site: Site) -> None:
    if site.framework == "django":
        return  # It has none.
    assert site.get("/background")[0] == 200
    wait_for(lambda: b"background" in site.get("/done")[1], "the task has run")


def test_a_websocket_works(site: Site) -> None:
    with connect(f"{site.peer.ws_url}/ws") as client:
        for text in ("a", "b", "grüße"):
            client.send(text)
            assert client.recv(TIMEOUT) == f"{text}!"


def test_a_websocket_of_no_path_is_refused(site: Site) -> None:
    with pytest.raises(InvalidStatus), connect(f"{site.peer.ws_url}/nothing"):
        pass


def test_below_a_path_everything_works(framework: str) -> None:
    path = "/deep/er"
    environ = os.environ | {"FRAMEWORK": f"{framework}_app"}
    with Server.start(APPS / "mounted.py", workers=1, env=environ, cwd=APPS) as server:
        status = server.cli("status")
        assert status.returncode == 0
        client = http.client.HTTPConnection("127.0.0.1", server.port, timeout=TIMEOUT)
        with closing(client):
            for target in ("/hello", "/url"):
                client.request("GET", path + target)
                body = client.getresponse().read()
        assert body.decode().strip('"') == f"{server.url}{path}/hello"
        with connect(f"{server.ws_url}{path}/ws") as ws:
            ws.send("a")
            assert ws.recv(TIMEOUT) == "a!"


def test_websockets_outlive_reloads_and_kills(framework: str) -> None:
    with (
        Server.start(f"{framework}_app:app", cwd=APPS) as server,
        connect(f"{server.ws_url}/ws") as client,
    ):

        def echo(text: str) -> None:
            client.send(text)
            assert client.recv(TIMEOUT * 2) == f"{text}!"

        echo("a")
        assert server.reload().returncode == 0
        echo("b")
        for pid in server.worker_pids():
            os.kill(pid, signal.SIGKILL)
        echo("c")


# --- Starlette's documentation ------------------------------------------------------------------


def test_events_come_and_end_with_their_client(shop: Site) -> None:
    with shop.request("GET", "/events") as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        assert response.readline() == b"data: tick\n"
    wait_for(lambda: b"events" in shop.get("/done")[1], "its generator has ended")


def test_state_of_the_lifespan_is_there(shop: Site) -> None:
    assert shop.get("/state") == (200, b"open")


def test_paths_and_queries_are_parsed(shop: Site) -> None:
    assert shop.get("/users/Ann%20Lee?q=a%26b") == (200, b"Ann Lee a&b")


def test_a_body_is_read_as_it_comes(shop: Site) -> None:
    with shop.request("POST", "/lengths", iter([b"a" * 10, b"b" * 20])) as response:
        assert sum(json.loads(response.read())) == 30


def test_a_form_is_uploaded(shop: Site) -> None:
    body = (
        b"--x\r\nContent-Disposition: form-data; name=file; filename=a.txt\r\n\r\n"
        + b"y" * 50_000
        + b"\r\n--x--\r\n"
    )
    kind = "multipart/form-data; boundary=x"
    with shop.request("POST", "/upload", body, content_type=kind) as response:
        assert json.loads(response.read()) == {"name": "a.txt", "size": 50_000}


def test_cookies_come_and_go(shop: Site) -> None:
    with shop.request("GET", "/cookie") as response:
        assert response.read() == b"new"
        cookie = response.headers["set-cookie"].partition(";")[0]
    assert shop.get("/cookie", cookie=cookie) == (200, b"before")


def test_redirects_and_files(shop: Site) -> None:
    with shop.request("GET", "/leave") as response:
        assert (response.status, response.headers["location"]) == (307, "/hello")
    assert shop.get("/source")[1] == (APPS / "starlette_app.py").read_bytes()
    with shop.request("HEAD", "/source") as response:
        length = (APPS / "starlette_app.py").stat().st_size
        assert (response.read(), response.headers["content-length"]) == (b"", str(length))
    with shop.request("GET", "/source", range="bytes=3-6") as response:
        assert (response.status, response.read()) == (206, b"What")


def test_errors_have_their_status_and_headers(shop: Site) -> None:
    with shop.request("GET", "/missing") as response:
        assert (response.status, response.headers["x-why"], response.read()) == (
            410,
            "sold",
            b"gone",
        )
    assert shop.get("/hello", x="1")[0] == 200
    with shop.request("POST", "/hello") as response:
        assert response.status == 405


def test_a_stream_that_breaks_is_cut_off(shop: Site) -> None:
    with (
        shop.request("GET", "/broken-stream") as response,
        pytest.raises(http.client.IncompleteRead) as cut,
    ):
        response.read()
    assert cut.value.partial == b"begun"
    wait_for(lambda: "broken in the middle" in shop.peer.log(), "it is in the log")


def test_middleware_works(shop: Site) -> None:
    with shop.request("GET", "/large", accept_encoding="gzip") as response:
        assert response.headers["content-encoding"] == "gzip"
        assert len(response.read()) < 10_000


# --- FastAPI ------------------------------------------------------------------------------------


def test_dependencies_are_resolved(api: Site) -> None:
    assert api.get("/me")[0] == 401
    assert api.get("/me", authorization="Bearer t") == (200, b'"t with a session"')
    wait_for(lambda: b"session closed" in api.get("/done")[1], "the session was closed")


def test_models_are_checked(api: Site) -> None:
    item = json.dumps({"name": "tea", "price": 2})
    with api.request("POST", "/items", item, content_type="application/json") as response:
        assert json.loads(response.read()) == {"name": "Tea", "price": 4.0}
    with api.request("POST", "/items", "{}", content_type="application/json") as response:
        assert response.status == 422


def test_the_documentation_is_there(api: Site) -> None:
    assert json.loads(api.get("/openapi.json")[1])["info"]["title"] == "FastAPI"
    assert api.get("/docs")[0] == 200


def test_a_websocket_has_dependencies(api: Site) -> None:
    with pytest.raises(InvalidStatus) as refused, connect(f"{api.peer.ws_url}/private"):
        pass
    assert refused.value.response.status_code == 403
    with connect(f"{api.peer.ws_url}/private?token=t") as client:
        client.send("hello")
        assert client.recv(TIMEOUT) == "t with a session: hello"
    wait_for(lambda: b"t left" in api.get("/done")[1], "it was told that its client left")


# --- Django with Channels -----------------------------------------------------------------------


@pytest.mark.parametrize("server", SERVERS)
def test_a_chat_over_the_in_memory_layer(server: str) -> None:
    with serve(server, "django_app:app", APPS) as peer:
        url = f"{peer.ws_url}/chat/lobby"
        with connect(url) as ann, connect(url) as bob, connect(f"{peer.ws_url}/chat/x") as eve:
            ann.send('{"message": "hello"}')
            for client in (ann, bob):
                assert json.loads(client.recv(TIMEOUT)) == {"message": "hello"}
            with pytest.raises(TimeoutError):
                eve.recv(0.1)


def test_a_chat_goes_on_over_a_reload_and_a_kill() -> None:
    with Server.start("django_app:app", "--spare", "0", workers=1, cwd=APPS) as server:
        url = f"{server.ws_url}/chat/lobby"
        with connect(url) as ann, connect(url) as bob:

            def say(text: str) -> None:
                ann.send(json.dumps({"message": text}))
                for client in (ann, bob):
                    assert json.loads(client.recv(TIMEOUT * 2)) == {"message": text}

            say("one")
            assert server.reload().returncode == 0
            # The layer is of the worker: only when both are begun again they are in one room.
            _until_begun_again(server, ann, bob)
            say("two")
            server.kill_worker()
            _until_begun_again(server, ann, bob)
            say("three")


def _until_begun_again(server: Server, *clients: Any) -> None:
    """Return when each client gets what it says."""
    for client in clients:
        client.send(json.dumps({"message": "there?"}))
    for client in clients:
        while json.loads(client.recv(TIMEOUT * 2)) != {"message": "there?"}:
            pass
    for client in clients:
        try:
            while True:
                client.recv(0.3)
        except TimeoutError:
            pass


def test_a_closed_connection_is_closed_on_all(site: Site) -> None:
    with connect(f"{site.peer.ws_url}/ws") as client:
        client.close(1000)
        with pytest.raises(ConnectionClosed):
            client.recv(TIMEOUT)
