"""What happens when a listener raised: it is logged, and the `error` event fires.

Shell: it logs. Used by every host for every kind of event.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from holdfast.core.dispatch import dispatch
from holdfast.core.events import ErrorEvent

if TYPE_CHECKING:
    from holdfast.core.events import ExtendableEvent
    from holdfast.core.ports import CommittingHost
    from holdfast.core.scope import ServiceWorker

__all__ = ["report_failure"]

log = logging.getLogger("holdfast.worker")


async def report_failure(
    app: ServiceWorker,
    host: CommittingHost,
    event: ExtendableEvent,
    error: BaseException,
    what: str,
) -> None:
    """Log `error` as raised by `what`, and tell the application's `error` listeners."""
    log.error("%s raised %s", what, type(error).__name__, exc_info=error)
    listeners = app.registered["error"]
    if not listeners:
        return
    outbox = host.new_outbox()
    failure = await dispatch(ErrorEvent(outbox, error, event), listeners)
    if failure is None:
        host.commit(outbox)
    else:
        host.discard(outbox)
        log.error("a listener of the error event raised", exc_info=failure.error)
