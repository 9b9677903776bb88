"""What a client does to a message that it compresses (RFC 7692 section 7.2.1)."""

from __future__ import annotations

import zlib

TAIL = b"\x00\x00\xff\xff"


def deflated(
    *parts: bytes, bits: int = 15, level: int = 6, strategy: int = zlib.Z_DEFAULT_STRATEGY
) -> bytes:
    """Compress a message, flushing after each part."""
    compressor = zlib.compressobj(level, zlib.DEFLATED, -bits, 8, strategy)
    return b"".join(
        compressor.compress(part) + compressor.flush(zlib.Z_SYNC_FLUSH) for part in parts or [b""]
    ).removesuffix(TAIL)


def deflated_with_final_blocks(*parts: bytes) -> bytes:
    """Compress a message, flushing by a final block after each part (section 7.2.3.4)."""
    data = so_far = b""
    for part in parts:
        # The window is that of the message: a block may refer to what is before a final block.
        compressor = zlib.compressobj(wbits=-15, zdict=so_far)
        data += compressor.compress(part) + compressor.flush(zlib.Z_FINISH)
        so_far += part
    return data + b"\x00"
