"""permessage-deflate, seen from the server: what is agreed, and what is sent (RFC 7692).

Pure: no socket, no clock, no event loop. What clients send compressed is `inflate`'s business.

    the headers of a request → `negotiate` → an `Agreement`, or None: no compression
    a message → `encode` → a frame, compressed where that pays

No context is ever taken over from one message to the next, in either direction (section 7.1.1). So
an idle connection holds no zlib state, any keeper can go on with a connection of another, and a
message for many clients is compressed once: the frame depends on nothing but the window.
"""

from __future__ import annotations

import re
import zlib
from typing import TYPE_CHECKING, Final, NamedTuple

from holdfast.framing.frames import BINARY, FIN, RSV1, TEXT, encode_frame, encode_message

if TYPE_CHECKING:
    from holdfast.framing.handshake import Headers

# The RFC allows a window of 8 bits too (section 7.1.2), but zlib compresses raw DEFLATE with 9 and
# more only: https://github.com/madler/zlib/issues/171.
MIN_WINDOW_BITS: Final = 9
MAX_WINDOW_BITS: Final = 15

# A compressor lives as long as one call, so its memory matters as what each message has to
# allocate and clear: 2 ** (bits + 2) + 2 ** (memory level + 9) bytes, 32 KiB with these numbers and
# 256 KiB with zlib's own (15 and 8), which take twice as long for 500 bytes of JSON. More bits
# gain nothing up to 4 KiB, and one point for 64 KiB of JSON (25 % of it are left instead of 26).
# `websockets` chose the same two.
DEFAULT_WINDOW_BITS: Final = 12
_MEMORY_LEVEL: Final = 5  # 4 is slower from 4 KiB on; 8 makes nothing smaller

# All connections of a keeper share its one thread. Level 6, zlib's own, takes 1.7 times as long as
# 3 for 4 to 64 KiB of JSON and leaves 29 or 24 % of it instead of 30 or 26. Level 1 saves another
# fifth of the time and leaves 32 or 29 %.
_LEVEL: Final = 3

# Bytes of payload. Compression costs some 3 to 4 µs however short the message is, as much as all
# that the keeper does for it but for the system calls. 64 bytes of JSON shrink to 92 %, 256 to
# 62 %; a packet takes 1,400 bytes either way. `ws` chose 1024, most others have no threshold.
DEFAULT_THRESHOLD: Final = 256

# What a flush ends with; it goes without saying (section 7.2.1).
_TAIL: Final = b"\x00\x00\xff\xff"

_TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # RFC 9110 section 5.6.2
_QUOTED = rb'"(?:[^"\\]|\\.)*"'  # RFC 9110 section 5.6.4
# An element of a list: up to a comma that is in no quotes. What follows an opening quote that is
# never closed belongs to it.
_ELEMENT = re.compile(rb'(?:[^,"]|"(?:[^"\\]|\\.?)*"?)+', re.DOTALL)
# RFC 6455 section 9.1, which has the "implied *LWS rule" of RFC 2616: white space anywhere.
_PARAMETER = re.compile(
    rb"[ \t]*;[ \t]*(?P<name>%b)(?:[ \t]*=[ \t]*(?:(?P<token>%b)|(?P<quoted>%b)))?"
    % (_TOKEN, _TOKEN, _QUOTED),
    re.DOTALL,
)
_QUOTED_PAIR = re.compile(rb"\\(.)", re.DOTALL)

# Compared as they are, as `websockets` and `ws` do: neither RFC calls extension names
# case-insensitive, and a client that finds another name in the answer fails the connection.
_NAME: Final = b"permessage-deflate"
_SERVER_BITS: Final = b"server_max_window_bits"

# The parameters of an offer, and the values that this server can live with; None is no value. A
# decimal number without leading zeros (section 7.1.2).
_ACCEPTABLE: dict[bytes, frozenset[bytes | None]] = {
    b"server_no_context_takeover": frozenset([None]),
    b"client_no_context_takeover": frozenset([None]),
    _SERVER_BITS: frozenset(b"%d" % bits for bits in range(MIN_WINDOW_BITS, MAX_WINDOW_BITS + 1)),
    # zlib decompresses any window. So this is a hint without a use here; the answer leaves it out,
    # which allows the client all 15 bits.
    b"client_max_window_bits": frozenset([None, *(b"%d" % bits for bits in range(8, 16))]),
}


