"""The protocol between one endpoint and its connection: ASGI on one side, the wire on the other.

Pure: facts in, messages out. `endpoints/task.py` runs the endpoint, and sends what `take`
returns. The table of `endpoints/stages.py` says how far the endpoint has come, and whom to tell.

Rules for messages:

1. A message counts as received when the endpoint asks for the next one. Only then is the message
   acknowledged, together with all that the endpoint has asked for since. If the worker is lost
   before that, another worker delivers the message again.
2. What the endpoint sends leaves with the next `take`, whether the endpoint has asked for another
   message by then or not. What the endpoint asks for before it accepts leaves with the socket.
3. `data` is committed with each acknowledgement, and by itself if there is nothing to acknowledge.
4. That the endpoint was resumed is a delivery too. It is acknowledged when the endpoint asks for a
   message.
5. A worker that drains hands out no more messages, as long as another worker can have them.
6. Behind a disconnect, `receive` tells of it once more and then waits for ever, as with uvicorn: an
   endpoint that does not heed a disconnect must not make the loop spin.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from holdfast.core.connection import check_close, check_message
from holdfast.endpoints.boxes import EndpointInbox, EndpointOutbox
from holdfast.endpoints.stages import (
    ACCEPTING,
    ANSWERING,
    CLOSED,
    CONNECTING,
    DENYING,
    DISCONNECTED,
    ENDED,
    GONE,
    LATE,
    LEAVING,
    OPEN,
    OVER,
    REFUSED,
    RELEASED,
    RESUMING,
    TABLE,
    EndpointFact,
    Tell,
    step,
)
from holdfast.errors import AttachmentError
from holdfast.framing.close_codes import NO_CODE, NORMAL, POLICY_VIOLATION, VANISHED
from holdfast.framing.handshake import encode_response
from holdfast.wire import messages as wire

if TYPE_CHECKING:
    from collections.abc import Callable, MutableMapping

    from holdfast.endpoints.boxes import EndpointData, Leaving

    Message: TypeAlias = MutableMapping[str, Any]
    Sent: TypeAlias = "Accept | Reopened | Answer | None"

# Only its form is looked at here.
ANY_KEY = b"AAAAAAAAAAAAAAAAAAAAAA=="

FACTS = {
    "websocket.accept": EndpointFact.ACCEPTS,
    "websocket.send": EndpointFact.SENDS,
    "websocket.close": EndpointFact.CLOSES,
    "websocket.http.response.start": EndpointFact.RESPONDS,
    "websocket.http.response.body": EndpointFact.CONTINUES,
}

ANSWER = "'websocket.accept', 'websocket.close' or 'websocket.http.response.start'"
BODY = "'websocket.http.response.body'"
EXPECTED = {
    CONNECTING: ANSWER,
    RESUMING: ANSWER,
    ACCEPTING: "nothing before 'websocket.accept' is done",
    ANSWERING: BODY,
    DENYING: BODY,
    OPEN: "'websocket.send' or 'websocket.close'",
}
NOTHING = "nothing behind 'websocket.close' or a complete response"

# Tuples of stages: `in` compares by identity, and a set would call a hash in Python.
WITH_REQUEST = (CONNECTING, ANSWERING, REFUSED)
WITHOUT_CONNECTION = (*WITH_REQUEST, ACCEPTING)
RELEASABLE = (OPEN, RESUMING, LATE, GONE)
RECEIVING = (OPEN, CLOSED, GONE, DISCONNECTED, REFUSED)
COMMITTING = (OPEN, CLOSED, GONE)
LEAVABLE = (OPEN, GONE)
WITHOUT_CLIENT = (LATE, GONE, DISCONNECTED, OVER)
UNHEARD = (LEAVING, RELEASED)
AT_END = (ENDED, OVER, RELEASED)


class ClientDisconnected(OSError):
    """Something was sent to a client that is gone. uvicorn raises the same kind of error."""


class Accept(NamedTuple):
    """The endpoint accepts: give the socket away, and call `adopted`."""

    subprotocol: str | None
    headers: list[tuple[bytes, bytes]]
    actions: list[wire.Action]


class Reopened(NamedTuple):
    """An endpoint that was resumed accepts; nothing is left to do."""

    subprotocol: str | None


class Answer(NamedTuple):
    """A response instead of a connection: these are its next messages."""

    messages: tuple[Message, ...]


class EndpointProtocol:
    """One endpoint, until its connection has ended or is another worker's.

    Args:
        serial: of the connection.
        data: what the endpoint keeps with its connection.
        resume: the delivery that resumes the endpoint; None for the first worker that runs it.
    """

    __slots__ = (
        "__weakref__", "_data", "_inbox", "_is_connected", "_is_draining", "_is_resumed", "_outbox",
        "serial", "stage",
    )  # fmt: skip

    def __init__(
        self, serial: int, data: EndpointData, resume: wire.DeliverResume | None = None
    ) -> None:
        self.serial = serial
        self.stage = CONNECTING if resume is None else RESUMING
        self._is_resumed = resume is not None
        self._data = data
        self._outbox = EndpointOutbox(serial)
        self._inbox = EndpointInbox(self._outbox, resume)
        self._is_connected = False
        self._is_draining = False

    def __repr__(self) -> str:
        return f"<EndpointProtocol {self.serial:#x} {self.stage.value}>"

    # --- questions ------------------------------------------------------------------------------

    @property
    def has_request(self) -> bool:
        """True while there is no connection, but a request that is answered over HTTP."""
        return self.stage in WITH_REQUEST

    @property
    def is_gone(self) -> bool:
        """True when the client is gone: to send is an error."""
        return self.stage in WITHOUT_CLIENT

    @property
    def may_leave(self) -> bool:
        """True when the worker drains, and the endpoint has finished what it had in hand."""
        return self._is_draining and self.stage in RELEASABLE and not self._inbox.is_working

    @property
    def is_ended(self) -> bool:
        """True when the endpoint has ended, or nobody cares for it any more."""
        return self.stage in AT_END

    @property
    def is_over(self) -> bool:
        """True when nothing more can happen."""
        return self.stage is OVER or self.stage is RELEASED

    # --- facts about the connection -------------------------------------------------------------

    def adopted(self) -> None:
        """The keeper has the socket."""
        self._step(EndpointFact.ADOPTED)

    def deliver(self, delivery: wire.Deliver | wire.DeliverClose) -> None:
        """Take a message of the client, or its close."""
        if self.is_over:
            return
        self._inbox.put(delivery)
        if type(delivery) is wire.DeliverClose:
            self._step(EndpointFact.CLIENT_CLOSED, delivery.code, delivery.reason)
        elif self.stage is ENDED:
            self._inbox.acknowledge_all()

    def lose(self) -> None:
        """There is no connection: the client left before its answer, or the keeper is gone."""
        self._outbox.cut()
        self._step(EndpointFact.LOST, VANISHED)

    # --- facts about the worker, and about time -------------------------------------------------

    def drain(self) -> None:
        """Hand out no more messages that another worker can have."""
        self._is_draining = True

    def leave(self) -> None:
        """The endpoint is about to be cancelled: what it says from now on goes nowhere."""
        if self.stage in LEAVABLE and not self._inbox.is_working:
            try:
                self._commit_data()
            except AttachmentError:
                pass  # As if the worker had been lost: what was committed before, stays.
        self._step(EndpointFact.LEAVES)

    def settle(self) -> None:
        """A resumed endpoint has not failed for a while, though it asks for no message."""
        if self.stage is OPEN and self._inbox.is_resuming:
            self._inbox.acknowledge()

    def end(self, code: int) -> None:
        """The endpoint has ended, or nobody cares for it any more.

        Args:
            code: to close with, if the connection is still open.
        """
        self._step(EndpointFact.ENDS, code)

    def take(self) -> list[Leaving]:
        """Return what has to leave now."""
        return [] if self.stage in WITHOUT_CONNECTION else self._outbox.take()

    # --- the endpoint ---------------------------------------------------------------------------

    def receive(self) -> Message | None:
        """Return what ASGI's `receive` returns, or None if it has to wait.

        Raises:
            AttachmentError: "data" cannot be kept.
        """
        if not self._is_connected:
            self._is_connected = True
            return {"type": "websocket.connect"}
        if self.stage not in RECEIVING:
            return None
        if self.stage in COMMITTING:
            self._commit_data()
        self._inbox.acknowledge()
        message = self._inbox.receive(
            takes_messages=not self._is_draining or self.stage not in RELEASABLE,
            repeats=self.stage is DISCONNECTED,
        )
        if self.stage is GONE and self._inbox.is_told:
            self._step(EndpointFact.IS_TOLD)
        return message

    def send(self, message: Message) -> Sent:
        """Take what the endpoint sends; return what is left to do for the caller.

        Raises:
            ClientDisconnected: nobody is there.
            RuntimeError: it is not the time to send this.
            TypeError, ValueError, AttachmentError: what is sent makes no sense.
        """
        kind = message["type"]
        if self.stage is OPEN and kind == "websocket.send":
            return self._send(message)  # What the table says too, but nearly all are of this kind.
        if self.stage in UNHEARD:
            return None
        fact = FACTS.get(kind)
        if fact is None or (self.stage, fact) not in TABLE:
            if self.is_gone:
                raise ClientDisconnected("the client is gone")
            expected = EXPECTED.get(self.stage, NOTHING)
            raise RuntimeError(f"expected ASGI message {expected}, but got {kind!r}")
        return _SEND[fact](self, message)

    def ask(self, action: wire.Action) -> bool:
        """Take what the endpoint asks for beside ASGI, in its order with what it sends.

        Returns False if the endpoint says nothing to its connection any more: nothing was taken.
        """
        is_heard = self.stage is not LEAVING and not self.is_ended
        return is_heard and self._outbox.add(action)

    def _accept(self, message: Message) -> Sent:
        subprotocol = message.get("subprotocol") or None
        if self._is_resumed:
            self._step(EndpointFact.ACCEPTS)
            return Reopened(subprotocol)
        headers = [(name.lower(), value) for name, value in message.get("headers") or ()]
        # What the keeper could not answer with is the endpoint's mistake, and best raised there.
        encode_response(ANY_KEY, subprotocol=subprotocol, headers=headers)
        self._commit_data()
        self._step(EndpointFact.ACCEPTS)
        return Accept(subprotocol, headers, self._outbox.take_actions())

    def _send(self, message: Message) -> Sent:
        data = message.get("bytes")
        if data is None:
            data = message.get("text")
        if data is None:
            return None  # As uvicorn: nothing is sent.
        data = check_message(data)
        if type(data) is str:
            self._outbox.add(wire.SendText(self.serial, data))
        else:
            assert isinstance(data, bytes)
            self._outbox.add(wire.SendBinary(self.serial, data))
        return None

    def _send_close(self, message: Message) -> Sent:
        if self.stage is CONNECTING:
            self._step(EndpointFact.CLOSES, VANISHED)
            return Answer(_refusal())
        code, reason = message.get("code", NORMAL), message.get("reason") or ""
        reason = check_close(code, reason)
        self._step(EndpointFact.CLOSES, int(code), reason)
        return None

    def _begin_response(self, message: Message) -> Sent:
        status = message["status"]
        if not 100 <= status < 600:
            raise RuntimeError(f"invalid HTTP status code {status!r} in response")
        # A client that has a connection cannot be told more than this.
        self._step(EndpointFact.RESPONDS, POLICY_VIOLATION, f"HTTP {status}")
        return None if self._is_resumed else Answer(({**message, "type": "http.response.start"},))

    def _continue_response(self, message: Message) -> Sent:
        if not message.get("more_body", False):
            self._step(EndpointFact.COMPLETES, VANISHED)
        return None if self._is_resumed else Answer(({**message, "type": "http.response.body"},))

    # --- consequences ---------------------------------------------------------------------------

    def _step(self, fact: EndpointFact, code: int = NO_CODE, reason: str = "") -> None:
        self.stage, tell = step(self.stage, fact)
        for each in tell:
            if each is Tell.DISCONNECT:
                self._inbox.put_disconnect(code, reason)
            elif each is Tell.CLOSE:
                self._outbox.add(wire.Close(self.serial, code, reason))
            elif each is Tell.ACKNOWLEDGE:
                self._inbox.acknowledge_all()
            else:
                self._outbox.release()

    def _commit_data(self) -> None:
        encoded = self._data.changed()
        if encoded is not None:
            self._outbox.add(wire.Attach(self.serial, encoded))


_SEND: dict[EndpointFact, Callable[[EndpointProtocol, Message], Sent]] = {
    EndpointFact.ACCEPTS: EndpointProtocol._accept,
    EndpointFact.SENDS: EndpointProtocol._send,
    EndpointFact.CLOSES: EndpointProtocol._send_close,
    EndpointFact.RESPONDS: EndpointProtocol._begin_response,
    EndpointFact.CONTINUES: EndpointProtocol._continue_response,
}


def _refusal() -> tuple[Message, ...]:
    """Return the response to a request whose endpoint closes instead of accepting."""
    headers = [
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"content-length", b"0"),
        (b"connection", b"close"),
    ]
    return (
        {"type": "http.response.start", "status": 403, "headers": headers},
        {"type": "http.response.body", "body": b""},
    )
