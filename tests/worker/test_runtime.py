"""The one life of a worker: its steps, in their order, whatever the ends."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from holdfast import BroadcastChannel, ServiceWorker, WebSocketMessageEvent
from holdfast.config import AsgiSettings
from holdfast.core.channels import channels
from holdfast.core.ports import Metadata
from holdfast.inprocess.ends import settings_of_worker
from holdfast.wire import messages as wire
from holdfast.wire.codec import encode_metadata
from holdfast.worker.host import WorkerHost
from holdfast.worker.loader import ApplicationError
from holdfast.worker.runtime import Runtime

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    import msgspec

    from holdfast.http.asgi import HttpSide
    from holdfast.worker.stream_link import Receiver

ABOUT = encode_metadata(Metadata("http://a.example/", None, frozenset()))

WELCOME = wire.Welcome(wire.VERSION, b"node.", b"k" * 32)


class Keeper:
    """The keeper at the other end of a link: notes, and welcomes who says hello."""

    def __init__(self, log: list[str]) -> None:
        self.log = log
        self.sent: list[msgspec.Struct] = []
        self.welcome = WELCOME
        self._receiver: Receiver | None = None

    def tell(self, *messages: wire.ToWorker) -> None:
        assert self._receiver is not None
        self._receiver.receive(list(messages))

    def start(self, receiver: Receiver, /) -> None:
        self._receiver = receiver

    def send(self, message: msgspec.Struct) -> None:
        self.sent.append(message)
        if not isinstance(message, wire.Ack | wire.Act):
            self.log.append(type(message).__name__)
        if isinstance(message, wire.Hello):
            asyncio.get_running_loop().call_soon(self.tell, self.welcome)

    collect = send

    def flush(self) -> None: ...

    async def drain(self) -> None:
        self.log.append("the link is drained")


class Requests:
    """`worker/ends.py:Requests`, without any."""

    def __init__(self, log: list[str]) -> None:
        self._log = log

    async def start(self, side: HttpSide, /) -> None:
        self._log.append("requests come")

    def count(self, limit: str, /) -> None: ...

    def stop_accepting(self, *, lingers: bool) -> None:
        self._log.append(f"no more requests, {lingers=}")

    async def finish(self) -> None:
        self._log.append("requests are answered")


class Story:
    """A runtime whose ends and whose application note what happens."""

    def __init__(self, **options: Any) -> None:
        self.log: list[str] = []
        self.gate = asyncio.Event()
        self.strangers: list[str] = []
        loop = asyncio.get_running_loop()
        self.keeper = Keeper(self.log)
        self.host = WorkerHost(1, self.keeper, loop)
        own = {name: options.pop(name) for name in ("first", "spare") if name in options}
        self.runtime = Runtime(
            settings_of_worker(AsgiSettings(drain_timeout=5), worker=1, **own),
            self.host,
            self.keeper,
            loop,
            requests=Requests(self.log),
            on_stranger=self.strangers.append,
            **options,
        )
        self.app = ServiceWorker()
        for kind in ("install", "activate", "startup", "shutdown"):
            self.app.add_event_listener(kind, self._note(kind))
        self.app.add_event_listener("websocketmessage", self._message)
        self.app.mount(self._mounted, "/mounted")

    def _note(self, what: str) -> Callable[[object], None]:
        return lambda _: self.log.append(what)

    def _message(self, event: WebSocketMessageEvent) -> None:
        event.wait_until(self._work())

    async def _work(self) -> None:
        await self.gate.wait()
        self.log.append("work is done")

    async def _mounted(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            for kind in ("startup", "shutdown"):
                await receive()
                self.log.append(f"lifespan {kind}")
                await send({"type": f"lifespan.{kind}.complete"})

    def load(self) -> ServiceWorker:
        self.log.append("load")
        return self.app

    async def serve(self) -> None:
        await self.runtime.start(self.load)
        await self.runtime.serve()

    def deliver(self) -> None:
        self.keeper.tell(wire.DeliverText(7, 1, 1, "x", ABOUT, b"", 0))

    async def leave(self) -> None:
        """Leave, with a keeper that says at once that nothing is in flight."""
        self.runtime.quiesce(stops=False)
        self.keeper.tell(wire.Drained())
        await self.runtime.leave()


def told(story: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(story(), 30))


@pytest.fixture(autouse=True)
def detached() -> Iterator[None]:
    """Neither hear the channels of other tests, nor leave hosts behind that hear theirs."""
    others = dict(channels._listening)
    channels._listening.clear()
    yield
    channels._listening.update(others)
    for host in tuple(channels._hosts):
        channels.detach(host)


@pytest.fixture
def channel() -> Iterator[BroadcastChannel]:
    """A channel object that listens, so that hosts say when they attach and detach."""
    with_listener = BroadcastChannel("runtime")
    with_listener.add_event_listener("message", lambda _: None)
    yield with_listener
    with_listener.close()


# --- the order of its steps -----------------------------------------------------------------------


def test_life_has_its_steps_in_order(channel: BroadcastChannel) -> None:
    async def story() -> None:
        one = Story()
        await one.serve()
        one.deliver()
        await asyncio.sleep(0)
        one.gate.set()
        await one.leave()
        assert one.log == [
            "Hello",
            "load",
            "install",
            "activate",
            "startup",
            "lifespan startup",
            "Listen",
            "Ready",
            "requests come",
            "no more requests, lingers=True",
            "requests are answered",
            "Unlisten",
            "work is done",
            "lifespan shutdown",
            "shutdown",
            "the link is drained",
        ]
        assert one.app.registration.state == "redundant"

    told(story)


def test_only_the_first_of_a_generation_installs() -> None:
    async def story() -> None:
        one = Story(first=False)
        await one.runtime.start(one.load)
        assert one.log == ["Hello", "load", "startup", "lifespan startup", "Ready"]
        assert one.app.registration.state == "activated"

    told(story)


def test_spare_joins_when_it_serves() -> None:
    async def story() -> None:
        one = Story(spare=True)
        await one.runtime.start(one.load)
        assert "Ready" not in one.log
        await one.runtime.serve()
        assert one.log[-2:] == ["Ready", "requests come"]

    told(story)


def test_application_that_fails_to_start_does_not_join() -> None:
    async def story() -> None:
        one = Story()
        one.app.add_event_listener("startup", lambda _: 1 / 0)
        with pytest.raises(ApplicationError):
            await one.runtime.start(one.load)
        assert "Ready" not in one.log

    told(story)


# --- the end --------------------------------------------------------------------------------------


def test_worker_does_not_leave_before_it_is_drained() -> None:
    async def story() -> None:
        one = Story()
        await one.serve()
        one.runtime.quiesce(stops=False)
        leaving = asyncio.ensure_future(one.runtime.leave())
        await asyncio.wait([leaving], timeout=0.05)
        assert one.log[-1] == "requests are answered"
        one.keeper.tell(wire.Drained())
        await leaving
        assert one.log[-1] == "the link is drained"

    told(story)


def test_spare_that_never_joined_just_leaves() -> None:
    async def story() -> None:
        one = Story(spare=True)
        await one.runtime.start(one.load)
        one.runtime.quiesce(stops=False)
        await one.runtime.leave()
        assert one.log[-2:] == ["shutdown", "the link is drained"]

    told(story)


def test_stop_does_not_let_connections_linger() -> None:
    async def story() -> None:
        one = Story()
        await one.serve()
        one.runtime.quiesce(stops=True)
        assert one.log[-1] == "no more requests, lingers=False"
        assert one.host.is_leaving

    told(story)


def test_shutdown_that_fails_is_raised_and_retires() -> None:
    async def story() -> None:
        one = Story()
        one.app.add_event_listener("shutdown", lambda _: 1 / 0)
        await one.serve()
        with pytest.raises(ApplicationError):
            await one.leave()
        assert one.app.registration.state == "redundant"
        assert one.log[-1] == "the link is drained"

    told(story)


@asynccontextmanager
async def strict() -> AsyncIterator[None]:
    async with asyncio.timeout(0.05):
        yield


@asynccontextmanager
async def lenient() -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(0.05):
            yield
    except TimeoutError:
        pass


def test_end_of_patience_may_end_the_life() -> None:
    async def story() -> None:
        one = Story(patience=strict)
        await one.serve()
        one.deliver()
        await asyncio.sleep(0)
        with pytest.raises(TimeoutError):
            await one.leave()
        assert "shutdown" not in one.log

    told(story)


def test_end_of_patience_may_lead_to_shutdown(channel: BroadcastChannel) -> None:
    async def story() -> None:
        one = Story(patience=lenient)
        await one.serve()
        one.runtime.quiesce(stops=True)
        await one.runtime.leave()  # The keeper never says that it is drained.
        end = ["Unlisten", "lifespan shutdown", "shutdown", "the link is drained"]
        assert one.log[-4:] == end

    told(story)


# --- what the keeper says -------------------------------------------------------------------------


def test_keeper_of_another_version_is_a_stranger() -> None:
    async def story() -> None:
        one = Story()
        one.keeper.welcome = wire.Welcome(wire.VERSION + 1, b"node.", b"k" * 32)
        await one.runtime.start(one.load)
        assert "restart holdfast" in one.strangers[0]

    told(story)


def test_probe_is_answered() -> None:
    async def story() -> None:
        one = Story()
        await one.serve()
        one.keeper.tell(wire.Probe())
        assert one.log[-1] == "Alive"

    told(story)


def test_another_keeper_is_joined_like_the_first(channel: BroadcastChannel) -> None:
    async def story() -> None:
        one = Story()
        await one.serve()
        one.runtime.lose_keeper("the keeper closed the link")
        one.runtime.greet_another()
        await asyncio.sleep(0)
        assert one.log[-4:] == ["Hello", "Unlisten", "Listen", "Ready"]

    told(story)


def test_worker_without_a_keeper_may_leave() -> None:
    async def story() -> None:
        one = Story()
        await one.serve()
        one.runtime.lose_keeper("the keeper closed the link")
        one.runtime.quiesce(stops=False)
        await one.runtime.leave()
        assert "shutdown" in one.log

    told(story)


def test_event_of_a_lost_keeper_is_acknowledged_nowhere() -> None:
    async def story() -> None:
        one = Story()
        await one.serve()
        one.deliver()
        one.runtime.lose_keeper("the keeper closed the link")
        await asyncio.sleep(0)
        assert not [message for message in one.keeper.sent if isinstance(message, wire.Ack)]

    told(story)
