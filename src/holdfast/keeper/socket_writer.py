"""What is written to the clients' sockets: once per socket and turn.

Shell. Private. A part of `keeper/sockets.py`. What the kernel does not take waits here until the
descriptor is writable again. A client that lets more wait than `max_outbound` is dropped.
"""

from __future__ import annotations

import sys
from os import write
from typing import TYPE_CHECKING

from holdfast.framing.close_codes import POLICY_VIOLATION
from holdfast.framing.closing import ANSWERING, OPEN, Fact
from holdfast.framing.deflate import encode
from holdfast.framing.frames import encode_message

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable, Sequence

    from holdfast.config import KeeperLimits
    from holdfast.keeper.socket import Socket
    from holdfast.ledger.connection import Connection

SLOW_CONSUMER = "slow consumer"


class SocketWriter:
    """Writes to all clients of one keeper.

    Args:
        hits: counts by the name of a setting how often its limit made a difference.
        on_pressure: called with an attended connection and True when its client does not read what
            is written, with False when it does again.
    """

    def __init__(
        self,
        limits: KeeperLimits,
        hits: Counter[str],
        on_pressure: Callable[[Connection, bool], None],
    ) -> None:
        self._hits = hits
        self._on_pressure = on_pressure
        self._max_outbound = limits.max_outbound
        self._drops_messages = limits.slow_consumer == "drop"
        # Sockets with something to write at the end of this turn.
        self._dirty: list[Socket] = []
        # How many bytes wait for sockets whose kernel buffer is full.
        self._blocked: dict[Socket, int] = {}

    # --- messages -------------------------------------------------------------------------------

    def write(self, connection: Connection, data: str | bytes) -> None:
        """Write a message, unless the connection is closing."""
        sock: Socket | None = connection.socket
        if sock is None or (sock.stage is not OPEN and sock.stage is not ANSWERING):
            return
        frame = encode(data, sock.bits) if sock.bits else encode_message(data)
        if sock.outbound is None and not self._blocked:
            sock.outbound = frame
            self._dirty.append(sock)
        else:
            self.put(sock, frame)

    def write_many(self, connections: Sequence[Connection], data: str | bytes) -> None:
        """Write one message to many; it is encoded once."""
        plain = encode_message(data)
        compressed: dict[int, bytes] = {}
        for connection in connections:
            sock: Socket | None = connection.socket
            if sock is not None and (sock.stage is OPEN or sock.stage is ANSWERING):
                frame = plain
                if sock.bits:
                    if sock.bits not in compressed:
                        compressed[sock.bits] = encode(data, sock.bits)
                    frame = compressed[sock.bits]
                if self._drops_messages and self._is_full(sock, len(frame)):
                    self._hits["slow_consumer"] += 1
                else:
                    self.put(sock, frame)

    # --- bytes ----------------------------------------------------------------------------------

    def put(self, sock: Socket, data: bytes) -> None:
        """Have bytes written at the end of this turn, or as soon as the kernel takes them."""
        outbound = sock.outbound
        if outbound is None:
            sock.outbound = data
            self._dirty.append(sock)
        elif isinstance(outbound, list):
            outbound.append(data)
        else:
            sock.outbound = [outbound, data]
        if self._blocked and sock in self._blocked:
            self._grow(sock, len(data))

    def finish(self, sock: Socket) -> None:
        """Have WRITTEN told at the end of this turn, even if there is nothing to write."""
        if sock.outbound is None:
            self._dirty.append(sock)

    def flush(self) -> None:
        """Write what the turn produced: one call per socket."""
        dirty, self._dirty = self._dirty, []
        for sock in dirty:
            data = sock.outbound
            if type(data) is bytes and sock.stage is OPEN and not self._blocked:
                # By far the most common: one frame, for a client that reads.
                sock.outbound = None
                try:
                    written = write(sock.fd, data)
                except OSError as error:
                    written = _failed_write(sock, error)
                if written < len(data):
                    self._block(sock, data[written:])
            elif sock not in self._blocked:
                self._flush(sock)

    def resume(self, sock: Socket) -> None:
        """Write what waits: the kernel takes bytes of this socket again."""
        if self._blocked.pop(sock, None) is not None:
            self._flush(sock)
            sock.owner.watch(sock)
            if sock.connection.endpoint is not None and sock not in self._blocked:
                self._on_pressure(sock.connection, False)

    def is_blocked(self, sock: Socket) -> bool:
        """Return whether bytes wait until the kernel takes them."""
        return sock in self._blocked

    def waiting(self, sock: Socket) -> int:
        """Return how many bytes wait until the kernel takes them."""
        return self._blocked.get(sock, 0)

    def forget(self, sock: Socket) -> None:
        """Throw away what was to be written."""
        sock.outbound = None
        self._blocked.pop(sock, None)

    def _flush(self, sock: Socket) -> None:
        data = sock.outbound
        if data is not None:
            sock.outbound = None
            if isinstance(data, list):
                data = b"".join(data)
            try:
                written = write(sock.fd, data)
            except OSError as error:
                written = _failed_write(sock, error)
            if written < len(data):
                self._block(sock, data[written:])
                return
        if sock.stage is not OPEN:
            sock.owner.advance(sock, Fact.WRITTEN)

    def _block(self, sock: Socket, rest: bytes) -> None:
        sock.outbound = [rest]
        self._blocked[sock] = len(rest)
        sock.owner.watch(sock)
        if sock.connection.endpoint is not None:
            self._on_pressure(sock.connection, True)

    def _grow(self, sock: Socket, size: int) -> None:
        self._blocked[sock] += size
        if self._blocked[sock] > self._max_outbound:
            # The client must not cost the others their memory.
            self._hits["max_outbound"] += 1
            drop_slow_consumer(sock)
        elif sock.connection.endpoint is not None:
            # Said before, but perhaps to another worker than the one that has it now.
            self._on_pressure(sock.connection, True)

    def _is_full(self, sock: Socket, size: int) -> bool:
        return self._blocked.get(sock, 0) + size > self._max_outbound and sock in self._blocked


def drop_slow_consumer(sock: Socket) -> None:
    """Drop a client that reads more slowly than it is written to."""
    # A Close frame would wait behind what the client does not read.
    sock.owner.advance(sock, Fact.WE_DROP, POLICY_VIOLATION, SLOW_CONSUMER)


def _failed_write(sock: Socket, error: OSError) -> int:
    """Return how much was written: nothing, or, to a client that is gone, as good as all."""
    if isinstance(error, BlockingIOError):
        return 0
    sock.owner.advance(sock, Fact.PEER_GONE)
    return sys.maxsize
