"""One endpoint of a mounted application while it is in this worker.

Shell. Private. Gives the endpoint its `receive` and `send`, and is told by `worker/attendance.py`
what becomes of its connection. What may be said when is the business of `worker/dialogue.py`.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any
from weakref import ref

from holdfast.core.connection import Connection
from holdfast.core.headers import Headers
from holdfast.core.ports import About
from holdfast.core.request_events import Upgrade
from holdfast.hosts.asgi import HandoverUnavailable
from holdfast.wire import messages as wire
from holdfast.worker.dialogue import Accept, Answer, ClientDisconnected, Dialogue, Reopened, Stage

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, MutableMapping

    from holdfast.hosts.asgi import SocketGiver
    from holdfast.hosts.exchange import Receive, Scope, Send
    from holdfast.worker.attendance import Attendance
    from holdfast.worker.endpoint import Endpoint

__all__ = ["Attendant", "Handshake"]

log = logging.getLogger("holdfast.worker")

PUBLICATIONS = (wire.PublishText, wire.PublishBinary, wire.PublishJson)

# RFC 6455 section 7.4.1, and the IANA registry.
NORMAL = 1000
INTERNAL_ERROR = 1011
SERVICE_RESTART = 1012

# One that was begun again and has not asked for a message by then only sends: it has come as far as
# it will.
SETTLED = 5.0  # seconds


class Attendant:
    """One of them.

    Args:
        about: the connection, as far as it is known.
        closes: it closes when the worker goes.
        resume: why the endpoint begins, unless it is for the first time.
    """

    def __init__(
        self,
        attendance: Attendance,
        endpoint: Endpoint,
        about: About,
        *,
        serial: int,
        attachment: bytes = b"",
        closes: bool,
        resume: wire.DeliverResume | None = None,
    ) -> None:
        host = attendance.host
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
        self.dialogue = Dialogue(serial, extension, attachment, host.attachment_limit, resume)
        self.scope: Scope = endpoint.scope(extension)
        self.task: asyncio.Task[None] | None = None
        self._attendance = attendance
        self._loop = attendance.loop
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
        return f"<Attendant {self.endpoint.path!r} {self.dialogue!r}>"

    def shake_hands(self, send: Send, giver: SocketGiver) -> Handshake:
        """Begin with a handshake."""
        self.handshake = Handshake(self._attendance, self, send, giver)
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
            self._attendance.host.report(f"the endpoint of {self.endpoint.path!r}", error)
        if self.handshake is not None:
            await self.handshake.end(is_failure=error is not None)
        self.end(NORMAL if error is None and self.dialogue.stage is Stage.OPEN else INTERNAL_ERROR)
        error = None  # Its traceback has this frame: again a circle.

    def _is_end_of_client(self, error: BaseException) -> bool:
        """Tell whether this is what Starlette raises when the client has left.

        Many an endpoint lets it pass, as there is nothing else to do. uvicorn logs a traceback of
        each.
        """
        return self.dialogue.is_gone and type(error).__name__ == "WebSocketDisconnect"

    def end(self, code: int) -> None:
        """The endpoint has ended."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.dialogue.end(SERVICE_RESTART if self._cancelled is not None else code)
        self._attendance.note(self)

    # --- what the endpoint calls ----------------------------------------------------------------

    async def receive(self) -> MutableMapping[str, Any]:
        dialogue = self.dialogue
        while True:
            message = dialogue.receive()
            self._attendance.note(self)
            if message is not None:
                if dialogue.is_told:
                    self._watch_end()
                return message
            if dialogue.may_leave:
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
        dialogue = self.dialogue
        try:
            sent = dialogue.send(message)
        except ClientDisconnected:
            self._watch_end()
            raise
        data = message.get("text") or message.get("bytes") or ""
        self._attendance.note(self, len(data))
        if sent is not None:
            await self._go_on(sent)
        elif self._attendance.is_full:
            await self._attendance.make_room()

    async def _go_on(self, sent: Accept | Reopened | Answer) -> None:
        if isinstance(sent, Reopened):
            agreed = self.connection.subprotocol
            if sent.subprotocol != agreed:
                self._attendance.note_strange(self.endpoint.path, agreed, sent.subprotocol)
            self._timer = self._loop.call_later(SETTLED, self._settle)
            # Another task of the endpoint may wait for a message since before it accepted.
            self._wake()
        else:
            assert self.handshake is not None  # Only the first begin has one to answer.
            await self.handshake.go_on(sent)

    def ask(self, action: wire.Action) -> bool:
        """Take what the endpoint asks for beside ASGI; return whether it was taken."""
        if not self.dialogue.ask(action):
            return False
        self._attendance.note(self)
        return True

    def _settle(self) -> None:
        self.dialogue.settle()
        self._attendance.note(self)

    # --- what becomes of the connection ---------------------------------------------------------

    def deliver(self, delivery: wire.Deliver | wire.DeliverClose) -> None:
        self.dialogue.deliver(delivery)
        if self.dialogue.is_gone:
            self._make_room()
        self._wake()
        if self.dialogue.is_over:
            self._attendance.note(self)

    def press(self, *, is_high: bool) -> None:
        """The client does not read, or does again."""
        if is_high and not self.dialogue.is_gone:
            if self._room is None:
                self._room = asyncio.Event()
            self._room.clear()
        else:
            self._make_room()

    def lose(self) -> None:
        """There is no connection any more, and nobody to say anything to."""
        self.dialogue.lose()
        self._make_room()
        self._wake()
        self._attendance.note(self)

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
        timeout = self._attendance.event_timeout
        if timeout and not self._is_watched:
            self._is_watched = True
            if self._timer is not None:
                self._timer.cancel()
            why = f"its connection has ended {timeout:g} s ago (--event-timeout)"
            self._timer = self._loop.call_later(timeout, self.cancel, why)

    def drain(self) -> None:
        """The worker is to leave."""
        if not self.closes:
            self.dialogue.drain()
            if self.dialogue.may_leave:
                self._leave()

    def _leave(self) -> None:
        self.dialogue.leave()
        self._cancel("")

    def cancel(self, why: str) -> None:
        """Have the endpoint end, whatever it is doing."""
        if self.closes:
            pass  # Released, it would be begun again.
        elif self.dialogue.has_connection:
            self.dialogue.leave()
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

    def __init__(self, attendant: Attendant, leaving: list[wire.Action]) -> None:
        super().__init__()
        # Weakly: what refers to itself in a circle waits for the garbage collector.
        self._attendant = ref(attendant)
        self._leaving = leaving

    def append(self, action: wire.Action) -> None:
        attendant = self._attendant()
        if (attendant is None or not attendant.ask(action)) and isinstance(action, PUBLICATIONS):
            # It has nothing to do with the connection, which is at an end here.
            self._leaving.append(action)


