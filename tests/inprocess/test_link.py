"""The link in memory, plain and encoded: order, turns, contexts, and what it does to messages."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar, copy_context
from functools import partial
from typing import TYPE_CHECKING

import pytest

from holdfast import BroadcastChannel, FetchEvent, Response, ServiceWorker
from holdfast.config import KeeperLimits
from holdfast.inprocess.link import WorkerEnd
from holdfast.keeper.switchboard import Switchboard
from holdfast.testing import TestClient
from holdfast.testing.sockets import MemorySockets
from holdfast.wire import control
from holdfast.wire import messages as wire
from holdfast.wire.identity import ConnectionIds
from tests.testing.runner import echo_app, in_loop

if TYPE_CHECKING:
    from holdfast import WebSocketMessageEvent

where: ContextVar[str] = ContextVar("where", default="outside")


class Worker:
    """The worker's end of a link, and what it hears; its keeper is a real switchboard."""

    def __init__(self, *, is_encoded: bool) -> None:
        self.heard: list[wire.ToWorker] = []
        self.was: list[str] = []
        self.arrivals = 0
        self.reports: list[control.FromKeeper] = []
        loop = asyncio.get_running_loop()
        limits = KeeperLimits(max_memory=0)
        self.switchboard = Switchboard(
            limits,
            b"node.",
            b"k" * 32,
            self.reports.append,
            sockets=lambda switchboard: MemorySockets(
                switchboard.ledger,
                limits,
                loop,
                ConnectionIds(b"node.", b"k" * 32),
                on_fact=switchboard.end_turn,
                on_left=switchboard.admission.leave,
            ),
        )
        context = copy_context()
        context.run(where.set, "at the worker")
        make = partial(
            WorkerEnd,
            1,
            self.switchboard,
            loop,
            is_encoded=is_encoded,
            on_arrival=self._note_arrival,
        )
        self.link = context.run(make)
        self.link.start(self)

    def _note_arrival(self) -> None:
        self.arrivals += 1

    def receive(self, messages: list[wire.ToWorker], /) -> None:
        self.heard += messages
        self.was.append(where.get())

    def lose_keeper(self, why: str, /) -> None:
        raise AssertionError(why)

    @property
    def kinds(self) -> list[str]:
        return [type(message).__name__ for message in self.heard]


async def turns(count: int = 4) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


# --- both kinds -----------------------------------------------------------------------------------


@pytest.mark.parametrize("is_encoded", [False, True])
def test_answer_is_heard_in_a_later_turn(is_encoded: bool) -> None:
    @in_loop
    async def story() -> None:
        worker = Worker(is_encoded=is_encoded)
        worker.link.collect(wire.Hello(wire.VERSION))
        worker.link.flush()
        assert worker.heard == []
        await turns()
        assert worker.kinds == ["Welcome"]
        assert worker.was == ["at the worker"]
        assert worker.link.is_idle

    story()


@pytest.mark.parametrize("is_encoded", [False, True])
def test_what_was_sent_leaves_with_the_turn(is_encoded: bool) -> None:
    @in_loop
    async def story() -> None:
        worker = Worker(is_encoded=is_encoded)
        worker.link.send(wire.Hello(wire.VERSION))
        assert not worker.link.is_idle
        await turns()
        assert worker.kinds == ["Welcome"]

    story()


@in_loop
async def test_plain_link_keeps_order_behind_an_answer() -> None:
    worker = Worker(is_encoded=False)
    worker.link.collect(wire.Hello(wire.VERSION))
    worker.link.flush()
    # The answer waits for the next turn; what follows in this one must not overtake it.
    worker.link.keeper_end.send(wire.Probe())
    worker.switchboard.end_turn()
    await turns()
    assert worker.kinds == ["Welcome", "Probe"]


def test_plain_link_is_heard_at_once_from_the_keeper() -> None:
    @in_loop
    async def story() -> None:
        worker = Worker(is_encoded=False)
        worker.link.keeper_end.send(wire.Probe())
        worker.switchboard.end_turn()
        assert worker.kinds == ["Probe"]

    story()


# --- the encoded one ------------------------------------------------------------------------------


@in_loop
async def test_each_arrival_is_told_of() -> None:
    worker = Worker(is_encoded=True)
    worker.link.send(wire.Hello(wire.VERSION))
    await turns()
    assert worker.arrivals == 2


@in_loop
async def test_cut_link_ends_who_sends() -> None:
    worker = Worker(is_encoded=True)
    worker.link.send(wire.Hello(wire.VERSION))
    await worker.link.drain()
    worker.link.send(wire.Alive())
    worker.link.cut()
    with pytest.raises(asyncio.CancelledError):
        worker.link.send(wire.Alive())
    with pytest.raises(asyncio.CancelledError):
        worker.link.collect(wire.Alive())
    with pytest.raises(asyncio.CancelledError):
        worker.link.flush()
    assert not worker.link.has_left
    await turns()
    assert worker.link.has_left
    assert worker.heard == [], "a worker that is gone hears nothing"


@in_loop
async def test_message_of_the_other_direction_drops_the_worker() -> None:
    worker = Worker(is_encoded=True)
    worker.link.send(wire.Drained())
    await turns()
    (dropped,) = worker.reports
    assert isinstance(dropped, control.WorkerDropped)
    assert "not a message of this link" in dropped.why
    assert not worker.link.keeper_end.is_open


def test_message_too_long_for_a_batch_drops_the_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("holdfast.wire.stream.MAX_BATCH", 100)

    @in_loop
    async def story() -> None:
        worker = Worker(is_encoded=True)
        worker.link.send(wire.Listen("x" * 200))
        await turns()
        (dropped,) = worker.reports
        assert isinstance(dropped, control.WorkerDropped)
        assert "over the limit of 100" in dropped.why
        assert worker.link.is_idle

    story()


@in_loop
async def test_socket_without_a_record_stays_given() -> None:
    worker = Worker(is_encoded=True)
    end = worker.link.keeper_end
    end.give_socket(7, "seven")
    end.give_socket(8, "eight")
    assert end.take_socket(8) == "eight"
    assert end.take_socket(9) is None
    assert end.given == ["seven"]


# --- in a test client -----------------------------------------------------------------------------


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
    async with TestClient(echo_app()) as client, client.connect("/") as ws:
        lives = client._open()[0]
        worker = await lives.worker()
        # Nobody but a bug of holdfast's own would send such things.
        worker.link.send(wire.Drained())
        await client.settle()
        assert await lives.worker() is not worker
        assert "it was cut off: not a message of this link" in str(client.errors[0])
        await ws.send("x")
        assert await ws.receive() == "x"
        worker = await lives.worker()
        worker.link.send(wire.Ack(12345, 1, 1, [], 1))
        await client.settle()
        assert "it acknowledged for 0x3039" in str(client.errors[1])
        worker = await lives.worker()
        worker.link.send(wire.Ready(1))
        await client.settle()
        assert "it became ready twice" in str(client.errors[2])
        await ws.send("y")
        assert await ws.receive() == "y"
