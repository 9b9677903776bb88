"""What a client compressed, made plain again: one message at a time (RFC 7692 section 7.2.2).

Pure: no socket, no clock, no event loop. The decoder passes on the payload of a compressed message,
in pieces of any size, and looks at what they grow into.

Three things are different here from just calling zlib:

    bounded      Ten bytes can become ten thousand. No call of zlib makes more than `STEP` bytes, or
                 one byte more than the limit, and after each the caller may stop.
    exact        zlib throws away what it made in a call that then fails. Here the message grows by
                 everything before the fault, so that the verdict (too big? not UTF-8? not DEFLATE?)
                 does not depend on how the network cut the stream.
    complete     zlib does not mind when the data just stop. Here they must stop between two blocks.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Final

from holdfast.framing.close_codes import INVALID_DATA, POLICY_VIOLATION
from holdfast.framing.frames import Violation

if TYPE_CHECKING:
    from collections.abc import Iterator

STEP: Final = 65_536

# zlib copies the input that it did not use yet, after each step and after each final block. In
# pieces of this size that is no more than what it does anyway.
_PIECE: Final = 16_384

# After a final block zlib has to start anew, which takes some µs; it takes a client two bytes. One
# that flushes with final blocks (section 7.2.3.4) writes one for each flush, and so mostly one.
MAX_FINAL_BLOCKS: Final = 1000

# Without a header or a check sum, and with the largest window: the answer to an offer asks for no
# smaller one. zlib allocates it when it is needed, not before.
_RAW: Final = -15
_WINDOW: Final = 32_768

# What zlib holds within a message, in bytes: the window, and 7 KiB besides.
STATE_SIZE: Final = 40_000

# What the client left out (section 7.2.1), and an empty block that is marked as the final one. zlib
# reports only the end of a stream, not that of a block; so this shows whether a block ended.
_TAIL: Final = b"\x00\x00\xff\xff"
_END: Final = b"\x01\x00\x00\xff\xff"

# RFC 7692 names no code for this. 1007 is for "data within a message that was not consistent with
# the type of the message" (RFC 6455 section 7.4.1), and the frame is in order: so does `ws`, while
# `websockets` closes with 1002.
_INVALID = Violation(INVALID_DATA, "the compressed data are not valid DEFLATE")
_INCOMPLETE = Violation(INVALID_DATA, "the compressed data end within a block")
# Not against the protocol; only, nobody does that.
_TOO_MANY_FINAL_BLOCKS = Violation(
    POLICY_VIOLATION, "the compressed data have too many final blocks"
)


class InflateError(Exception):
    """The data cannot be read, or not any further; `violation` says why."""

    def __init__(self, violation: Violation) -> None:
        super().__init__(violation.reason)
        self.violation = violation


class Inflater:
    """One compressed message: pieces in, and `plain` grows. It is not used for a second one.

    `inflate` is to be iterated over: between two steps the caller looks at `plain`, and stops when
    it has seen enough. Once there are more than `limit` bytes in it, nothing more is taken.
    """

    __slots__ = ("_final_blocks", "_limit", "_stream", "plain")

    _stream: zlib._Decompress

    def __init__(self, limit: int) -> None:
        #: What has come of the message so far: at most one byte more than the limit.
        self.plain = bytearray()
        self._limit = limit
        self._final_blocks = 0
        self._stream = zlib.decompressobj(_RAW)

    def inflate(self, data: bytes) -> Iterator[None]:
        """Take a piece of the message. Raises InflateError when it comes to a fault."""
        # A stack of what is still to be taken, and by how much the message may grow at a time.
        portions = [(data[i : i + _PIECE], STEP) for i in range(0, len(data), _PIECE)][::-1]
        while portions and len(self.plain) <= self._limit:
            portion, step = portions.pop()
            if self._stream.eof:
                self._start_anew()
            before = self._stream.copy() if step > 1 else self._stream
            size = min(step, self._limit + 1 - len(self.plain))
            try:
                plain = self._stream.decompress(portion, size)
            except zlib.error:
                if step == 1:
                    raise InflateError(_INVALID) from None
                self._stream = before
                portions += _smaller(portion)
                continue
            self.plain += plain
            yield
            if self._stream.eof:
                if self._stream.unused_data:
                    portions.append((self._stream.unused_data, step))
            elif len(plain) == size:
                # There may be more to come even if no data are left: zlib holds up to 32 bits.
                portions.append((self._stream.unconsumed_tail, step))

    def finish(self) -> None:
        """Take note that the message ends here. Raises InflateError if it cannot."""
        # Also without the tail: a client may have forgotten to leave it out, may have ended with a
        # final block as it is, or may have sent no data at all.
        stream = self._stream
        if not (stream.eof or _ends(stream.copy(), _END) or _ends(stream, _TAIL + _END)):
            raise InflateError(_INCOMPLETE)

    def _start_anew(self) -> None:
        """Go on after a final block."""
        # For zlib that ended the stream; in a message it is a block like any other (section 7.2.1).
        self._final_blocks += 1
        if self._final_blocks > MAX_FINAL_BLOCKS:
            raise InflateError(_TOO_MANY_FINAL_BLOCKS)
        # What came before stays within reach: the window is that of the message.
        self._stream = zlib.decompressobj(_RAW, bytes(self.plain[-_WINDOW:]))


def inflate_whole(data: bytes, limit: int) -> bytes | None:
    """Return what a whole message of this payload says, if that is simple.

    None if it is not, for whatever reason: too big for the limit or for one step, several streams,
    any fault. An Inflater has to tell then.
    """
    size = min(limit, STEP) + 1
    stream = zlib.decompressobj(_RAW)
    try:
        plain = stream.decompress(data, size)
    except zlib.error:
        return None
    if len(plain) == size or stream.eof or not _ends(stream, _TAIL + _END):
        return None
    return plain


def _smaller(portion: bytes) -> list[tuple[bytes, int]]:
    """Cut data with a fault in them in two, and in the end their growth into single bytes.

    So everything before the fault comes out, whatever portions one began with. A stack again.
    """
    half = len(portion) // 2
    return [(portion[half:], STEP), (portion[:half], STEP)] if half else [(portion, 1)]


def _ends(stream: zlib._Decompress, data: bytes) -> bool:
    """True if these data are what was missing: they end the stream, and do nothing else to it."""
    try:
        return not stream.decompress(data, 1) and stream.eof and not stream.unused_data
    except zlib.error:
        return False
