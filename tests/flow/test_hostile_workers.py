"""A worker that says what no worker would say is cut off and replaced; connections stay.

"Wire fuzzing of the pool protocol" (J.11), with a real keeper and an application that writes to
the links of its own worker.
"""

from __future__ import annotations

import urllib.request
from typing import TYPE_CHECKING

import pytest
from websockets.exceptions import ConnectionClosedError
from websockets.sync.client import connect

from tests.flow.server import ROOT, Server, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

EVIL = ROOT / "tests/flow/apps/evil.py"


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server.start(EVIL, "--event-timeout", "2", workers=2) as started:
        yield started


def echoes(server: Server) -> bool:
    """True when a new connection comes to be, and its messages are answered."""
    with connect(server.ws_url) as ws:
        ws.send("hello")
        return ws.recv(10) == "hello"


@pytest.mark.parametrize(
    ("what", "why"),
    [
        ("garbage", "over the limit"),
        ("length", "over the limit"),
        ("unfinished", "it has not ended what it began to say 2 s ago"),
        ("no message", "not a message of this link"),
        ("version", "it speaks version 99 of the wire"),
        ("ready twice", "it became ready twice"),
        ("acknowledge a stranger's", "a connection it does not have"),
        ("acknowledge what is to come", "it acknowledged wrongly"),
        ("acknowledge too many", "it acknowledged wrongly"),
        ("record without a descriptor", "without giving its socket"),
        ("half", None),
    ],
)
def test_worker_that_breaks_the_contract_is_replaced_and_nothing_is_lost(
    server: Server, what: str, why: str | None
) -> None:
    before = set(server.worker_pids())
    with connect(server.ws_url) as bystander, connect(server.ws_url) as culprit:
        culprit.send(what)
        assert culprit.recv(20) == f"{what}, attempt 2"
        for ws in (bystander, culprit):
            ws.send("still here")
            assert ws.recv(10) == "still here"
    wait_for(lambda: len(before - set(server.worker_pids())) == 1, "its worker is gone")
    if why is not None:
        wait_for(lambda: why in server.log(), "the log says why")
    assert "keeper died" not in server.log()
    server.wait_until_serving()
    assert echoes(server)


@pytest.mark.parametrize("what", ["descriptors without a record", "act on strangers"])
def test_nonsense_about_strangers_harms_nobody(server: Server, what: str) -> None:
    before = server.worker_pids()
    with connect(server.ws_url) as ws:
        ws.send(what)
        assert ws.recv(10) in ("sent", "ignored")
        ws.send("still here")
        assert ws.recv(10) == "still here"
        for _ in range(4):
            assert echoes(server)
    assert server.worker_pids() == before


def test_record_of_a_connection_that_is_open_does_not_replace_it(server: Server) -> None:
    with connect(server.ws_url) as ws:
        ws.send("record of a connection that is open")
        assert ws.recv(10) == "HTTP/1.1 503 Service Unavailable"
        ws.send("still here")
        assert ws.recv(10) == "still here"


def test_close_code_that_cannot_be_sent_is_1011_to_the_client(server: Server) -> None:
    with connect(server.ws_url) as ws:
        ws.send("close with nonsense")
        with pytest.raises(ConnectionClosedError) as caught:
            ws.recv(10)
        assert caught.value.rcvd is not None
        assert caught.value.rcvd.code == 1011


def test_programs_that_an_application_starts_inherit_no_descriptor_of_the_server(
    server: Server,
) -> None:
    url = f"{server.url}/descriptors"
    with connect(server.ws_url), urllib.request.urlopen(url, timeout=10) as response:
        lines = response.read().decode().splitlines()
    # Standard streams, and the directory that is being listed.
    numbers = [int(line.split(" -> ")[0].split()[-1]) for line in lines if " -> " in line]
    assert sorted(numbers)[:3] == [0, 1, 2]
    assert len(numbers) == 4, lines
