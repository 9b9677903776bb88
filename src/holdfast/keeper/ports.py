"""What the switchboard joins: worker links and clients' sockets, whatever they are made of.

In the keeper process they are descriptors (`keeper/link.py`, `keeper/sockets.py`); where
keeper and worker share a process, or the sockets belong to somebody else, they are not (`direct/`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Iterable, Sequence
    from typing import Any

    import msgspec

    from holdfast.ledger.connection import Connection
    from holdfast.ledger.worker_pool import Worker
    from holdfast.wire import messages as wire


class KeeperLink(Protocol):
    """The keeper's end of what joins it to one worker."""

    worker: int
    ready: Worker | None
    """What the ledger knows it as, once its application is loaded; set by the switchboard."""
    is_open: bool

    @property
    def has_output(self) -> bool: ...
    def send(self, message: msgspec.Struct) -> None:
        """Have the message sent with the end of this turn."""

    def send_all(self, messages: Sequence[msgspec.Struct]) -> None: ...
    def send_if_room(self, publication: wire.Publish) -> None:
        """Like `send`, but drop it if the worker does not keep up."""

    def flush(self) -> None:
        """Send what the turn produced."""

    def take_socket(self, serial: int) -> Any:
        """Return the socket that the worker gave for `serial`, or None if it gave none.

        What a socket is, only those who give it and `ClientSockets` know.
        """

    def is_stuck(self, now: float, patience: float) -> bool:
        """Tell whether a batch has been coming for `patience` seconds, and nothing more of it."""

    def cut(self) -> None:
        """Nothing more comes from this worker."""


class ClientSockets(Protocol):
    """All clients' sockets. What the commands of the ledger produce leaves with `flush`."""

    hits: Counter[str]
    """How often a limit made a difference, by the name of its setting."""
    received: int
    """Bytes that came in large reads; what it grows by may have to be looked at."""

    def adopt(
        self,
        given: Any,
        /,
        connection: Connection,
        response: bytes,
        leftover: bytes,
        *,
        address_key: str,
        bits: int,
    ) -> None:
        """Own a socket that a worker gave, and answer its handshake."""

    def refuse(self, given: Any, status: int, /) -> None:
        """Answer the handshake of a socket that a worker gave with an error, and let go of it."""

    def evict(self, sockets: Iterable[Any], enough: int) -> int:
        """Close those that hold most memory; return how many were closed."""

    def write(self, connection: Connection, data: str | bytes) -> None: ...
    def write_many(self, connections: Sequence[Connection], data: str | bytes) -> None: ...
    def close(self, connection: Connection, code: int, reason: str) -> None: ...
    def end(self, connection: Connection) -> None:
        """Fail a connection whose client has broken the protocol some time ago."""

    def pause_reading(self, connection: Connection) -> None: ...
    def resume_reading(self, connection: Connection) -> None: ...
    def flush(self) -> None: ...
    def tick(self, now: float) -> None: ...
