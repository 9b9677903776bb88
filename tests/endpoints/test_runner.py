"""The endpoint runner of a worker; the test plays its keeper and its clients."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, cast

import pytest

from holdfast.app import ServiceWorker
from holdfast.core.channel import BroadcastChannel
from holdfast.core.ports import Metadata
from holdfast.endpoints import runner as runner_file
from holdfast.endpoints import task as endpoint_task_file
from holdfast.endpoints.record import Endpoint
from holdfast.endpoints.runner import EndpointRunner
from holdfast.http.asgi import HandoverUnavailable
from holdfast.http.mounts import Mounts
from holdfast.web.request import Request
from holdfast.wire.codec import encode_metadata, encode_plain
from holdfast.wire.messages import (
    Ack,
    Act,
    Attach,
    Close,
    DeliverClose,
    DeliverResume,
    DeliverText,
    Drained,
    Handover,
    Pressure,
    PublishText,
    Release,
    SendText,
    Subscribe,
)
from holdfast.worker.handover import make_record
from holdfast.worker.host import WorkerHost
from tests import jumping

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    import msgspec

    from holdfast.core.ports import Outbox
    from holdfast.core.request_events import Upgrade
    from holdfast.wire.messages import Action
    from holdfast.worker.stream_link import Link

REQUEST: dict[str, Any] = {
    "type": "http",
    "http_version": "1.1",
    "method": "GET",
    "scheme": "http",
    "server": ("127.0.0.1", 7777),
    "client": ("192.0.2.1", 4711),
    "root_path": "",
    "path": "/ws",
    "raw_path": b"/ws",
    "query_string": b"",
    "headers": [
        (b"host", b"example.org"),
        (b"sec-websocket-key", b"dGhlIHNhbXBsZSBub25jZQ=="),
        (b"sec-websocket-protocol", b"chat"),
    ],
}

ABOUT = encode_metadata(Metadata("http://example.org/ws", "chat", frozenset()))


class Sent:
    """The link to a keeper that records."""

    def __init__(self) -> None:
        self.messages: list[msgspec.Struct] = []
        self.drains = 0
        self._collected: list[msgspec.Struct] = []

    def send(self, message: msgspec.Struct) -> None:
        self.messages.append(message)

    def collect(self, message: msgspec.Struct) -> None:
        self._collected.append(message)

    def flush(self) -> None:
        self.messages += self._collected
        self._collected.clear()

    async def drain(self) -> None:
        self.flush()
        self.drains += 1

    def take(self) -> list[msgspec.Struct]:
        taken, self.messages = self.messages, []
        return taken


class Client:
    """The request of a handshake: what comes back, and who takes the socket."""

    def __init__(self, stage: Stage, *, refuses: bool = False) -> None:
        self.sent: list[Any] = []
        self.has_left = asyncio.Event()
        self.upgrade: Upgrade | None = None
        self._stage = stage
        self._refuses = refuses

    async def receive(self) -> Any:
        await self.has_left.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        self.sent.append(message)

    async def give(self, upgrade: Upgrade, outbox: Outbox) -> None:
        if self._refuses:
            raise HandoverUnavailable("nobody is there")
        self.upgrade = upgrade
        record = make_record(
            upgrade, outbox, REQUEST["headers"], b"", self._stage.host.leaving,
            address="", lost=False,
        )  # fmt: skip
        self._stage.link.send(record)
        # To HTTP it looks as if it had left.
        self.has_left.set()


class Stage:
    """An endpoint runner, its host and its link."""

    def __init__(
        self, app: Any, *, on_worker_exit: Any = "resume", event_timeout: float = 0.0
    ) -> None:
        loop = asyncio.get_running_loop()
        self.link = Sent()
        self.host = WorkerHost(1, cast("Link", self.link), loop)
        self.host.be_named(b"12345", bytes(16))
        self.runner = EndpointRunner(
            self.host, cast("Link", self.link), loop, event_timeout=event_timeout
        )
        worker = ServiceWorker()
        worker.mount(app, on_worker_exit=on_worker_exit)
        self.mounts = Mounts(worker.mounts)
        self.runner.open(self.mounts)

    async def connect(self, *, refuses: bool = False) -> Client:
        """Have an endpoint answer a handshake."""
        client = Client(self, refuses=refuses)
        scope = dict(REQUEST)
        mounted = self.mounts.find(scope)
        assert mounted is not None
        request = Request.from_parts("GET", "http", b"/ws", b"", REQUEST["headers"], None, None)
        await self.runner.begin(mounted, request, scope, client.receive, client.send, client)
        return client

    async def open(self) -> int:
        """Have an endpoint accept; return its connection's serial, and forget what was said."""
        client = await self.connect()
        assert client.upgrade is not None
        await turns()
        self.link.take()
        return client.upgrade.connection.serial

    def resume(self, number: int = 0, *, data: Any = None, path: str = "/ws") -> int:
        endpoint = Endpoint.of_request({**REQUEST, "path": path}).encode()
        attachment = b"" if data is None else encode_plain(data)
        delivery = DeliverResume(7, number, 1, endpoint, 1, ABOUT, attachment, 0)
        assert self.runner.takes(delivery)
        return 7

    def deliver(self, serial: int, number: int, data: str = "x") -> None:
        assert self.runner.takes(DeliverText(serial, number, 1, data, ABOUT, b"", 0))

    def close(self, serial: int, number: int, code: int = 1000) -> None:
        assert self.runner.takes(DeliverClose(serial, number, 1, code, "", ABOUT, b"", 0))

    async def said(self) -> list[msgspec.Struct]:
        await turns()
        return self.link.take()


