"""Clients' sockets under a real ledger: how a connection ends (RFC 6455 section 7)."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING, Any

import pytest

from holdfast.config import KeeperLimits
from holdfast.core.ports import Metadata
from holdfast.keeper.poller import Poller
from holdfast.keeper.sockets import Sockets
from holdfast.ledger import commands as do
from holdfast.ledger.ledger import Ledger
from holdfast.wire import messages as wire
from holdfast.wire.codec import encode_metadata
from tests.flow.raw import CLOSE, PING, TEXT, client_frame

if TYPE_CHECKING:
    from collections.abc import Iterator

SERIAL = 7
TIMEOUT = 10.0  # seconds that a client may take to close

# The opcode 3 is unknown (section 5.2).
VIOLATION = client_frame("", 3)


class Story:
    """A keeper's sockets with one client, and a worker that answers when it is told to."""

    def __init__(self, **limits: Any) -> None:
        settings = KeeperLimits(close_timeout=TIMEOUT, **limits)
        self.left: list[str] = []
        self.ledger = Ledger(settings)
        self.ledger.prefer(1)
        self.worker = self.ledger.worker_ready(1, 1)
        self.poller = Poller()
        self.sockets = Sockets(
            self.ledger, self.poller, settings, self.left.append, lambda *_: None
        )
        ours, self.client = socket.socketpair()
        self.client.setblocking(False)
        connection = self.ledger.adopt(handover(), self.worker)
        assert connection is not None
        self.connection = connection
        self.closed: tuple[int, str] | None = None
        self.fd = ours.detach()
        self.sockets.adopt(self.fd, connection, b"", b"", address_key="client", bits=0)

    def end_turn(self) -> None:
        while commands := self.ledger.take_commands():
            for command in commands:
                self.run(command)
            self.sockets.flush()
        self.sockets.flush()

    def run(self, command: do.Command) -> None:
        if isinstance(command, do.WriteMessage):
            self.sockets.write(command.connection, command.data)
        elif isinstance(command, do.CloseSocket):
            self.sockets.close(command.connection, command.code, command.reason)
        elif isinstance(command, do.EndSocket):
            self.sockets.end(command.connection)
        elif isinstance(command, do.DeliverTo):
            for delivery in command.deliveries:
                if isinstance(delivery, wire.DeliverClose):
                    assert self.closed is None
                    self.closed = (delivery.code, delivery.reason)

    def turn(self) -> None:
        for _ in range(3):  # One read per turn may not be enough.
            self.poller.turn(0)
            self.end_turn()

    def send(self, *frames: bytes) -> None:
        self.client.sendall(b"".join(frames))
        self.turn()

    def act(self, *actions: wire.Action) -> None:
        self.ledger.receive_actions(actions)
        self.end_turn()

    def answer(self, number: int, *actions: wire.Action) -> None:
        """The worker acknowledges a message."""
        ack = wire.Ack(SERIAL, number, 1, list(actions), 1)
        self.ledger.receive_ack(self.worker, ack)
        self.end_turn()

    def end(self) -> None:
        self.client.close()
        if not self.left:
            os.close(self.fd)

    def pass_time(self, now: float) -> None:
        self.sockets.tick(now)
        self.turn()

    def fill(self) -> None:
        """Write until the kernel takes no more."""
        while not self.sockets._writer.is_blocked(self.connection.socket):
            self.act(wire.SendBinary(SERIAL, bytes(64 * 1024)))

    def received(self) -> bytes:
        """Return what has come to the client so far."""
        data = b""
        try:
            while piece := self.client.recv(65536):
                data += piece
        except BlockingIOError:
            pass
        return data

    def has_ended(self) -> bool:
        """Return whether the client has read the end of the stream."""
        try:
            return self.client.recv(1) == b""
        except BlockingIOError:
            return False


def handover() -> wire.Handover:
    return wire.Handover(
        SERIAL,
        b"key",
        None,
        [],
        encode_metadata(Metadata("http://localhost/", None, frozenset())),
        b"",
        [],
        lost=False,
        address="",
        extensions=b"",
        endpoint=b"",
        closes=False,
    )


def close_frame(code: int | None, reason: str = "") -> bytes:
    payload = b"" if code is None else code.to_bytes(2, "big") + reason.encode()
    return bytes((0x80 | CLOSE, len(payload))) + payload


def text_frame(text: str) -> bytes:
    return bytes((0x80 | TEXT, len(text))) + text.encode()


@pytest.fixture
def story() -> Iterator[Story]:
    story = Story()
    yield story
    story.end()