class Handshake:
    """The answer to the request with which an endpoint begins for the first time."""

    def __init__(
        self,
        attendance: Attendance,
        attendant: Attendant,
        send: Send,
        giver: SocketGiver,
    ) -> None:
        self._attendance = attendance
        self._attendant = attendant
        self._send = send
        self._giver = giver
        self._is_giving = False
        self._has_started = False
        self._answered: asyncio.Future[None] = attendance.loop.create_future()

    async def answered(self, receive: Receive) -> None:
        """Return when the client has its answer, or needs none."""
        watch = self._attendance.loop.create_task(self._watch(receive))
        try:
            await self._answered
        except asyncio.CancelledError:
            # The server stops, and does not wait.
            self._attendant.cancel("its handshake was not answered in time (--drain-timeout)")
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
        if self._attendant.dialogue.stage is Stage.CLOSED:
            self._set_answered()

    async def end(self, *, is_failure: bool) -> None:
        """The endpoint has ended."""
        if not self._answered.done():
            dialogue = self._attendant.dialogue
            if not self._has_started and not dialogue.is_gone:
                if not is_failure:
                    path = self._attendant.endpoint.path
                    log.error("the endpoint of %r has not answered its handshake", path)
                await self._respond(500, b"Internal Server Error")
            self._set_answered()

    def give_up(self) -> None:
        """Nobody is there who could answer."""
        self._set_answered()

    async def _give(self, accept: Accept) -> None:
        """Have the keeper take the socket."""
        attendance, attendant = self._attendance, self._attendant
        dialogue, endpoint = attendant.dialogue, attendant.endpoint
        outbox = attendance.host.new_outbox()
        outbox.actions += accept.actions
        connection = attendant.connection
        connection.about = About(connection.url, accept.subprotocol, connection.channels)
        upgrade = Upgrade(
            connection,
            accept.subprotocol,
            Headers.from_raw(accept.headers),
            endpoint.encode(),
            attendant.closes,
        )
        # Before it is given: the first message may come at once.
        attendance.attended[dialogue.serial] = attendant
        self._is_giving = True
        try:
            await self._giver.give(upgrade, outbox)
        except HandoverUnavailable as error:
            log.error("an upgrade was lost: %s", error)
            attendance.host.discard(outbox)
            attendance.attended.pop(dialogue.serial, None)
            await self._respond(503, b"Service Unavailable", (b"retry-after", b"1"))
            self._set_answered()
            attendant.lose()
            raise ClientDisconnected("the client got a 503") from error
        dialogue.opened()
        self._set_answered()
        attendance.note_opened(attendant)

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
            self._attendant.lose()

    def _set_answered(self) -> None:
        if not self._answered.done():
            self._answered.set_result(None)
            # Not to be kept, with the request and all that is its, as long as the connection.
            self._attendant.handshake = None
