"""The far end of one request over ASGI, in memory: it does what uvicorn does with the messages."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, MutableMapping
    from typing import Any

__all__ = ["Client"]


class Client:
    """A client that has sent its request, or `parts` of its body.

    Args:
        more: whether the body goes on after `parts`: with `say`, or `leave`.
    """

    def __init__(
        self,
        *parts: bytes,
        method: str = "GET",
        path: bytes = b"/x",
        headers: Iterable[tuple[bytes, bytes]] = (),
        scheme: str = "http",
        extensions: dict[str, object] | None = None,
        more: bool = False,
    ) -> None:
        self.scope: MutableMapping[str, Any] = {
            "type": "http",
            "http_version": "1.1",
            "method": method,
            "scheme": scheme,
            "path": path.decode(),
            "raw_path": path,
            "query_string": b"",
            "headers": [(b"host", b"example.org"), *headers],
            "client": ("192.0.2.1", 4711),
        }
        if extensions is not None:
            self.scope["extensions"] = extensions
        self.sent: list[MutableMapping[str, Any]] = []
        self.received = 0
        self._incoming: list[MutableMapping[str, Any]] = []
        self._changed = asyncio.Event()
        self._has_left = False
        for part in parts:
            self.say(part, more=True)
        if not more:
            self.say(b"", more=False)

    # --- what the client does -------------------------------------------------------------------

    def say(self, part: bytes, *, more: bool) -> None:
        self._incoming.append({"type": "http.request", "body": part, "more_body": more})
        self._changed.set()

    def leave(self) -> None:
        self._has_left = True
        self._changed.set()

    async def until(self, chunk: bytes) -> None:
        """Return when the client has got `chunk`."""
        while chunk not in self.chunks:
            self._changed.clear()
            await self._changed.wait()

    # --- what the application does --------------------------------------------------------------

    async def receive(self) -> MutableMapping[str, Any]:
        while not self._has_left and not self._incoming:
            self._changed.clear()
            await self._changed.wait()
        if self._has_left:
            return {"type": "http.disconnect"}
        self.received += 1
        return self._incoming.pop(0)

    async def send(self, message: MutableMapping[str, Any]) -> None:
        if not self._has_left:
            self.sent.append(message)
            self._changed.set()

    # --- what the client got --------------------------------------------------------------------

    @property
    def status(self) -> int | None:
        return self.sent[0]["status"] if self.sent else None

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        headers: list[tuple[bytes, bytes]] = self.sent[0]["headers"]
        return headers

    @property
    def chunks(self) -> list[bytes]:
        return [message["body"] for message in self.sent[1:]]

    @property
    def body(self) -> bytes:
        return b"".join(self.chunks)

    @property
    def is_complete(self) -> bool:
        return bool(self.chunks) and not self.sent[-1].get("more_body", False)
