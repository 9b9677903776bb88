"""Connection ids: one opaque token that says which node owns a connection.

Pure. A token is base32 of node id (40 bits), serial (64 bits) and MAC (32 bits). Any node that
has the key can tell the owner, and nobody without it can make up a token. The serial is what
holdfast's own parts use; applications see the token only.
"""

from __future__ import annotations

import base64
import hashlib

__all__ = ["ConnectionIds"]

NODE_BYTES = 5
SERIAL_BYTES = 8
# 32 bits: an id is no secret and opens nothing by itself; the MAC keeps typing errors and
# invented ids from reaching the index of connections.
MAC_BYTES = 4


class ConnectionIds:
    """Turns serials into tokens and back.

    Args:
        node: 5 bytes that name this node.
        key: 16 to 64 bytes, secret; the same on all nodes of a cluster.
    """

    def __init__(self, node: bytes, key: bytes) -> None:
        if len(node) != NODE_BYTES:
            raise ValueError(f"a node id has {NODE_BYTES} bytes, not {len(node)}")
        self._node = node
        self._key = key

    def encode(self, serial: int) -> str:
        body = self._node + serial.to_bytes(SERIAL_BYTES, "big")
        return base64.b32encode(body + self._mac(body)).decode().rstrip("=").lower()

    def decode(self, token: str) -> int | None:
        """Return the serial, or None for a token that this node did not make."""
        try:
            raw = base64.b32decode(token.upper() + "=" * (-len(token) % 8))
        except ValueError:
            return None
        body, mac = raw[:-MAC_BYTES], raw[-MAC_BYTES:]
        if len(body) != NODE_BYTES + SERIAL_BYTES or body[:NODE_BYTES] != self._node:
            return None
        # Comparing in plain time is fine: see MAC_BYTES.
        return int.from_bytes(body[NODE_BYTES:], "big") if mac == self._mac(body) else None

    def _mac(self, body: bytes) -> bytes:
        return hashlib.blake2s(body, key=self._key[:32], digest_size=MAC_BYTES).digest()
