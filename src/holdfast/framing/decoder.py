"""The decoder: the byte stream of one client in, events out (RFC 6455 section 5, RFC 7692).

Pure: no socket, no clock, no event loop. Whoever owns a socket passes on what arrived, in pieces
of any size, and acts on the events that come back.

A frame takes one of two ways:

    fast path       a whole unfragmented message of up to 64 KiB, read where it lies; a compressed
                    one too, if it is no more than that when it is plain again
    general path    any other frame: first the rules of its header, then its payload

The fast path has no rules of its own. It takes frames to which no rule can object and leaves any
other untouched, for the general path to judge. Nor does it matter where the network cut the
stream: the events follow from the bytes alone.

Between two chunks a decoder is in one of these states:

    idle            nothing is pending
    in a header     `_kept` is the beginning of a frame: part of a header, or of a control frame
    in a message    `_message` is what has come of it; `_kept` may be there as well
    finished        a Close or a Violation was the last event; nothing is read any more
"""

from __future__ import annotations

from codecs import utf_8_decode
from typing import Final, TypeAlias

from holdfast.framing.close_codes import INVALID_DATA, PROTOCOL_ERROR, TOO_BIG, may_be_sent
from holdfast.framing.frames import (
    BINARY,
    CLOSE,
    CONTINUATION,
    CONTROL,
    FIN,
    MAX_CONTROL_PAYLOAD,
    MAX_UINT16,
    PING,
    PONG,
    RSV1,
    TEXT,
    Close,
    Event,
    Ping,
    Pong,
    Violation,
)
from holdfast.framing.inflate import STATE_SIZE, InflateError, Inflater, inflate_whole

try:
    from websockets.speedups import apply_mask
except ImportError:  # no wheel for this platform, and no compiler when it was installed
    from websockets.utils import apply_mask

_MASKED: Final = 0x80  # the top bit of a frame's second byte
_RESERVED: Final = 0x70
_OPCODE: Final = 0x0F
_WHOLE_TEXT: Final = FIN | TEXT
_WHOLE_BINARY: Final = FIN | BINARY
_WHOLE_COMPRESSED: Final = (FIN | RSV1 | TEXT, FIN | RSV1 | BINARY)

_RESERVED_BIT = Violation(
    PROTOCOL_ERROR, "a reserved bit is set, but no extension in use means that"
)
_UNKNOWN_OPCODE = Violation(PROTOCOL_ERROR, "the opcode is unknown")
_CONTROL_FRAGMENTED = Violation(PROTOCOL_ERROR, "a control frame must not be fragmented")
_CONTROL_TOO_LONG = Violation(PROTOCOL_ERROR, "a control frame carries at most 125 bytes")
_NOTHING_TO_CONTINUE = Violation(PROTOCOL_ERROR, "a continuation frame came outside of a message")
_MESSAGE_UNFINISHED = Violation(PROTOCOL_ERROR, "a new message began before the last one ended")
_NOT_MASKED = Violation(PROTOCOL_ERROR, "a frame from a client must be masked")
_LENGTH_TOO_LARGE = Violation(PROTOCOL_ERROR, "the top bit of a 64-bit length must be 0")
_LENGTH_NOT_MINIMAL = Violation(PROTOCOL_ERROR, "the length is not in its shortest form")
_MESSAGE_TOO_BIG = Violation(TOO_BIG, "the message is too big")
_TEXT_INVALID = Violation(INVALID_DATA, "the text is not valid UTF-8")
_CLOSE_TOO_SHORT = Violation(PROTOCOL_ERROR, "a close code takes two bytes, not one")
_CLOSE_CODE_INVALID = Violation(PROTOCOL_ERROR, "the close code must not be sent")
_REASON_INVALID = Violation(INVALID_DATA, "the close reason is not valid UTF-8")

# A header without fault: its first byte, the length of the payload, and where that starts.
_Header: TypeAlias = tuple[int, int, int]


