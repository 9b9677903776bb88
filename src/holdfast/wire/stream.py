"""Batches of messages as bytes, and back.

Pure. A batch is a u32 length, little endian, and one msgpack array of messages. A loop turn's
messages travel in one batch: one system call carries them, and the receiver gets all or none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

import msgspec

from holdfast.errors import BrokenWire

if TYPE_CHECKING:
    from collections.abc import Sequence

T = TypeVar("T")

_HEADER = 4  # bytes

# A batch holds one loop turn, or a part of it: all that has waited for a worker may go out in one
# turn. What is longer is a broken peer, not a busy one.
MAX_BATCH = 256 * 1024 * 1024  # bytes


class BatchEncoder:
    """Encodes batches; keep one per link."""

    def __init__(self) -> None:
        self._encoder = msgspec.msgpack.Encoder()

    def encode(self, messages: Sequence[msgspec.Struct]) -> bytearray:
        """Return one batch, or several where one would be longer than the receiver takes.

        Raises:
            BrokenWire: a single message is too long.
        """
        batch = bytearray(_HEADER)
        self._encoder.encode_into(messages, batch, _HEADER)
        size = len(batch) - _HEADER
        if size > MAX_BATCH:
            if len(messages) <= 1:
                raise BrokenWire(f"a message of {size} bytes is over the limit of {MAX_BATCH}")
            half = len(messages) // 2
            return self.encode(messages[:half]) + self.encode(messages[half:])
        batch[:_HEADER] = size.to_bytes(_HEADER, "little")
        return batch


class BatchReader(Generic[T]):
    """Turns any split of a byte stream into messages."""

    def __init__(self, messages: object) -> None:
        """`messages` is the union of what may come, as one of the aliases in this room."""
        self._decoder: msgspec.msgpack.Decoder[list[T]] = msgspec.msgpack.Decoder(
            list[messages]  # type: ignore[valid-type]
        )
        self._partial = bytearray()
        self._wanted = _HEADER

    @property
    def missing(self) -> int:
        """Bytes that the batch wants which has begun to come; 0 between batches."""
        return self._wanted - len(self._partial) if self._partial else 0

    def receive(self, data: bytes) -> list[T]:
        """Return the messages of all batches that `data` completes.

        Raises:
            BrokenWire: the peer sent what is no batch of the expected messages; drop the link.
        """
        if self._partial:
            # A large batch comes in many pieces; look at it again only when it is complete.
            self._partial += data
            if len(self._partial) < self._wanted:
                return []
            data = bytes(self._partial)
        messages: list[T] = []
        start, size = 0, len(data)
        self._wanted = _HEADER
        while size - start >= _HEADER:
            body = start + _HEADER
            length = int.from_bytes(data[start:body], "little")
            if length > MAX_BATCH:
                raise BrokenWire(f"a batch of {length} bytes is over the limit of {MAX_BATCH}")
            if body + length > size:
                self._wanted = _HEADER + length
                break
            messages += self._decode(data[body : body + length])
            start = body + length
        self._partial = bytearray(data[start:])
        return messages

    def _decode(self, body: bytes) -> list[T]:
        try:
            return self._decoder.decode(body)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise BrokenWire(f"not a message of this link: {error}") from error