@pytest.mark.parametrize(("payload", "code"), [(b"\x0f\xa0bye", 4000), (b"", None)])
def test_close_is_answered_with_its_code(story: Story, payload: bytes, code: int | None) -> None:
    story.send(client_frame(payload, CLOSE))
    assert story.received() == close_frame(code)
    assert story.has_ended()
    assert story.closed == ((4000, "bye") if code else (1005, ""))


def test_nothing_follows_a_close_frame(story: Story) -> None:
    story.act(wire.Close(SERIAL, 4001, "enough"), wire.SendText(SERIAL, "more"))
    story.sockets.write_many([story.connection], "news")
    story.send(client_frame("hi", PING))
    assert story.received() == close_frame(4001, "enough")


def test_our_close_ends_with_the_answer(story: Story) -> None:
    story.act(wire.Close(SERIAL, 4001, ""))
    assert story.left == []
    story.send(client_frame(b"\x0f\xa2", CLOSE))
    assert (story.closed, story.left) == ((4002, ""), ["client"])


def test_silent_peer_is_dropped_after_timeout(story: Story) -> None:
    story.act(wire.Close(SERIAL, 4001, ""))
    story.pass_time(TIMEOUT - 1)
    assert story.left == []
    story.pass_time(TIMEOUT)
    assert (story.closed, story.left) == ((1006, ""), ["client"])
    assert story.sockets.hits == {"close_timeout": 1}


def test_violation_is_closed_at_once(story: Story) -> None:
    story.send(VIOLATION)
    assert story.received() == close_frame(1002, "the opcode is unknown")
    assert story.has_ended()
    assert story.closed == (1002, "the opcode is unknown")


def test_violation_waits_for_earlier_answers(story: Story) -> None:
    story.send(client_frame("question"), VIOLATION, client_frame("lost"))
    assert story.received() == b""
    story.answer(1, wire.SendText(SERIAL, "answer"))
    expected = text_frame("answer") + close_frame(1002, "the opcode is unknown")
    assert story.received() == expected
    assert story.closed == (1002, "the opcode is unknown")


def test_publications_reach_who_waits_for_answers(story: Story) -> None:
    story.send(client_frame("question"), VIOLATION)
    story.sockets.write_many([story.connection], "news")
    story.sockets.flush()
    assert story.received() == text_frame("news")


def test_violation_beats_our_close(story: Story) -> None:
    story.send(client_frame("question"), VIOLATION)
    story.act(wire.Close(SERIAL, 4001, "enough"))
    story.answer(1)
    assert story.received() == close_frame(1002, "the opcode is unknown")
    assert story.closed == (1002, "the opcode is unknown")


def test_answers_that_never_come_end_too(story: Story) -> None:
    story.send(client_frame("question"), VIOLATION)
    story.pass_time(TIMEOUT)
    assert story.received() == close_frame(1002, "the opcode is unknown")
    story.pass_time(2 * TIMEOUT)
    assert story.left == ["client"]
    story.answer(1)
    assert story.closed == (1002, "the opcode is unknown")


def test_peer_that_vanishes_unanswered_is_released(story: Story) -> None:
    story.send(client_frame("question"), VIOLATION)
    story.client.close()
    story.turn()
    assert story.left == ["client"]
    story.answer(1)
    assert story.closed == (1002, "the opcode is unknown")


def test_close_frame_over_the_limit_drops_once() -> None:
    story = Story(max_outbound=64 * 1024)
    story.fill()
    story.sockets._writer._max_outbound = 0
    story.act(wire.Close(SERIAL, 4001, ""))
    assert (story.closed, story.left) == ((1008, "slow consumer"), ["client"])
    # Whoever has the number of the descriptor next keeps it.
    other = os.open(os.devnull, os.O_RDONLY)
    assert other == story.fd
    story.pass_time(2 * TIMEOUT)
    os.fstat(other)
    assert story.left == ["client"]
    os.close(other)
    story.end()


def test_failed_connection_is_read_to_its_end(story: Story) -> None:
    # Half a message of so many bytes is what the memory is short of.
    story.send(client_frame(bytes(30000))[:20000])
    assert story.sockets.evict([story.connection.socket], 0) == 1
    story.sockets.flush()
    assert story.received() == close_frame(1013, "out of memory")
    assert (story.has_ended(), story.left) == (True, [])
    story.send(bytes(1000))
    story.client.close()
    story.turn()
    assert (story.closed, story.left) == ((1013, "out of memory"), ["client"])


def test_paused_client_that_fails_is_read_to_its_end(story: Story) -> None:
    story.send(client_frame(bytes(30000))[:20000])
    story.connection.is_paused = True
    story.sockets.pause_reading(story.connection)
    story.sockets.evict([story.connection.socket], 0)
    story.sockets.flush()
    story.client.close()
    story.turn()
    assert story.left == ["client"]
