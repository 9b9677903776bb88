"""The data of a connection that survives its worker: plain values, encoded, limited.

Pure. `core/connection.py` keeps one `Attachment` per handle whose `data` was touched; the
encoding itself is the host's business (`core/ports.py:Host.encode`).
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from holdfast.errors import AttachmentError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

# A Durable Object's attachment may have 2 KiB, a browser's cookies 4 KiB per name. The attachment
# travels with each delivery, so it should stay small; what is larger belongs in a database.
DEFAULT_LIMIT = 16 * 1024  # bytes, encoded

# Deeper than any sensible record and far from Python's recursion limit; a cycle ends here too.
MAX_DEPTH = 64

# What cannot change in place.
SCALARS = frozenset({type(None), bool, int, float, str, bytes, datetime})


class Attachment:
    """The value a listener works with, and whether it differs from what was last committed."""

    __slots__ = ("_committed", "_original", "value")

    def __init__(self, committed: bytes, value: Any) -> None:
        self._committed = committed
        self._original = value
        self.value = value

    def changed(self, encode: Callable[[object], bytes], limit: int) -> bytes | None:
        """Return the new encoding, or None if nothing changed.

        Raises:
            AttachmentError: the value is not plain data, or over `limit` bytes.
        """
        value = self.value
        if value is self._original and type(value) in SCALARS:
            return None  # It cannot have changed in place.
        try:
            encoded = encode(value)
        except (TypeError, ValueError, OverflowError, RecursionError) as error:
            check_plain(self.value)
            raise AttachmentError("data", f"cannot be encoded: {error}") from error
        if encoded == self._committed:
            return None
        # An encoder may be more generous than the contract (sets, dataclasses); what would come
        # back as another type is refused here.
        check_plain(self.value)
        if len(encoded) > limit:
            raise AttachmentError("data", f"has {len(encoded)} bytes, over the limit of {limit}")
        return encoded


def check_plain(value: object) -> None:
    """Raise AttachmentError naming the first place in `value` that is not plain data.

    Plain are None, bool, int (64 bits), float, str, bytes, datetime (with a time zone), list, tuple
    (comes back as a list) and dict with plain scalar keys.
    """
    problem = next(_problems(value, "data", 0), None)
    if problem is not None:
        # From None: what the encoder thinks of it says less.
        raise AttachmentError(*problem) from None


def _problems(value: object, path: str, depth: int) -> Iterator[tuple[str, str]]:
    if depth > MAX_DEPTH:
        yield path, f"is nested deeper than {MAX_DEPTH} levels, or refers to itself"
    elif type(value) is dict:
        for key, item in value.items():
            yield from _scalar_problems(key, f"a key of {path}")
            yield from _problems(item, f"{path}[{key!r}]", depth + 1)
    elif type(value) is list or type(value) is tuple:
        for index, item in enumerate(value):
            yield from _problems(item, f"{path}[{index}]", depth + 1)
    else:
        yield from _scalar_problems(value, path)


def _scalar_problems(value: object, path: str) -> Iterator[tuple[str, str]]:
    if type(value) not in SCALARS:
        kind = type(value).__qualname__
        yield path, f"is a {kind}; only plain data (dict, list, str, int, …) survives a worker"
    elif type(value) is int and not -(2**63) <= value < 2**64:
        yield path, "is an int of more than 64 bits; keep it as a str"
    elif type(value) is str and not _is_encodable(value):
        yield path, "has a lone surrogate, which UTF-8 cannot carry"
    elif type(value) is datetime and value.utcoffset() is None:
        yield path, "is a datetime without a time zone, which would come back as a str"


def _is_encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
