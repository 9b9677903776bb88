#!/usr/bin/env python3
"""The hostile clients of `benchmarks/hostile`, one class per kind.

A process with many of them, of low priority. Each client lives its life, from connecting to
whatever ends it, then comes back. When a line comes from standard input, all of them freeze: they
do nothing any more, and keep their sockets open. When it ends, the process tells, as JSON, what
became of them.
"""

from __future__ import annotations

import asyncio
import json
import random
import socket
import struct
import sys
import zlib
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import uvloop

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.well_behaved import set_priority

from tests.flow.raw import BINARY, CLOSE, PING, PONG, TEXT, client_frame, handshake

if TYPE_CHECKING:
    from collections.abc import Awaitable

__all__ = ["KINDS"]

KIB, MIB = 1024, 1024 * 1024
CONTINUATION = 0
DEFLATE = "Sec-WebSocket-Extensions: permessage-deflate"

SEND_BUFFER = 64 * KIB
MAX_SEGMENT = 1400

# What nobody may be sent.
SECRETS = (b"Traceback (most", b'File "')

# linux/tcp.h: a socket of 127.0.0.0/8 need not have a port of its own before it is connected.
IP_BIND_ADDRESS_NO_PORT = 24
TCP_CLOSE, TCP_CLOSE_WAIT = 7, 8  # include/net/tcp_states.h


def frame(first: int, payload: bytes = b"", *, length: int | None = None) -> bytes:
    """One frame, masked with nothing: cheap to make.

    Args:
        first: the first byte, with FIN and RSV bits.
        length: what the header says; None for the truth.
    """
    size = len(payload) if length is None else length
    if size < 126:
        head = bytes((first, 0x80 | size))
    elif size < 65536:
        head = bytes((first, 0xFE)) + size.to_bytes(2, "big")
    else:
        head = bytes((first, 0xFF)) + size.to_bytes(8, "big")
    return head + bytes(4) + payload


