"""What clients may take."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from tests.conformance.hosts import TIMEOUT
from tests.conformance.member import join
from tests.conformance.promises import NO_PORT, promise
from tests.flow.raw import RawClient, client_frame
from tests.flow.server import wait_for

if TYPE_CHECKING:
    from tests.conformance.hosts import Running

MIB = 1024 * 1024

# More than kernel and server can hold for a client, unless a server holds without bound.
FLOOD = 128  # MiB


@promise(
    "a message over the limit closes with 1009",
    daphne="Daphne has 1000 in the place of codes from 1001 to 2999",
)
def test_message_over_the_limit_closes_with_1009(server: Running) -> None:
    # One limit for all hosts.
    with join(server, "Max", max_size=None) as member:
        member.ws.send("x" * (MIB + 1))
        assert member.receive_close()[0] == 1009
    wait_for(lambda: server.journal("Max closes 1009"), "the close event", TIMEOUT)


@promise(
    "what came before a message over the limit is answered before the close",
    daphne="Daphne has 1000 in the place of codes from 1001 to 2999",
)
def test_what_came_before_an_oversize_message_is_answered(server: Running) -> None:
    with join(server, "Maxine", max_size=None) as member:
        member.tell("say slowly", what="the answer")
        member.ws.send("x" * (MIB + 1))
        assert member.receive() == "the answer"
        assert member.receive_close()[0] == 1009


@promise("a message over the limit closes with 1009")
def test_message_at_the_limit_passes(server: Running) -> None:
    with server.connect("/echo", max_size=None) as ws:
        ws.send("x" * MIB)
        assert len(ws.recv(TIMEOUT)) == MIB


@promise(
    "a client that does not read is closed with 1008, and delays nobody",
    daphne="Daphne takes what is sent without telling when a client does not read",
    kit=NO_PORT,
)
def test_client_that_does_not_read_is_closed_and_delays_nobody(server: Running) -> None:
    with RawClient(server.port, timeout=TIMEOUT) as lazy, join(server, "flooder") as flooder:
        lazy.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        lazy.open("/orders?name=Lazy")
        lazy.send(client_frame('{"do": "subscribe", "channel": "flood"}'))
        lazy.receive_frame()

        def is_closed() -> bool:
            flooder.tell("flood", channel="flood", count=8, size=MIB // 4)
            assert flooder.ask("say", what="not delayed") == "not delayed"
            return bool(server.journal("Lazy closes 1008 'slow consumer'"))

        wait_for(is_closed, "the lazy one is closed", TIMEOUT)


@promise(
    "a server stops reading from a client whose messages wait",
    daphne="Daphne holds what it has read for an application that does not receive, without end",
    kit=NO_PORT,
)
def test_client_that_is_too_fast_has_to_wait(server: Running) -> None:
    with RawClient(server.port, timeout=TIMEOUT) as client:
        client.open("/orders?name=Fast")
        client.send(client_frame('{"do": "wait", "gate": "Fast may go on"}'))
        wait_for(lambda: server.journal("Fast waits"), "its listener waits")
        client.socket.settimeout(2)
        frame = client_frame(b"\x00" * (MIB // 2))
        try:
            for _ in range(2 * FLOOD):
                client.send(frame)
        except TimeoutError:
            return
    raise AssertionError(f"the server took {FLOOD} MiB")
