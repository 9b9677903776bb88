"""The worker's end of the stream link, on a real socket."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING

from holdfast.wire import stream
from holdfast.wire.messages import Ack, Act, Close, Drained, FromWorker, SendText
from holdfast.wire.stream import BatchEncoder, BatchReader
from holdfast.worker.stream_link import StreamLink

if TYPE_CHECKING:
    import pytest

    from holdfast.wire.messages import ToWorker


class Receiver:
    """`worker/stream_link.py:Receiver`."""

    def __init__(self) -> None:
        self.heard: list[ToWorker] = []
        self.lost: list[str] = []

    def receive(self, messages: list[ToWorker], /) -> None:
        self.heard += messages

    def lose_keeper(self, why: str, /) -> None:
        self.lost.append(why)


def pair() -> tuple[socket.socket, int]:
    keeper, worker = socket.socketpair()
    return keeper, worker.detach()


def received(keeper: socket.socket) -> list[FromWorker]:
    reader: BatchReader[FromWorker] = BatchReader(FromWorker)
    return reader.receive(keeper.recv(65536))


def test_what_is_too_long_for_a_batch_closes_its_connection_and_loses_nothing_else(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(stream, "MAX_BATCH", 200)
    too_long = SendText(7, "x" * 300)

    async def send() -> list[FromWorker]:
        keeper, fd = pair()
        link = StreamLink(fd, asyncio.get_running_loop())
        link.start(Receiver())
        link.collect(Ack(6, 1, 1, [SendText(6, "before")], 1))
        link.collect(Ack(7, 3, 2, [too_long], 1))
        link.collect(Act([too_long]))
        link.collect(Ack(8, 1, 1, [SendText(8, "after")], 1))
        link.flush()
        link.close()
        with keeper:
            return received(keeper)

    assert asyncio.run(send()) == [
        Ack(6, 1, 1, [SendText(6, "before")], 1),
        Ack(7, 3, 2, [Close(7, 1011, "")], 1),
        Ack(8, 1, 1, [SendText(8, "after")], 1),
    ]
    assert "event 3 of connection 0x7" in caplog.text
    assert "outside of an event" in caplog.text


def test_link_goes_on_with_another_keeper() -> None:
    # What is said while nobody listens goes nowhere, and is not said later to somebody else.
    receiver = Receiver()

    async def go_on() -> list[FromWorker]:
        one, fd = pair()
        other, other_fd = pair()
        link = StreamLink(fd, asyncio.get_running_loop())
        link.start(receiver)
        one.close()
        async with asyncio.timeout(10):
            while not receiver.lost:
                await asyncio.sleep(0)
        link.send(Act([Close(1, 1000, "")]))
        await link.drain()
        link.open(other_fd)
        link.send(Act([Close(2, 1000, "")]))
        await link.drain()
        other.sendall(BatchEncoder().encode([Drained()]))
        async with asyncio.timeout(10):
            while not receiver.heard:
                await asyncio.sleep(0)
        link.close()
        link.close()
        with other:
            return received(other)

    # What was meant for the first keeper does not reach the second.
    assert asyncio.run(go_on()) == [Act([Close(2, 1000, "")])]
    assert receiver.lost == ["the keeper closed the link"]
    assert receiver.heard == [Drained()]
