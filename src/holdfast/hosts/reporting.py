"""What happens when a listener raised: it is logged, and the `error` event fires.

Used by every host for every kind of event.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast.core.dispatch import dispatch
from holdfast.core.events import ErrorEvent
from holdfast.core.outbox import current_outbox

if TYPE_CHECKING:
    from holdfast.core.events import ExtendableEvent
    from holdfast.core.ports import Host
    from holdfast.core.scope import ServiceWorker

__all__ = ["report_failure"]


async def report_failure(
    app: ServiceWorker,
    host: Host,
    event: ExtendableEvent,
    error: BaseException,
    what: str,
) -> None:
    """Have the host log `error` as raised by `what`, and tell the `error` listeners."""
    host.report(what, error)
    listeners = app.registered["error"]
    if not listeners:
        return
    outbox = host.new_outbox()
    before = current_outbox.set(outbox)
    failure = await dispatch(ErrorEvent(outbox, error, event), listeners)
    current_outbox.reset(before)
    if failure is None:
        host.commit(outbox)
    else:
        host.discard(outbox)
        host.report("a listener of the error event", failure.error)
