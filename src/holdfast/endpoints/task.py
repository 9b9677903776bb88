"""One endpoint of a mounted application while it is in this worker.

Shell. Private. Gives the endpoint its `receive` and `send`, and is told by `endpoints/runner.py`
what becomes of its connection. What may be said when is the business of `endpoints/protocol.py`.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any
from weakref import ref

from holdfast.core.connection import Connection
from holdfast.core.ports import Metadata
from holdfast.core.request_events import Upgrade
from holdfast.endpoints.protocol import (
    Accept,
    Answer,
    ClientDisconnected,
    EndpointProtocol,
    Reopened,
    Stage,
)
from holdfast.framing.close_codes import INTERNAL_ERROR, NORMAL, SERVICE_RESTART
from holdfast.http.asgi import HandoverUnavailable
from holdfast.web.headers import Headers
from holdfast.wire import messages as wire

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, MutableMapping

    from holdfast.endpoints.record import Endpoint
    from holdfast.endpoints.runner import EndpointRunner
    from holdfast.http.asgi import UpgradeHandle
    from holdfast.http.exchange import Receive, Scope, Send

log = logging.getLogger("holdfast.worker")

PUBLICATIONS = (wire.PublishText, wire.PublishBinary, wire.PublishJson)


# One that was begun again and has not asked for a message by then only sends: it has come as far as
# it will.
SETTLED = 5.0  # seconds


class EndpointTask:
    """One of them.

    Args:
        about: the connection, as far as it is known.
        closes: it closes when the worker goes.
        resume: why the endpoint begins, unless it is for the first time.
    """

    def __init__(
        self,
        runner: EndpointRunner,
        endpoint: Endpoint,
        about: Metadata,
        *,
        serial: int,
        attachment: bytes = b"",
        closes: bool,
        resume: wire.DeliverResume | None = None,
    ) -> None:
        host = runner.host
        self.endpoint = endpoint
        self.closes = closes
        self.outbox = host.new_outbox()
        """Where what the endpoint asks for beside ASGI goes: it leaves with what it sends."""
        self.outbox.seal(_Asked(self, host.leaving))
        data = host.decode(attachment) if attachment else {}
        self.connection = Connection(self.outbox, serial, about, attachment, closed=False)
        self.connection.data = data
        resumed = 0 if resume is None else resume.resumed
        extension = {"connection": self.connection, "resumed": resumed, "data": data}
        self.protocol = EndpointProtocol(
            serial, extension, attachment, host.attachment_limit, resume
        )
        self.scope: Scope = endpoint.scope(extension)
        self.task: asyncio.Task[None] | None = None
        self._runner = runner
        self._loop = runner.loop
        self.handshake: Handshake | None = None
        """Until it is answered."""
        self._receivers: list[asyncio.Future[None]] = []
        # Set while the client reads what is sent to it; made when it does not, for the first time.
        self._room: asyncio.Event | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._is_watched = False
        # Why it was cancelled, if it was.
        self._cancelled: str | None = None

    def __repr__(self) -> str:
        return f"<EndpointTask {self.endpoint.path!r} {self.protocol!r}>"

    def shake_hands(self, send: Send, handle: UpgradeHandle) -> Handshake:
        """Begin with a handshake."""
        self.handshake = Handshake(self._runner, self, send, handle)
        return self.handshake

    async def run(self, app: Callable[..., Awaitable[object]]) -> None:
        """Run the endpoint, to its end."""
        error: BaseException | None = None
        try:
            await app(self.scope, self.receive, self.send)
        except ClientDisconnected:
            pass  # As uvicorn: an endpoint may find out by sending, and need not care.
        except GeneratorExit:
            raise  # The loop is gone.
        except BaseException as caught:
            error = caught
        if self._cancelled is not None and isinstance(error, asyncio.CancelledError):
            error = None
        if error is not None and not self._is_end_of_client(error):
            self._runner.host.report(f"the endpoint of {self.endpoint.path!r}", error)
        if self.handshake is not None:
            await self.handshake.end(is_failure=error is not None)
        self.end(NORMAL if error is None and self.protocol.stage is Stage.OPEN else INTERNAL_ERROR)
        error = None  # Its traceback has this frame: again a circle.

    def _is_end_of_client(self, error: BaseException) -> bool:
        """Tell whether this is what Starlette raises when the client has left.

        Many an endpoint lets it pass, as there is nothing else to do. uvicorn logs a traceback of
        each.
        """
        return self.protocol.is_gone and type(error).__name__ == "WebSocketDisconnect"

    def end(self, code: int) -> None:
        """The endpoint has ended."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.protocol.end(SERVICE_RESTART if self._cancelled is not None else code)
        self._runner.note(self)

    # --- what the endpoint calls ----------------------------------------------------------------

    async def receive(self) -> MutableMapping[str, Any]:
        protocol = self.protocol
        while True:
            message = protocol.receive()
            self._runner.note(self)
            if message is not None:
                if protocol.is_told:
                    self._watch_end()
                return message
            if protocol.may_leave:
                self._leave()
            receiver: asyncio.Future[None] = self._loop.create_future()
            self._receivers.append(receiver)
            try:
                await receiver
            except asyncio.CancelledError:
                if receiver in self._receivers:
                    self._receivers.remove(receiver)
                raise

    async def send(self, message: MutableMapping[str, Any]) -> None:
        room = self._room
        if room is not None and not room.is_set():
            await room.wait()
        protocol = self.protocol
        try:
            sent = protocol.send(message)
        except ClientDisconnected:
            self._watch_end()
            raise
        data = message.get("text") or message.get("bytes") or ""
        self._runner.note(self, len(data))
        if sent is not None:
            await self._go_on(sent)
        elif self._runner.is_full:
            await self._runner.make_room()

    async def _go_on(self, sent: Accept | Reopened | Answer) -> None:
        if isinstance(sent, Reopened):
            agreed = self.connection.subprotocol
            if sent.subprotocol != agreed:
                self._runner.note_strange(self.endpoint.path, agreed, sent.subprotocol)
            self._timer = self._loop.call_later(SETTLED, self._settle)
            # Another task of the endpoint may wait for a message since before it accepted.
            self._wake()
        else:
            assert self.handshake is not None  # Only the first begin has one to answer.
            await self.handshake.go_on(sent)

    def ask(self, action: wire.Action) -> bool:
        """Take what the endpoint asks for beside ASGI; return whether it was taken."""
        if not self.protocol.ask(action):
            return False
        self._runner.note(self)
        return True

    def _settle(self) -> None:
        self.protocol.settle()
        self._runner.note(self)

    # --- what becomes of the connection ---------------------------------------------------------

    def deliver(self, delivery: wire.Deliver | wire.DeliverClose) -> None:
        self.protocol.deliver(delivery)
        if self.protocol.is_gone:
            self._make_room()
        self._wake()
        if self.protocol.is_over:
            self._runner.note(self)

    def press(self, *, is_high: bool) -> None:
        """The client does not read, or does again."""
        if is_high and not self.protocol.is_gone:
            if self._room is None:
                self._room = asyncio.Event()
            self._room.clear()
        else:
            self._make_room()

    def lose(self) -> None:
        """There is no connection any more, and nobody to say anything to."""
        self.protocol.lose()
        self._make_room()
        self._wake()
        self._runner.note(self)

    def _wake(self) -> None:
        if self._receivers:
            receivers, self._receivers = self._receivers, []
            for receiver in receivers:
                if not receiver.done():
                    receiver.set_result(None)

    def _make_room(self) -> None:
        if self._room is not None:
            self._room.set()

    # --- the end --------------------------------------------------------------------------------

    def _watch_end(self) -> None:
        """The endpoint knows that its connection has ended; it has so long to end itself."""
        timeout = self._runner.event_timeout
        if timeout and not self._is_watched:
            self._is_watched = True
            if self._timer is not None:
                self._timer.cancel()
            why = f"its connection has ended {timeout:g} s ago (--event-timeout)"
            self._timer = self._loop.call_later(timeout, self.cancel, why)

    def drain(self) -> None:
        """The worker is to leave."""
        if not self.closes:
            self.protocol.drain()
            if self.protocol.may_leave:
                self._leave()

    def _leave(self) -> None:
        self.protocol.leave()
        self._cancel("")

    def cancel(self, why: str) -> None:
        """Have the endpoint end, whatever it is doing."""
        if self.closes:
            pass  # Released, it would be begun again.
        elif self.protocol.has_connection:
            self.protocol.leave()
        log.warning("the endpoint of %r is cancelled: %s", self.endpoint.path, why)
        self._cancel(why)

    def _cancel(self, why: str) -> None:
        self._cancelled = why
        self._make_room()
        if self.task is not None:
            self.task.cancel()

    def give_up(self) -> None:
        """The endpoint does not heed that it was cancelled: go on without it."""
        log.error("the endpoint of %r has not ended and is left behind", self.endpoint.path)
        self.end(SERVICE_RESTART)


