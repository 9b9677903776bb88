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

__all__ = ["connect", "echo", "http", "idle"]

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


def http(port: int, *, connections: int, seconds: float) -> int:
    """Ask for "/" again and again on connections that are kept alive; return how often."""
    request = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    poll = select.epoll()
    sockets = []
    size = 0
    for _ in range(connections):
        each = socket.create_connection(("127.0.0.1", port), 10)
        each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        each.sendall(request)
        # One after the other: the worker that is awake would accept them all. How much comes back
        # is always the same.
        size = _response_size(each)
        poll.register(each.fileno(), select.EPOLLIN)
        sockets.append(each)
    missing = {}
    for each in sockets:
        missing[each.fileno()] = size
        each.sendall(request)
    count, until = 0, time.monotonic() + seconds
    while time.monotonic() < until or not count:
        for fd, _ in poll.poll(1):
            data = os.read(fd, 65536)
            if not data:
                raise ConnectionResetError("the server closed the connection")
            missing[fd] -= len(data)
            if missing[fd] <= 0:
                missing[fd] += size
                count += 1
                os.write(fd, request)
    for each in sockets:
        each.close()
    return count


def _response_size(connection: socket.socket) -> int:
    """Receive one response; return its length."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += connection.recv(65536)
    head, _, body = data.partition(b"\r\n\r\n")
    (length,) = [
        int(line.partition(b":")[2])
        for line in head.split(b"\r\n")
        if line.lower().startswith(b"content-length:")
    ]
    while len(body) < length:
        body += connection.recv(65536)
    return len(head) + len(b"\r\n\r\n") + len(body)
