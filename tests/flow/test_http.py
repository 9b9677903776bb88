"""Plain HTTP over a real server: bodies, errors, streams, limits, proxies, files."""

from __future__ import annotations

import http.client
import json
import os
import re
import socket
import struct
from typing import TYPE_CHECKING, NamedTuple

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from tests.flow.raw import RawClient, handshake
from tests.flow.server import ROOT, Server, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

APP = ROOT / "tests/flow/apps/http.py"
MAX_BODY = 100_000


class Http(NamedTuple):
    """A server that runs `apps/http.py`."""

    server: Server
    journal: Path
    files: Path

    def lines(self) -> list[str]:
        return self.journal.read_text().splitlines()

    def log_of(self, path: str) -> list[str]:
        return [line for line in self.server.log().splitlines() if f"{path!r}" in line]


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Http]:
    """One server for all tests of this file but those of untrusted proxies."""
    directory = tmp_path_factory.mktemp("http")
    options = ("--max-body", str(MAX_BODY), "--request-timeout", "1")
    yield from serve(directory, *options)


def serve(directory: Path, *options: str) -> Iterator[Http]:
    files = directory / "files"
    files.mkdir()
    (files / "small.txt").write_text("small")
    (files / "large.bin").write_bytes(b"0123456789" * 100_000)
    (directory / "secret").write_text("secret")
    (files / "link").symlink_to("../secret")
    journal = directory / "journal"
    journal.touch()
    env = {"JOURNAL": str(journal), "FILES": str(files)}
    with Server.start(APP, *options, workers=1, env=env) as server:
        yield Http(server, journal, files)


class Answer(NamedTuple):
    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key == name), None)


