"""The clock that jumps."""

from __future__ import annotations

import asyncio
import time

import pytest

from holdfast import FetchEvent, Response, ServiceWorker, WebSocketMessageEvent
from holdfast.testing import TestClient
from holdfast.testing.clock import MIN_TIMERS, Clock
from tests.testing.runner import accepting, in_loop

HOUR = 3600.0  # seconds


def ticking_app() -> ServiceWorker:
    """Sends its number every ten seconds, three times, for each message."""
    app = accepting()

    async def tick(event: WebSocketMessageEvent) -> None:
        for number in range(3):
            await asyncio.sleep(10)
            # A way that takes several turns of the loop, before the next timer begins.
            await app.clients.match_all()
            event.source.send(f"{event.data} {number}")

    app.add_event_listener("websocketmessage", lambda event: event.wait_until(tick(event)))
    return app


@in_loop
async def test_time_passes_at_once() -> None:
    began = time.monotonic()
    async with TestClient(ticking_app()) as client, client.connect("/") as ws:
        await ws.send("a")
        await client.clock.advance(25)
        await client.clock.advance(HOUR)
        await client.settle()
        assert [await ws.receive() for _ in range(3)] == ["a 0", "a 1", "a 2"]
    assert time.monotonic() - began < 10


@in_loop
async def test_what_is_not_due_does_not_happen() -> None:
    async with TestClient(ticking_app()) as client, client.connect("/") as ws:
        await ws.send("a")
        await client.clock.advance(25)
        assert [await ws.receive() for _ in range(2)] == ["a 0", "a 1"]
        with pytest.raises(TimeoutError):
            await ws.receive(timeout=0.05)
        await client.clock.advance(5)
        assert await ws.receive() == "a 2"


@in_loop
async def test_timers_run_in_their_order_and_those_they_start_too() -> None:
    log: list[tuple[str, float]] = []
    async with TestClient(ServiceWorker()) as client:
        loop = asyncio.get_running_loop()
        start = loop.time()

        async def tick(name: str, period: float) -> None:
            for _ in range(3):
                await asyncio.sleep(period)
                log.append((name, round(loop.time() - start, 1)))

        tasks = [asyncio.create_task(tick("a", 3)), asyncio.create_task(tick("b", 2))]
        await client.clock.advance(9)
        await asyncio.wait(tasks)
    assert log == [
        ("b", 2.0),
        ("a", 3.0),
        ("b", 4.0),
        ("a", 6.0),
        ("b", 6.0),
        ("a", 9.0),
    ] or log == [*(("b", 2.0), ("a", 3.0), ("b", 4.0), ("b", 6.0), ("a", 6.0), ("a", 9.0))]


@in_loop
async def test_timeouts_of_the_application_expire() -> None:
    app = ServiceWorker()
    waiting = asyncio.Event()

    @app.on("fetch")
    async def fetch(_: FetchEvent) -> Response:
        try:
            async with asyncio.timeout(20):
                waiting.set()
                await asyncio.Event().wait()
        except TimeoutError:
            return Response("too slow", status=504)
        return Response("never")

    async with TestClient(app) as client:
        fetching = asyncio.create_task(client.fetch("/"))
        await waiting.wait()
        await client.clock.advance(21)
        assert (await fetching).status == 504


@in_loop
async def test_timeouts_of_the_server_expire() -> None:
    app = ServiceWorker()
    waiting = asyncio.Event()

    @app.on("fetch")
    async def fetch(_: FetchEvent) -> None:
        waiting.set()
        await asyncio.Event().wait()

    async with TestClient(app) as client:
        fetching = asyncio.create_task(client.fetch("/"))
        await waiting.wait()
        await client.clock.advance(HOUR)
        assert (await fetching).status == 503


@in_loop
async def test_message_listener_that_takes_too_long_is_cancelled() -> None:
    app = accepting()

    @app.on("websocketmessage")
    async def message(event: WebSocketMessageEvent) -> None:
        if event.data == "hang":
            await asyncio.Event().wait()
        event.source.send("fine")

    async with TestClient(app) as client, client.connect("/") as ws:
        await ws.send("hang")
        await ws.send("x")
        await client.clock.advance(HOUR)
        assert await ws.receive() == "fine"
        assert [type(error) for error in client.errors] == [TimeoutError]


@in_loop
async def test_timeouts_of_the_client_do_not() -> None:
    async with TestClient(ticking_app()) as client, client.connect("/") as ws:
        receiving = asyncio.create_task(ws.receive(timeout=5))
        await ws.send("a")
        await client.clock.advance(10)
        assert await receiving == "a 0"
        receiving = asyncio.create_task(ws.receive(timeout=0.1))
        await client.clock.advance(5)
        with pytest.raises(TimeoutError, match=r"within 0\.1 s"):
            await receiving
        await client.clock.advance(HOUR)


@in_loop
async def test_time_flows_otherwise() -> None:
    async with TestClient(ServiceWorker()) as client:
        await client.clock.advance(HOUR)
        before = asyncio.get_running_loop().time()
        await asyncio.sleep(0.01)
        assert 0.005 < asyncio.get_running_loop().time() - before < 5
        assert repr(client.clock) == "<Clock 3600 s ahead>"


@in_loop
async def test_timer_that_was_cancelled_is_no_stop() -> None:
    async with TestClient(ServiceWorker()) as client:
        loop = asyncio.get_running_loop()
        log: list[str] = []
        loop.call_later(1, log.append, "never").cancel()
        loop.call_later(2, log.append, "once")
        await client.clock.advance(3)
        assert log == ["once"]


@in_loop
async def test_what_runs_for_ever_does_not_stop_the_clock() -> None:
    async with TestClient(ServiceWorker()) as client:

        async def spin() -> None:
            while True:
                await asyncio.sleep(0)

        spinning = asyncio.create_task(spin())
        sleeping = asyncio.create_task(asyncio.sleep(10))
        await client.clock.advance(10)
        assert sleeping.done()
        spinning.cancel()
        await asyncio.wait([spinning])


@in_loop
async def test_many_timers_are_forgotten_when_they_are_over() -> None:
    async with TestClient(ServiceWorker()) as client:
        loop = asyncio.get_running_loop()
        for _ in range(10 * MIN_TIMERS):
            loop.call_later(60, print).cancel()
        assert len(client.clock._timers) <= 2 * MIN_TIMERS


@in_loop
async def test_time_does_not_go_back() -> None:
    async with TestClient(ServiceWorker()) as client:
        with pytest.raises(ValueError, match="does not go back"):
            await client.clock.advance(-1)


@in_loop
async def test_clients_on_one_loop_have_one_clock() -> None:
    async with TestClient(ServiceWorker()) as one, TestClient(ServiceWorker()) as other:
        assert one.clock is other.clock


@in_loop
async def test_loop_gets_back_what_somebody_else_had_put_there() -> None:
    loop = asyncio.get_running_loop()
    theirs = loop.time
    vars(loop)["time"] = lambda: theirs()
    patched = loop.time
    clock = Clock.open(loop)
    assert loop.time is not patched
    clock.close()
    assert loop.time is patched
    del vars(loop)["time"]


def test_loop_whose_time_cannot_be_set_is_a_clear_error() -> None:
    uvloop = pytest.importorskip("uvloop")

    async def story() -> None:
        async with TestClient(ServiceWorker()) as client:
            with pytest.raises(RuntimeError, match=r"uvloop\.Loop cannot be set"):
                await client.clock.advance(1)
            with pytest.raises(TimeoutError):
                async with client.clock.limit(0.01):
                    await asyncio.sleep(10)

    uvloop.run(story())