class Decoder:
    """Turns what one client sends into events. Call `receive`, then look at `is_idle`.

    `max_message` is the largest message, in bytes. With `deflates`, permessage-deflate was agreed
    on: messages may come compressed, and must not be larger than that before or after (I-5.8).

    An idle decoder is as good as a new one with the same arguments. So the owner of many
    connections shares one spare decoder among all that have none: a connection takes it when bytes
    arrive, and keeps it (so that the owner needs a new spare) only if it is not idle afterwards.
    That is how an idle connection costs no memory.

    At most `max_message` bytes are buffered, plus the eighth by which a bytearray grows ahead,
    whatever the fragments they come in. Within a compressed message there is zlib's state besides,
    some 40 KiB, and 64 KiB for as long as a call takes.
    """

    __slots__ = ("_deflates", "_is_finished", "_kept", "_max_message", "_message", "is_idle")

    #: True when no frame and no message is pending and the decoder is not finished. To be read
    #: only: it is a plain attribute since a property costs five times as much, once per chunk.
    is_idle: bool

    def __init__(self, *, max_message: int, deflates: bool = False) -> None:
        self._max_message = max_message
        self._deflates = deflates
        self._kept = b""
        self._message: _Message | None = None
        self._is_finished = False
        self.is_idle = True

    def __repr__(self) -> str:
        if self._is_finished:
            return "<Decoder finished>"
        if self._message is not None:
            return f"<Decoder in a message, {len(self._message.payload)} bytes so far>"
        return f"<Decoder {'idle' if self.is_idle else 'in a header'}>"

    @property
    def buffered(self) -> int:
        """Bytes kept of what is not complete yet: of a frame's beginning, and of a message.

        In a compressed message what zlib keeps counts too: with a few bytes of it, it is the most.
        """
        return len(self._kept) + (0 if self._message is None else self._message.size)

    def receive(self, data: bytes) -> list[Event]:
        """Return the events that these bytes complete, in order; never raise, whatever they are.

        A Close or a Violation is the last event ever. With `deflates`, messages may come out that
        are a thousand times as long, all together, as the bytes that went in: whoever has to stop
        in between passes on less at a time.
        """
        if self._kept:
            data = self._kept + data
            self._kept = b""
            self.is_idle = self._message is None
        events: list[Event] = []
        start, size = 0, len(data)
        while start < size:
            if self.is_idle:
                start = self._read_whole_messages(data, start, size, events)
            if start < size:
                start = self._read_frame(data, start, events)
        return events

    def _read_whole_messages(self, data: bytes, start: int, size: int, events: list[Event]) -> int:
        """The fast path. Return where the first frame starts that is not for it."""
        limit = self._max_message
        try:
            while start < size:
                body = start + 6
                length = data[start + 1] - _MASKED
                if length > MAX_CONTROL_PAYLOAD:
                    if length != 126:
                        break
                    body = start + 8
                    length = data[start + 2] << 8 | data[start + 3]
                    if length <= MAX_CONTROL_PAYLOAD:
                        break
                end = body + length
                if not 0 <= length <= limit or end > size:
                    break
                first = data[start]
                if first == _WHOLE_TEXT:
                    events.append(apply_mask(data[body:end], data[body - 4 : body]).decode())
                elif first == _WHOLE_BINARY:
                    events.append(apply_mask(data[body:end], data[body - 4 : body]))
                elif not (self._deflates and self._read_compressed(data, start, body, end, events)):
                    break
                start = end
        except (IndexError, UnicodeDecodeError):
            pass  # part of a header; not UTF-8: `start` is still where that frame starts
        return start

    def _read_compressed(
        self, data: bytes, start: int, body: int, end: int, events: list[Event]
    ) -> bool:
        """The fast path of compressed messages. False if this frame is not for it."""
        first = data[start]
        if first not in _WHOLE_COMPRESSED:
            return False
        compressed = apply_mask(data[body:end], data[body - 4 : body])
        plain = inflate_whole(compressed, self._max_message)
        if plain is None:
            return False
        events.append(plain.decode() if first & _OPCODE == TEXT else plain)
        return True

    def _read_frame(self, data: bytes, start: int, events: list[Event]) -> int:
        """The general path. Read one frame, or what has come of it; return where that ends."""
        if self._is_finished:
            return len(data)
        message = self._message
        if message is not None and message.remaining:
            return self._read_payload(message, data, start, events)
        if message is not None:
            verdicts, room = _FIRST_BYTE_INSIDE, self._max_message - message.received
        else:
            verdicts, room = _FIRST_BYTE_OUTSIDE[self._deflates], self._max_message
        header = _read_header(data, start, room, verdicts)
        if header is None:
            return self._keep(data, start)
        if isinstance(header, Violation):
            return self._finish(header, data, events)
        first, length, body = header
        if first & CONTROL:
            if body + length > len(data):
                return self._keep(data, start)
            return self._read_control(header, data, events)
        if message is None:
            message = self._message = self._new_message(first)
            self.is_idle = False
        message.begin_frame(first, length, data[body - 4 : body])
        return self._read_payload(message, data, body, events)

    def _new_message(self, first: int) -> _Message:
        if first & RSV1:
            return _CompressedMessage(first & _OPCODE, self._max_message)
        return _Message(first & _OPCODE)

    def _read_payload(self, message: _Message, data: bytes, start: int, events: list[Event]) -> int:
        end = message.read(data, start)
        if message.fault is not None:
            return self._finish(message.fault, data, events)
        if message.is_whole:
            events.append(message.decode())
            self._message = None
            self.is_idle = True
        return end

    def _read_control(self, header: _Header, data: bytes, events: list[Event]) -> int:
        first, length, body = header
        end = body + length
        payload = apply_mask(data[body:end], data[body - 4 : body])
        opcode = first & _OPCODE
        if opcode == CLOSE:
            return self._finish(_decode_close(payload), data, events)
        events.append(Ping(payload) if opcode == PING else Pong(payload))
        return end

    def _keep(self, data: bytes, start: int) -> int:
        self._kept = data[start:]
        self.is_idle = False
        return len(data)

    def _finish(self, event: Close | Violation, data: bytes, events: list[Event]) -> int:
        events.append(event)
        self._message = None
        self._is_finished = True
        self.is_idle = False
        return len(data)