class Agreement(NamedTuple):
    """What a connection agreed on: that messages may be compressed, and the answer that says so."""

    #: The window for what the server sends: the `bits` of `encode`, 9 to 15.
    server_bits: int
    #: The value of the Sec-WebSocket-Extensions header of the 101 response.
    extensions: bytes


def negotiate(headers: Headers, window_bits: int = DEFAULT_WINDOW_BITS) -> Agreement | None:
    """Return what to agree on with the client that sent these headers; None for no compression.

    The first offer of permessage-deflate that is acceptable counts. One with a parameter that is
    unknown, malformed, given twice or not to be had (a window of 8 bits) is passed over (section
    7.1). That nothing is acceptable is no error: messages are not compressed then.

    `window_bits`, 9 to 15, is the largest window that the server uses, whatever the client allows.
    Raises ValueError for any other number.
    """
    if not MIN_WINDOW_BITS <= window_bits <= MAX_WINDOW_BITS:
        raise ValueError(f"a window has 9 to 15 bits, not {window_bits}")
    for name, value in headers:
        if name == b"sec-websocket-extensions":
            for element in _ELEMENT.findall(value):
                parameters = _read_offer(element.strip(b" \t"))
                if parameters is not None:
                    return _accept(parameters, window_bits)
    return None


def _read_offer(element: bytes) -> dict[bytes, bytes | None] | None:
    """Return the parameters of an acceptable offer of permessage-deflate, None for all others."""
    if not element.startswith(_NAME):
        return None
    parameters: dict[bytes, bytes | None] = {}
    position = len(_NAME)
    while position < len(element):
        match = _PARAMETER.match(element, position)
        if match is None or match["name"] in parameters:
            return None
        value = _value_of(match)
        if value not in _ACCEPTABLE.get(match["name"], ()):
            return None
        parameters[match["name"]] = value
        position = match.end()
    return parameters


def _value_of(match: re.Match[bytes]) -> bytes | None:
    if match["quoted"] is not None:
        return _QUOTED_PAIR.sub(rb"\1", match["quoted"][1:-1])
    return match["token"]


def _accept(parameters: dict[bytes, bytes | None], window_bits: int) -> Agreement:
    # Both may be in an answer though they were not in the offer (sections 7.1.1.1 and 7.1.1.2).
    answer = _NAME + b"; server_no_context_takeover; client_no_context_takeover"
    asked = parameters.get(_SERVER_BITS)
    if asked is None:
        # How few bits it will be may be said, but need not: a client that did not ask keeps 15.
        return Agreement(window_bits, answer)
    # "The same or smaller value as the offer" (section 7.1.2.1): the client may then keep less.
    bits = min(window_bits, int(asked))
    return Agreement(bits, answer + b"; %b=%d" % (_SERVER_BITS, bits))


def encode(data: str | bytes, bits: int, threshold: int = DEFAULT_THRESHOLD) -> bytes:
    """Return the message as one frame, compressed if that makes it shorter.

    `bits` are the `server_bits` of the connection's agreement, 0 for a connection without one.
    `threshold` is the size in bytes below which compression is not tried. The frame depends on
    nothing else: whoever writes a message to many connections needs one call for each number of
    bits among them, not for each of them.

    Raises UnicodeEncodeError, which is a ValueError, for text that UTF-8 cannot carry, and
    ValueError for a number of bits that is neither 0 nor 9 to 15 if it comes to compression.
    """
    if bits and _size(data) >= threshold:
        compressed = encode_compressed(data, bits)
        plain = encode_message(data)
        return compressed if len(compressed) < len(plain) else plain
    return encode_message(data)


def _size(data: str | bytes) -> int:
    return len(data.encode()) if isinstance(data, str) else len(data)


def encode_compressed(data: str | bytes, bits: int) -> bytes:
    """Return the message as one compressed frame, however short or long that gets.

    Raises UnicodeEncodeError as `encode` does, and ValueError for bits other than 9 to 15.
    """
    compressor = zlib.compressobj(_LEVEL, zlib.DEFLATED, -bits, _MEMORY_LEVEL)
    opcode, payload = (TEXT, data.encode()) if isinstance(data, str) else (BINARY, data)
    compressed = compressor.compress(payload) + compressor.flush(zlib.Z_SYNC_FLUSH)
    # An empty message leaves the one byte 00, as section 7.2.3.6 wants it.
    return encode_frame(FIN | RSV1 | opcode, compressed.removesuffix(_TAIL))
