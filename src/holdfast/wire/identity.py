"""Connection ids: one opaque token that says which node owns a connection.

Pure. A token is base32 of node id (40 bits), serial (64 bits) and MAC (32 bits). Any node that
has the key can tell the owner, and nobody without it can make up a token. The serial is what
holdfast's own parts use; applications see the token only.
"""

from __future__ import annotations

import base64
import hashlib

NODE_BYTES = 5
SERIAL_BYTES = 8
# 32 bits: an id is no secret and opens nothing by itself; the MAC keeps typing errors and
# invented ids from reaching the index of connections.
MAC_BYTES = 4

# 128 bits are not to be guessed, and more than 64 bytes BLAKE2b does not take.
MIN_KEY_BYTES = 16
MAX_KEY_BYTES = 64
# What one has that is made at random.
KEY_BYTES = 32


class ConnectionIds:
    """Turns serials into tokens and back.

    Args:
        node: 5 bytes that name this node.
        key: 16 to 64 bytes, secret; the same on all nodes of a cluster.
    """

    def __init__(self, node: bytes, key: bytes) -> None:
        if len(node) != NODE_BYTES:
            raise ValueError(f"a node id has {NODE_BYTES} bytes, not {len(node)}")
        if not MIN_KEY_BYTES <= len(key) <= MAX_KEY_BYTES:
            raise ValueError(f"a key has {MIN_KEY_BYTES} to {MAX_KEY_BYTES} bytes, not {len(key)}")
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
        serial = int.from_bytes(raw[NODE_BYTES : NODE_BYTES + SERIAL_BYTES], "big")
        # Made again, it shows all at once: length, node, MAC, and that this is the token's only
        # spelling (base32 has two cases, and unused bits at the end). Comparing in plain time is
        # fine: see MAC_BYTES.
        return serial if token == self.encode(serial) else None

    def _mac(self, body: bytes) -> bytes:
        return hashlib.blake2b(body, key=self._key, digest_size=MAC_BYTES).digest()
