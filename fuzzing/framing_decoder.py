"""`framing/decoder.py`: any bytes, in any pieces.

What must hold:

- nothing raises;
- the events do not depend on where the stream was cut;
- an idle decoder is as good as a new one, as the keeper believes when it shares a spare;
- no message is longer than allowed, compressed or not, and no more is buffered than that and one
  frame's beginning;
- nothing comes after a Close or a Violation;
- what comes out is what the RFC allows: text that is text, control payloads of at most 125 bytes.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

from fuzzing.choices import Choices, cut
from holdfast.framing.close_codes import may_be_sent
from holdfast.framing.decoder import Decoder
from holdfast.framing.frames import Close, Ping, Pong, Violation
from holdfast.framing.inflate import STATE_SIZE

if TYPE_CHECKING:
    from holdfast.framing.frames import Event

__all__ = ["fuzz"]

LIMITS = (1000, 0, 1, 125, 126, 127, 65535, 65536, 70000)
# The last four of a frame's length byte are for payloads at the edges of the header's forms.
LONG = {252: 126, 253: 65535, 254: 65536, 255: 70000}
# A header of 14 bytes, and the payload of a control frame.
BEGINNING = 14 + 125


def fuzz(data: bytes) -> None:
    choices = Choices(data)
    limit = choices.pick(LIMITS)
    deflates, is_raw = choices.flag(), choices.flag()
    sizes = list(choices.take(choices.number(8)))
    stream = choices.rest() if is_raw else frames(choices)
    if len(stream) > 4096:
        sizes = [97 + size * 97 for size in sizes]  # byte by byte would take all the time there is
    whole = Decoder(max_message=limit, deflates=deflates).receive(stream)
    for event in whole:
        check(event, limit)
    assert not any(is_last(event) for event in whole[:-1]), whole
    pieces = cut(stream, sizes)
    assert decode(pieces, limit, deflates) == whole, (pieces, limit)
    assert decode_with_spares(pieces, limit, deflates) == whole, (pieces, limit)


def frames(choices: Choices) -> bytes:
    """Make frames that mostly keep the rules: random bytes would hardly get past the first."""
    stream = bytearray()
    while not choices.is_over:
        first, kind = choices.byte(), choices.byte()
        payload = choices.take(min(kind, 251) % 126)
        if kind in LONG:
            payload = (choices.take(3) or b"x") * LONG[kind]
            payload = payload[: LONG[kind]]
        if first & 0x40:
            payload = deflated(payload, choices.byte())
        length = len(payload)
        if length <= 125:
            stream += bytes((first, 0x80 | length))
        elif length <= 65535:
            stream += bytes((first, 0xFE)) + length.to_bytes(2, "big")
        else:
            stream += bytes((first, 0xFF)) + length.to_bytes(8, "big")
        mask = b"\0\0\0\0" if kind % 2 else b"\x01\x20\x83\xff"
        stream += mask + xor(payload, (mask * (length // 4 + 1))[:length])
    return bytes(stream)


def xor(data: bytes, mask: bytes) -> bytes:
    both = int.from_bytes(data, "big") ^ int.from_bytes(mask, "big")
    return both.to_bytes(len(data), "big")


def deflated(payload: bytes, style: int) -> bytes:
    """Compress: as RFC 7692 wants it, as it allows it, and as it must not be."""
    compressor = zlib.compressobj(style % 10, zlib.DEFLATED, -9 - style % 7)
    if style >= 250:
        return payload
    if style >= 200:
        return compressor.compress(payload) + compressor.flush()
    half = len(payload) // 2 if style >= 100 else 0
    data = compressor.compress(payload[:half])
    if half:
        data += compressor.flush(zlib.Z_SYNC_FLUSH if style < 150 else zlib.Z_FULL_FLUSH)
    data += compressor.compress(payload[half:]) + compressor.flush(zlib.Z_SYNC_FLUSH)
    if 170 <= style < 180:
        data = data[: style - 160] + b"\xff" + data[style - 160 :]  # hardly ever DEFLATE
    return data if style >= 180 else data.removesuffix(b"\x00\x00\xff\xff")


def decode(pieces: list[bytes], limit: int, deflates: bool) -> list[Event]:
    decoder, events = Decoder(max_message=limit, deflates=deflates), []
    for piece in pieces:
        events += decoder.receive(piece)
        assert decoder.buffered <= limit + BEGINNING + STATE_SIZE * deflates, decoder
    assert decoder.receive(b"") == []
    return events


def decode_with_spares(pieces: list[bytes], limit: int, deflates: bool) -> list[Event]:
    """Decode as `keeper/sockets.py` does, which keeps no decoder for an idle connection."""
    decoder, events = Decoder(max_message=limit, deflates=deflates), []
    for piece in pieces:
        events += decoder.receive(piece)
        if decoder.is_idle:
            assert decoder.buffered == 0, decoder
            decoder = Decoder(max_message=limit, deflates=deflates)
    return events


def is_last(event: Event) -> bool:
    return isinstance(event, Close | Violation)


def check(event: Event, limit: int) -> None:
    if isinstance(event, str):
        assert len(event.encode()) <= limit
    elif isinstance(event, bytes):
        assert len(event) <= limit
    elif isinstance(event, Ping | Pong):
        assert len(event.payload) <= 125
    elif isinstance(event, Close):
        assert event.code is None or may_be_sent(event.code)
        assert len(event.reason.encode()) <= 123
    else:
        assert event.code in (1002, 1007, 1008, 1009), event
