"""The functional events: what listeners receive.

Pure. Rules, in the order they are checked:

1. An event can be answered once: the first response, upgrade, acceptance or rejection counts,
   a second one raises AlreadyDecided.
2. A request can be upgraded only if it asked for it, else NotAnUpgradeRequest.
3. An event is open while a listener runs (an async listener runs until it returns) and while
   `wait_until` work is pending. After that it has settled, and its methods raise EventSettled.

Answers (respond, upgrade, accept, reject) are possible only while a listener runs.
"""

from __future__ import annotations

from inspect import isawaitable
from typing import TYPE_CHECKING, ClassVar

from holdfast.core.connection import Connection
from holdfast.errors import EventSettled
from holdfast.framing.close_codes import VANISHED
from holdfast.web.json import parse_json

if TYPE_CHECKING:
    from collections.abc import Awaitable, Coroutine
    from typing import Any

    from holdfast.core.ports import Metadata, Outbox


class ExtendableEvent:
    """Base of all events (Service Workers, ExtendableEvent). `wait_until` extends its life."""

    __slots__ = ("_extension", "_outbox")

    type: ClassVar[str]
    """The name that listeners are registered for, as "fetch"."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self._extension: _Extension | None = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {'settled' if self.is_settled else 'open'}>"

    @property
    def is_settled(self) -> bool:
        """True when no listener runs and nothing passed to `wait_until` is pending."""
        extension = self._extension
        return self._outbox.is_sealed and (extension is None or not extension.pending)

    def wait_until(self, work: Awaitable[object]) -> None:
        """Keep the event open until `work` is done, without delaying the next event.

        The work starts at once. What it sends through a connection after the listeners have
        returned leaves at once. A worker that is replaced waits for it, up to its drain timeout.
        It is done at most once, and what it changes in a connection's `data` is not kept.

        Args:
            work: a coroutine, a task, or anything else to await. What it raises is logged; in
                install, activate and startup it fails the start of the worker.

        Raises:
            EventSettled: the event is over.
            TypeError: `work` is not awaitable.
        """
        if not isawaitable(work):
            raise TypeError(f"wait_until takes an awaitable, not {type(work).__qualname__}")
        if self.is_settled:
            discard(work)
            raise EventSettled(self.type)
        if self._extension is None:
            self._extension = _Extension()
        self._outbox.host.spawn(self._extension.run(work))

    @property
    def failures(self) -> list[Exception]:
        """For hosts: what `wait_until` work raised so far."""
        return [] if self._extension is None else self._extension.failures

    def _check_open(self) -> None:
        if self._outbox.is_sealed:
            raise EventSettled(self.type)


class _Extension:
    """What `wait_until` was given; made by the first call, for most events never."""

    __slots__ = ("failures", "pending")

    def __init__(self) -> None:
        self.pending = 0
        self.failures: list[Exception] = []

    def run(self, work: Awaitable[object]) -> Coroutine[Any, Any, None]:
        # Counted now, not when the coroutine is first stepped.
        self.pending += 1
        return self._run(work)

    async def _run(self, work: Awaitable[object]) -> None:
        try:
            await work
        except Exception as error:
            self.failures.append(error)
            raise
        finally:
            self.pending -= 1


class InstallEvent(ExtendableEvent):
    """Once per generation, before it serves: prepare what the new code needs.

    In its first worker. If a listener raises, or it takes longer than 30 s with its `wait_until`
    work, the generation is given up and the one before it goes on (Service Workers, InstallEvent).
    """

    __slots__ = ()
    type = "install"


class ActivateEvent(ExtendableEvent):
    """Once per generation, after install: take over.

    In the same worker, under the same conditions.
    """

    __slots__ = ()
    type = "activate"


class StartupEvent(ExtendableEvent):
    """Once per worker process, before it serves: open pools here.

    If a listener raises, or it takes longer than 30 s with its `wait_until` work, the worker does
    not serve.
    """

    __slots__ = ()
    type = "startup"


class ShutdownEvent(ExtendableEvent):
    """Once per worker process, after it has drained: close pools here."""

    __slots__ = ()
    type = "shutdown"


class ErrorEvent(ExtendableEvent):
    """A listener of another event raised. For reporting; it does not change the outcome.

    Attributes:
        error: what was raised.
        event: the event whose listener it was.
    """

    __slots__ = ("error", "event")
    type = "error"

    error: BaseException
    event: ExtendableEvent

    def __init__(self, outbox: Outbox, error: BaseException, event: ExtendableEvent) -> None:
        super().__init__(outbox)
        self.error = error
        self.event = event


class WebSocketMessageEvent(ExtendableEvent):
    """One complete message of a connection, delivered at least once.

    What its listeners ask for through holdfast happens exactly once: when they have returned, or,
    if one of them raises, not at all. The next message of the connection waits until then.

    Attributes:
        source: the connection it came from.
        data: text as str, binary as bytes (RFC 6455 section 5.6).
        number: counts the deliveries of this connection, from 1.
        attempt: 1, or more when an earlier worker was lost before it acknowledged this message.
    """

    __slots__ = ("attempt", "data", "number", "source")
    type = "websocketmessage"

    source: Connection
    data: str | bytes
    number: int
    attempt: int

    # What a delivery carries. Written out, not through super(): made once per message.
    def __init__(
        self,
        outbox: Outbox,
        serial: int,
        about: bytes | Metadata,
        attachment: bytes,
        data: str | bytes,
        number: int,
        attempt: int,
    ) -> None:
        self._outbox = outbox
        self._extension = None
        self.source = Connection(outbox, serial, about, attachment, False)
        self.data = data
        self.number = number
        self.attempt = attempt

    @property
    def id(self) -> str:
        """The same on each attempt: an idempotency key for effects outside holdfast.

        No other event ever has it, not even after a restart of the server or on another one.
        """
        return f"{self.source.id}-{self.number}"

    def json(self) -> Any:
        """Parse the data as JSON.

        Raises:
            ValueError: it is not JSON.
        """
        return parse_json(self.data)

    async def flush(self) -> None:
        """Send now what was collected so far, instead of when the listeners have returned.

        For listeners that stream. What was flushed may be sent again if the worker is lost before
        the listener returns; `attempt` tells. Changes of `data` are kept with it.

        Raises:
            EventSettled: no listener runs any more.
            AttachmentError: the changed `data` cannot be kept.
        """
        self._check_open()
        self.source.commit()
        await self._outbox.host.flush(self._outbox)


class WebSocketCloseEvent(ExtendableEvent):
    """A connection has closed. Exactly once per accepted connection, after all its messages.

    Until its listeners have returned, `app.clients` still finds the connection.

    Attributes:
        source: the connection that has closed: `data` and `url` are at hand, methods do nothing.
        code: as received; 1005 if the peer gave none, 1006 if it vanished (RFC 6455 section 7.1.5).
        reason: as received, often empty (RFC 6455 section 7.1.6).
        was_clean: False only for 1006.
        number: one more than that of the connection's last message.
        attempt: 1, or more when an earlier worker was lost before it acknowledged this event.
    """

    __slots__ = ("attempt", "code", "number", "reason", "source", "was_clean")
    type = "websocketclose"

    source: Connection
    code: int
    reason: str
    was_clean: bool
    number: int
    attempt: int

    def __init__(
        self,
        outbox: Outbox,
        serial: int,
        about: bytes | Metadata,
        attachment: bytes,
        code: int,
        reason: str,
        number: int,
        attempt: int,
    ) -> None:
        super().__init__(outbox)
        self.source = Connection(outbox, serial, about, attachment, closed=True)
        self.code = code
        self.reason = reason
        self.was_clean = code != VANISHED
        self.number = number
        self.attempt = attempt

    @property
    def id(self) -> str:
        """The same on each attempt: an idempotency key for effects outside holdfast.

        No other event ever has it, not even after a restart of the server or on another one.
        """
        return f"{self.source.id}-{self.number}"


def discard(work: object) -> None:
    """Close a coroutine that will never run, or Python warns about it far from the cause."""
    close = getattr(work, "close", None)
    if isawaitable(work) and close is not None:
        close()
