"""One request and its response under uvicorn, whose client waits to be told to go on.

Shell. Private. All others are uvicorn's own `RequestResponseCycle`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

if TYPE_CHECKING:
    from typing import Any


class ExpectingCycle(RequestResponseCycle):
    """One whose client waits for "100 Continue" before it sends the body (RFC 9110 section 10.1.1).

    If it is answered before that, nobody knows whether the body will come: the next request could
    be taken for it, or it for the next request. The connection ends, where uvicorn keeps it.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.is_last = not self.keep_alive
        self.keep_alive = False

    async def receive(self) -> Any:
        if self.waiting_for_100_continue:
            self.keep_alive = not self.is_last
        return await super().receive()

    def expect_nothing(self) -> None:
        """The client did not wait, and the body is here."""
        if self.waiting_for_100_continue:
            self.waiting_for_100_continue = False
            self.keep_alive = not self.is_last
