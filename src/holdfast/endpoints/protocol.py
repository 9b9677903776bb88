"""What an endpoint and its connection say to each other: ASGI on one side, the wire on the other.

Pure: facts in, messages out. `endpoints/task.py` runs the endpoint and sends what `take` returns.

    CONNECTING ──accept──▶ OPEN ──close──▶ CLOSED
        │ close, or a response
        ▼
    ANSWERING ──its end──▶ CLOSED

The stage is what the *endpoint* has said. Beside it stands what has become of the connection: it is
there, it is gone (the client has closed it, or has vanished), or it is lost (nobody has it).

Rules:

1. A message counts as received when the endpoint asks for the next one. Only then it is
   acknowledged, together with all that the endpoint has asked for since: a worker that is lost
   before has it delivered again elsewhere.
2. What the endpoint sends leaves with the next `take`, whether it has asked for the next message by
   then or not; in its handshake, with the socket.
3. `data` is committed with each acknowledgement, and by itself if there is nothing to acknowledge.
4. An endpoint that was begun again is told `websocket.connect` and accepts, like the first one. Its
   client notices nothing of that, and may have left by then: what it had said has to be received
   all the same. The begin is acknowledged when the endpoint asks for a message.
5. One that leaves says nothing any more; its connection is released when it has ended. What it had
   not acknowledged is delivered elsewhere.
6. That the connection is gone is acknowledged when the endpoint has ended.
7. Behind a disconnect, `receive` says it once more and then nothing, as with uvicorn: an endpoint
   that does not heed it must not make the loop spin.
"""

from __future__ import annotations

from collections import deque
from enum import Enum
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from holdfast.core.attachment import Attachment
from holdfast.core.connection import check_close, check_message
from holdfast.errors import AttachmentError
from holdfast.framing.close_codes import NO_CODE, NORMAL, POLICY_VIOLATION, VANISHED
from holdfast.framing.handshake import encode_response
from holdfast.wire import messages as wire
from holdfast.wire.codec import encode_plain

if TYPE_CHECKING:
    from collections.abc import Callable, MutableMapping

    Message: TypeAlias = MutableMapping[str, Any]
    Sent: TypeAlias = "Accept | Reopened | Answer | None"
    Leaving: TypeAlias = wire.Ack | wire.Act | wire.Release

# Only its form is looked at here.
ANY_KEY = b"AAAAAAAAAAAAAAAAAAAAAA=="


class ClientDisconnected(OSError):
    """Something was sent to a client that is gone. The same kind of error as uvicorn's."""


class Stage(Enum):
    """What the endpoint has said so far."""

    CONNECTING = "connecting"
    ANSWERING = "answering"
    OPEN = "open"
    CLOSED = "closed"


CONNECTING, ANSWERING, OPEN, CLOSED = Stage

EXPECTED = {
    CONNECTING: "'websocket.accept', 'websocket.close' or 'websocket.http.response.start'",
    ANSWERING: "'websocket.http.response.body'",
    OPEN: "'websocket.send' or 'websocket.close'",
    CLOSED: "nothing behind 'websocket.close' or a complete response",
}


class Accept(NamedTuple):
    """The endpoint accepts: give the socket away, and call `opened`."""

    subprotocol: str | None
    headers: list[tuple[bytes, bytes]]
    actions: list[wire.Action]


class Reopened(NamedTuple):
    """An endpoint that was begun again accepts; nothing is left to do."""

    subprotocol: str | None


class Answer(NamedTuple):
    """A response instead of a connection: these are its next messages."""

    messages: tuple[Message, ...]


class Disconnect(NamedTuple):
    """What the endpoint is told when it has closed the connection itself."""

    code: int
    reason: str


# A tuple: a union would be built anew for each message.
ENDS = (Disconnect, wire.DeliverClose)


