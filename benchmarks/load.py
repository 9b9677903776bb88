"""A load generator: bare sockets, prebuilt frames, one thread. Loopback only.

It need not be fast: what is measured is the CPU time of the server per message.
"""

from __future__ import annotations

import os
import select
import socket
import sys
import time
from pathlib import Path

__all__ = ["echo", "idle"]

sys.path.insert(0, str(Path(__file__).parent.parent))

from tests.flow.raw import client_frame, handshake


def connect(port: int, path: str) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), 10)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.sendall(handshake(path))
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += connection.recv(1)
    if not head.startswith(b"HTTP/1.1 101 "):
        raise RuntimeError(f"no upgrade: {head!r}")
    return connection


def echo(port: int, *, connections: int, depth: int, size: int, seconds: float) -> int:
    """Keep `depth` messages in flight on each connection; return how many came back."""
    sockets = [connect(port, "/echo") for _ in range(connections)]
    burst = client_frame("x" * size) * depth
    expected = (size + 2) * depth  # a small frame from a server has a head of two bytes
    missing = {}
    poll = select.epoll()
    for each in sockets:
        poll.register(each.fileno(), select.EPOLLIN)
        missing[each.fileno()] = expected
        each.sendall(burst)
    count, until = 0, time.monotonic() + seconds
    while time.monotonic() < until:
        for fd, _ in poll.poll(1):
            missing[fd] -= len(os.read(fd, 65536))
            if not missing[fd]:
                missing[fd] = expected
                count += depth
                os.write(fd, burst)
    for each in sockets:
        each.close()
    return count


def idle(port: int, connections: int) -> list[socket.socket]:
    return [connect(port, "/echo") for _ in range(connections)]
