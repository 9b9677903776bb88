#!/usr/bin/env python3
"""The well-behaved clients of `benchmarks/hostile`: what they are promised, and what they see.

A process of its own, which does little else than wait: what it measures is the server, and how
long this process itself was kept waiting is measured too. It talks until its standard input ends,
then writes what it saw to its standard output, as JSON.
"""

from __future__ import annotations

import gc
import json
import os
import select
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.load import connect

from tests.flow.raw import CLOSE, PING, PONG, client_frame

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import TypeAlias

    # When something was due, and how long it took from then on; both in seconds.
    Delays: TypeAlias = list[tuple[float, float]]

__all__ = ["Findings", "set_priority"]

# What is published: so much, and so often.
PUBLICATION = 16 * 1024  # bytes
PUBLICATIONS = 10.0  # per second

# How long the last answers may take.
PATIENCE = 10.0  # seconds


@dataclass
class Findings:
    """What the well-behaved have seen."""

    sent: int = 0
    answered: int = 0
    wrong: int = 0  # answers: doubled, handled twice, or out of order
    disconnected: list[str] = field(default_factory=list)
    published: int = 0
    missed: int = 0  # publications, over all that are subscribed
    echoes: Delays = field(default_factory=list)
    publications: Delays = field(default_factory=list)
    lateness: Delays = field(default_factory=list)  # of this process itself


class Peer:
    """One connection, whose frames are put together again."""

    def __init__(self, port: int, path: str, findings: Findings) -> None:
        self.socket = connect(port, path)
        self.socket.setblocking(False)
        self.is_open = True
        self.findings = findings
        self._path = path
        self._received = bytearray()

    def on_ready(self) -> None:
        for message in self._receive():
            self.on_message(message)

    def on_message(self, message: bytes) -> None:
        raise NotImplementedError

    def send(self, frame: bytes) -> None:
        try:
            self.socket.send(frame)
        except OSError as error:
            self._lose(repr(error))

    def _receive(self) -> Iterator[bytes]:
        """Yield the messages that have come; answer pings as a client has to."""
        try:
            data = self.socket.recv(262144)
        except OSError as error:
            self._lose(repr(error))
            return
        if not data:
            self._lose("EOF")
        self._received += data
        while (frame := self._take()) is not None:
            opcode, payload = frame
            if opcode == PING:
                self.send(client_frame(payload, PONG))
            elif opcode == CLOSE:
                self._lose(repr(payload))
            else:
                yield payload

    def _take(self) -> tuple[int, bytes] | None:
        received = self._received
        if len(received) < 2:
            return None
        size, start = received[1], 2
        if size == 126:
            size, start = int.from_bytes(received[2:4], "big"), 4
        if len(received) < start + size:
            return None
        frame = received[0] & 0x0F, bytes(received[start : start + size])
        del received[: start + size]
        return frame

    def _lose(self, why: str) -> None:
        if self.is_open:
            self.is_open = False
            self.findings.disconnected.append(f"{self._path}: {why}")


class Echoer(Peer):
    """Asks at its own rate, and never before the last answer is there.

    What it would have asked while it waited is not asked later, or it would be a flood itself. But
    it counts as answered when that answer came: a server that stands still must not look fast
    because nobody could ask it anything.
    """

    def __init__(self, port: int, findings: Findings) -> None:
        super().__init__(port, "/count", findings)
        self._due: list[float] = []
        self._number = 0

    def ask(self, due: float) -> None:
        if self.is_open:
            if not self._due:
                self._number += 1
                self.findings.sent += 1
                self.send(client_frame(str(self._number)))
            self._due.append(due)

    def on_message(self, message: bytes) -> None:
        now = time.monotonic()
        self.findings.answered += 1
        self.findings.wrong += not self._due or message != b"%d:%d" % (self._number, self._number)
        self.findings.echoes += [(due, now - due) for due in self._due]
        self._due.clear()


class Subscriber(Peer):
    """Reads what is published."""

    def __init__(self, port: int, findings: Findings) -> None:
        super().__init__(port, "/lobby", findings)
        self._last = 0

    def on_message(self, message: bytes) -> None:
        number, published_at, _ = message.split(b" ", 2)
        # What was published before it came is not for it.
        if self._last:
            self.findings.missed += int(number) - self._last - 1
        self._last = int(number)
        due = float(published_at)
        self.findings.publications.append((due, time.monotonic() - due))


class Publisher(Peer):
    """Keeps a channel busy."""

    def __init__(self, port: int, findings: Findings) -> None:
        super().__init__(port, "/post", findings)

    def publish(self, due: float) -> None:
        if self.is_open:
            self.findings.published += 1
            text = f"{self.findings.published} {due:.6f} "
            self.send(client_frame(text.ljust(PUBLICATION, "x")))

    def on_message(self, message: bytes) -> None:
        self.findings.wrong += 1  # Nobody asked for anything.


class Conversation:
    """All of them, in one epoll set.

    Args:
        rate: messages per second of each that echoes.
    """

    def __init__(self, port: int, echoers: int, subscribers: int, rate: float) -> None:
        self.findings = Findings()
        self._asking = [Echoer(port, self.findings) for _ in range(echoers)]
        self._publisher = Publisher(port, self.findings)
        hearing = [Subscriber(port, self.findings) for _ in range(subscribers)]
        self._poll = select.epoll()
        self._peers: dict[int, Peer] = {}
        for peer in (*self._asking, *hearing, self._publisher):
            self._peers[peer.socket.fileno()] = peer
            self._poll.register(peer.socket.fileno(), select.EPOLLIN)
        self._step = 1 / (rate * echoers)

    def talk(self) -> None:
        """Talk until standard input ends."""
        order = sys.stdin.fileno()
        self._poll.register(order, select.EPOLLIN)
        question = publication = time.monotonic()
        turn = 0
        while order not in self._turn(min(question, publication)):
            now = time.monotonic()
            # Spread evenly: one after the other.
            while question <= now:
                self._asking[turn % len(self._asking)].ask(question)
                turn += 1
                question += self._step
            while publication <= now:
                self._publisher.publish(publication)
                publication += 1 / PUBLICATIONS
        self._poll.unregister(order)
        until = time.monotonic() + PATIENCE
        while self.findings.answered < self.findings.sent and time.monotonic() < until:
            self._turn(until)

    def _turn(self, until: float) -> set[int]:
        """Wait until then, or until somebody was answered; return whose descriptors were ready."""
        ready = {fd for fd, _ in self._poll.poll(max(until - time.monotonic(), 0))}
        now = time.monotonic()
        if now >= until:
            self.findings.lateness.append((until, now - until))
        for fd in ready & self._peers.keys():
            self._peers[fd].on_ready()
            if not self._peers[fd].is_open:
                self._poll.unregister(fd)
        return ready


def set_priority(nice: int) -> None:
    """Set the nice value of this process, and of its session, as far as that is allowed.

    Where the kernel has a group per session (sched(7): autogroup), a nice value counts only within
    the session, and the group has one of its own.
    """
    try:
        os.nice(nice - os.getpriority(os.PRIO_PROCESS, 0))
        Path("/proc/self/autogroup").write_text(str(nice))
    except OSError:
        pass


def main() -> None:
    port, echoers, subscribers, rate = sys.argv[1:]
    set_priority(-10)  # It measures: it should not wait for a processor.
    conversation = Conversation(int(port), int(echoers), int(subscribers), float(rate))
    gc.freeze()
    gc.disable()
    print("connected", flush=True)
    conversation.talk()
    print(json.dumps(asdict(conversation.findings)))


if __name__ == "__main__":
    main()
