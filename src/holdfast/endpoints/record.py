"""The record of a WebSocket endpoint: the scope of the request that the endpoint was begun for.

Pure. The server's part of an ASGI scope is plain data. The keeper keeps this data, and the worker
that resumes the endpoint makes a scope of it again. The record has nothing of what the application
and its middleware put into the scope: they put it in again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from holdfast.framing.handshake import offered_subprotocols
from holdfast.wire.codec import decode_plain, encode_plain

if TYPE_CHECKING:
    from collections.abc import MutableMapping, Sequence
    from typing import Any

EXTENSION = "holdfast"

# A handshake is a request, whose scheme is that of HTTP.
SCHEMES = {"http": "ws", "https": "wss"}

# As uvicorn names it.
ASGI = {"version": "3.0", "spec_version": "2.4"}


class Endpoint(NamedTuple):
    """One request for a WebSocket, as ASGI describes it."""

    path: str
    raw_path: bytes | None
    query_string: bytes
    root_path: str
    scheme: str
    http_version: str
    headers: Sequence[Sequence[bytes]]
    subprotocols: Sequence[str]
    client: Sequence[Any] | None
    server: Sequence[Any] | None

    @classmethod
    def of_request(cls, scope: MutableMapping[str, Any]) -> Endpoint:
        """Make it of an HTTP request's scope, or of another ASGI server's WebSocket scope."""
        headers = list(scope["headers"])
        scheme: str = scope.get("scheme", "http")
        return cls(
            scope["path"],
            scope.get("raw_path"),
            scope.get("query_string", b""),
            scope.get("root_path", ""),
            SCHEMES.get(scheme, scheme),
            scope.get("http_version", "1.1"),
            headers,
            offered_subprotocols(headers),
            scope.get("client"),
            scope.get("server"),
        )

    @classmethod
    def decode(cls, encoded: bytes) -> Endpoint:
        """Undo `encode`."""
        return cls(*decode_plain(encoded))

    @property
    def place(self) -> dict[str, Any]:
        """The part of the scope that decides which mount has the endpoint."""
        return {"path": self.path, "root_path": self.root_path}

    def encode(self) -> bytes:
        return encode_plain(list(self))

    def scope(self, extension: dict[str, Any]) -> dict[str, Any]:
        """Return a new ASGI scope; `http/mounts.py:Mounted` makes it a child scope.

        Args:
            extension: what holdfast adds to ASGI.
        """
        scope = {
            "type": "websocket",
            "asgi": dict(ASGI),
            "http_version": self.http_version,
            "scheme": self.scheme,
            "server": _pair(self.server),
            "client": _pair(self.client),
            "root_path": self.root_path,
            "path": self.path,
            "query_string": self.query_string,
            # Encoding has made lists of them.
            "headers": [(name, value) for name, value in self.headers],
            "subprotocols": list(self.subprotocols),
            "extensions": {"websocket.http.response": {}, EXTENSION: extension},
        }
        if self.raw_path is not None:
            scope["raw_path"] = self.raw_path
        return scope


def _pair(address: Sequence[Any] | None) -> tuple[Any, ...] | None:
    return None if address is None else tuple(address)