class EndpointProtocol:
    """One endpoint, from its begin to the end of its connection or of its stay in this worker.

    Args:
        extension: of the scope, whose "data" the endpoint may change.
        attachment: "data" as the keeper has it.
        limit: bytes that "data" may have when encoded.
        resume: why the endpoint begins, unless it is for the first time.
    """

    __slots__ = (
        "_actions", "_attachment", "_close", "_extension", "_has_closed", "_in_hand",
        "_is_draining", "_is_ended", "_is_leaving", "_is_lost", "_is_opened", "_limit", "_original",
        "_out", "_queue", "_resume", "_times_told", "_was_connected", "is_gone", "is_over",
        "is_resumed", "serial", "stage",
    )  # fmt: skip

    def __init__(
        self,
        serial: int,
        extension: dict[str, Any],
        attachment: bytes,
        limit: int,
        resume: wire.DeliverResume | None = None,
    ) -> None:
        self.serial = serial
        self.stage = CONNECTING
        self.is_resumed = resume is not None
        self._is_opened = self.is_resumed
        self.is_gone = False
        """The client is gone; to send is an error from here on."""
        self.is_over = False
        """Nothing will be said any more, by nobody."""
        self._resume = resume
        self._extension = extension
        self._attachment = attachment
        self._original = extension["data"]
        self._limit = limit
        # Delivered and not handed to the endpoint; the one that it works on; and the close, which
        # stays unacknowledged until it has ended.
        self._queue: deque[wire.Deliver | wire.DeliverClose | Disconnect] = deque()
        self._in_hand: wire.Deliver | None = None
        self._close: wire.DeliverClose | None = None
        # What has to leave, and what the endpoint has asked for since.
        self._out: list[Leaving] = []
        self._actions: list[wire.Action] = []
        self._was_connected = self._has_closed = False
        self._is_draining = self._is_leaving = self._is_ended = self._is_lost = False
        self._times_told = 0

    def __repr__(self) -> str:
        return f"<EndpointProtocol {self.serial:#x} {self.stage.value}>"

    # --- questions ------------------------------------------------------------------------------

    @property
    def is_told(self) -> bool:
        """True when the endpoint knows that its connection is at an end."""
        return self._times_told > 0

    @property
    def is_ended(self) -> bool:
        """True when the endpoint says nothing any more."""
        return self._is_ended

    @property
    def is_leaving(self) -> bool:
        """True when the connection is to be released as soon as the endpoint has ended."""
        return self._is_leaving

    @property
    def may_leave(self) -> bool:
        """True when the worker drains, and the endpoint has finished what it had in hand."""
        return self._is_draining and self._in_hand is None and self.has_connection

    @property
    def has_connection(self) -> bool:
        """True while there is something to release: a connection, as far as the endpoint knows."""
        is_begun = self._is_opened and self.stage in (CONNECTING, OPEN)
        at_end = self.is_told or self._is_ended or self._is_lost
        return is_begun and not self._is_leaving and not at_end

    # --- facts about the connection -------------------------------------------------------------

    def opened(self) -> None:
        """The keeper has the socket."""
        self._is_opened = True
        self.stage = OPEN

    def deliver(self, delivery: wire.Deliver | wire.DeliverClose) -> None:
        """Take a message of the client, or its end."""
        if self._is_lost or self.is_over:
            return
        is_close = type(delivery) is wire.DeliverClose
        self.is_gone = self.is_gone or is_close
        if self._is_ended:
            self._ack(delivery)
            self.is_over = is_close
        else:
            self._queue.append(delivery)

    def lose(self) -> None:
        """There is no connection: the client left during its handshake, or the keeper is gone."""
        if self._is_lost or self.is_over:
            return
        self._is_lost = self.is_gone = True
        self._resume = self._in_hand = self._close = None
        self._queue.append(wire.DeliverClose(self.serial, 0, 1, VANISHED, "", b"", b"", 0))
        self.is_over = self._is_ended

    # --- facts about the worker, and about time -------------------------------------------------

    def drain(self) -> None:
        """Hand out no more messages: others will have them."""
        self._is_draining = True

    def leave(self) -> None:
        """The endpoint is about to be cancelled: what it says from now on goes nowhere."""
        if self.has_connection:
            if self._in_hand is None and self.stage is OPEN:
                try:
                    self._commit_data()
                except AttachmentError:
                    pass  # As if the worker had been lost: what was committed before, stays.
            self._is_leaving = True

    def settle(self) -> None:
        """One that was begun again has not failed for a while, though it asks for no message."""
        if self._resume is not None and self.stage is not CONNECTING and not self._is_leaving:
            self._ack(self._resume)
            self._resume = None

    def end(self, code: int) -> None:
        """The endpoint has ended, or nobody cares for it any more.

        Args:
            code: to close with, if it has not done so.
        """
        if self._is_ended:
            return
        self._is_ended = True
        if self._is_lost or not self._is_opened:
            self.is_over = True
        elif self._is_leaving:
            self._out_actions()
            self._out.append(wire.Release(self.serial))
            self.is_over = True
        else:
            self._end_connection(code)

    def take(self) -> list[Leaving]:
        """Return what has to leave now."""
        if not self._is_opened and not self._is_ended:
            return []
        self._out_actions()
        out, self._out = self._out, []
        return [] if self._is_lost else out

    # --- the endpoint ---------------------------------------------------------------------------

    def receive(self) -> Message | None:
        """Return what ASGI's `receive` returns, or None if it has to wait.

        Raises:
            AttachmentError: "data" cannot be kept.
        """
        if not self._was_connected:
            self._was_connected = True
            return {"type": "websocket.connect"}
        if self._is_leaving:
            return None
        if self.stage in (OPEN, CLOSED):
            self._acknowledge()
        elif not self._is_lost:
            return None  # In its handshake a client says nothing, but that it leaves.
        if self.is_told:
            return self._tell_again()
        if not self._queue:
            return None
        first = self._queue[0]
        if isinstance(first, ENDS):
            del self._queue[0]
            self._times_told = 1
            if isinstance(first, wire.DeliverClose):
                self._close = first
            return {"type": "websocket.disconnect", "code": first.code, "reason": first.reason}
        if self._is_draining:
            return None
        del self._queue[0]
        self._in_hand = first
        kind = "text" if type(first) is wire.DeliverText else "bytes"
        return {"type": "websocket.receive", kind: first.data}

    def send(self, message: Message) -> Sent:
        """Take what the endpoint sends; return what is left to do for the caller.

        Raises:
            ClientDisconnected: nobody is there.
            RuntimeError: it is not the time to send this.
            TypeError, ValueError, AttachmentError: what is sent makes no sense.
        """
        kind = message["type"]
        is_second_accept = self.is_resumed and kind == "websocket.accept"
        if self.is_gone and not (is_second_accept and self.stage is CONNECTING):
            raise ClientDisconnected("the client is gone")
        if self._is_leaving:
            return None
        say = _SAY.get((self.stage, kind))
        if say is None:
            raise RuntimeError(f"expected ASGI message {EXPECTED[self.stage]}, but got {kind!r}")
        return say(self, message)

    def ask(self, action: wire.Action) -> bool:
        """Take what the endpoint asks for beside ASGI, in its order with what it sends.

        Returns False if it says nothing to its connection any more: nothing was taken then.
        """
        if self._is_leaving or self._is_ended or self._is_lost:
            return False
        self._actions.append(action)
        return True

    def _accept(self, message: Message) -> Sent:
        subprotocol = message.get("subprotocol") or None
        if self.is_resumed:
            self.stage = OPEN
            return Reopened(subprotocol)
        headers = [(name.lower(), value) for name, value in message.get("headers") or ()]
        # What the keeper could not answer with is the endpoint's mistake, and best raised there.
        encode_response(ANY_KEY, subprotocol=subprotocol, headers=headers)
        self._commit_data()
        actions, self._actions = self._actions, []
        return Accept(subprotocol, headers, actions)

    def _refuse(self, message: Message) -> Sent:
        if self.is_resumed:
            return self._say_close(message)
        self.stage = CLOSED
        self._queue.append(Disconnect(VANISHED, ""))
        headers = [
            (b"content-type", b"text/plain; charset=utf-8"),
            (b"content-length", b"0"),
            (b"connection", b"close"),
        ]
        return Answer(
            (
                {"type": "http.response.start", "status": 403, "headers": headers},
                {"type": "http.response.body", "body": b""},
            )
        )

    def _start_answer(self, message: Message) -> Sent:
        status = message["status"]
        if not 100 <= status < 600:
            raise RuntimeError(f"invalid HTTP status code {status!r} in response")
        self.stage = ANSWERING
        if self.is_resumed:
            # The client has a connection, and cannot be told more than this.
            self._close_with(POLICY_VIOLATION, f"HTTP {status}")
            return None
        return Answer(({**message, "type": "http.response.start"},))

    def _continue_answer(self, message: Message) -> Sent:
        if not message.get("more_body", False):
            self.stage = CLOSED
            if not self.is_resumed:
                self._queue.append(Disconnect(VANISHED, ""))
        if self.is_resumed:
            return None
        return Answer(({**message, "type": "http.response.body"},))

    def _say(self, message: Message) -> Sent:
        data = message.get("bytes")
        if data is None:
            data = message.get("text")
        if data is None:
            return None  # As uvicorn: nothing is sent.
        data = check_message(data)
        if type(data) is str:
            self._actions.append(wire.SendText(self.serial, data))
        else:
            assert isinstance(data, bytes)
            self._actions.append(wire.SendBinary(self.serial, data))
        return None

    def _say_close(self, message: Message) -> Sent:
        code, reason = message.get("code", NORMAL), message.get("reason") or ""
        self._close_with(code, check_close(code, reason))
        self.stage = CLOSED
        return None

    # --- the wire -------------------------------------------------------------------------------

    def _close_with(self, code: int, reason: str) -> None:
        self._actions.append(wire.Close(self.serial, int(code), reason))
        self._has_closed = True
        self._queue.append(Disconnect(int(code), reason))

    def _tell_again(self) -> Message | None:
        if self._times_told == 1 and self.is_gone:
            self._times_told = 2
            return {"type": "websocket.disconnect", "code": NO_CODE, "reason": ""}
        return None

    def _acknowledge(self) -> None:
        """Commit: what was received is done with, and so is the begin."""
        self._commit_data()
        if self._resume is not None:
            self._ack(self._resume)
            self._resume = None
        if self._in_hand is not None:
            self._ack(self._in_hand)
            self._in_hand = None

    def _commit_data(self) -> None:
        data = self._extension["data"]
        if not data and not self._attachment and type(data) is dict:
            return
        if type(data) is not dict:
            kind = type(data).__qualname__
            raise AttachmentError("data", f"is a {kind}; of an endpoint it is a dict")
        attachment = Attachment(self._attachment, self._original)
        attachment.value = data
        encoded = attachment.changed(encode_plain, self._limit)
        if encoded is not None:
            self._attachment = encoded
            if not self._is_lost:
                self._actions.append(wire.Attach(self.serial, encoded))

    def _ack(self, delivery: wire.Delivery) -> None:
        """Acknowledge one delivery, with what was asked for; all of one turn together."""
        actions, self._actions = self._actions, []
        number, attempt, count = delivery.number, delivery.attempt, 1
        last = self._out[-1] if self._out else None
        if type(last) is wire.Ack and last.attempt == 1 and attempt == 1:
            del self._out[-1]
            actions, count = last.actions + actions, last.count + 1
        self._out.append(wire.Ack(self.serial, number, attempt, actions, count))

    def _out_actions(self) -> None:
        if self._actions:
            self._out.append(wire.Act(self._actions))
            self._actions = []

    def _end_connection(self, code: int) -> None:
        """Close, unless that is done, and acknowledge whatever was delivered."""
        if not self._has_closed and not self.is_gone:
            self._actions.append(wire.Close(self.serial, code, ""))
        self.stage = CLOSED
        for delivery in (self._resume, self._in_hand, *self._queue, self._close):
            if delivery is not None and not isinstance(delivery, Disconnect):
                self._ack(delivery)
        self._resume = self._in_hand = self._close = None
        self._queue.clear()
        self.is_over = self.is_gone


_SAY: dict[tuple[Stage, str], Callable[[EndpointProtocol, Message], Sent]] = {
    (CONNECTING, "websocket.accept"): EndpointProtocol._accept,
    (CONNECTING, "websocket.close"): EndpointProtocol._refuse,
    (CONNECTING, "websocket.http.response.start"): EndpointProtocol._start_answer,
    (ANSWERING, "websocket.http.response.body"): EndpointProtocol._continue_answer,
    (OPEN, "websocket.send"): EndpointProtocol._say,
    (OPEN, "websocket.close"): EndpointProtocol._say_close,
}
