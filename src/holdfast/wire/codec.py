"""Encodings that travel inside messages: a connection's details, and its attachment.

Pure. Both are opaque bytes to the keeper, except that it changes the channels of a connection.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from holdfast.core.ports import Metadata

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_ABOUT = msgspec.msgpack.Decoder(tuple[str, str | None, list[str]])


def encode_metadata(about: Metadata) -> bytes:
    # Sorted, so that equal details are equal bytes and the keeper can share them.
    return msgspec.msgpack.encode((about.url, about.subprotocol, sorted(about.channels)))


def decode_metadata(encoded: bytes) -> Metadata:
    url, subprotocol, channels = _ABOUT.decode(encoded)
    return Metadata(url, subprotocol, frozenset(channels))


def is_about(encoded: bytes) -> bool:
    """True if `decode_metadata` will not raise."""
    try:
        _ABOUT.decode(encoded)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return False
    return True


# Bound methods, not functions around them: a message may cost one call of each.
encode_plain = msgspec.msgpack.Encoder().encode
"""Encode plain data; raise TypeError, ValueError or OverflowError for what is not."""
decode_plain: Callable[[bytes], Any] = msgspec.msgpack.Decoder().decode
"""Decode what `encode_plain` made."""
