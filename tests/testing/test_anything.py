"""Whatever happens in whatever order: each message is answered once, and in order."""

from __future__ import annotations

import asyncio
import contextlib
import random
from typing import TYPE_CHECKING

import pytest

from holdfast import ServiceWorker, WebSocketMessageEvent, WebSocketUpgradeEvent
from holdfast.testing import TestClient
from tests.testing.runner import in_loop

if TYPE_CHECKING:
    from holdfast.testing import WebSocket

SOCKETS = 3
STEPS = 150

# One more might meet the same message each time, and put it aside.
MAX_CRASHES = 2


def counting_app(luck: random.Random) -> ServiceWorker:
    """Answers with the number of the message, by the attachment; some listeners wait."""
    app = ServiceWorker()

    @app.on("websocketupgrade")
    def upgrade(event: WebSocketUpgradeEvent) -> None:
        event.accept(data={"count": 0})

    @app.on("websocketmessage")
    async def message(event: WebSocketMessageEvent) -> None:
        match luck.randrange(6):
            case 0:
                await asyncio.sleep(0)
            case 1:
                await asyncio.sleep(luck.randrange(30))  # The clock has to run.
            case 2:
                await app.clients.match_all(limit=1)
        event.source.data["count"] += 1
        event.source.send(f"{event.data} {event.source.data['count']}")

    return app


@pytest.mark.parametrize("seed", range(12))
def test_each_message_is_answered_once_and_in_order(seed: int) -> None:
    luck = random.Random(seed)

    @in_loop
    async def story() -> None:
        async with TestClient(counting_app(luck)) as client:
            connecting = [client.connect(f"/{number}") for number in range(SOCKETS)]
            sockets = [await each.__aenter__() for each in connecting]
            sent = dict.fromkeys(sockets, 0)
            changes: list[asyncio.Task[None]] = []
            for _ in range(STEPS):
                await step(client, luck, sent, changes)
            # Changes wait for listeners, listeners for the clock.
            while any(not change.done() for change in changes):
                await client.clock.advance(100)
            for change in changes:
                await change
            await advance_until_settled(client)
            for ws, count in sent.items():
                answers = [await ws.receive(timeout=0) for _ in range(count)]
                assert answers == [f"{number} {number + 1}" for number in range(count)]
                with pytest.raises(TimeoutError):
                    await ws.receive(timeout=0)
            for each in connecting:
                await each.__aexit__(None, None, None)
            assert client.errors == []

    story()


async def step(
    client: TestClient,
    luck: random.Random,
    sent: dict[WebSocket, int],
    changes: list[asyncio.Task[None]],
) -> None:
    match luck.randrange(20):
        case 0 if sum(change.get_name() == "crash" for change in changes) < MAX_CRASHES:
            changes.append(asyncio.create_task(crash(client), name="crash"))
        case 1:
            changes.append(asyncio.create_task(client.reload(counting_app(luck))))
        case 2:
            changes.append(asyncio.create_task(client.hibernate()))
        case 3 | 4:
            await client.clock.advance(luck.randrange(50))
        case 5 | 6:
            await asyncio.sleep(0)
        case _:
            ws = luck.choice(list(sent))
            if sent[ws] < 60:  # Fewer than a mailbox holds: nobody reads in between.
                await ws.send(str(sent[ws]))
                sent[ws] += 1


async def crash(client: TestClient) -> None:
    with contextlib.suppress(RuntimeError):  # It hibernates.
        await client.crash_worker()


async def advance_until_settled(client: TestClient) -> None:
    settling = asyncio.create_task(client.settle())
    while not settling.done():
        await client.clock.advance(100)
    await settling