class _Asked(list["wire.Action"]):
    """Actions outside an event: those of one endpoint, or of what it has left behind."""

    def __init__(self, endpoint_task: EndpointTask, leaving: list[wire.Action]) -> None:
        super().__init__()
        # Weakly: what refers to itself in a circle waits for the garbage collector.
        self._endpoint_task = ref(endpoint_task)
        self._leaving = leaving

    def append(self, action: wire.Action) -> None:
        endpoint_task = self._endpoint_task()
        if (endpoint_task is None or not endpoint_task.ask(action)) and isinstance(
            action, PUBLICATIONS
        ):
            # It has nothing to do with the connection, which is at an end here.
            self._leaving.append(action)


class Handshake:
    """The answer to the request with which an endpoint begins for the first time."""

    def __init__(
        self,
        runner: EndpointRunner,
        endpoint_task: EndpointTask,
        send: Send,
        handle: UpgradeHandle,
    ) -> None:
        self._runner = runner
        self._endpoint_task = endpoint_task
        self._send = send
        self._handle = handle
        self._is_giving = False
        self._has_started = False
        self._answered: asyncio.Future[None] = runner.loop.create_future()

    async def answered(self, receive: Receive) -> None:
        """Return when the client has its answer, or needs none."""
        watch = self._runner.loop.create_task(self._watch(receive))
        try:
            await self._answered
        except asyncio.CancelledError:
            # The server stops, and does not wait.
            self._endpoint_task.cancel("its handshake was not answered in time (--drain-timeout)")
            raise
        finally:
            watch.cancel()

    async def go_on(self, sent: Accept | Answer) -> None:
        if isinstance(sent, Accept):
            await self._give(sent)
            return
        for message in sent.messages:
            self._has_started = True
            await self._send(message)
        if self._endpoint_task.protocol.stage is Stage.CLOSED:
            self._set_answered()

    async def end(self, *, is_failure: bool) -> None:
        """The endpoint has ended."""
        if not self._answered.done():
            protocol = self._endpoint_task.protocol
            if not self._has_started and not protocol.is_gone:
                if not is_failure:
                    path = self._endpoint_task.endpoint.path
                    log.error("the endpoint of %r has not answered its handshake", path)
                await self._respond(500, b"Internal Server Error")
            self._set_answered()

    def give_up(self) -> None:
        """Nobody is there who could answer."""
        self._set_answered()

    async def _give(self, accept: Accept) -> None:
        """Have the keeper take the socket."""
        runner, endpoint_task = self._runner, self._endpoint_task
        protocol, endpoint = endpoint_task.protocol, endpoint_task.endpoint
        outbox = runner.host.new_outbox()
        outbox.actions += accept.actions
        connection = endpoint_task.connection
        connection.about = Metadata(connection.url, accept.subprotocol, connection.channels)
        upgrade = Upgrade(
            connection,
            accept.subprotocol,
            Headers.from_raw(accept.headers),
            endpoint.encode(),
            endpoint_task.closes,
        )
        # Before it is given: the first message may come at once.
        runner.attended[protocol.serial] = endpoint_task
        self._is_giving = True
        try:
            await self._handle.give(upgrade, outbox)
        except HandoverUnavailable as error:
            log.error("an upgrade was lost: %s", error)
            runner.host.discard(outbox)
            runner.attended.pop(protocol.serial, None)
            await self._respond(503, b"Service Unavailable", (b"retry-after", b"1"))
            self._set_answered()
            endpoint_task.lose()
            raise ClientDisconnected("the client got a 503") from error
        protocol.opened()
        self._set_answered()
        runner.note_opened(endpoint_task)

    async def _respond(self, status: int, body: bytes, *headers: tuple[bytes, bytes]) -> None:
        fields = [
            (b"content-type", b"text/plain; charset=utf-8"),
            (b"content-length", b"%d" % len(body)),
            (b"connection", b"close"),
            *headers,
        ]
        await self._send({"type": "http.response.start", "status": status, "headers": fields})
        await self._send({"type": "http.response.body", "body": body})

    async def _watch(self, receive: Receive) -> None:
        """Tell the endpoint when its client leaves without having got an answer."""
        while (await receive())["type"] != "http.disconnect":
            pass
        # Once the socket is given away, it is the keeper who knows.
        if not self._is_giving and not self._answered.done():
            self._set_answered()
            self._endpoint_task.lose()

    def _set_answered(self) -> None:
        if not self._answered.done():
            self._answered.set_result(None)
            # Not to be kept, with the request and all that is its, as long as the connection.
            self._endpoint_task.handshake = None