async def turns() -> None:
    """Let everything happen that can happen now."""
    for _ in range(10):
        await asyncio.sleep(0)


def play(story: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        async with asyncio.timeout(10):
            await story()

    jumping.run(main())


async def accept(receive: Any, send: Any, **options: Any) -> None:
    assert (await receive())["type"] == "websocket.connect"
    await send({"type": "websocket.accept", "subprotocol": "chat", **options})


async def echo(scope: Any, receive: Any, send: Any) -> None:
    await accept(receive, send)
    while (message := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": message["text"]})


class Stubborn:
    """An endpoint that works on, whatever happens, until the test is over."""

    def __init__(self) -> None:
        self.is_over = False

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await accept(receive, send)
        while not self.is_over:
            try:
                await receive()
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                pass


# --- the handshake ------------------------------------------------------------------------------


def test_handover_carries_the_endpoint_record() -> None:
    async def story() -> None:
        stage = Stage(echo, on_worker_exit={"/ws": "close"})
        client = await stage.connect()
        assert client.upgrade is not None
        assert Endpoint.decode(client.upgrade.endpoint).path == "/ws"
        assert client.upgrade.closes
        assert client.upgrade.subprotocol == "chat"
        assert client.upgrade.connection.url == "http://example.org/ws"
        assert client.sent == []
        assert not stage.runner.is_idle

    play(story)


def test_failed_handover_is_503() -> None:
    seen: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        try:
            await accept(receive, send)
        except OSError:
            seen.append((await receive())["type"])
            raise

    async def story() -> None:
        stage = Stage(app)
        client = await stage.connect(refuses=True)
        await turns()
        start, _ = client.sent
        assert (start["status"], (b"retry-after", b"1") in start["headers"]) == (503, True)
        assert seen == ["websocket.disconnect"]
        assert stage.runner.is_idle
        assert await stage.said() == []

    play(story)


def test_refused_connection_ends_its_endpoint() -> None:
    async def story() -> None:
        stage = Stage(echo)
        serial = await stage.open()
        stage.runner.refuse(serial)
        stage.runner.refuse(serial + 1)
        await turns()
        assert stage.runner.is_idle
        assert await stage.said() == []

    play(story)


def test_early_cancellation_answers_the_handshake() -> None:
    async def story() -> None:
        stage = Stage(echo)
        handshake = asyncio.create_task(stage.connect())
        await asyncio.sleep(0)
        for endpoint_task in stage.runner._running.values():
            endpoint_task.cancel("the test wants it")
        await handshake
        assert stage.runner.is_idle

    play(story)


def test_cancelled_request_cancels_its_endpoint() -> None:
    ended: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("cancelled")

    async def story() -> None:
        stage = Stage(app)
        handshake = asyncio.create_task(stage.connect())
        await turns()
        handshake.cancel()
        await turns()
        assert ended == ["cancelled"]
        assert stage.runner.is_idle

    play(story)


class Gate:
    """An endpoint that accepts when the test lets it, and then sends nothing."""

    def __init__(self) -> None:
        self.is_open = asyncio.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self.is_open.wait()
        await accept(receive, send)
        await asyncio.Event().wait()

    async def accepted(self, stage: Stage, change: Callable[[], None]) -> Upgrade:
        """Return what is given away by an endpoint whose worker changes during its handshake."""
        handshake = asyncio.create_task(stage.connect())
        await turns()
        change()
        await turns()
        self.is_open.set()
        client = await handshake
        assert client.upgrade is not None
        return client.upgrade


def test_stop_reaches_unanswered_handshakes() -> None:
    async def story() -> None:
        stage = Stage(gate := Gate())
        upgrade = await gate.accepted(stage, lambda: stage.runner.stop(10))
        assert upgrade.closes

    play(story)


def test_drain_reaches_unanswered_handshakes() -> None:
    async def story() -> None:
        stage = Stage(gate := Gate())
        upgrade = await gate.accepted(stage, stage.runner.drain)
        assert (await stage.said())[1:] == [Release(upgrade.connection.serial)]
        assert stage.runner.is_idle

    play(story)


def test_lost_keeper_keeps_unanswered_handshakes() -> None:
    async def story() -> None:
        stage = Stage(gate := Gate())
        upgrade = await gate.accepted(stage, stage.runner.lose_keeper)
        await turns()
        assert stage.runner.tasks.keys() == {upgrade.connection.serial}

    play(story)


# --- messages -----------------------------------------------------------------------------------


def test_endpoints_of_a_turn_share_one_write() -> None:
    async def story() -> None:
        stage = Stage(echo)
        first, second = await stage.open(), await stage.open()
        stage.deliver(first, 1, "a")
        stage.deliver(first, 2, "b")
        stage.deliver(second, 1, "c")
        assert await stage.said() == [
            Ack(first, 2, 1, [SendText(first, "a"), SendText(first, "b")], 2),
            Ack(second, 1, 1, [SendText(second, "c")], 1),
        ]
        assert stage.runner.handled == 3

    play(story)


def test_messages_for_others_are_not_taken() -> None:
    async def story() -> None:
        stage = Stage(echo)
        assert not stage.runner.takes(DeliverText(9, 1, 1, "x", ABOUT, b"", 0))
        assert not stage.runner.takes(Drained())
        assert stage.runner.takes(Pressure(9, is_high=True))

    play(story)


def test_send_waits_for_a_slow_client() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await accept(receive, send)
        while True:
            await receive()
            await send({"type": "websocket.send", "text": "x"})

    async def story() -> None:
        stage = Stage(app)
        serial = await stage.open()
        stage.runner.takes(Pressure(serial, is_high=True))
        stage.runner.takes(Pressure(serial, is_high=True))
        stage.deliver(serial, 1)
        assert await stage.said() == []
        stage.runner.takes(Pressure(serial, is_high=False))
        assert await stage.said() == [Ack(serial, 1, 1, [SendText(serial, "x")], 1)]
        # The client leaves: nobody shall wait for it.
        stage.runner.takes(Pressure(serial, is_high=True))
        stage.deliver(serial, 2)
        await turns()
        stage.close(serial, 3)
        stage.runner.takes(Pressure(serial, is_high=True))
        assert await stage.said() == [Ack(serial, 3, 1, [], 2)]
        assert stage.runner.is_idle

    play(story)


def test_endless_sender_yields_to_others() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await accept(receive, send)
        while True:
            await send({"type": "websocket.send", "text": ""})

    async def story() -> None:
        stage = Stage(app)
        serial = await stage.open()
        drains = stage.link.drains
        stage.link.take()
        await turns()
        assert 0 < stage.link.drains - drains <= 10
        messages = stage.link.take()
        assert 0 < len(messages) <= 11
        assert all(isinstance(each, Act) for each in messages)
        stage.close(serial, 1)
        await turns()
        assert stage.runner.is_idle

    play(story)


def test_two_tasks_may_receive() -> None:
    received: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await accept(receive, send)

        async def one() -> None:
            received.append((await receive())["text"])

        await asyncio.gather(one(), one())

    async def story() -> None:
        stage = Stage(app)
        serial = await stage.open()
        stage.deliver(serial, 1, "a")
        stage.deliver(serial, 2, "b")
        messages = await stage.said()
        assert sorted(received) == ["a", "b"]
        acks = [each for each in messages if isinstance(each, Ack)]
        assert (acks[-1].number, sum(ack.count for ack in acks)) == (2, 2)
        assert acks[-1].actions == [Close(serial, 1000, "")]

    play(story)


def test_actions_leave_with_messages() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        connection = scope["extensions"]["holdfast"]["connection"]
        connection.subscribe("lobby")
        await accept(receive, send)
        assert connection.channels == {"lobby"}
        assert connection.url == "http://example.org/ws"
        assert connection.subprotocol == "chat"
        text = (await receive())["text"]
        await send({"type": "websocket.send", "text": "1"})
        BroadcastChannel("lobby").post_message(text)
        connection.send("2")
        await receive()

    async def story() -> None:
        stage = Stage(app)
        client = await stage.connect()
        assert client.upgrade is not None
        serial = client.upgrade.connection.serial
        (record,) = await stage.said()
        assert isinstance(record, Handover)
        assert record.actions == [Subscribe(serial, "lobby")]
        stage.deliver(serial, 1, "hello")
        hello = PublishText("lobby", "hello", 0, 0)
        actions: list[Action] = [SendText(serial, "1"), hello, SendText(serial, "2")]
        assert await stage.said() == [Ack(serial, 1, 1, actions, 1)]

    play(story)


def test_publication_at_the_end_is_published() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await accept(receive, send)
        try:
            await receive()
        finally:
            scope["extensions"]["holdfast"]["connection"].send("goodbye")
            BroadcastChannel("lobby").post_message("goodbye")

    async def story() -> None:
        stage = Stage(app)
        serial = await stage.open()
        stage.runner.drain()
        goodbye = Act([PublishText("lobby", "goodbye", 0, 0)])
        assert await stage.said() == [goodbye, Release(serial)]

    play(story)


# --- resumed ------------------------------------------------------------------------------------


def test_resumed_endpoint_has_scope_and_data() -> None:
    scopes: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        scopes.append(scope)
        await echo(scope, receive, send)

    async def story() -> None:
        stage = Stage(app)
        serial = stage.resume(5, data={"n": 1})
        stage.deliver(serial, 6, "a")
        assert await stage.said() == [Ack(serial, 6, 1, [SendText(serial, "a")], 2)]
        (scope,) = scopes
        extension = scope["extensions"]["holdfast"]
        assert (extension["resumed"], extension["data"]) == (1, {"n": 1})
        connection = extension["connection"]
        assert (connection.id, connection.subprotocol, connection.data) == (
            stage.host.connection_id(serial),
            "chat",
            {"n": 1},
        )
        assert scope["subprotocols"] == ["chat"]

    play(story)


def test_receive_before_accept_waits_for_it() -> None:
    # As Quart does.
    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert (await receive())["type"] == "websocket.connect"
        receiving = asyncio.ensure_future(receive())
        await asyncio.sleep(0)
        await send({"type": "websocket.accept", "subprotocol": "chat"})
        await send({"type": "websocket.send", "text": (await receiving)["text"]})

    async def story() -> None:
        stage = Stage(app)
        serial = stage.resume(5)
        stage.deliver(serial, 6, "a")
        answer: list[Action] = [SendText(serial, "a"), Close(serial, 1000, "")]
        assert await stage.said() == [Ack(serial, 5, 1, [], 1), Ack(serial, 6, 1, answer, 1)]

    play(story)


def test_resumed_sender_settles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint_task_file, "SETTLED", 0.01)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await accept(receive, send)
        await asyncio.Event().wait()

    async def story() -> None:
        stage = Stage(app)
        stage.resume(5)
        assert await stage.said() == []
        while not (messages := await stage.said()):
            await asyncio.sleep(0.001)
        assert messages == [Ack(7, 5, 1, [], 1)]

    play(story)


def test_another_subprotocol_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await accept(receive, send, subprotocol="other")
        await receive()

    async def story() -> None:
        stage = Stage(app)
        for _ in range(2):
            stage.resume()
            await turns()

    play(story)
    assert caplog.text.count("accepted the subprotocol 'other'") == 1


def test_unmounted_path_closes_with_1001() -> None:
    async def story() -> None:
        stage = Stage(echo)
        stage.runner.open(Mounts(()))
        serial = stage.resume(5)
        assert await stage.said() == [Ack(serial, 5, 1, [Close(serial, 1001, "")], 1)]
        stage.close(serial, 6, 1001)
        assert await stage.said() == [Ack(serial, 6, 1, [], 1)]
        assert stage.runner.tasks == {}

    play(story)


# --- the end ------------------------------------------------------------------------------------


def test_drain_releases_connections() -> None:
    async def story() -> None:
        stage = Stage(echo)
        serial = await stage.open()
        stage.runner.drain()
        assert await stage.said() == [Release(serial)]
        await stage.runner.finish(10)
        # What the keeper had sent by then is for another worker.
        stage.deliver(serial, 1)
        stage.close(serial, 2)
        assert await stage.said() == []
        assert stage.runner.is_idle

    play(story)


def test_drain_releases_endpoints_before_their_start() -> None:
    async def story() -> None:
        stage = Stage(echo)
        serial = stage.resume()
        stage.runner.drain()
        assert await stage.said() == [Release(serial)]
        assert stage.runner.is_idle

    play(story)


def test_draining_worker_releases_new_connections() -> None:
    async def story() -> None:
        stage = Stage(echo)
        stage.runner.drain()
        client = await stage.connect()
        assert client.upgrade is not None
        _, release = await stage.said()
        assert release == Release(client.upgrade.connection.serial)

    play(story)


def test_draining_worker_releases_resumed_endpoints(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(runner_file, "BOUNCE", 0.01)
    begun: list[None] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        begun.append(None)

    async def story() -> None:
        stage = Stage(app)
        stage.runner.drain()
        serial = stage.resume()
        # The keeper has not heard that this worker leaves: not at once, or it would come again.
        assert await stage.said() == []
        await stage.runner.finish(10)
        assert await stage.said() == [Release(serial)]
        assert begun == []

    play(story)


@pytest.mark.parametrize("on_worker_exit", ["resume", "close"])
def test_stubborn_endpoint_is_left_behind(
    on_worker_exit: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def story() -> None:
        stubborn = Stubborn()
        stage = Stage(stubborn, on_worker_exit=on_worker_exit)
        serial = await stage.open()
        stage.deliver(serial, 1)
        await turns()
        stage.runner.drain()
        await stage.runner.finish(0.1)
        released = Release(serial)
        # Cancelled, it asked for the next message.
        closed = [Ack(serial, 1, 1, [], 1), Act([Close(serial, 1012, "")])]
        stubborn.is_over = True
        assert await stage.said() == ([released] if on_worker_exit == "resume" else closed)

    play(story)
    assert "has not ended and is left behind" in caplog.text


def test_finish_waits_for_refused_endpoints() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.close"})
        await asyncio.Event().wait()

    async def story() -> None:
        stage = Stage(app)
        client = await stage.connect()
        assert client.sent[0]["status"] == 403
        assert not stage.runner.is_idle
        stage.runner.drain()
        await stage.runner.finish(0.1)
        assert stage.runner.is_idle

    play(story)


def test_cut_endpoints_are_not_heard() -> None:
    async def story() -> None:
        stage = Stage(echo)
        serial = await stage.open()
        stage.runner.cut()
        stage.deliver(serial, 1)
        assert await stage.said() == []

    play(story)


def test_lost_keeper_disconnects_endpoints() -> None:
    async def story() -> None:
        stage = Stage(echo)
        await stage.open()
        stage.runner.lose_keeper()
        assert await stage.said() == []
        assert stage.runner.is_idle
        assert stage.runner.tasks == {}

    play(story)


def raising(error: str) -> Any:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await accept(receive, send)
        message = await receive()
        raise type(error, (Exception,), {})(message["type"])

    return app


@pytest.mark.parametrize(
    ("error", "is_close", "is_logged"),
    [
        ("ValueError", False, True),
        ("ValueError", True, True),
        ("WebSocketDisconnect", False, True),
        # What Starlette raises when a client leaves, and most endpoints let pass.
        ("WebSocketDisconnect", True, False),
    ],
)
def test_errors_of_endpoints_are_logged(
    error: str, is_close: bool, is_logged: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async def story() -> None:
        stage = Stage(raising(error))
        serial = await stage.open()
        if is_close:
            stage.close(serial, 1)
        else:
            stage.deliver(serial, 1)
        (ack,) = await stage.said()
        assert isinstance(ack, Ack)
        assert ack.actions == ([] if is_close else [Close(serial, 1011, "")])

    caplog.set_level(logging.INFO)
    play(story)
    assert (f"the endpoint of '/ws' raised {error}" in caplog.text) is is_logged


def test_data_leaves_with_handover_and_acknowledgements() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        data = scope["extensions"]["holdfast"]["data"]
        data["n"] = 0
        await accept(receive, send)
        while (await receive())["type"] == "websocket.receive":
            data["n"] += 1

    def attached(messages: Iterable[Any]) -> list[Any]:
        actions = [action for message in messages for action in message.actions]
        return [each for each in actions if isinstance(each, Attach)]

    async def story() -> None:
        stage = Stage(app)
        client = await stage.connect()
        assert client.upgrade is not None
        serial = client.upgrade.connection.serial
        assert attached(await stage.said()) == [Attach(serial, encode_plain({"n": 0}))]
        stage.deliver(serial, 1)
        assert attached(await stage.said()) == [Attach(serial, encode_plain({"n": 1}))]

    play(story)
