"""The Protocols that outsiders implement: what the core needs from whoever runs it.

Pure: declarations only. A host (the worker process, an ASGI server, a Durable Object, the test
kit) implements `Host` and `Outbox`; the core calls them and nothing else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from typing import Any

__all__ = ["About", "CommittingHost", "Host", "Outbox"]


class About(NamedTuple):
    """What a connection keeps beside its attachment."""

    url: str
    subprotocol: str | None
    channels: frozenset[str]


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
    def publish(self, channel: str, data: str | bytes) -> None: ...


class Host(Protocol):
    """What runs the core."""

    @property
    def attachment_limit(self) -> int:
        """Bytes an encoded attachment may have."""

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run `work` beside the event; a draining host waits for it."""

    def new_serial(self) -> int:
        """Return a connection serial that was never used before."""

    def connection_id(self, serial: int) -> str:
        """Return the opaque token that names the connection to applications."""

    def about(self, encoded: bytes) -> About:
        """Decode what a delivery carries about its connection."""

    def encode(self, value: object) -> bytes:
        """Encode plain data; raise TypeError, ValueError or OverflowError if it is not plain."""

    def decode(self, encoded: bytes) -> Any:
        """Decode what `encode` made."""

    async def flush(self, outbox: Outbox) -> None:
        """Let go what the outbox holds before its event has ended, and empty it."""


class CommittingHost(Host, Protocol):
    """A host that lets events of its own end in a commit: requests, lifecycle events, errors."""

    def new_outbox(self) -> Outbox:
        """Return an empty outbox for one event."""

    def commit(self, outbox: Outbox) -> None:
        """Seal the outbox of an event whose listeners have returned; let its actions go."""

    def discard(self, outbox: Outbox) -> None:
        """Seal the outbox of an event that has failed; forget its actions."""
