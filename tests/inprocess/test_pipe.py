"""The link in memory: what does not survive the wire does not survive the test."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar, copy_context
from typing import TYPE_CHECKING

import pytest

from holdfast import BroadcastChannel, FetchEvent, Response, ServiceWorker
from holdfast.inprocess.pipe import Pipe
from holdfast.testing import TestClient
from holdfast.wire import messages as wire
from tests.testing.runner import echo_app, in_loop

if TYPE_CHECKING:
    from holdfast import WebSocketMessageEvent

where: ContextVar[str] = ContextVar("where", default="outside")


class Receiver:
    """The end of a pipe."""

    def __init__(self) -> None:
        self.batches: list[list[wire.FromWorker]] = []
        self.broken: list[str] = []
        self.context = copy_context()
        self.context.run(where.set, "at the receiver")
        self.was: list[str] = []
        self.pipe: Pipe[wire.FromWorker] = Pipe(
            wire.FromWorker,
            asyncio.get_running_loop(),
            self.context,
            on_messages=self._take,
            on_broken=self.broken.append,
        )

    def _take(self, messages: list[wire.FromWorker]) -> None:
        self.batches.append(messages)
        self.was.append(where.get())


async def turns(count: int = 3) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


@in_loop
async def test_messages_of_one_turn_arrive_as_one_batch_in_a_later_turn() -> None:
    receiver = Receiver()
    receiver.pipe.send(wire.Hello(1))
    receiver.pipe.collect(wire.Ready(2))
    assert not receiver.pipe.is_idle
    receiver.pipe.flush()
    assert receiver.batches == [], "a sender does not run what its message causes"
    await turns()
    assert receiver.batches == [[wire.Hello(1), wire.Ready(2)]]
    assert receiver.was == ["at the receiver"]
    assert receiver.pipe.is_idle


@in_loop
async def test_what_was_sent_leaves_with_the_turn_without_a_flush() -> None:
    receiver = Receiver()
    receiver.pipe.send(wire.Hello(1))
    await turns()
    assert receiver.batches == [[wire.Hello(1)]]


@in_loop
async def test_cut_pipe_loses_what_had_not_left_and_ends_who_sends() -> None:
    receiver = Receiver()
    receiver.pipe.send(wire.Hello(1))
    await receiver.pipe.drain()
    receiver.pipe.send(wire.Hello(2))
    receiver.pipe.cut()
    with pytest.raises(asyncio.CancelledError):
        receiver.pipe.send(wire.Hello(3))
    with pytest.raises(asyncio.CancelledError):
        receiver.pipe.collect(wire.Hello(3))
    with pytest.raises(asyncio.CancelledError):
        receiver.pipe.flush()
    await turns()
    assert receiver.batches == [[wire.Hello(1)]]


@in_loop
async def test_message_of_the_other_direction_breaks_the_pipe() -> None:
    receiver = Receiver()
    receiver.pipe.send(wire.Drained())
    await turns()
    assert "not a message of this link" in receiver.broken[0]


def test_message_too_long_for_a_batch_breaks_the_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("holdfast.wire.stream.MAX_BATCH", 100)

    @in_loop
    async def story() -> None:
        receiver = Receiver()
        receiver.pipe.send(wire.Listen("x" * 200))
        await turns()
        assert "over the limit of 100" in receiver.broken[0]
        assert receiver.pipe.is_idle

    story()


@in_loop
async def test_plain_data_becomes_what_the_wire_makes_of_it() -> None:
    app = ServiceWorker()

    @app.on("websocketupgrade")
    def upgrade(event: object) -> None:
        event.accept(data={"pair": (1, 2)})  # type: ignore[attr-defined]

    @app.on("websocketmessage")
    def message(event: WebSocketMessageEvent) -> None:
        event.source.send(repr(event.source.data))

    async with TestClient(app) as client, client.connect("/") as ws:
        await ws.send("what do you have?")
        assert await ws.receive() == "{'pair': [1, 2]}"


@in_loop
async def test_publication_is_a_copy() -> None:
    channel, heard = BroadcastChannel("copies"), list[object]()
    channel.add_event_listener("message", lambda event: heard.append(event.data))
    app = ServiceWorker()

    @app.on("fetch")
    def fetch(_: FetchEvent) -> Response:
        BroadcastChannel("copies").post_message({"pair": (1, 2)})
        return Response("posted")

    async with TestClient(app) as client:
        await client.fetch("/")
        await client.settle()
    assert heard == [{"pair": [1, 2]}]
    channel.close()


@in_loop
async def test_worker_that_breaks_the_contract_is_replaced() -> None:
    # The double of the keeper holds its workers to it.
    async with TestClient(echo_app()) as client, client.connect("/") as ws:
        supervisor = client._open()[0]
        worker = await supervisor.worker()
        # Nobody but a bug of holdfast's own would send such things.
        worker._to_keeper.send(wire.Drained())
        await client.settle()
        assert await supervisor.worker() is not worker
        assert "it was cut off: not a message of this link" in str(client.errors[0])
        await ws.send("x")
        assert await ws.receive() == "x"
        worker = await supervisor.worker()
        worker._to_keeper.send(wire.Ack(12345, 1, 1, [], 1))
        await client.settle()
        assert "it acknowledged for 0x3039" in str(client.errors[1])
        worker = await supervisor.worker()
        worker._to_keeper.send(wire.Ready(1))
        await client.settle()
        assert "it became ready twice" in str(client.errors[2])
        await ws.send("y")
        assert await ws.receive() == "y"
