"""The keeper's end of a worker's links, on real sockets."""

from __future__ import annotations

import os
import socket
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from holdfast.keeper.link import WorkerLink
from holdfast.keeper.poller import Poller

if TYPE_CHECKING:
    from collections.abc import Iterator


class Worker:
    """The other end of a link: gives descriptors, and keeps the clients behind them."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        stream, worker_stream = socket.socketpair()
        handover, self._handover = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        for end in (worker_stream, self._handover):
            stack.enter_context(end)
        self.link = WorkerLink(
            1,
            stream.detach(),
            handover.detach(),
            Poller(),
            on_messages=lambda link, messages: None,
            on_lost=lambda link, why: None,
        )
        stack.callback(self.link.cut)

    def give(self, serial: int) -> socket.socket:
        """Give the socket of a client; return the client's end."""
        client, given = socket.socketpair()
        self._stack.enter_context(client).settimeout(5)
        with given:
            socket.send_fds(self._handover, [serial.to_bytes(8, "big")], [given.fileno()])
        return client


@pytest.fixture
def worker() -> Iterator[Worker]:
    with ExitStack() as stack:
        yield Worker(stack)


def test_a_descriptor_is_that_of_its_serial(worker: Worker) -> None:
    client = worker.give(7)
    fd = worker.link.take_socket(7)
    assert fd is not None
    os.write(fd, b"hello")
    os.close(fd)
    assert client.recv(5) == b"hello"
    assert worker.link.take_socket(8) is None


def test_orphan_descriptors_close_with_next_record(
    worker: Worker,
) -> None:
    # I-S-2, I-R3-4: they are not kept, and there is no table of them that could grow.
    forgotten = [worker.give(serial) for serial in (4, 5, 6)]
    client = worker.give(7)
    fd = worker.link.take_socket(7)
    assert fd is not None
    assert [each.recv(1) for each in forgotten] == [b""] * 3
    os.close(fd)
    assert client.recv(1) == b""


def test_orphan_descriptors_close_with_the_link(worker: Worker) -> None:
    # I-S-2: a worker that died in between has no next one.
    forgotten = [worker.give(serial) for serial in (4, 5, 6)]
    worker.link.cut()
    assert [each.recv(1) for each in forgotten] == [b""] * 3
