"""An application that takes its worker's links in hand and says what no worker would say."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

from holdfast import (
    FetchEvent,
    Response,
    ServiceWorker,
    WebSocketMessageEvent,
    WebSocketUpgradeEvent,
)
from holdfast.wire import messages as wire
from holdfast.wire.stream import BatchEncoder

if TYPE_CHECKING:
    from msgspec import Struct

app = ServiceWorker()

LINKS = json.loads(sys.argv[1])
STRANGER = 0xFFFF_0000_0001  # a serial that nobody has
ABOUT = b"\xc1"  # no msgpack


def say(*messages: Struct) -> None:
    os.write(LINKS["stream_fd"], bytes(BatchEncoder().encode(list(messages))))


def handover(serial: int) -> wire.Handover:
    return wire.Handover(serial, b"key", None, [], ABOUT, b"", [], False, "", b"", b"", False)


@app.on("fetch")
async def fetch(event: FetchEvent) -> Response | None:
    if event.request.path == "/descriptors":
        # Whoever starts a program without a thought for its descriptors.
        listing = ["ls", "-l", "/proc/self/fd"]
        return Response(subprocess.run(listing, capture_output=True, close_fds=False).stdout)
    return None


@app.on("websocketupgrade")
async def upgrade(event: WebSocketUpgradeEvent) -> None:
    event.accept()


@app.on("websocketmessage")
async def message(event: WebSocketMessageEvent) -> None:
    source = event.source
    serial = source.serial
    if event.attempt > 1:
        source.send(f"{event.data}, attempt {event.attempt}")
        return
    match event.data:
        case "garbage":
            os.write(LINKS["stream_fd"], b"\xff" * 100)
        case "length":
            os.write(LINKS["stream_fd"], (2**30).to_bytes(4, "little"))
        case "unfinished":
            os.write(LINKS["stream_fd"], (2**20).to_bytes(4, "little"))
        case "no message":
            os.write(LINKS["stream_fd"], (3).to_bytes(4, "little") + b"\x91\x91\x63")
        case "half":
            os.write(LINKS["stream_fd"], (100).to_bytes(4, "little") + b"half")
            os._exit(1)
        case "version":
            say(wire.Hello(99))
        case "ready twice":
            say(wire.Ready(1))
        case "acknowledge a stranger's":
            say(wire.Ack(STRANGER, 1, 1, [], 1))
        case "acknowledge what is to come":
            say(wire.Ack(serial, event.number + 1, 1, [], 1))
        case "acknowledge too many":
            say(wire.Ack(serial, event.number, 1, [], 1000))
        case "record without a descriptor":
            say(handover(STRANGER))
        case "descriptors without a record":
            with socket.socket(fileno=os.dup(LINKS["handover_fd"])) as link:
                for number in range(50):
                    ends = socket.socketpair()
                    socket.send_fds(link, [number.to_bytes(8, "big")], [ends[0].fileno()])
                    for end in ends:
                        end.close()
            source.send("sent")
        case "record of a connection that is open":
            with socket.socket(fileno=os.dup(LINKS["handover_fd"])) as link:
                ends = socket.socketpair()
                socket.send_fds(link, [serial.to_bytes(8, "big")], [ends[0].fileno()])
                say(handover(serial))
                ends[0].close()
                source.send(ends[1].recv(100).split(b"\r\n")[0].decode())
                ends[1].close()
        case "act on strangers":
            actions: list[wire.Action] = [
                wire.SendText(STRANGER, "hello"),
                wire.Close(STRANGER, 1000, ""),
                wire.Attach(STRANGER, b"data"),
                wire.Subscribe(STRANGER, "lobby"),
                wire.Unsubscribe(serial, "never subscribed"),
            ]
            say(wire.Act(actions))
            source.send("ignored")
        case "close with nonsense":
            say(wire.Act([wire.Close(serial, 5, "x" * 1000)]))
        case _:
            source.send(event.data)
