"""What a worker asks of the keeper outside of events, and when it leaves."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from holdfast.wire import messages as wire
from holdfast.worker.host import WorkerHost

if TYPE_CHECKING:
    import msgspec


class Link:
    """Keeps what was sent apart from what has left."""

    def __init__(self) -> None:
        self.sent: list[msgspec.Struct] = []
        self.left: list[msgspec.Struct] = []

    def start(self, receiver: object, /) -> None: ...
    def send(self, message: msgspec.Struct) -> None:
        self.sent.append(message)

    collect = send

    def flush(self) -> None:
        self.left += self.sent
        self.sent.clear()

    async def drain(self) -> None:
        self.flush()


def test_that_a_channel_is_listened_to_leaves_before_anything_else_happens() -> None:
    async def listen() -> None:
        link = Link()
        WorkerHost(1, link, asyncio.get_running_loop()).listen("news")
        # Else a client that is told so could have another worker post before the keeper knows.
        assert link.left == [wire.Listen("news")]

    asyncio.run(listen())
