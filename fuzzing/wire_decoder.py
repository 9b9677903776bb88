"""`wire/stream.py` and `wire/control.py`: what a broken or hostile process may send.

What must hold:

- nothing but BrokenWire comes out;
- the messages do not depend on where the stream was cut;
- what was decoded is what was meant: encoded again it decodes to the same;
- `is_about` is right about whether `decode_metadata` raises.

msgspec is in C, where atheris sees nothing: so most streams are made of what nearly are messages.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import inspect

from fuzzing.choices import Choices, cut
from fuzzing.messages import nearly
from holdfast.errors import BrokenWire
from holdfast.wire import control
from holdfast.wire import messages as wire
from holdfast.wire.codec import decode_metadata, encode_metadata, is_about
from holdfast.wire.stream import BatchEncoder, BatchReader

__all__ = ["fuzz"]

STREAMS: tuple[object, ...] = (wire.FromWorker, wire.ToWorker)
CONTROLS: tuple[object, ...] = (
    control.FromWorker,
    control.ToWorker,
    control.FromKeeper,
    control.ToKeeper,
)


def fuzz(data: bytes) -> None:
    choices = Choices(data)
    kind = choices.number(3)
    if kind == 0:
        fuzz_stream(choices, choices.pick(STREAMS))
    elif kind == 1:
        fuzz_control(choices.pick(CONTROLS), choices)
    else:
        fuzz_about(choices.rest())


def fuzz_stream(choices: Choices, union: object) -> None:
    sizes = list(choices.take(choices.number(8)))
    stream = choices.rest() if choices.flag() else batches(choices, union)
    whole, is_broken = read(union, [stream])
    parts, is_broken_in_parts = read(union, cut(stream, sizes))
    assert is_broken == is_broken_in_parts, (union, stream, sizes)
    if not is_broken:
        assert parts == whole, (union, stream, sizes)
    again, is_broken = read(union, [bytes(BatchEncoder().encode(parts))])
    assert not is_broken
    assert again == parts, (union, stream)


def read(union: object, pieces: list[bytes]) -> tuple[list[Any], bool]:
    """Return the messages, and whether the link was found broken, after which nobody reads on."""
    reader: BatchReader[Any] = BatchReader(union)
    messages: list[Any] = []
    for piece in pieces:
        try:
            messages += reader.receive(piece)
        except BrokenWire:
            return messages, True
    return messages, False


def batches(choices: Choices, union: object) -> bytes:
    """Make batches of what looks like messages."""
    kind = inspect.type_info(union)
    stream = bytearray()
    while not choices.is_over:
        body = msgspec.msgpack.encode([nearly(kind, choices) for _ in range(choices.number(4))])
        stream += len(body).to_bytes(4, "little") + body
    return bytes(stream)


def fuzz_control(union: object, choices: Choices) -> None:
    if choices.flag():
        packet = choices.rest()
    else:
        packet = msgspec.msgpack.encode(nearly(inspect.type_info(union), choices))
    decoder: control.ControlDecoder[Any] = control.ControlDecoder(union)
    try:
        message = decoder.decode(packet)
    except BrokenWire:
        return
    assert decoder.decode(control.encode_control(message)) == message


def fuzz_about(encoded: bytes) -> None:
    if is_about(encoded):
        about = decode_metadata(encoded)
        assert decode_metadata(encode_metadata(about)) == about
