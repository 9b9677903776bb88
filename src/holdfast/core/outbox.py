"""The outbox of the event that runs in this context.

Pure. Set by hosts for each event they dispatch, and once for the whole process where there is one
host per process. It is how a BroadcastChannel made at module level finds its way out.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from holdfast.core.ports import Outbox

current_outbox: ContextVar[Outbox] = ContextVar("holdfast_outbox")
