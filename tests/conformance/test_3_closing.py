"""The end of a connection: codes in both directions, and one close event."""

from __future__ import annotations

import socket
import struct
from typing import TYPE_CHECKING

from tests.conformance.hosts import TIMEOUT
from tests.conformance.member import join
from tests.conformance.promises import NO_PORT, promise
from tests.flow.raw import CLOSE, PING, PONG, RawClient, client_frame
from tests.flow.server import wait_for

if TYPE_CHECKING:
    from tests.conformance.hosts import Running


def closes(server: Running, name: str) -> list[str]:
    """Return the close events of a connection, when there is one at least."""
    wait_for(lambda: server.journal(f"{name} closes"), f"the close event of {name}", TIMEOUT)
    # Whoever is asked now has seen it too, had there been another one.
    with join(server, f"after {name}") as member:
        assert member.ask("say", what="x") == "x"
    return server.journal(f"{name} closes")


EVERY_1006 = "Hypercorn tells of every close by a client as of one that vanished: 1006"
NO_REASON = "the server does not tell the reason that a client gave"


@promise("the code of a client reaches its one close event", hypercorn=EVERY_1006)
def test_code_of_the_client_reaches_its_close_event(server: Running) -> None:
    with join(server, "Cleo") as member:
        member.ws.close(4321, "")
    assert closes(server, "Cleo") == ["Cleo closes 4321 '' cleanly"]


@promise(
    "the code of a client reaches its one close event",
    hypercorn=EVERY_1006,
    kit=NO_PORT,
)
def test_close_without_a_code_is_1005(server: Running) -> None:
    with RawClient(server.port, timeout=TIMEOUT) as client:
        client.open("/orders?name=Nocode")
        client.send(client_frame(b"", CLOSE))
        client.receive_frame()
    assert closes(server, "Nocode") == ["Nocode closes 1005 '' cleanly"]


@promise(
    "the reason of a client reaches its close event",
    granian=NO_REASON,
    hypercorn=NO_REASON,
    daphne=NO_REASON,
)
def test_reason_of_the_client_reaches_its_close_event(server: Running) -> None:
    with join(server, "Rita") as member:
        member.ws.close(4321, "tschüß")
    assert closes(server, "Rita") == ["Rita closes 4321 'tschüß' cleanly"]


@promise("the code of the application reaches the client, and its one close event")
def test_code_of_the_application_reaches_the_client(server: Running) -> None:
    with join(server, "Otto") as member:
        member.tell("close", code=4002, reason="")
        assert member.receive_close() == (4002, "")
    assert closes(server, "Otto") == ["Otto closes 4002 '' cleanly"]


@promise("the reason of the application reaches the client", daphne="Daphne sends no reason")
def test_reason_of_the_application_reaches_the_client(server: Running) -> None:
    with join(server, "Olga") as member:
        member.tell("close", code=4002, reason="as you wish")
        assert member.receive_close() == (4002, "as you wish")
    assert closes(server, "Olga") == ["Olga closes 4002 'as you wish' cleanly"]


@promise(
    "a client that vanishes has one close event, with 1006",
    granian="Granian tells of a client that vanished as of one that closed without a code: 1005",
    kit=NO_PORT,
)
def test_client_that_vanishes_has_one_close_event_with_1006(server: Running) -> None:
    # An error of its socket is not told of twice.
    with RawClient(server.port, timeout=TIMEOUT) as client:
        client.open("/orders?name=Vanished")
        # A reset, not an orderly end.
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    assert closes(server, "Vanished") == ["Vanished closes 1006 '' somehow"]


@promise("the close event comes last, after all messages")
def test_close_event_comes_after_messages_that_came_before(server: Running) -> None:
    with join(server, "Lars") as member:
        member.tell("wait", gate="let Lars go")
        member.tell("be heard")
        wait_for(lambda: server.journal("Lars waits"), "its listener waits")
        member.ws.close(1000)
        assert server.journal("Lars closes") == []
        server.open_gate("let Lars go")
        assert len(closes(server, "Lars")) == 1
    wait_for(lambda: server.journal("Lars was heard"), "its second message was handled")


@promise(
    "pings are answered without the application",
    kit=NO_PORT,
)
def test_pings_are_answered(server: Running) -> None:
    with RawClient(server.port, timeout=TIMEOUT) as client:
        client.open("/echo")
        client.send(client_frame(b"are you there", PING))
        assert client.receive_frame() == (PONG, b"are you there")
