"""One endpoint of a mounted application while it runs in this worker.

Shell. Private. The task gives the endpoint its `receive` and `send`. `endpoints/runner.py` tells
the task what becomes of the connection. `endpoints/protocol.py` decides what may be said when.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from weakref import ref

from holdfast.core.connection import Connection
from holdfast.core.ports import Metadata
from holdfast.core.request_events import Upgrade
from holdfast.endpoints.boxes import EndpointData
from holdfast.endpoints.protocol import (
    Accept,
    Answer,
    ClientDisconnected,
    EndpointProtocol,
    Reopened,
)
from holdfast.endpoints.stages import ACCEPTING, ANSWERING, CONNECTING, OPEN
from holdfast.framing.close_codes import INTERNAL_ERROR, NORMAL, SERVICE_RESTART
from holdfast.http.asgi import HandoverUnavailable
from holdfast.web.headers import Headers
from holdfast.wire import messages as wire

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, MutableMapping

    from holdfast.endpoints.handshake import HandshakeAnswer
    from holdfast.endpoints.record import Endpoint
    from holdfast.endpoints.writer import TurnWriter
    from holdfast.http.exchange import Receive, Scope
    from holdfast.worker.host import WorkerHost

log = logging.getLogger("holdfast.worker")

PUBLICATIONS = (wire.PublishText, wire.PublishBinary, wire.PublishJson)


# A resumed endpoint that has not asked for a message by then only sends: it has come as far as it
# will.
SETTLED = 5.0  # seconds


@dataclass(slots=True)
class Shared:
    """What all endpoint tasks of a worker have in common."""

    host: WorkerHost
    loop: asyncio.AbstractEventLoop
    writer: TurnWriter
    event_timeout: float
    """Seconds that an endpoint may go on when it knows that its connection has ended; 0: for ever.
    """
    has_warned: bool = False

    def warn_of_subprotocol(self, path: str, first: str | None, second: str | None) -> None:
        """Log, once, that a resumed endpoint accepted with another subprotocol than at first."""
        if not self.has_warned:
            self.has_warned = True
            log.warning(
                "the endpoint of %r, begun again, accepted the subprotocol %r; its client has "
                "agreed on %r, and that stays",
                path,
                second,
                first,
            )


class EndpointTask:
    """Runs one endpoint.

    Args:
        endpoint: the record of the request that the endpoint was begun for.
        about: what is known of the connection.
        closes: whether the connection closes when the worker exits.
        resume: the delivery that resumes the endpoint; None for the first worker that runs it.
        answer: to the request; None for an endpoint that is resumed.
    """

    def __init__(
        self,
        shared: Shared,
        endpoint: Endpoint,
        about: Metadata,
        *,
        serial: int,
        closes: bool,
        resume: wire.DeliverResume | None = None,
        answer: HandshakeAnswer | None = None,
    ) -> None:
        host = shared.host
        self.endpoint = endpoint
        self.closes = closes
        self.outbox = host.new_outbox()
        """Where what the endpoint asks for beside ASGI goes: it leaves with what it sends."""
        attachment, resumed = (b"", 0) if resume is None else (resume.attachment, resume.resumed)
        data = host.decode(attachment) if attachment else {}
        self.connection = Connection(self.outbox, serial, about, attachment, closed=False)
        self.connection.data = data
        extension = {"connection": self.connection, "resumed": resumed, "data": data}
        self.protocol = EndpointProtocol(
            serial, EndpointData(extension, attachment, host.attachment_limit), resume
        )
        self.outbox.seal(_Asked(self.protocol, shared.writer, host.leaving))
        self.scope: Scope = endpoint.scope(extension)
        self.task: asyncio.Task[None] | None = None
        self._shared = shared
        self._writer = shared.writer
        # Until it is finished: the request and all that belongs to it need not be kept as long as
        # the connection.
        self._answer = answer
        self._receivers: list[asyncio.Future[None]] = []
        # Set while the client reads what is sent to it; made when it does not, for the first time.
        self._room: asyncio.Event | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._is_watched = False
        # Why it was cancelled, if it was.
        self._cancelled: str | None = None

    def __repr__(self) -> str:
        return f"<EndpointTask {self.endpoint.path!r} {self.protocol!r}>"

    # --- the endpoint's life --------------------------------------------------------------------

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
            self._shared.host.report(f"the endpoint of {self.endpoint.path!r}", error)
        await self._end_answer(is_failure=error is not None)
        self.end(NORMAL if error is None and self.protocol.stage is OPEN else INTERNAL_ERROR)
        error = None  # Its traceback has this frame: again a circle.

    def _is_end_of_client(self, error: BaseException) -> bool:
        """Tell whether this is what Starlette raises when the client has left.

        Many an endpoint lets it pass, as there is nothing else to do. uvicorn logs a traceback of
        each.
        """
        return self.protocol.is_gone and type(error).__name__ == "WebSocketDisconnect"

    def end(self, code: int) -> None:
        """The endpoint has ended, or nobody cares for it any more; said again, it changes nothing.

        Args:
            code: to close with, if the connection is still open.
        """
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._finish_answer()
        self.protocol.end(SERVICE_RESTART if self._cancelled is not None else code)
        self._writer.note(self.protocol)

    # --- what the endpoint calls ----------------------------------------------------------------

    async def receive(self) -> MutableMapping[str, Any]:
        protocol = self.protocol
        while True:
            message = protocol.receive()
            self._writer.note(protocol)
            if message is not None:
                if message["type"] == "websocket.disconnect":
                    self._watch_end()
                return message
            if protocol.may_leave:
                self._leave()
            receiver: asyncio.Future[None] = self._shared.loop.create_future()
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
        try:
            sent = self.protocol.send(message)
        except ClientDisconnected:
            self._watch_end()
            raise
        data = message.get("text") or message.get("bytes") or ""
        self._writer.note(self.protocol, len(data))
        if sent is not None:
            await self._go_on(sent)
        elif self._writer.is_full:
            await self._writer.make_room()

    async def _go_on(self, sent: Accept | Reopened | Answer) -> None:
        if isinstance(sent, Reopened):
            self._reopen(sent.subprotocol)
        elif isinstance(sent, Accept):
            await self._give(sent)
        else:
            assert self._answer is not None  # Only the first begin has a request to answer.
            await self._answer.pass_on(sent.messages)
            if self.protocol.stage is not ANSWERING:
                self._finish_answer()

    def _reopen(self, subprotocol: str | None) -> None:
        agreed = self.connection.subprotocol
        if subprotocol != agreed:
            self._shared.warn_of_subprotocol(self.endpoint.path, agreed, subprotocol)
        self._timer = self._shared.loop.call_later(SETTLED, self._settle)
        # Another task of the endpoint may wait for a message since before the endpoint accepted.
        self._wake()

    def _settle(self) -> None:
        self.protocol.settle()
        self._writer.note(self.protocol)

    # --- the answer to the request --------------------------------------------------------------

    async def answered(self, answer: HandshakeAnswer, receive: Receive) -> None:
        """Return when the client has its answer, or needs none.

        Args:
            receive: tells when the client leaves before that.
        """
        watch = self._shared.loop.create_task(self._watch_request(receive))
        try:
            await answer.wait()
        except asyncio.CancelledError:
            # The server stops, and does not wait.
            self.cancel("its handshake was not answered in time (--drain-timeout)")
            raise
        finally:
            watch.cancel()

    async def _watch_request(self, receive: Receive) -> None:
        """Tell the endpoint when its client leaves without having got an answer."""
        while (await receive())["type"] != "http.disconnect":
            pass
        # Once the socket is given away, it is the keeper who knows.
        if self.protocol.has_request:
            self._finish_answer()
            self.lose()

    async def _give(self, accept: Accept) -> None:
        """Have the keeper take the socket, with the record that resumes the endpoint."""
        host, connection, answer = self._shared.host, self.connection, self._answer
        assert answer is not None  # Only the first begin has a socket to give.
        outbox = host.new_outbox()
        outbox.actions += accept.actions
        connection.about = Metadata(connection.url, accept.subprotocol, connection.channels)
        headers = Headers.from_raw(accept.headers)
        record = self.endpoint.encode()
        upgrade = Upgrade(connection, accept.subprotocol, headers, record, self.closes)
        try:
            await answer.give(upgrade, outbox)
        except HandoverUnavailable as error:
            log.error("an upgrade was lost: %s", error)
            host.discard(outbox)
            await answer.respond(503, b"Service Unavailable", (b"retry-after", b"1"))
            self._finish_answer()
            self.lose()
            raise ClientDisconnected("the client got a 503") from error
        self.protocol.adopted()
        self._finish_answer()
        if self.protocol.may_leave:
            self._leave()

    async def _end_answer(self, *, is_failure: bool) -> None:
        """Answer a request that the endpoint has left without an answer."""
        if self._answer is not None and self.protocol.stage in (CONNECTING, ACCEPTING):
            if not is_failure:
                log.error("the endpoint of %r has not answered its handshake", self.endpoint.path)
            await self._answer.respond(500, b"Internal Server Error")

    def _finish_answer(self) -> None:
        if self._answer is not None:
            self._answer.finish()
            self._answer = None

    # --- what becomes of the connection ---------------------------------------------------------

    def deliver(self, delivery: wire.Deliver | wire.DeliverClose) -> None:
        self.protocol.deliver(delivery)
        if self.protocol.is_gone:
            self._make_room()
        self._wake()
        if self.protocol.is_ended:
            self._writer.note(self.protocol)

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
        timeout = self._shared.event_timeout
        if timeout and not self._is_watched:
            self._is_watched = True
            if self._timer is not None:
                self._timer.cancel()
            why = f"its connection has ended {timeout:g} s ago (--event-timeout)"
            self._timer = self._shared.loop.call_later(timeout, self.cancel, why)

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
        if not self.closes:  # Released, it would be resumed.
            self.protocol.leave()
        log.warning("the endpoint of %r is cancelled: %s", self.endpoint.path, why)
        self._cancel(why)

    def _cancel(self, why: str) -> None:
        self._cancelled = why
        self._make_room()
        if self.task is not None:
            self.task.cancel()


class _Asked(list["wire.Action"]):
    """Actions outside an event: those of one endpoint, or of what it has left behind."""

    def __init__(
        self, protocol: EndpointProtocol, writer: TurnWriter, leaving: list[wire.Action]
    ) -> None:
        super().__init__()
        # Weakly: what refers to itself in a circle waits for the garbage collector.
        self._protocol = ref(protocol)
        self._writer = writer
        self._leaving = leaving

    def append(self, action: wire.Action) -> None:
        protocol = self._protocol()
        if protocol is not None and protocol.ask(action):
            self._writer.note(protocol)
        elif isinstance(action, PUBLICATIONS):
            # It has nothing to do with the connection, which is at an end here.
            self._leaving.append(action)
