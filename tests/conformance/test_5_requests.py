"""Ordinary HTTP."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from tests.conformance.hosts import TIMEOUT
from tests.conformance.promises import NO_PORT, promise
from tests.flow.raw import RawClient
from tests.flow.server import wait_for

if TYPE_CHECKING:
    from tests.conformance.hosts import Running

LARGE = 300_000  # bytes


@promise("requests and responses: status, headers, cookies, query, bodies")
def test_response_has_its_status_headers_and_cookies(server: Running) -> None:
    response = server.fetch("/details?a=b%20c", headers={"cookie": "who=Ann"})
    assert (response.status, response.headers["x-extra"]) == (201, "1")
    assert response.headers["set-cookie"].startswith("seen=yes")
    about = {"path": "/details", "query": "?a=b%20c", "cookies": {"who": "Ann"}}
    assert json.loads(response.read()) == about


@promise("requests and responses: status, headers, cookies, query, bodies")
def test_body_of_a_request_is_read(server: Running) -> None:
    assert server.fetch("/upper", b"shout", "POST").read() == b"SHOUT"
    assert server.fetch("/size", b"x" * LARGE, "POST").read() == str(LARGE).encode()


@promise("requests and responses: status, headers, cookies, query, bodies")
def test_request_that_nobody_answers_gets_404(server: Running) -> None:
    assert server.fetch("/nowhere").status == 404


@promise("requests and responses: status, headers, cookies, query, bodies")
def test_listener_that_raises_yields_a_500_without_details(server: Running) -> None:
    response = server.fetch("/raise")
    assert response.status == 500
    assert b"secret" not in response.read()


@promise("responses are streamed chunk by chunk")
def test_response_is_streamed(server: Running) -> None:
    # The model differs: there, a pool reads all of it first.
    response = server.fetch("/stream")
    assert response.read1(6) == b"first "
    server.open_gate("stream")
    assert response.read() == b"second"


@promise("mounted ASGI applications: requests and WebSocket endpoints")
def test_mounted_application_gets_requests_and_connections(server: Running) -> None:
    assert server.fetch("/mounted/page").read() == b"/mounted /mounted/page"
    with server.connect("/mounted/ws") as ws:
        ws.send("abc")
        assert ws.recv(TIMEOUT) == "cba"
    wait_for(lambda: server.journal("the endpoint saw"), "the endpoint saw the end", TIMEOUT)


@promise(
    "an `Upgrade` header alone breaks nothing",
    kit=NO_PORT,
)
def test_upgrade_header_without_connection_header_harms_nobody(server: Running) -> None:
    # This ended the worker upstream. What it gets is the server's business.
    with RawClient(server.port, timeout=TIMEOUT) as client:
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n")
        assert client.receive_head().startswith((b"HTTP/1.1 200 ", b"HTTP/1.1 4"))
    assert server.fetch("/").status == 200
