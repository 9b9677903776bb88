"""BroadcastChannel as applications see it.

Pure. What is posted goes into the outbox of the event that runs, or leaves at once outside one.
What others post is told to `core/channels.py:Channels.deliver` by the host; each channel object
hands it to its listeners, one message after the other, and to whoever iterates over it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

from holdfast.core.channels import Inbound, channels
from holdfast.core.connection import Connection, check_channel, check_message
from holdfast.core.dispatch import check_event_type, dispatch, with_listener, without_listener
from holdfast.core.events import ExtendableEvent
from holdfast.core.ports import current_outbox
from holdfast.errors import ChannelClosed, NotInsideHoldfast
from holdfast.web.json import check_json, to_json

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from holdfast.core.dispatch import Row
    from holdfast.core.ports import Host, Outbox

# Messages that may wait for a listener or an iteration. More than a burst; what is slower than
# its channel for longer shall notice, not eat the memory.
MAX_QUEUE = 1024


class MessageEvent(ExtendableEvent):
    """Somebody else posted on a BroadcastChannel (HTML Standard, MessageEvent).

    Attributes:
        channel: the channel object that listened.
        data: text as str, bytes as bytes; other plain data as a copy of its own per channel
            object.
    """

    __slots__ = ("channel", "data")
    type = "message"

    channel: BroadcastChannel
    data: Any

    def __init__(self, outbox: Outbox, channel: BroadcastChannel, data: Any) -> None:
        super().__init__(outbox)
        self.channel = channel
        self.data = data


class GapEvent(ExtendableEvent):
    """A BroadcastChannel has lost messages: its listeners were slower than they came.

    Attributes:
        channel: the channel object that listened.
        lost: how many, since the last message or gap event.
    """

    __slots__ = ("channel", "lost")
    type = "gap"

    channel: BroadcastChannel
    lost: int

    def __init__(self, outbox: Outbox, channel: BroadcastChannel, lost: int) -> None:
        super().__init__(outbox)
        self.channel = channel
        self.lost = lost


OnMessage = TypeVar("OnMessage", bound=Callable[[MessageEvent], object])
OnGap = TypeVar("OnGap", bound=Callable[[GapEvent], object])
L = TypeVar("L", bound=Callable[..., object])


class BroadcastChannel:
    """A name to publish and to listen on (HTML Standard, BroadcastChannel).

    Args:
        name: any text that is not empty; connections subscribe to it with
            `connection.subscribe(name)`.
        max_queue: how many messages may wait for a slow listener or iteration; when it is full,
            the oldest gives way and the `gap` event tells, or the iteration raises.

    Publications are at most once. Messages of clients are at least once, with effects that are
    exactly once. Order per publisher and channel is kept.

    An object that only posts costs nothing and need not be closed: make one wherever you post. One
    that has a listener listens until it is closed, even if nobody holds it any more: make it at
    module level and keep it, or have `with BroadcastChannel(name) as channel:` close it.

    Raises:
        TypeError, ValueError: the name cannot be one, or `max_queue` is no int of at least 1.
    """

    def __init__(self, name: str, *, max_queue: int = MAX_QUEUE) -> None:
        self._name = check_channel(name)
        if type(max_queue) is not int:
            raise TypeError(f"max_queue is an int, not {type(max_queue).__qualname__}")
        if max_queue < 1:
            raise ValueError(f"max_queue is at least 1, not {max_queue}")
        self._max_queue = max_queue
        self._listeners: dict[str, Row] = {"message": (), "gap": ()}
        # For the listeners, while there are any; and one more per iteration.
        self._inbound: Inbound | None = None
        self._iterations: list[Inbound] = []
        self._running_at: Host | None = None
        self._is_closed = False
        self.number = 0
        """For `Channels`: names this object in its process, once it has listened."""

    def __repr__(self) -> str:
        return f"{'closed ' if self._is_closed else ''}BroadcastChannel({self._name!r})"

    def __enter__(self) -> BroadcastChannel:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def name(self) -> str:
        """What connections and other channel objects know it by."""
        return self._name

    @property
    def closed(self) -> bool:
        """True after `close`."""
        return self._is_closed

    def post_message(
        self, message: str | bytes | Any, *, exclude: Connection | None = None
    ) -> None:
        """Publish to all subscribed connections and all other channel objects of this name.

        Text and bytes go out as they are. Other plain data (what JSON carries) goes to connections
        as JSON text, and to channel objects, in all workers, as a copy. This object does not hear
        it. Inside an event it leaves when the event commits, and never if the listener raises.

        Args:
            message: str, bytes (bytearray, memoryview), or what JSON carries: None, bool, int,
                float, str, list, tuple, and dict with keys that are str; 64 levels deep at most.
            exclude: a connection that shall not get it, usually the one it came from.

        Raises:
            TypeError, ValueError: the message cannot be carried.
            ChannelClosed: after `close`.
            NotInsideHoldfast: no event is being dispatched in this context.
        """
        if self._is_closed:
            raise ChannelClosed(self._name)
        if exclude is not None and not isinstance(exclude, Connection):
            raise TypeError(f"exclude is a Connection, not {type(exclude).__qualname__}")
        excluded = 0 if exclude is None else exclude.serial
        if isinstance(message, str | bytes | bytearray | memoryview):
            data = check_message(message)
            _outbox("BroadcastChannel.post_message").publish(
                self._name, data, self.number, excluded
            )
        else:
            check_json(message, "the message")
            text = str(check_message(to_json(message)))
            _outbox("BroadcastChannel.post_message").publish_json(
                self._name, text, self.number, excluded
            )

    @overload
    def on(self, type: Literal["message"]) -> Callable[[OnMessage], OnMessage]: ...
    @overload
    def on(self, type: Literal["gap"]) -> Callable[[OnGap], OnGap]: ...
    def on(self, type: str) -> object:
        """Register the decorated function; see `add_event_listener`."""
        # Now, not when it decorates: `@channel.on` without a type would register nothing.
        self._row(type)

        def register(listener: L) -> L:
            self.add_event_listener(type, listener)
            return listener

        return register

    def add_event_listener(self, type: str, listener: object) -> None:
        """Have `listener` called with what others post. Registering it again changes nothing.

        The listeners of a channel object get one message after the other. Each worker has channel
        objects of its own: with four workers, a listener at module level runs four times.

        Args:
            type: "message" (see `MessageEvent`), or "gap" (see `GapEvent`).
            listener: a function of the event, or an object with a `handle_event` method.

        Raises:
            ValueError: there is no such event.
            TypeError: the type is no str, or the listener cannot be called.
            ChannelClosed: after `close`.
        """
        row = self._row(type)
        if self._is_closed:
            raise ChannelClosed(self._name)
        self._listeners[type] = with_listener(row, listener)
        if type == "message" and self._inbound is None:
            self._inbound = Inbound(self._max_queue)
            channels.add(self)

    def remove_event_listener(self, type: str, listener: object) -> None:
        """Undo `add_event_listener`. A listener that is not registered is no error.

        Raises:
            ValueError: there is no such event.
        """
        self._listeners[type] = without_listener(self._row(type), listener)
        if not self._listeners["message"]:
            self._inbound = None
            self._leave_if_deaf()

    def __aiter__(self) -> AsyncGenerator[Any, None]:
        """Iterate over what others post from now on: `async for message in channel`.

        Ends when the channel is closed. Where no listener is kept waiting by it (in a streamed
        body, in `wait_until` work), it also ends when its worker is being replaced.

        Raises:
            ChannelClosed: after `close`.
            MessagesLost: more than `max_queue` came while the loop did something else.
            NotInsideHoldfast: no event is being dispatched in this context.
        """
        if self._is_closed:
            raise ChannelClosed(self._name)
        inbound = Inbound(self._max_queue, _outbox("iterating over a BroadcastChannel"))
        # Here, not in the generator: what is posted before its first step counts too.
        self._iterations.append(inbound)
        channels.add(self)
        return self._iterate(inbound)

    def close(self) -> None:
        """Listen no more. What has arrived by now is still handed out. Again does nothing."""
        self._is_closed = True
        for iteration in self._iterations:
            iteration.end()
        channels.remove(self)

    # --- for Channels ---------------------------------------------------------------------------

    def receive(self, host: Host, message: Any) -> None:
        """For `Channels`: somebody else posted `message`."""
        for iteration in self._iterations:
            iteration.put(message)
        if self._inbound is not None:
            self._inbound.put(message)
            self._start(host)

    def lose(self, host: Host, count: int) -> None:
        """For `Channels`: `count` messages, here or elsewhere, never reached this process."""
        for iteration in self._iterations:
            iteration.lose(count)
        if self._inbound is not None:
            self._inbound.lose(count)
            self._start(host)

    def wake_iterations(self) -> None:
        """For `Channels`: have iterations look whether their worker leaves."""
        for iteration in self._iterations:
            iteration.wake()

    # --- handing out ----------------------------------------------------------------------------

    async def _iterate(self, inbound: Inbound) -> AsyncGenerator[Any, None]:
        try:
            while await inbound.has_more():
                yield inbound.take()
        finally:
            self._iterations.remove(inbound)
            self._leave_if_deaf()

    def _start(self, host: Host) -> None:
        # A host that is gone may have taken its work with it, begun or not.
        if self._running_at is not host:
            self._running_at = host
            host.spawn(self._run(host))

    async def _run(self, host: Host) -> None:
        """Dispatch what waits, one event after the other."""
        try:
            while (inbound := self._inbound) is not None:
                if inbound.lost:
                    lost, inbound.lost = inbound.lost, 0
                    await self._dispatch(host, GapEvent, lost)
                elif inbound.messages:
                    await self._dispatch(host, MessageEvent, inbound.take())
                else:
                    return
        finally:
            if self._running_at is host:
                self._running_at = None

    async def _dispatch(
        self, host: Host, kind: type[MessageEvent] | type[GapEvent], content: Any
    ) -> None:
        outbox = host.new_outbox()
        current_outbox.set(outbox)
        failure = await dispatch(kind(outbox, self, content), self._listeners[kind.type])
        if failure is None:
            host.commit(outbox)
        else:
            host.discard(outbox)
            host.report(f"a {kind.type} listener of {self!r}", failure.error)

    def _row(self, type: str) -> Row:
        check_event_type(type)
        row = self._listeners.get(type)
        if row is None:
            raise ValueError(f"there is no event {type!r} of a channel; there are message and gap")
        return row

    def _leave_if_deaf(self) -> None:
        if self._inbound is None and not self._iterations:
            channels.remove(self)


def _outbox(what: str) -> Outbox:
    outbox = current_outbox.get(None)
    if outbox is None:
        raise NotInsideHoldfast(what)
    return outbox
