"""A closed client leaves the loop, the process and the test as they were."""

from __future__ import annotations

import asyncio
import gc
import logging
from typing import TYPE_CHECKING

import pytest

from holdfast import FetchEvent, Response, ServiceWorker, WebSocketMessageEvent
from holdfast.core.ports import current_outbox
from holdfast.testing import ApplicationError, TestClient
from holdfast.testing.tasks import current_owner
from tests import jumping
from tests.testing.runner import accepting, echo_app, left_behind

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import Any

# Each in its own loop; `left_behind` is asked after each.
Story = "Callable[[], Coroutine[Any, Any, None]]"


async def ordinary() -> None:
    async with TestClient(echo_app()) as client, client.connect("/") as ws:
        await ws.send("x")
        await ws.receive()
        await client.crash_worker()
        await client.reload(echo_app())
        await client.hibernate()


async def failing_install() -> None:
    app = ServiceWorker()
    app.add_event_listener("install", lambda event: 1 / 0)
    with pytest.raises(ApplicationError):
        async with TestClient(app):
            pass


async def failing_shutdown() -> None:
    app = ServiceWorker()
    app.add_event_listener("shutdown", lambda event: 1 / 0)
    with pytest.raises(ApplicationError):
        async with TestClient(app):
            pass


async def failing_test() -> None:
    with pytest.raises(KeyError):
        async with TestClient(echo_app()) as client, client.connect("/"):
            raise KeyError


async def endless_listener() -> None:
    app = accepting()

    @app.on("websocketmessage")
    async def message(event: WebSocketMessageEvent) -> None:
        event.wait_until(asyncio.sleep(3600))
        await asyncio.sleep(3600)

    async def use() -> None:
        async with TestClient(app, timeout=0.05) as client, client.connect("/") as ws:
            await ws.send("x")
            await ws.receive()

    with pytest.raises(TimeoutError):
        await use()


async def endless_request() -> None:
    app = ServiceWorker()

    @app.on("fetch")
    async def fetch(event: FetchEvent) -> Response:
        await asyncio.sleep(3600)
        return Response()

    with pytest.raises(TimeoutError):
        async with TestClient(app, timeout=0.05) as client:
            await client.fetch("/")


async def endless_startup() -> None:
    app = ServiceWorker()

    @app.on("startup")
    async def start(_: object) -> None:
        await asyncio.sleep(3600)

    with pytest.raises(ApplicationError, match=r"startup took longer than 0\.05 s"):
        async with TestClient(app, timeout=0.05):
            pass


async def cancelled_while_it_starts() -> None:
    app = ServiceWorker()

    @app.on("startup")
    async def start(_: object) -> None:
        await asyncio.sleep(3600)

    entering = asyncio.create_task(TestClient(app).__aenter__())
    await asyncio.sleep(0.01)
    entering.cancel()
    await asyncio.wait([entering])
    assert entering.cancelled()


async def cancelled_inside() -> None:
    async def body() -> None:
        async with TestClient(echo_app()) as client, client.connect("/") as ws:
            await ws.receive()

    running = asyncio.create_task(body())
    await asyncio.sleep(0.01)
    running.cancel()
    await asyncio.wait([running])
    assert running.cancelled()


async def crash_that_nobody_waits_for() -> None:
    async with TestClient(echo_app()) as client:
        crashing = asyncio.create_task(client.crash_worker())
        await asyncio.sleep(0)
        crashing.cancel()
        await asyncio.wait([crashing])


STORIES = [
    ordinary,
    failing_install,
    failing_shutdown,
    failing_test,
    endless_listener,
    endless_request,
    endless_startup,
    cancelled_while_it_starts,
    cancelled_inside,
    crash_that_nobody_waits_for,
]


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.__name__)
def test_nothing_is_left_behind(
    story: Callable[[], Coroutine[Any, Any, None]], caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        # What asyncio would only log: tasks destroyed while pending, exceptions nobody retrieved.
        complaints: list[object] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, c: complaints.append(c))
        await story()
        assert left_behind() == []
        gc.collect()
        await asyncio.sleep(0)
        assert complaints == []
        # The test's own context knows nothing of workers.
        assert (current_outbox.get(None), current_owner.get(None)) == (None, None)

    with caplog.at_level(logging.CRITICAL, "holdfast"):
        jumping.run(main())


def test_task_factory_that_was_there_is_used_and_there_again() -> None:
    made: list[str] = []

    def factory(loop: asyncio.AbstractEventLoop, work: Any, **options: Any) -> Any:
        made.append(work.__qualname__)
        return asyncio.Task(work, loop=loop, **options)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.set_task_factory(factory)
        async with TestClient(echo_app()) as client, client.connect("/") as ws:
            await ws.send("x")
            await ws.receive()
        assert loop.get_task_factory() is factory
        assert "Inbox._run" in made

    jumping.run(main())


def test_task_factory_that_the_application_sets_stays() -> None:
    def factory(loop: asyncio.AbstractEventLoop, work: Any, **options: Any) -> Any:
        return asyncio.Task(work, loop=loop, **options)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        app = echo_app()
        app.add_event_listener("startup", lambda event: loop.set_task_factory(factory))
        async with TestClient(app) as client, client.connect("/") as ws:
            await ws.send("x")
            assert await ws.receive() == "x"
            await client.crash_worker()
        assert loop.get_task_factory() is factory

    jumping.run(main())