def ask(
    web: Http,
    path: str,
    method: str = "GET",
    body: bytes | Iterator[bytes] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Answer:
    connection = http.client.HTTPConnection("127.0.0.1", web.server.port, timeout=10)
    try:
        chunked = body is not None and not isinstance(body, bytes)
        connection.request(method, path, body, dict(headers or {}), encode_chunked=chunked)
        response = connection.getresponse()
        fields = [(name.lower(), value) for name, value in response.getheaders()]
        return Answer(response.status, fields, response.read())
    finally:
        connection.close()


def get(path: str, *lines: str) -> bytes:
    return ("\r\n".join([f"GET {path} HTTP/1.1", "Host: a", *lines]) + "\r\n\r\n").encode()


# -- responses


def test_text_bytes_json_and_html_arrive_as_what_they_are(web: Http) -> None:
    assert ask(web, "/hello").header("content-type") == "text/plain; charset=utf-8"
    assert ask(web, "/bytes").body == b"\x00\xff"
    answer = ask(web, "/json", "POST", b'{"a": ["\xc3\xb6", 1.5]}')
    assert json.loads(answer.body) == {"a": ["\xf6", 1.5]}
    assert answer.header("content-type") == "application/json"
    assert ask(web, "/html").header("content-type") == "text/html; charset=utf-8"
    answer = ask(web, "/redirect")
    assert (answer.status, answer.header("location")) == (303, "/hello")


@pytest.mark.parametrize("path", ["/204", "/205", "/304", "/empty", "/hello"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_response_without_a_body_leaves_the_connection_usable(
    web: Http, path: str, method: str
) -> None:
    # What is not framed right is read by the next response.
    with RawClient(web.server.port) as client:
        request = get(path).replace(b"GET", method.encode())
        client.send(request + get("/bytes", "Connection: close"))
        head = client.receive_head()
        assert head.startswith(f"HTTP/1.1 {path[1:] if path[1].isdigit() else 200} ".encode())
        if path == "/hello" and method == "GET":
            assert client._take(5) == b"hello"
        assert client.receive_head().startswith(b"HTTP/1.1 200 ")
        assert client.receive_rest() == b"\x00\xff"


@pytest.mark.parametrize(
    ("path", "length"),
    [("/hello", "5"), ("/stream", None), ("/files/large.bin", "1000000"), ("/files/no", "9")],
)
def test_head_gets_the_head_that_get_would_get(web: Http, path: str, length: str | None) -> None:
    answer = ask(web, path, "HEAD")
    assert answer.body == b""
    assert answer.header("content-length") == length


def test_every_cookie_arrives_and_a_malformed_one_does_no_harm(web: Http) -> None:
    answer = ask(web, "/cookies", headers={"cookie": "a=%zz; b; c=%20"})
    assert answer.body == b"[('a', '%zz'), ('c', ' ')]"
    cookies = [value.partition(";")[0] for name, value in answer.headers if name == "set-cookie"]
    assert cookies == ["a=1", "b=2", "c=3"]


# -- errors


def test_an_http_error_keeps_status_message_and_headers(web: Http) -> None:
    answer = ask(web, "/401")
    assert (answer.status, answer.body) == (401, b"who are you?")
    assert answer.header("www-authenticate") == "Basic"
    assert answer.header("set-cookie") is None
    assert web.log_of("/401") == ["INFO holdfast.worker: GET '/401': 401, 'who are you?'"]


@pytest.mark.parametrize(("path", "status"), [("/503", 503), ("/raise", 500)])
def test_a_failure_is_in_the_log_and_not_in_the_response(web: Http, path: str, status: int) -> None:
    answer = ask(web, path)
    assert answer.status == status
    assert b"secret" not in answer.body
    assert answer.header("set-cookie") is None
    assert len(web.log_of(path)) == 1
    assert "error secret detail" in web.lines()


def test_an_upgrade_is_refused_by_an_http_error(web: Http) -> None:
    # Status, headers and body, never a dropped connection.
    accepted = web.server.status()["accepted"]
    with pytest.raises(InvalidStatus) as caught, connect(f"{web.server.ws_url}/ws-403"):
        pass
    response = caught.value.response
    assert (response.status_code, response.body) == (403, b"not yours")
    assert response.headers["x-why"] == "because"
    assert "set-cookie" not in response.headers
    with pytest.raises(InvalidStatus, match="418"), connect(f"{web.server.ws_url}/ws-418"):
        pass
    assert web.server.status()["accepted"] == accepted


@pytest.mark.parametrize("body", [b"", b"{", b"NaN", b"\xff"])
def test_a_body_that_is_not_json_is_400(web: Http, body: bytes) -> None:
    assert ask(web, "/json", "POST", body).status == 400


# -- forms


def test_forms_of_both_kinds_are_read(web: Http) -> None:
    urlencoded = {"content-type": "application/x-www-form-urlencoded"}
    assert ask(web, "/form", "POST", b"a=1&b=%C3%B6", urlencoded).body == "a: 1\nb: ö".encode()
    multipart = {"content-type": "multipart/form-data; boundary=XX"}
    body = (
        b'--XX\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n'
        b'--XX\r\nContent-Disposition: form-data; name="f"; filename="x.bin"\r\n'
        b"Content-Type: image/png\r\n\r\n" + b"\xff" * 50_000 + b"\r\n--XX--\r\n"
    )
    assert ask(web, "/form", "POST", body, multipart).body == b"a: 1\nf: x.bin image/png 50000"
    assert ask(web, "/form", "POST", iter([body]), multipart).status == 200
    assert ask(web, "/form", "POST", body[:-8], multipart).status == 400
    assert ask(web, "/form", "POST", body, {"content-type": "text/plain"}).status == 415


# -- bodies that are too large


def pieces(size: int) -> Iterator[bytes]:
    """A body that goes out chunked."""
    while size > 0:
        yield b"x" * min(size, 30_000)
        size -= 30_000


def test_a_body_may_have_as_much_as_is_allowed_and_not_a_byte_more(web: Http) -> None:
    for body in (b"x" * MAX_BODY, pieces(MAX_BODY)):
        answer = ask(web, "/size", "POST", body)
        assert (answer.status, answer.body) == (200, str(MAX_BODY).encode())
        assert answer.header("connection") is None
    for body in (b"x" * (MAX_BODY + 1), pieces(MAX_BODY + 1)):
        answer = ask(web, "/size", "POST", body)
        assert (answer.status, answer.header("connection")) == (413, "close")


def test_a_client_that_sends_all_before_it_reads_still_gets_its_413(web: Http) -> None:
    # RFC 9112 section 9.6.
    head = b"POST /size HTTP/1.1\r\nHost: a\r\n"
    size = 50 * MAX_BODY
    for framing in (b"Content-Length: %d\r\n\r\n" % size, b"Transfer-Encoding: chunked\r\n\r\n"):
        with RawClient(web.server.port) as client:
            client.send(head + framing)
            if b"chunked" in framing:
                client.send(b"%x\r\n" % size)
            client.send(b"x" * size)
            if b"chunked" in framing:
                client.send(b"\r\n0\r\n\r\n")
            assert client.receive_head().startswith(b"HTTP/1.1 413 ")
            assert client.receive_rest().endswith(b"the body is larger than this server takes")


def test_a_client_that_asks_first_is_not_told_to_continue(web: Http) -> None:
    # RFC 9110 section 10.1.1.
    with RawClient(web.server.port) as client:
        client.send(
            b"POST /size HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n"
            b"Content-Length: %d\r\n\r\n" % (MAX_BODY + 1)
        )
        assert client.receive_head().startswith(b"HTTP/1.1 413 ")


def test_a_body_that_nobody_reads_leaves_the_connection_usable(web: Http) -> None:
    with RawClient(web.server.port) as client:
        client.send(b"POST /unread HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n")
        client.send(b"x" * 100_000 + get("/hello", "Connection: close"))
        assert client.receive_head().startswith(b"HTTP/1.1 200 ")
        assert client._take(6) == b"unread"
        assert client.receive_head().startswith(b"HTTP/1.1 200 ")
        assert client.receive_rest() == b"hello"


# -- streams


def test_a_stream_arrives(web: Http) -> None:
    assert ask(web, "/stream").body == b"0 1 2 "
    assert ask(web, "/upper", "POST", pieces(60_000)).body == b"X" * 60_000
    assert ask(web, "/files/large.bin").body == b"0123456789" * 100_000


def leave(client: RawClient, *, abruptly: bool) -> None:
    if abruptly:
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.socket.close()


@pytest.mark.parametrize("abruptly", [False, True])
@pytest.mark.parametrize("path", ["/events", "/endless"])
@pytest.mark.parametrize("body", [None, b"unread" * 5])
def test_a_stream_ends_when_its_client_leaves(
    web: Http, path: str, abruptly: bool, body: bytes | None
) -> None:
    # Other work of the event goes on.
    name = f"{abruptly}-{body is None}"
    with RawClient(web.server.port) as client:
        request = get(f"{path}?{name}")
        if body is not None:
            request = request.replace(b"GET", b"POST")[:-2] + b"Content-Length: 9999\r\n\r\n"
        client.send(request + (body or b""))
        assert client.receive_head().startswith(b"HTTP/1.1 200 ")
        client._take(10)
        leave(client, abruptly=abruptly)
    wait_for(lambda: f"{path[1:]} {name} ended" in web.lines(), "the generator ended")
    if path == "/events":
        wait_for(lambda: f"other work {name} goes on" in web.lines(), "other work goes on")


@pytest.mark.parametrize("path", ["/events", "/endless"])
def test_a_stream_with_requests_behind_it_ends_too(web: Http, path: str) -> None:
    # Of a pipeline, uvicorn tells only the last request that its client has left.
    with RawClient(web.server.port) as client:
        client.send(get(f"{path}?piped") + get("/hello") * 2)
        client.receive_head()
        client._take(10)
        leave(client, abruptly=True)
    wait_for(lambda: f"{path[1:]} piped ended" in web.lines(), "the generator ended")
    assert not [line for line in web.lines() if line.startswith("error unable")]


def test_a_stream_that_breaks_off_is_never_taken_for_complete(web: Http) -> None:
    for path in ("/broken-late", "/broken-length"):
        with pytest.raises(http.client.IncompleteRead):
            ask(web, path)
        assert len(web.log_of(path)) == 1
    with RawClient(web.server.port) as client:
        client.send(get("/broken-late"))
        client.receive_head()
        assert client.receive_rest() == b"5\r\nchunk\r\n" * 2
    log = web.server.log()
    assert "RuntimeError: broken after 2" in log
    assert "ASGI" not in log


def test_a_stream_that_breaks_before_it_waits_is_a_clean_500(web: Http) -> None:
    answer = ask(web, "/broken-early")
    assert (answer.status, answer.body) == (500, b"Internal Server Error")


# -- time


def test_a_request_that_takes_too_long_is_503(web: Http) -> None:
    answer = ask(web, "/wait")
    assert (answer.status, answer.body) == (503, b"Service Unavailable")
    # The answer does not wait for the listener to heed its cancellation.
    wait_for(lambda: "wait ended" in web.lines(), "the listener is cancelled")
    (line,) = web.log_of("/wait")
    assert line.startswith("ERROR holdfast.worker: GET '/wait' was not answered within 1 s")


def test_the_connection_outlives_a_request_that_takes_too_long(web: Http) -> None:
    with RawClient(web.server.port) as client:
        stubborn, hello = get("/stubborn"), get("/hello")
        client.send(stubborn + hello)
        assert client.receive_head().startswith(b"HTTP/1.1 503 ")
        client._take(len(b"Service Unavailable"))
        assert client.receive_head().startswith(b"HTTP/1.1 200 ")
        assert client._take(5) == b"hello"


def test_an_upgrade_that_comes_too_late_leaves_no_connection(web: Http) -> None:
    accepted = web.server.status()["accepted"]
    with RawClient(web.server.port) as client:
        client.send(handshake("/ws-stubborn"))
        assert client.receive_head().startswith(b"HTTP/1.1 503 ")
        client.receive_rest()
    assert web.server.status()["accepted"] == accepted


def test_a_connection_may_last_longer_than_a_request(web: Http) -> None:
    # With the handshake, its time limit has ended.
    with connect(f"{web.server.ws_url}/ws") as ws:
        ws.recv(10)
        assert ask(web, "/wait").status == 503  # One that has begun later is over.
        ws.send("/hello")
        assert str(ws.recv(10)).startswith("200 hello ")


# -- proxies


FORWARDED = {"X-Forwarded-For": "198.51.100.7", "X-Forwarded-Proto": "https", "Host": "example.org"}


def url_of_connection(web: Http, proto: str) -> str:
    headers = FORWARDED | {"X-Forwarded-Proto": proto}
    with RawClient(web.server.port) as client:
        lines = [f"{name}: {value}" for name, value in headers.items() if name != "Host"]
        client.send(handshake("/ws", *lines).replace(b"Host: 127.0.0.1", b"Host: example.org"))
        assert client.receive_head().startswith(b"HTTP/1.1 101 ")
        return client.receive_frame().payload.decode()


def test_a_proxy_on_this_machine_is_believed(web: Http) -> None:
    # Upstream ignores it.
    assert ask(web, "/who", headers=FORWARDED).body == b"198.51.100.7 0 https://example.org/who"
    chain = FORWARDED | {"X-Forwarded-For": "203.0.113.9, 198.51.100.7:4711, 127.0.0.1"}
    assert ask(web, "/who", headers=chain).body == b"198.51.100.7 4711 https://example.org/who"
    assert url_of_connection(web, "https") == "https://example.org/ws"
    assert url_of_connection(web, "wss") == "https://example.org/ws"


def test_a_client_that_is_no_trusted_proxy_is_not_believed(tmp_path: Path) -> None:
    for web in serve(tmp_path, "--forwarded-allow-ips", "10.0.0.1,192.0.2.0/24"):
        body = ask(web, "/who", headers=FORWARDED).body.decode()
        assert re.fullmatch(r"127\.0\.0\.1 [0-9]+ http://example\.org/who", body)
        assert url_of_connection(web, "https") == "http://example.org/ws"


# -- files


def test_a_file_is_served_and_confirmed(web: Http) -> None:
    answer = ask(web, "/files/small.txt")
    assert (answer.status, answer.body) == (200, b"small")
    assert answer.header("content-type") == "text/plain; charset=utf-8"
    for name, value in (
        ("If-None-Match", answer.header("etag")),
        ("If-Modified-Since", answer.header("last-modified")),
    ):
        assert value
        confirmed = ask(web, "/files/small.txt", headers={name: value})
        assert (confirmed.status, confirmed.body) == (304, b"")


@pytest.mark.parametrize(
    "path",
    ["no", "", "../secret", "%2e%2e/secret", "..%2fsecret", "%2fetc%2fpasswd", "link", "%00"],
)
def test_what_is_not_below_the_root_is_404(web: Http, path: str) -> None:
    with RawClient(web.server.port) as client:
        client.send(get(f"/files/{path}", "Connection: close"))
        assert client.receive_head().startswith(b"HTTP/1.1 404 ")
        assert b"secret" not in client.receive_rest()


def test_a_client_that_leaves_in_the_middle_of_a_file_leaves_no_descriptor(web: Http) -> None:
    (pid,) = web.server.worker_pids()
    (web.files / "huge.bin").write_bytes(b"x" * 50_000_000)

    def holds_it() -> bool:
        descriptors = os.listdir(f"/proc/{pid}/fd")
        links = [os.path.realpath(f"/proc/{pid}/fd/{fd}") for fd in descriptors]
        return any(link.endswith("huge.bin") for link in links)

    with RawClient(web.server.port) as client:
        client.send(get("/files/huge.bin"))
        client.receive_head()
        wait_for(holds_it, "the file is open")
    wait_for(lambda: not holds_it(), "the file is closed")


# -- an application that asks itself


def test_an_application_asks_itself_while_it_is_installed(web: Http) -> None:
    assert web.lines()[:2] == ["install hello", "activate 404"]


def test_an_application_asks_itself_as_a_client_would(web: Http) -> None:
    assert ask(web, "/itself").body == b"200 [('x', 'y')] 3"
    assert ask(web, "/itself-file").body == b"small"
    assert ask(web, "/itself-refused").body == b"401"


def test_an_application_that_upgrades_or_asks_itself_without_end_fails(web: Http) -> None:
    assert ask(web, "/itself-upgraded").status == 500
    assert ask(web, "/itself-for-ever").status == 500
    log = web.server.log()
    assert "NotAnUpgradeRequest" in log
    assert "SelfFetchTooDeep: app.fetch was called 10 levels deep" in log


def test_an_application_asks_itself_for_a_message(web: Http) -> None:
    with connect(f"{web.server.ws_url}/ws") as ws:
        ws.recv(10)
        ws.send("/hello")
        assert ws.recv(10) == f"200 hello {web.server.url}/ws"
