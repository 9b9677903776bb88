"""Where what a listener asks for goes right now.

Pure. An outlet belongs to one event, or to a whole host. An event's outlet leads to the event's
own outbox until the event has settled, and to the host's from then on; so a handle that
outlives its event still works, and what it sends leaves at once.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from holdfast.core.ports import Host, Outbox

__all__ = ["Outlet", "current_outlet"]


class Outlet:
    """A host, and the outbox in use."""

    __slots__ = ("host", "outbox")

    def __init__(self, host: Host, outbox: Outbox) -> None:
        self.host = host
        self.outbox = outbox


# Set by hosts for each event they dispatch, and once for the whole process where there is one
# host per process. It is how a BroadcastChannel made at module level finds its way out.
current_outlet: ContextVar[Outlet] = ContextVar("holdfast_outlet")
