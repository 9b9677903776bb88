"""Sockets of an ASGI server under a real ledger: how a connection ends."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from holdfast.asgi.sockets import AsgiSockets
from holdfast.config import KeeperLimits
from holdfast.core.ports import Metadata
from holdfast.ledger import commands as do
from holdfast.ledger.ledger import Ledger
from holdfast.wire import messages as wire
from holdfast.wire.codec import encode_metadata

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, MutableMapping

    from holdfast.http.exchange import Receive

SERIAL = 7
TOO_BIG = {"type": "websocket.close", "code": 1009, "reason": "the message is too big"}


class Story:
    """One connection, the ASGI server that has it, and a worker that answers when told to."""

    def __init__(self, loop: asyncio.AbstractEventLoop, close_timeout: float) -> None:
        limits = KeeperLimits(max_message=10, close_timeout=close_timeout)
        self.ledger = Ledger(limits)
        self.ledger.prefer(1)
        self.worker = self.ledger.worker_ready(1, 1)
        self.sockets = AsgiSockets(self.ledger, limits, loop, self.end_turn, lambda _: None)
        self.incoming: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.sent: list[MutableMapping[str, Any]] = []
        self.closed: list[wire.DeliverClose] = []
        connection = self.ledger.adopt(handover(), self.worker)
        assert connection is not None
        self.send_message = self.send
        self.served: asyncio.Task[None]
        self.sockets.adopt(self, connection, b"", b"", address_key="", bits=0)
        self.end_turn()

    def open(self, serve: Callable[[Receive], Awaitable[None]], /) -> None:
        async def run(serve: Callable[[Receive], Awaitable[None]]) -> None:
            await serve(self.incoming.get)

        loop = asyncio.get_running_loop()
        self.served = loop.create_task(run(serve))

    def refuse(self) -> None:
        raise AssertionError("the ledger has taken it")

    async def send(self, message: MutableMapping[str, Any]) -> None:
        self.sent.append(message)

    def end_turn(self) -> None:
        for command in self.ledger.take_commands():
            if isinstance(command, do.WriteMessage):
                self.sockets.write(command.connection, command.data)
            elif isinstance(command, do.CloseSocket):
                self.sockets.close(command.connection, command.code, command.reason)
            elif isinstance(command, do.EndSocket):
                self.sockets.end(command.connection)
            elif isinstance(command, do.DeliverTo):
                self.closed += [d for d in command.deliveries if isinstance(d, wire.DeliverClose)]
        self.sockets.flush()

    async def receive(self, *messages: str) -> None:
        for text in messages:
            self.incoming.put_nowait({"type": "websocket.receive", "text": text})
        await settle()

    def act(self, *actions: wire.Action) -> None:
        self.ledger.receive_actions(actions)
        self.end_turn()

    def answer(self, number: int, *actions: wire.Action) -> None:
        self.ledger.receive_ack(self.worker, wire.Ack(SERIAL, number, 1, list(actions), 1))
        self.end_turn()

    async def end(self) -> tuple[int, str]:
        """Handle the close event, wait until the server may go, and return code and reason."""
        (closed,) = self.closed
        self.answer(closed.number)
        await self.served
        return closed.code, closed.reason


def handover() -> wire.Handover:
    about = encode_metadata(Metadata("http://localhost/", None, frozenset()))
    return wire.Handover(
        SERIAL,
        b"key",
        None,
        [],
        about,
        b"",
        [],
        lost=False,
        address="",
        extensions=b"",
        endpoint=b"",
        closes=False,
    )


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def run(tell: Callable[[Story], Awaitable[None]], close_timeout: float = 60) -> None:
    async def main() -> None:
        await tell(Story(asyncio.get_running_loop(), close_timeout))

    asyncio.run(main())


def test_disconnect_is_told_as_it_came() -> None:
    async def tell(story: Story) -> None:
        story.incoming.put_nowait({"type": "websocket.disconnect", "code": 4000, "reason": "bye"})
        await settle()
        assert (await story.end(), story.sent) == ((4000, "bye"), [])

    run(tell)


def test_our_close_is_told_when_the_server_is_asked() -> None:
    async def tell(story: Story) -> None:
        story.act(wire.Close(SERIAL, 4001, "enough"), wire.SendText(SERIAL, "more"))
        await settle()
        assert [message.get("code") for message in story.sent] == [4001]
        assert await story.end() == (4001, "enough")

    run(tell)


def test_violation_waits_for_earlier_answers() -> None:
    async def tell(story: Story) -> None:
        await story.receive("question", "x" * 11)
        assert story.sent == []
        story.answer(1, wire.SendText(SERIAL, "answer"))
        await settle()
        assert story.sent == [{"type": "websocket.send", "text": "answer"}, TOO_BIG]
        assert await story.end() == (1009, "the message is too big")

    run(tell)


def test_violation_beats_our_close() -> None:
    async def tell(story: Story) -> None:
        await story.receive("question", "x" * 11)
        story.act(wire.Close(SERIAL, 4001, "enough"))
        story.answer(1)
        await settle()
        assert story.sent == [TOO_BIG]
        assert await story.end() == (1009, "the message is too big")

    run(tell)


def test_answers_that_never_come_end_too() -> None:
    async def tell(story: Story) -> None:
        await story.receive("question", "x" * 11)
        while not story.sent:
            await asyncio.sleep(0.001)
        assert story.sent == [TOO_BIG]
        story.answer(1)
        assert await story.end() == (1009, "the message is too big")

    run(tell, close_timeout=0.01)


def test_server_that_gives_up_is_1006() -> None:
    async def tell(story: Story) -> None:
        await settle()
        story.served.cancel()
        await asyncio.wait([story.served])
        assert [(closed.code, closed.reason) for closed in story.closed] == [(1006, "")]

    run(tell)
