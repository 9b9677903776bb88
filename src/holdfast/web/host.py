"""What bodies need from whoever runs the application.

Pure: declarations, and the one variable that leads to the host of the event that runs.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING, Protocol

from holdfast.errors import NotInsideHoldfast

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Awaitable

    from holdfast.web.files import FileBody
    from holdfast.web.forms import FormData


class BodyHost(Protocol):
    """The part of `core/ports.py:Host` that bodies use."""

    def parse_multipart(self, content_type: str, body: AsyncIterable[bytes]) -> Awaitable[FormData]:
        """Parse a multipart/form-data body (RFC 7578); raise ValueError if it is none."""

    def read_file(self, file: FileBody) -> AsyncIterable[bytes]:
        """Read a file chunk by chunk, off the event loop.

        Raises:
            FileNotFoundError: there is no such file, or it lies outside of its root.
        """


class HasHost(Protocol):
    """An outbox, as far as bodies know it."""

    @property
    def host(self) -> BodyHost: ...


# The outbox of the event that runs in this context. Hosts set it for each event they dispatch, and
# once for the whole process. `core/ports.py` has the same variable with the whole type.
current_outbox: ContextVar[HasHost] = ContextVar("holdfast_outbox")


def host_for(what: str) -> BodyHost:
    """Return the host of the event that runs in this context.

    Raises:
        NotInsideHoldfast: there is none; the error says that `what` needs it.
    """
    outbox = current_outbox.get(None)
    if outbox is None:
        raise NotInsideHoldfast(what)
    return outbox.host