class _Message:
    """What has come of a data message, unmasked: one buffer for all of its frames."""

    # No list of pieces: a client that sends two bytes per frame would make 43 bytes of each two.
    __slots__ = (
        "_checked", "_is_last_frame", "_mask", "_opcode", "fault", "payload", "received",
        "remaining",
    )  # fmt: skip

    def __init__(self, opcode: int) -> None:
        self._opcode = opcode
        self._checked = 0  # so many bytes of payload are characters
        self.payload = bytearray()
        self.received = 0  # bytes of payload in its frames; what they say, if compressed, is larger
        self.fault: Violation | None = None

    def begin_frame(self, first: int, length: int, mask: bytes) -> None:
        self._is_last_frame = bool(first & FIN)
        self._mask = mask
        self.remaining = length

    @property
    def size(self) -> int:
        """Memory that it takes so far, in bytes."""
        return len(self.payload)

    @property
    def is_whole(self) -> bool:
        return self._is_last_frame and not self.remaining

    def read(self, data: bytes, start: int) -> int:
        """Take what belongs to the current frame; return where that ends. Sets `fault`."""
        piece = apply_mask(data[start : start + self.remaining], self._mask)
        self.received += len(piece)
        self.remaining -= len(piece)
        turn = len(piece) % 4  # byte i of a frame is masked with byte i % 4 of its mask
        self._mask = self._mask[turn:] + self._mask[:turn]
        self.fault = self._take(piece)
        return start + len(piece)

    def _take(self, piece: bytes) -> Violation | None:
        self.payload += piece
        return self._judge_text(is_whole=self.is_whole)

    def _judge_text(self, *, is_whole: bool) -> Violation | None:
        """Object to text which, whatever may follow, is not UTF-8 (section 8.1).

        This fails at the first wrong byte, even in the middle of a frame: Autobahn's cases 6.4
        call anything later not strict. Only what is new since the last call is looked at.
        """
        if self._opcode != TEXT:
            return None
        try:
            new = self.payload[self._checked :]
            self._checked += utf_8_decode(new, "strict", is_whole)[1]
        except UnicodeDecodeError:
            return _TEXT_INVALID
        # Python waits for the third byte of a surrogate (U+D800 to U+DFFF) before it objects, in
        # case the error handler is "surrogatepass". The second byte already tells.
        rest = self.payload[self._checked :]
        return _TEXT_INVALID if rest[:1] == b"\xed" and rest[1:] >= b"\xa0" else None

    def decode(self) -> str | bytes:
        return self.payload.decode() if self._opcode == TEXT else bytes(self.payload)


