"""From a handshake to a connection, or to a response.

D16: as in all of this folder, whatever runs the application, it sees the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from websockets.exceptions import InvalidStatus

from tests.conformance.hosts import TIMEOUT
from tests.conformance.member import join
from tests.conformance.promises import NO_PORT, promise
from tests.flow.raw import CLOSE, TEXT, RawClient, client_frame, handshake
from tests.flow.server import wait_for

if TYPE_CHECKING:
    from typing import Any

    from websockets.http11 import Response

    from tests.conformance.hosts import Running

NO_DENIAL = "Daphne lacks ASGI's denial response: a rejected handshake gets a bare 403"


EARLY = "the server drops what a client sends before it has its 101 (RFC 6455 forbids that, too)"
NO_HEADERS = "the server sends no headers of the application with a 101"


def rejected(server: Running, path: str, **options: Any) -> Response:
    """Return the response to a handshake that is not accepted."""
    with pytest.raises(InvalidStatus) as refusal, server.connect(path, **options):
        pass
    return refusal.value.response


def status(server: Running, path: str, **options: Any) -> int:
    return rejected(server, path, **options).status_code


@promise("accepts a handshake and echoes text and binary")
def test_accepted_handshake_echoes_text_and_binary(server: Running) -> None:
    # Text as str, binary as bytes.
    with server.connect("/echo") as ws:
        for message in ("text", "grüß Gott", b"\x00\xff"):
            ws.send(message)
            assert ws.recv(TIMEOUT) == message


@promise("empty messages", daphne="Daphne sends no empty messages")
def test_message_may_be_empty(server: Running) -> None:
    with server.connect("/echo") as ws:
        for message in ("", b""):
            ws.send(message)
            assert ws.recv(TIMEOUT) == message


@promise("what the upgrade listener sends comes first")
def test_message_of_the_upgrade_listener_comes_first_after_the_101(server: Running) -> None:
    # What the handler sent before there was a socket is flushed in order.
    with server.connect("/greet") as ws:
        ws.send("first word of the client")
        assert ws.recv(TIMEOUT) == "welcome"
        assert ws.recv(TIMEOUT) == "first word of the client"


@promise(
    "keeps what a client sends together with its handshake",
    uvicorn=EARLY,
    hypercorn=EARLY,
    daphne=EARLY,
    kit=NO_PORT,
)
def test_client_that_does_not_wait_for_the_101_is_heard(server: Running) -> None:
    with RawClient(server.port, timeout=TIMEOUT) as client:
        client.send(handshake("/echo") + client_frame("early"))
        assert client.receive_head().startswith(b"HTTP/1.1 101 ")
        assert client.receive_frame() == (TEXT, b"early")


@promise("fetch listeners may upgrade")
def test_fetch_listener_may_upgrade_what_nobody_decided(server: Running) -> None:
    with server.connect("/by-fetch") as ws:
        assert ws.recv(TIMEOUT) == "upgraded by fetch"


@promise("a rejection is a full response: status, headers, body", daphne=NO_DENIAL)
def test_rejection_is_an_ordinary_response(server: Running) -> None:
    response = rejected(server, "/reject")
    assert response.status_code == 401
    assert response.headers["x-why"] == "no cookie"
    assert response.body == b"who are you?"


@promise("a rejection is a full response: status, headers, body", daphne=NO_DENIAL)
def test_fetch_listener_that_responds_makes_it_ordinary_http(server: Running) -> None:
    # The header alone engages nothing.
    response = rejected(server, "/page")
    assert (response.status_code, response.body) == (200, b"an ordinary page")


@promise("a rejection is a full response: status, headers, body", daphne=NO_DENIAL)
def test_listener_that_raises_yields_a_500_without_details(server: Running) -> None:
    response = rejected(server, "/raise-upgrade")
    assert response.status_code == 500
    assert b"secret" not in (response.body or b"")


@promise("a rejection is a full response: status, headers, body", daphne=NO_DENIAL)
def test_handshake_that_nobody_decides_gets_426(server: Running) -> None:
    assert status(server, "/nobody") == 426


@promise("a rejected handshake opens no connection")
def test_rejected_handshake_leaves_no_connection(server: Running) -> None:
    # Without denial responses a 403, with them what the listener said.
    assert status(server, "/reject") in (401, 403)
    with join(server, "counts after a rejection") as member:
        assert member.ask("who is there") is not None
    assert not [line for line in server.journal() if "None closes" in line]


@promise("a rejected handshake opens no connection")
def test_listener_that_raises_after_it_accepted_leaves_no_connection(server: Running) -> None:
    assert status(server, "/raise-after-accept?name=Zoe") in (500, 403)
    with join(server, "Yan") as member:
        assert "Zoe" not in str(member.ask("who is there"))
    assert server.journal("Zoe") == []


@promise("refuses handshakes from foreign pages")
def test_handshake_from_a_foreign_page_is_refused(server: Running) -> None:
    assert status(server, "/echo", origin="https://evil.example") == 403
    with server.connect("/echo", origin=f"http://127.0.0.1:{server.port}") as ws:
        ws.send("from our own page")
        assert ws.recv(TIMEOUT) == "from our own page"


@promise("subprotocols")
def test_subprotocol_is_the_one_that_the_listener_chose(server: Running) -> None:
    with server.connect("/protocol", subprotocols=["chat.v1", "chat.v2"]) as ws:
        assert ws.subprotocol == "chat.v2"


@promise("headers and cookies on the 101", granian=NO_HEADERS, daphne=NO_HEADERS)
def test_headers_and_cookies_are_on_the_101(server: Running) -> None:
    with server.connect("/headers") as ws:
        assert ws.response is not None
        assert ws.response.headers["x-extra"] == "1"
        cookies = [cookie[:9] for cookie in ws.response.headers.get_all("set-cookie")]
        assert cookies == ["seen=yes;", "twice=yes"]


@promise("listeners see the handshake's cookies and headers")
def test_cookies_of_the_handshake_are_seen(server: Running) -> None:
    with server.connect("/cookie", additional_headers={"cookie": "who=Ann"}) as ws:
        assert ws.recv(TIMEOUT) == "Ann"
    # What is no cookie raises nothing.
    with server.connect("/cookie", additional_headers={"cookie": "%E0%A4%A=1; %"}) as ws:
        assert ws.recv(TIMEOUT) == "nobody"


@promise(
    "an upgrade listener may close what it accepts",
    kit=NO_PORT,
)
def test_close_in_the_upgrade_listener_completes_the_handshake_first(server: Running) -> None:
    with RawClient(server.port, timeout=TIMEOUT) as client:
        client.open("/close?name=Shut")
        assert client.receive_frame() == (TEXT, b"bye")
        frame = client.receive_frame()
        assert frame.close_code == 4001
        client.send(client_frame(frame.payload, CLOSE))
    wait_for(lambda: server.journal("Shut closes 4001"), "the close event")


@promise(
    "a client that vanishes during its handshake leaves nothing behind",
    kit=NO_PORT,
)
def test_client_that_vanishes_during_a_slow_handshake_leaves_nothing(server: Running) -> None:
    # No connection; where the server noticed too late, one and its close event.
    with RawClient(server.port, timeout=TIMEOUT) as client:
        client.send(handshake("/slow?name=Ghost"))
        wait_for(lambda: server.journal("Ghost knocks"), "the handshake is being decided")
    server.open_gate("door")
    with join(server, "Will") as member:
        wait_for(lambda: "Ghost" not in str(member.ask("who is there")), "the ghost is gone")
    assert len(server.journal("Ghost closes")) <= 1