def deflated(size: int) -> bytes:
    """Return a message of so many zeros, compressed about a thousand times."""
    compressor = zlib.compressobj(9, zlib.DEFLATED, -15)
    pieces = [compressor.compress(bytes(MIB)) for _ in range(size // MIB)]
    pieces += [compressor.compress(bytes(size % MIB)), compressor.flush(zlib.Z_SYNC_FLUSH)]
    return b"".join(pieces)[:-4]


def repeated(frames: bytes, size: int = 64 * KIB) -> bytes:
    return frames * (size // len(frames))


class Refused(Exception):
    """The server answered a handshake with something else than 101."""


class World:
    """What all clients of this process share."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.is_frozen = False
        self.outcomes: Counter[tuple[str, str]] = Counter()
        self.secrets: list[str] = []
        self.waste = bytearray(256 * KIB)
        self.open: set[Client] = set()


class Client:
    """One hostile client. `act` is one life; `live` is one after the other."""

    # SO_RCVBUF, for those who do not read; 0 for what the system gives.
    buffer: ClassVar[int] = 0

    # Seconds between two lives, on average.
    pause: ClassVar[float] = 1.0

    def __init__(self, world: World, number: int) -> None:
        self.world = world
        self.number = number
        self.loop = asyncio.get_running_loop()
        self.random = random.Random(number)
        self.socket: socket.socket  # of this life
        self.lives = 0

    async def act(self) -> None:
        """Do what this kind does; return or raise when it is over."""
        raise NotImplementedError

    async def live(self) -> None:
        while True:
            outcome = "left"
            self.socket = socket.socket()
            try:
                await self.act()
            except EOFError:
                outcome = "closed by the server"
            except Refused as error:
                outcome = str(error)
            except OSError as error:
                outcome = type(error).__name__
            finally:
                # Frozen in the middle of it, it keeps its socket.
                if not self.world.is_frozen:
                    self.world.open.discard(self)
                    self.socket.close()
            self.lives += 1
            self.world.outcomes[type(self).__name__, outcome] += 1
            await asyncio.sleep(self.pause * self.random.uniform(0.5, 1.5))

    # --- what they have in common ---------------------------------------------------------------

    async def connect(self) -> None:
        self.world.open.add(self)
        self.socket.setblocking(False)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self.buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self.buffer)
            # As on a network: packets of 64 KiB would have the kernel keep megabytes for it.
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, MAX_SEGMENT)
        # The kernel's memory is one on this machine; what it keeps for hostile clients to send
        # would be on theirs.
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
        # An address of its own: one has not enough ports for all who come and go.
        self.socket.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
        self.socket.bind((f"127.1.{self.number // 250}.{self.number % 250 + 1}", 0))
        await self.loop.sock_connect(self.socket, ("127.0.0.1", self.world.port))

    async def send(self, data: bytes) -> None:
        await self.loop.sock_sendall(self.socket, data)

    async def receive(self) -> bytes:
        """Return what comes next, and look whether it should have come."""
        data = await self.loop.sock_recv(self.socket, 64 * KIB)
        if not data:
            raise EOFError
        self.look_at(data)
        return data

    def look_at(self, data: bytes | bytearray) -> None:
        for secret in SECRETS:
            if secret in data:
                self.world.secrets.append(f"{type(self).__name__}: {bytes(data)!r}")

    async def ask(self, path: str = "/echo", *lines: str) -> None:
        """Connect and ask for a WebSocket; do not wait for the answer."""
        await self.connect()
        await self.send(handshake(path, *lines))

    async def open(self, path: str = "/echo", *lines: str) -> None:
        """Connect and open a WebSocket."""
        await self.ask(path, *lines)
        head = b""
        while b"\r\n\r\n" not in head:
            head += await self.receive()
        if not head.startswith(b"HTTP/1.1 101 "):
            raise Refused(head[9:12].decode(errors="replace"))

    async def drain(self) -> None:
        """Read and forget, until the server closes: raises EOFError or OSError."""
        waste = self.world.waste
        while size := await self.loop.sock_recv_into(self.socket, waste):
            self.look_at(waste[: min(size, 4 * KIB)])
        raise EOFError

    async def repeat(self, data: bytes, seconds: float = 0.0) -> None:
        """Send the same again and again, with a pause in between."""
        while True:
            await self.send(data)
            await asyncio.sleep(seconds)

    async def trickle(self, data: bytes) -> None:
        """Send a byte a second."""
        for each in data:
            await self.send(bytes((each,)))
            await asyncio.sleep(1)

    async def meanwhile(self, work: Awaitable[None]) -> None:
        """Drain while `work` goes on; the first of them that ends, ends both."""
        tasks = [asyncio.ensure_future(work), asyncio.ensure_future(self.drain())]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def sleep_until_gone(self) -> None:
        """Read nothing, and notice all the same when the server has closed."""
        while True:
            await asyncio.sleep(1)
            state = self.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]
            if state in (TCP_CLOSE, TCP_CLOSE_WAIT):
                raise EOFError

    def reset(self) -> None:
        """Leave with an RST, whatever is on its way."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()


# --- slow: they take their time, and a place ----------------------------------------------------


class SlowHead(Client):
    """Slow-loris: the head of a request, a byte a second."""

    async def act(self) -> None:
        await self.connect()
        await self.meanwhile(self.trickle(b"GET / HTTP/1.1\r\nHost: x\r\n" + b"X: y\r\n" * 999))


class SlowHandshake(Client):
    """The head of a handshake, a byte a second."""

    async def act(self) -> None:
        await self.connect()
        await self.meanwhile(self.trickle(handshake()))


class SlowBody(Client):
    """The body of a request, a byte a second, to a listener that waits for it."""

    async def act(self) -> None:
        await self.connect()
        await self.send(b"POST /body HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n")
        await self.meanwhile(self.trickle(bytes(1_000_000)))


class NeverReadingResponse(Client):
    """Asks for much over HTTP, and does not read it."""

    buffer = 4 * KIB

    async def act(self) -> None:
        await self.connect()
        await self.send(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n" * 4)
        await self.sleep_until_gone()


# --- half: they begin, and do not go on ---------------------------------------------------------


class HalfFrame(Client):
    """Announces 1 MiB, sends 900 KiB of it, and then nothing."""

    async def act(self) -> None:
        await self.open()
        await self.send(frame(0x80 | BINARY, bytes(900 * KIB), length=MIB))
        await self.drain()


class EndlessMessage(Client):
    """A fragmented message that grows to 900 KiB, and then by nothing, for ever."""

    async def act(self) -> None:
        await self.open()
        await self.send(frame(BINARY, bytes(900 * KIB)))
        await self.meanwhile(self.repeat(frame(CONTINUATION), 1))


class SlowFrame(Client):
    """A frame byte by byte: the longest of headers, then its payload, a byte a second."""

    async def act(self) -> None:
        await self.open()
        await self.meanwhile(self.trickle(frame(0x80 | BINARY, bytes(70_000))))


# --- floods: as fast as they can ----------------------------------------------------------------


class Flood(Client):
    """Sends `data` as fast as it goes, and reads what comes back."""

    path: ClassVar[str] = "/echo"
    lines: ClassVar[tuple[str, ...]] = ()
    first: ClassVar[bytes] = b""
    data: ClassVar[bytes]

    async def act(self) -> None:
        await self.open(self.path, *self.lines)
        await self.send(self.first)
        await self.meanwhile(self.repeat(self.data))


class MessageFlood(Flood):
    """Messages of one byte, thousands in each packet."""

    data = repeated(frame(0x80 | TEXT, b"x"))


class PingFlood(Flood):
    """Pings, each of which wants a pong."""

    data = repeated(frame(0x80 | PING))


class FragmentFlood(Flood):
    """A message that consists of nothing, in any number of fragments."""

    first = frame(TEXT)
    data = repeated(frame(CONTINUATION))


class SplitFlood(Flood):
    """Empty messages in two fragments each, the most work per byte."""

    data = repeated(frame(TEXT) + frame(0x80 | CONTINUATION))


class PongFlood(Flood):
    """Pongs that nobody asked for: so many signs of life."""

    data = repeated(frame(0x80 | PONG))


class EarlyFlood(Client):
    """Thousands of messages right behind the handshake, before it is answered."""

    async def act(self) -> None:
        await self.connect()
        await self.send(handshake() + MessageFlood.data)
        await self.meanwhile(self.repeat(MessageFlood.data))


class BigFlood(Flood):
    """Messages of 1 MiB."""

    data = frame(0x80 | BINARY, bytes(MIB))


class BombFlood(Flood):
    """Messages of 1 MiB which compression makes 1 KiB of: nobody can say that they are too big."""

    lines = (DEFLATE,)
    data = repeated(frame(0xC0 | BINARY, deflated(MIB)))


class Churn(Client):
    """Opens a WebSocket and leaves, as fast as it goes."""

    pause = 0.0

    async def act(self) -> None:
        await self.open()
        await self.send(frame(0x80 | CLOSE))


# --- bombs --------------------------------------------------------------------------------------


class Bomb(Client):
    """512 MiB in half a megabyte, agreed to be compressed."""

    data: ClassVar[bytes] = deflated(512 * MIB)

    async def act(self) -> None:
        await self.open("/echo", DEFLATE)
        await self.meanwhile(self.repeat(frame(0xC0 | BINARY, self.data)))


class BombNobodyAskedFor(Client):
    """A compressed message where nobody agreed to that."""

    async def act(self) -> None:
        await self.open()
        await self.send(frame(0xC0 | BINARY, Bomb.data))
        await self.drain()


# --- never reading ------------------------------------------------------------------------------


class NeverReadingSubscriber(Client):
    """Subscribes to a busy channel, shows that it is there, and does not read."""

    buffer = 4 * KIB

    async def act(self) -> None:
        await self.open("/lobby")
        await self.repeat(frame(0x80 | PONG), 1)


class NeverReadingAsker(Client):
    """Sends what is sent back to it, and does not read that."""

    buffer = 4 * KIB

    async def act(self) -> None:
        await self.open()
        await self.repeat(frame(0x80 | BINARY, bytes(16 * KIB)))


# --- RST, in every state ------------------------------------------------------------------------


class ResetAtOnce(Client):
    """RST after connecting."""

    async def act(self) -> None:
        await self.connect()
        self.reset()


class ResetInHead(Client):
    """RST in the middle of the head of a request."""

    async def act(self) -> None:
        await self.connect()
        await self.send(handshake()[:50])
        await asyncio.sleep(self.random.uniform(0, 0.1))
        self.reset()


class ResetInHandshake(Client):
    """RST behind the request, while a listener thinks about it, or just when it has accepted."""

    async def act(self) -> None:
        await self.ask(self.random.choice(("/slow", "/echo")))
        await asyncio.sleep(self.random.uniform(0, 0.1))
        self.reset()


class ResetInFrame(Client):
    """RST in the middle of a frame."""

    async def act(self) -> None:
        await self.open()
        await self.send(frame(0x80 | BINARY, bytes(90 * KIB), length=100 * KIB))
        await asyncio.sleep(self.random.uniform(0, 0.1))
        self.reset()


class ResetInClose(Client):
    """RST in the closing handshake, whoever began it."""

    async def act(self) -> None:
        if self.lives % 2:
            await self.open()
            await self.send(frame(0x80 | CLOSE, b"\x03\xe8"))
        else:
            await self.open("/close")
            await self.send(frame(0x80 | TEXT, b"close"))
            await self.receive()
        self.reset()


class ResetUnread(Client):
    """RST with answers on their way."""

    async def act(self) -> None:
        await self.open()
        await self.send(frame(0x80 | BINARY, bytes(16 * KIB)) * 20)
        await asyncio.sleep(self.random.uniform(0, 0.1))
        self.reset()


# --- against the rules --------------------------------------------------------------------------


class Violator(Client):
    """Breaks one rule of RFC 6455 after the other."""

    faults: ClassVar[tuple[bytes, ...]] = (
        b"\x81\x05hello",  # not masked
        frame(0x83, b"x"),  # an unknown opcode
        frame(0xB1, b"x"),  # reserved bits
        frame(PING),  # a fragmented control frame
        frame(0x80 | PING, bytes(126)),  # a long one
        frame(0x80 | CONTINUATION, b"x"),  # nothing to continue
        frame(TEXT, b"x") + frame(TEXT, b"y"),  # a message in a message
        b"\x82\xff" + b"\xff" * 8 + bytes(4),  # a length of 64 bits
        b"\x82\xfe\x00\x05" + bytes(9),  # a length in too many bytes
        frame(0x80 | TEXT, b"\xff\xfe"),  # not UTF-8
        frame(0x80 | CLOSE, b"x"),  # half a close code
        frame(0x80 | CLOSE, b"\x03\xed"),  # 1005
        frame(0x80 | CLOSE, b"\x03\xe8\xff"),  # a reason that is not UTF-8
        frame(0x80 | BINARY, length=2**62),  # more than anybody has
    )

    async def act(self) -> None:
        await self.open()
        await self.send(self.faults[(self.number + self.lives) % len(self.faults)])
        await self.drain()


class UnansweredClose(Client):
    """Has the server close, and does not answer its close frame."""

    async def act(self) -> None:
        await self.open("/close")
        await self.send(frame(0x80 | TEXT, b"close"))
        await self.sleep_until_gone()


class CloseAndStay(Client):
    """Closes, and leaves the TCP connection open."""

    async def act(self) -> None:
        await self.open()
        await self.send(frame(0x80 | CLOSE, b"\x03\xe8"))
        await self.sleep_until_gone()


class Silent(Client):
    """Opens a WebSocket and does not answer pings, or connects and asks for nothing at all."""

    async def act(self) -> None:
        if self.random.random() < 0.5:
            await self.open()
        else:
            await self.connect()
        await self.sleep_until_gone()


class Garbage(Client):
    """Anything but HTTP."""

    async def act(self) -> None:
        await self.connect()
        await self.send(self.random.randbytes(self.random.randrange(1, 100_000)))
        await self.drain()


class Forger(Client):
    """Puts line breaks and escape sequences wherever they might get into a log."""

    # A line of the log that is none, and what clears a terminal, in 7 bits and in 8.
    lie: ClassVar[str] = "x\r\nERROR holdfast: forged\x1b[2J\x9b2J\u2028"
    quoted: ClassVar[str] = "x%0D%0AERROR%20holdfast:%20forged%1B[2J%C2%9B2J%E2%80%A8"

    async def act(self) -> None:
        raw = self.lie.encode()
        soft = b"x\tERROR holdfast: forged\x9b2J"  # what a header may have in it
        requests = (
            b"GET /" + raw + b" HTTP/1.1\r\nHost: x\r\n\r\n",
            f"GET /{self.quoted} HTTP/1.1\r\nHost: x\r\n\r\n".encode(),
            b"GET /nothing HTTP/1.1\r\nHost: " + raw + b"\r\n\r\n",
            b"GET /nothing HTTP/1.1\r\nHost: " + soft + b"\r\n\r\n",
            b"GET /nothing?" + soft + b" HTTP/1.1\r\nHost: x\r\n\r\n",
            raw + b" / HTTP/1.1\r\nHost: x\r\n\r\n",
            f"POST /{self.quoted} HTTP/1.1\r\nHost: x\r\nContent-Length: {10**11}\r\n\r\n".encode(),
            b"POST /body HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + raw,
            handshake(f"/{self.quoted}"),
            handshake(f"/{self.quoted}", "Origin: http://evil.example"),
            handshake("/echo", "Origin: \x9b2J\t" + self.quoted),
            handshake("/echo", f"Sec-WebSocket-Protocol: {self.quoted}"),
            handshake("/echo", "Sec-WebSocket-Extensions: \x9b2J"),
            handshake("/echo", f"X-Forwarded-For: {self.quoted}\x9b2J"),
            handshake("/echo", f"Cookie: a={self.quoted}\x9b2J"),
        )
        turn = (self.number + self.lives) % (len(requests) + 2)
        if turn < len(requests):
            await self.connect()
            await self.send(requests[turn])
            async with asyncio.timeout(2):
                await self.drain()
        else:
            await self.open("/close" if turn % 2 else "/echo")
            await self.send(client_frame(self.lie))
            reason = self.lie.encode()
            await self.send(frame(0x80 | CLOSE, b"\x0f\xa0" + reason))
            await self.drain()


KINDS: tuple[type[Client], ...] = (
    SlowHead, SlowHandshake, SlowBody, NeverReadingResponse,
    HalfFrame, EndlessMessage, SlowFrame,
    MessageFlood, PingFlood, PongFlood, FragmentFlood, SplitFlood, EarlyFlood, BigFlood, BombFlood,
    Churn,
    Bomb, BombNobodyAskedFor,
    NeverReadingSubscriber, NeverReadingAsker,
    ResetAtOnce, ResetInHead, ResetInHandshake, ResetInFrame, ResetInClose, ResetUnread,
    Violator, UnansweredClose, CloseAndStay, Silent, Garbage, Forger,
)  # fmt: skip


async def attack(port: int, numbers: range, kinds: tuple[type[Client], ...]) -> None:
    world = World(port)
    clients = [kinds[number % len(kinds)](world, number) for number in numbers]
    lives = [asyncio.create_task(client.live()) for client in clients]
    orders = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(orders), sys.stdin
    )
    await orders.readline()
    world.is_frozen = True
    open_ones = Counter(type(client).__name__ for client in world.open)
    for life in lives:
        life.cancel()
    await asyncio.gather(*lives, return_exceptions=True)
    print("frozen", flush=True)
    await orders.read()
    outcomes: dict[str, dict[str, int]] = {kind.__name__: {} for kind in kinds}
    for (name, outcome), count in world.outcomes.most_common():
        outcomes[name][outcome] = count
    print(json.dumps({"outcomes": outcomes, "open": open_ones, "secrets": world.secrets}))


def main() -> None:
    port, first, end, names = sys.argv[1:]
    # What the server needs it gets: those who attack from elsewhere take no processor of its.
    set_priority(10)
    kinds = tuple(kind for kind in KINDS if not names or kind.__name__ in names.split(","))
    uvloop.run(attack(int(port), range(int(first), int(end)), kinds))


if __name__ == "__main__":
    main()
