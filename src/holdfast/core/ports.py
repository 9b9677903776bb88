"""The Protocols that outsiders implement: what the core needs from whoever runs it.

Pure: declarations only. A host (the worker process, an ASGI server, a Durable Object, the test
kit) implements `Host` and `Outbox`; the core calls them and nothing else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol, cast

from holdfast.web import host
from holdfast.web.host import BodyHost

if TYPE_CHECKING:
    from collections.abc import Coroutine, Sequence
    from contextvars import ContextVar
    from typing import Any


class Metadata(NamedTuple):
    """What a connection keeps beside its attachment."""

    url: str
    subprotocol: str | None
    channels: frozenset[str]


class Found(NamedTuple):
    """A connection as the runtime has it at one moment."""

    serial: int
    about: bytes
    attachment: bytes
    closed: bool


class Outbox(Protocol):
    """Takes what a listener asks for. The host decides what becomes of it.

    An event has an outbox of its own, which collects until it is sealed; from then on what is put
    in leaves at once. So a handle that outlives its event still works. Entries keep their order.

    A connection is named by its serial, the integer behind its id. Arguments were checked by the
    caller.
    """

    @property
    def host(self) -> Host:
        """Whose outbox it is."""

    @property
    def is_sealed(self) -> bool:
        """True when the event's listeners have returned."""

    def send(self, connection: int, data: str | bytes) -> None: ...
    def close(self, connection: int, code: int, reason: str) -> None: ...
    def attach(self, connection: int, attachment: bytes) -> None: ...
    def subscribe(self, connection: int, channel: str) -> None: ...
    def unsubscribe(self, connection: int, channel: str) -> None: ...
    def publish(self, channel: str, data: str | bytes, poster: int, exclude: int) -> None:
        """Publish text or bytes.

        Args:
            poster: the number of the BroadcastChannel in this process that shall not hear it, or 0.
            exclude: the serial of a connection that shall not get it, or 0.
        """

    def publish_json(self, channel: str, data: str, poster: int, exclude: int) -> None:
        """Publish JSON text, which channels hand to their listeners parsed."""


class Waiter(Protocol):
    """Something to await until another part of the program says so; an event loop's future."""

    def done(self) -> bool: ...
    def set_result(self, result: None, /) -> None: ...
    def __await__(self) -> Any: ...


class Host(BodyHost, Protocol):
    """What runs the core."""

    @property
    def attachment_limit(self) -> int:
        """Bytes an encoded attachment may have."""

    @property
    def is_leaving(self) -> bool:
        """True from when the host takes nothing new: what has no end by itself should end."""

    # --- events ---------------------------------------------------------------------------------

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run `work` beside the event; a draining host waits for it."""

    def new_waiter(self) -> Waiter:
        """Return something to await until its `set_result` is called."""

    def new_outbox(self) -> Outbox:
        """Return an empty outbox for one event."""

    def commit(self, outbox: Outbox) -> None:
        """Seal the outbox of an event whose listeners have returned; let its actions go."""

    def discard(self, outbox: Outbox) -> None:
        """Seal the outbox of an event that has failed; forget its actions."""

    async def flush(self, outbox: Outbox) -> None:
        """Let go what the outbox holds before its event has ended, and empty it."""

    def report(self, what: str, error: BaseException) -> None:
        """A listener, or work it left behind, raised: log it. `what` begins the sentence."""

    # --- connections ----------------------------------------------------------------------------

    def new_serial(self) -> int:
        """Return a connection serial that was never used before."""

    def connection_id(self, serial: int) -> str:
        """Return the opaque token that names the connection to applications."""

    def serial(self, connection_id: str) -> int | None:
        """Return the serial behind a token, or None if it was not made here."""

    def about(self, encoded: bytes) -> Metadata:
        """Decode what a delivery carries about its connection."""

    def encode(self, value: object) -> bytes:
        """Encode plain data; raise TypeError, ValueError or OverflowError if it is not plain."""

    def decode(self, encoded: bytes) -> Any:
        """Decode what `encode` made."""

    async def search(self, channel: str | None, limit: int) -> list[int]:
        """Return the serials of connections, oldest first.

        Args:
            channel: only those that are subscribed to it.
            limit: at most so many; 0 for all.
        """

    async def look_up(self, serials: Sequence[int]) -> list[Found]:
        """Return what is known of these connections, without those that are gone."""

    # --- channels -------------------------------------------------------------------------------

    def listen(self, channel: str) -> None:
        """Have publications on the channel delivered to this process (`core/channel.py`)."""

    def unlisten(self, channel: str) -> None:
        """Undo `listen`."""


# The outbox of the event that runs in this context, which a BroadcastChannel made at module level
# needs to post. It is one variable with that of `web`, which knows less of an outbox.
current_outbox = cast("ContextVar[Outbox]", host.current_outbox)
