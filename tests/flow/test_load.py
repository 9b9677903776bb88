"""Many busy connections while workers die and code changes: what the README promises."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import TYPE_CHECKING

import pytest
from websockets.asyncio.client import ClientConnection, connect

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.flow.conftest import Story
    from tests.flow.server import Server

CONNECTIONS = 200
INTERVAL = 0.1  # seconds between the messages of one connection
SECONDS = 6.0


class Talker:
    """One connection that numbers its messages and keeps what comes back."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection
        self.sent = 0
        self.received: list[str] = []

    async def talk(self, until: float) -> None:
        listening = asyncio.create_task(self.listen())
        loop = asyncio.get_running_loop()
        while loop.time() < until:
            await self.connection.send(str(self.sent))
            self.sent += 1
            await asyncio.sleep(INTERVAL)
        async with asyncio.timeout(20):
            while len(self.received) < self.sent:
                await asyncio.sleep(0.01)
        # A duplicate would come behind the last one that was waited for.
        await self.connection.ping()
        await self.connection.close()
        await listening

    async def listen(self) -> None:
        async for message in self.connection:
            self.received.append(str(message))


async def disturb(server: Server, disturbance: Callable[[], object]) -> list[Talker]:
    """Have all talk, and run the disturbance in a thread in the middle of it."""
    url = f"{server.ws_url}/counter"
    connections = await asyncio.gather(*(connect(url) for _ in range(CONNECTIONS)))
    talkers = [Talker(connection) for connection in connections]
    until = asyncio.get_running_loop().time() + SECONDS
    talking = asyncio.gather(*(talker.talk(until) for talker in talkers))
    await asyncio.sleep(SECONDS / 3)
    await asyncio.to_thread(disturbance)
    await talking
    return talkers


def assert_undisturbed(talkers: list[Talker]) -> None:
    for talker in talkers:
        # The count in `data` goes on, and each message came back once and in its place.
        expected = [f"{number + 1}:{number}" for number in range(talker.sent)]
        assert talker.received == expected
        assert talker.connection.close_code == 1000


@pytest.mark.timeout(90)
def test_kill_of_a_worker_disturbs_none_of_200_busy_connections(story: Story) -> None:
    server = story.server
    victims = server.worker_pids()
    talkers = asyncio.run(disturb(server, lambda: os.kill(victims[0], signal.SIGKILL)))
    assert_undisturbed(talkers)


@pytest.mark.timeout(90)
def test_kill_of_all_workers_disturbs_none_of_200_busy_connections(story: Story) -> None:
    server = story.server
    victims = server.worker_pids()

    def kill_all() -> None:
        for pid in victims:
            os.kill(pid, signal.SIGKILL)

    assert_undisturbed(asyncio.run(disturb(server, kill_all)))


@pytest.mark.timeout(90)
def test_reload_with_new_code_disturbs_none_of_200_busy_connections(story: Story) -> None:
    server = story.server
    story.set_version("2")
    talkers = asyncio.run(disturb(server, server.reload))
    assert_undisturbed(talkers)
    assert server.status()["generation"] == 2
    assert server.status()["redeliveries"] == 0
