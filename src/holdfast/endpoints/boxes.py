"""What waits for one endpoint, what leaves from it, and its `data`.

Pure. An endpoint runs as long as its connection, so its actions belong to no single event. They
leave with the next acknowledgement, or by themselves at the end of a turn of the loop.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from holdfast.core.attachment import Attachment
from holdfast.errors import AttachmentError
from holdfast.framing.close_codes import NO_CODE
from holdfast.wire import messages as wire
from holdfast.wire.codec import encode_plain

if TYPE_CHECKING:
    from collections.abc import MutableMapping

    Message: TypeAlias = MutableMapping[str, Any]
    Leaving: TypeAlias = wire.Ack | wire.Act | wire.Release


class Disconnect(NamedTuple):
    """The endpoint is to be told that its connection has ended."""

    code: int
    reason: str


class EndpointInbox:
    """Holds what was delivered and is not acknowledged, in order.

    Args:
        outbox: takes the acknowledgements.
        resume: the delivery that resumes the endpoint; None for the first worker that runs it.
    """

    __slots__ = ("_close", "_in_hand", "_outbox", "_queue", "_times_told")

    def __init__(self, outbox: EndpointOutbox, resume: wire.DeliverResume | None) -> None:
        self._outbox = outbox
        # What the endpoint works on, what waits for the endpoint, and the client's close, which is
        # acknowledged when the endpoint has ended.
        self._in_hand: wire.Deliver | wire.DeliverResume | None = resume
        self._queue: deque[wire.Deliver | Disconnect] = deque()
        self._close: wire.DeliverClose | None = None
        self._times_told = 0

    @property
    def is_resuming(self) -> bool:
        """True while the delivery that resumed the endpoint is not acknowledged."""
        return type(self._in_hand) is wire.DeliverResume

    @property
    def is_working(self) -> bool:
        """True while the endpoint works on a message."""
        return self._in_hand is not None and not self.is_resuming

    @property
    def is_told(self) -> bool:
        """True when the endpoint has received that its connection has ended."""
        return self._times_told > 0

    def put(self, delivery: wire.Deliver | wire.DeliverClose) -> None:
        if type(delivery) is wire.DeliverClose:
            self._close = delivery
        else:
            self._queue.append(delivery)

    def put_disconnect(self, code: int, reason: str) -> None:
        """Have the endpoint told, behind what is here, that its connection has ended."""
        self._queue.append(Disconnect(code, reason))

    def receive(self, *, takes_messages: bool, repeats: bool) -> Message | None:
        """Return the endpoint's next ASGI message, or None if it has to wait.

        Args:
            takes_messages: whether the endpoint gets messages of the client.
            repeats: whether an endpoint that was told of the end is told once more.
        """
        if self._times_told:
            return self._tell(Disconnect(NO_CODE, "")) if repeats else None
        first = self._queue[0] if self._queue else None
        if isinstance(first, Disconnect):
            return self._tell(first)
        if first is None or not takes_messages:
            return None
        del self._queue[0]
        self._in_hand = first
        kind = "text" if type(first) is wire.DeliverText else "bytes"
        return {"type": "websocket.receive", kind: first.data}

    def acknowledge(self) -> None:
        """Acknowledge what the endpoint has in hand."""
        if self._in_hand is not None:
            self._outbox.acknowledge(self._in_hand)
            self._in_hand = None

    def acknowledge_all(self) -> None:
        """Acknowledge all that is here, whether the endpoint has received it or not."""
        self.acknowledge()
        for delivery in (*self._queue, self._close):
            if delivery is not None and not isinstance(delivery, Disconnect):
                self._outbox.acknowledge(delivery)
        self._queue.clear()
        self._close = None

    def _tell(self, disconnect: Disconnect) -> Message | None:
        self._times_told += 1
        if self._times_told > 2:
            return None
        code, reason = disconnect
        return {"type": "websocket.disconnect", "code": code, "reason": reason}


class EndpointOutbox:
    """Collects what leaves, in order.

    Args:
        serial: of the connection.
    """

    __slots__ = ("_actions", "_is_cut", "_messages", "_serial")

    def __init__(self, serial: int) -> None:
        self._serial = serial
        self._messages: list[Leaving] = []
        # What the endpoint has asked for behind the last of the messages.
        self._actions: list[wire.Action] = []
        self._is_cut = False

    def add(self, action: wire.Action) -> bool:
        """Take an action; return False if nothing leaves any more."""
        if not self._is_cut:
            self._actions.append(action)
        return not self._is_cut

    def acknowledge(self, delivery: wire.Delivery) -> None:
        """Acknowledge one delivery with the actions so far; deliveries of one turn together."""
        actions, self._actions = self._actions, []
        number, attempt, count = delivery.number, delivery.attempt, 1
        last = self._messages[-1] if self._messages else None
        if type(last) is wire.Ack and last.attempt == 1 and attempt == 1:
            del self._messages[-1]
            actions, count = last.actions + actions, last.count + 1
        self._messages.append(wire.Ack(self._serial, number, attempt, actions, count))

    def release(self) -> None:
        """Let another worker have the connection."""
        self._pack_actions()
        self._messages.append(wire.Release(self._serial))

    def take_actions(self) -> list[wire.Action]:
        """Return the actions, and forget them: they leave with the socket."""
        actions, self._actions = self._actions, []
        return actions

    def take(self) -> list[Leaving]:
        """Return all that leaves now, and forget it."""
        self._pack_actions()
        messages, self._messages = self._messages, []
        return [] if self._is_cut else messages

    def cut(self) -> None:
        """Let nothing leave any more: the keeper has no such connection."""
        self._is_cut = True
        self._actions.clear()

    def _pack_actions(self) -> None:
        if self._actions:
            self._messages.append(wire.Act(self._actions))
            self._actions = []


class EndpointData:
    """`data` of an endpoint, and whether it differs from what the keeper has.

    Args:
        extension: of the scope, whose "data" the endpoint may change.
        attachment: the encoded "data" that the keeper has.
        limit: bytes that the encoded "data" may have.
    """

    __slots__ = ("_attachment", "_extension", "_limit", "_original")

    def __init__(self, extension: dict[str, Any], attachment: bytes, limit: int) -> None:
        self._extension = extension
        self._attachment = attachment
        self._limit = limit
        self._original = extension["data"]

    def changed(self) -> bytes | None:
        """Return the encoded data if the keeper has other data, and else None.

        Raises:
            AttachmentError: the data cannot be kept.
        """
        data = self._extension["data"]
        if not data and not self._attachment and type(data) is dict:
            return None
        if type(data) is not dict:
            kind = type(data).__qualname__
            raise AttachmentError("data", f"is a {kind}; of an endpoint it is a dict")
        attachment = Attachment(self._attachment, self._original)
        attachment.value = data
        encoded = attachment.changed(encode_plain, self._limit)
        if encoded is not None:
            self._attachment = encoded
        return encoded
