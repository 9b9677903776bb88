"""Turns bytes into decisions, so that a fuzzer which mutates bytes mutates decisions.

Like the FuzzedDataProvider of atheris, but the same without it: tests play the corpus with no
fuzzer installed. When the bytes are used up, every choice is the first one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["INTEGERS", "Choices", "cut"]

T = TypeVar("T")

# Where arithmetic, encodings and the wire have their edges.
INTEGERS = (
    0, 1, 2, 3, 16, 17, 125, 126, 127, 128, 255, 256, 65535, 65536, -1, -2, -(2**31), 2**31 - 1,
    2**31, 2**32 - 1, 2**32, 2**53, 2**63 - 1, 2**63, 2**64 - 1, -(2**63),
)  # fmt: skip


class Choices:
    """A row of bytes that answers questions."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._place = 0

    @property
    def is_over(self) -> bool:
        return self._place >= len(self._data)

    def byte(self) -> int:
        taken = self.take(1)
        return taken[0] if taken else 0

    def take(self, size: int) -> bytes:
        """Return the next `size` bytes, or what is left."""
        taken = self._data[self._place : self._place + size]
        self._place += size
        return taken

    def rest(self) -> bytes:
        return self.take(len(self._data))

    def number(self, below: int) -> int:
        """Return a number from 0 on; `below` is at most 256."""
        return self.byte() % below

    def pick(self, options: Sequence[T]) -> T:
        return options[self.number(len(options))]

    def flag(self) -> bool:
        return self.byte() % 2 == 1

    def integer(self) -> int:
        """Return one of `INTEGERS`, or a small one."""
        kind = self.byte()
        return INTEGERS[kind] if kind < len(INTEGERS) else kind

    def chunk(self) -> bytes:
        """Return up to 255 bytes: a length, and then they."""
        return self.take(self.byte())

    def text(self) -> str:
        """Return text that UTF-8 can carry."""
        return self.chunk().decode(errors="replace")


def cut(data: bytes, sizes: Sequence[int]) -> list[bytes]:
    """Return `data` in pieces of these sizes, over and over; at least one byte each."""
    pieces, start, turn = [], 0, 0
    while start < len(data):
        size = max(sizes[turn % len(sizes)], 1) if sizes else len(data)
        pieces.append(data[start : start + size])
        start += size
        turn += 1
    return pieces
