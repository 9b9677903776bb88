"""Handshakes that do not become connections: the answer is whole, and nothing stays behind."""

from __future__ import annotations

import socket
import struct
import urllib.request
from contextlib import ExitStack
from http.client import HTTPResponse, IncompleteRead
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from websockets.sync.client import connect

from tests.flow.apps.refusals import BINARY
from tests.flow.raw import TEXT, RawClient, handshake
from tests.flow.server import ROOT, Server, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

REFUSALS = ROOT / "tests/flow/apps/refusals.py"

# Listeners that fail when they have accepted already, and subscribed the connection to "news".
FAILURES = ["raise", "unprintable", "bad-cookie", "bad-header", "reject-after"]


class Gate:
    """A server that runs `apps/refusals.py`."""

    def __init__(self, server: Server, journal: Path) -> None:
        self.server = server
        self._journal = journal

    def get(self, path: str) -> str:
        with urllib.request.urlopen(self.server.url + path, timeout=10) as response:
            return str(response.read().decode())

    def refused(self, path: str) -> tuple[HTTPResponse, bytes]:
        """Return the response to a handshake, which the server ends the connection after."""
        with RawClient(self.server.port) as client:
            client.send(handshake(path))
            response = HTTPResponse(client.socket)
            response.begin()
            body = response.read()
            assert client.socket.recv(1) == b""
        return response, body

    def journal(self) -> list[str]:
        return self._journal.read_text().splitlines()

    def descriptors(self) -> list[int]:
        """Return how many the keeper and the worker have open."""
        pids = [self.server.status()["keeper"]["pid"], *self.server.worker_pids()]
        return [len(list(Path(f"/proc/{pid}/fd").iterdir())) for pid in pids]


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gate]:
    journal = tmp_path_factory.mktemp("refusals") / "journal"
    journal.touch()
    env = {"JOURNAL": str(journal)}
    with Server.start(REFUSALS, "--spare", "0", workers=1, env=env) as server:
        yield Gate(server, journal)


# -- the answer


def test_each_cookie_of_a_rejection_has_a_line_of_its_own(gate: Gate) -> None:
    response, body = gate.refused("/cookies")
    cookies = [value.partition(";")[0] for value in response.msg.get_all("set-cookie", [])]
    assert (response.status, body, sorted(cookies)) == (403, b"no", ["a=1", "b=2", "c=3"])


def test_a_rejection_may_have_bytes_that_are_no_text(gate: Gate) -> None:
    response, body = gate.refused("/binary")
    assert (response.status, body) == (403, BINARY)


def test_a_rejection_is_framed_as_its_headers_say(gate: Gate) -> None:
    # Those of an answer that is passed on may be about another connection.
    response, body = gate.refused("/framing")
    assert (response.status, body) == (403, b"passed on")
    assert response.getheader("content-length") is None
    assert "close" in (response.getheader("connection") or "")


@pytest.mark.parametrize("path", ["/status/204", "/status/304"])
def test_a_rejection_that_may_have_no_body_has_none(gate: Gate, path: str) -> None:
    # There, it has a length and a body.
    with RawClient(gate.server.port) as client:
        client.send(handshake(path))
        head = client.receive_head()
        assert head.startswith(f"HTTP/1.1 {path[-3:]} ".encode())
        assert b"\r\ncontent-length:" not in head.lower().replace(b"content-length: 0", b"")
        assert client.receive_rest() == b""


def test_a_rejection_may_have_a_status_that_has_no_name(gate: Gate) -> None:
    # That of the others is known for all that RFC 9110 names, and not for six.
    response, body = gate.refused("/status/499")
    assert (response.status, response.reason, body) == (499, "", b"no")
    response, _ = gate.refused("/status/422")
    assert response.reason.startswith("Unprocessable")


def test_a_rejection_that_never_ends_does_so_with_its_client(gate: Gate) -> None:
    # There, all of it is read before anything is sent, and the socket is held for ever.
    before = gate.descriptors()
    with RawClient(gate.server.port) as client:
        client.send(handshake("/endless"))
        assert client.receive_head().startswith(b"HTTP/1.1 403 ")
        client._take(100_000)
    wait_for(lambda: "endless has ended" in gate.journal(), "the stream ended")
    wait_for(lambda: gate.descriptors() == before, f"descriptors are back at {before}")


@pytest.mark.parametrize("path", ["/too-long", "/too-short"])
def test_a_rejection_of_another_length_than_it_says_is_a_clean_500(gate: Gate, path: str) -> None:
    # The length of what an upstream has sent, and its body decoded, for instance.
    response, body = gate.refused(path)
    assert (response.status, body) == (500, b"Internal Server Error")
    assert "leave that header to holdfast" in gate.server.log()


@pytest.mark.parametrize("path", ["/stream-too-long", "/stream-too-short"])
def test_a_streamed_rejection_of_another_length_than_it_says_is_not_taken_for_complete(
    gate: Gate, path: str
) -> None:
    with pytest.raises(IncompleteRead):
        gate.refused(path)


@pytest.mark.parametrize("failure", FAILURES)
def test_a_listener_that_fails_after_it_accepted_is_a_clean_500(gate: Gate, failure: str) -> None:
    # Nor does an error listener that fails too, or an error that cannot be shown, get into
    # what the client reads. I-R6-4, I-R7-2: cookies and headers that cannot be sent are no other.
    response, body = gate.refused(f"/{failure}")
    assert (response.status, body) == (500, b"Internal Server Error")
    assert response.getheader("x-injected") is None


# -- and what stays behind


@pytest.mark.parametrize("failure", FAILURES)
def test_a_refused_handshake_leaves_no_subscription(gate: Gate, failure: str) -> None:
    with connect(f"{gate.server.ws_url}/member") as member:
        gate.refused(f"/{failure}")
        assert gate.get("/members") == "1"
        assert gate.get("/publish") == "published"
        assert member.recv(10) == "for those who are here"
    assert not [line for line in gate.journal() if failure in line]


def test_one_that_was_refused_holds_no_descriptor_though_it_does_not_close(gate: Gate) -> None:
    # One per request, for ever, would be all there are.
    gate.refused("/nobody")
    before = gate.descriptors()
    with ExitStack() as stack:
        for path in ["/nobody", "/binary", "/raise"] * 10:
            client = stack.enter_context(RawClient(gate.server.port))
            client.send(handshake(path))
            client.receive_head()
        wait_for(lambda: gate.descriptors() == before, f"descriptors are back at {before}")


@pytest.mark.parametrize("path", ["/nobody", "/large", "/raise"])
def test_one_that_resets_while_it_is_refused_harms_nobody(gate: Gate, path: str) -> None:
    worker = gate.get("/")
    before = gate.descriptors()
    for has_read in (False, True):
        with RawClient(gate.server.port) as client:
            client.send(handshake(path))
            if has_read:
                client.receive_head()
            client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    assert gate.get("/") == worker
    wait_for(lambda: gate.descriptors() == before, f"descriptors are back at {before}")
    assert "ConnectionResetError" not in gate.server.log()


# -- what was not refused


def test_the_handle_that_an_upgrade_listener_kept_is_that_of_the_open_connection(
    gate: Gate,
) -> None:
    # Not a copy, which would not know that the handshake is done.
    with RawClient(gate.server.port) as client:
        client.open("/later")
        assert client.receive_frame() == (TEXT, b"at once")
        assert client.receive_frame() == (TEXT, b"later")
