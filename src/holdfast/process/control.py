"""The control link: one packet per message, with file descriptors where needed.

Shell. Private. A Unix SOCK_SEQPACKET socket pair: packets keep their bounds, descriptors stay with
their packet, and the end of either process is seen at once.
"""

from __future__ import annotations

import logging
import os
import socket
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from holdfast.errors import BrokenWire
from holdfast.wire.control import ControlDecoder, encode_control

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from msgspec import Struct

log = logging.getLogger("holdfast.links")

T = TypeVar("T")

# A traceback is the longest thing that travels here, and its sender cuts it well below this.
MAX_PACKET = 128 * 1024  # bytes
MAX_DESCRIPTORS = 8


class Watcher(Protocol):
    """What tells when a descriptor is ready: any asyncio event loop, or the keeper's poller."""

    def add_reader(self, fd: int, callback: Callable[[], None], /) -> object: ...
    def remove_reader(self, fd: int, /) -> object: ...
    def add_writer(self, fd: int, callback: Callable[[], None], /) -> object: ...
    def remove_writer(self, fd: int, /) -> object: ...


class ControlLink(Generic[T]):
    """One end of a control link.

    Args:
        end: the socket; owned from here on.
        messages: the union of what may come.
        watcher: tells when the socket is ready.
        on_message: called with each message and the descriptors that came with it.
        on_lost: called once when the other end is gone.
    """

    def __init__(
        self,
        end: socket.socket,
        messages: object,
        watcher: Watcher,
        *,
        on_message: Callable[[T, list[int]], None],
        on_lost: Callable[[], None],
    ) -> None:
        self._end = end
        self._end.setblocking(False)
        self._decoder: ControlDecoder[T] = ControlDecoder(messages)
        self._watcher = watcher
        self._on_message = on_message
        self._on_lost = on_lost
        self._unsent: list[tuple[bytes, list[int]]] = []
        watcher.add_reader(end.fileno(), self._read)

    def send(self, message: Struct, fds: Sequence[int] = ()) -> None:
        """Send a message, with copies of `fds`; the caller may close its own at once.

        A link that is lost swallows it; `on_lost` tells.
        """
        if self._end.fileno() < 0:
            return
        self._unsent.append((encode_control(message), [os.dup(fd) for fd in fds]))
        if len(self._unsent) == 1:
            self._write()

    def close(self) -> None:
        if self._end.fileno() >= 0:
            self._watcher.remove_reader(self._end.fileno())
            self._watcher.remove_writer(self._end.fileno())
            self._end.close()
        for _, fds in self._unsent:
            _close_all(fds)
        self._unsent.clear()

    def _read(self) -> None:
        try:
            packet, fds, _, _ = socket.recv_fds(self._end, MAX_PACKET, MAX_DESCRIPTORS)
        except BlockingIOError:
            return
        except OSError:
            packet, fds = b"", []
        if not packet:
            self.close()
            self._on_lost()
            return
        try:
            message = self._decoder.decode(packet)
        except BrokenWire as error:
            log.error("ignored a packet on a control link: %s", error)
            return
        self._on_message(message, fds)

    def _write(self) -> None:
        while self._unsent and self._end.fileno() >= 0:
            packet, fds = self._unsent[0]
            try:
                socket.send_fds(self._end, [packet], fds)
            except BlockingIOError:
                self._watcher.add_writer(self._end.fileno(), self._write)
                return
            except OSError:
                pass  # The other end is gone; reading will tell.
            _close_all(fds)
            del self._unsent[0]
        if self._end.fileno() >= 0:
            self._watcher.remove_writer(self._end.fileno())


def control_pair() -> tuple[socket.socket, socket.socket]:
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def _close_all(fds: Sequence[int]) -> None:
    for fd in fds:
        os.close(fd)