class _CompressedMessage(_Message):
    """A message that is inflated as it comes; `payload` is plain (RFC 7692 section 7.2.2)."""

    __slots__ = ("_inflater", "_max_message")

    def __init__(self, opcode: int, max_message: int) -> None:
        super().__init__(opcode)
        self._max_message = max_message
        self._inflater = Inflater(max_message)
        self.payload = self._inflater.plain

    @property
    def size(self) -> int:
        return len(self.payload) + STATE_SIZE

    def _take(self, piece: bytes) -> Violation | None:
        # Judged after each step, so that the first fault counts, wherever the stream was cut.
        try:
            for _ in self._inflater.inflate(piece):
                if fault := self._judge_growth():
                    return fault
            if self.is_whole:
                self._inflater.finish()
        except InflateError as error:
            return error.violation
        return self._judge_text(is_whole=self.is_whole)

    def _judge_growth(self) -> Violation | None:
        is_too_big = len(self.payload) > self._max_message
        # The byte too many is no part of the message.
        del self.payload[self._max_message :]
        return self._judge_text(is_whole=False) or (_MESSAGE_TOO_BIG if is_too_big else None)


_Verdicts: TypeAlias = tuple[Violation | None, ...]


def _judge_first_byte(first: int, *, in_message: bool, deflates: bool = False) -> Violation | None:
    """Return what is wrong with the first byte of a frame, inside or outside of a message."""
    opcode = first & _OPCODE
    # RFC 7692 section 6: RSV1 is a matter of whole messages, and so of their first frames only.
    compressible = deflates and opcode in (TEXT, BINARY)
    if first & (_RESERVED & ~RSV1 if compressible else _RESERVED):
        return _RESERVED_BIT
    if opcode in (CLOSE, PING, PONG):
        return None if first & FIN else _CONTROL_FRAGMENTED
    if opcode == CONTINUATION:
        return None if in_message else _NOTHING_TO_CONTINUE
    if opcode in (TEXT, BINARY):
        return _MESSAGE_UNFINISHED if in_message else None
    return _UNKNOWN_OPCODE


_FIRST_BYTE_INSIDE: _Verdicts = tuple(
    _judge_first_byte(first, in_message=True) for first in range(256)
)
_FIRST_BYTE_OUTSIDE: tuple[_Verdicts, _Verdicts] = (
    tuple(_judge_first_byte(first, in_message=False) for first in range(256)),
    tuple(_judge_first_byte(first, in_message=False, deflates=True) for first in range(256)),
)


def _read_header(
    data: bytes, start: int, room: int, verdicts: _Verdicts
) -> _Header | Violation | None:
    """Return the header at `start`, what is wrong with it, or None if part of it is missing.

    Each rule is applied as soon as its bytes are there, in their order. So the answer does not
    depend on where the stream was cut, and a message that is too big is refused before it comes.
    """
    first = data[start]
    violation = verdicts[first]
    if violation is not None or start + 2 > len(data):
        return violation
    length = data[start + 1] - _MASKED
    if length < 0:
        return _NOT_MASKED
    body = start + 6
    if length > MAX_CONTROL_PAYLOAD:
        if first & CONTROL:
            return _CONTROL_TOO_LONG
        size = 2 if length == 126 else 8
        long_length = _read_long_length(data[start + 2 : start + 2 + size], size)
        if long_length is None or isinstance(long_length, Violation):
            return long_length
        length = long_length
        body += size
    if length > room and not first & CONTROL:
        return _MESSAGE_TOO_BIG
    return (first, length, body) if body <= len(data) else None


def _read_long_length(encoded: bytes, size: int) -> int | Violation | None:
    if len(encoded) < size:
        return None
    length = int.from_bytes(encoded, "big")
    # Section 5.2: the minimal number of bytes MUST be used, which Autobahn does not test.
    if length <= (MAX_CONTROL_PAYLOAD if size == 2 else MAX_UINT16):
        return _LENGTH_NOT_MINIMAL
    return _LENGTH_TOO_LARGE if length >> 63 else length


def _decode_close(payload: bytes) -> Close | Violation:
    """Read the payload of a Close frame: nothing, or a code and a reason (section 5.5.1)."""
    if not payload:
        return Close(None, "")
    if len(payload) == 1:
        return _CLOSE_TOO_SHORT
    code = int.from_bytes(payload[:2], "big")
    if not may_be_sent(code):
        return _CLOSE_CODE_INVALID
    try:
        return Close(code, payload[2:].decode())
    except UnicodeDecodeError:
        return _REASON_INVALID
