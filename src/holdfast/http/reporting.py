"""What happens when a listener raised: it is logged, and the `error` event fires.

Used by every host for every kind of event.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from holdfast.core.dispatch import dispatch
from holdfast.core.events import ErrorEvent
from holdfast.core.ports import current_outbox
from holdfast.core.request_events import RequestEvent
from holdfast.web.http_errors import HTTPError

if TYPE_CHECKING:
    from holdfast.core.events import ExtendableEvent
    from holdfast.core.ports import Host
    from holdfast.core.scope import GlobalScope


async def report_failure(
    app: GlobalScope,
    host: Host,
    event: ExtendableEvent,
    error: BaseException,
    what: str,
) -> None:
    """Have the host log `error` as raised by `what`, and tell the `error` listeners."""
    if isinstance(error, HTTPError) and not isinstance(event, RequestEvent):
        _explain(error, event.type)
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
        host.report("a listener of the error event", failure.take())


def _explain(error: HTTPError, event_type: str) -> None:
    """Have the traceback say why no client sees this error."""
    note = (
        "An HTTPError becomes a response only in fetch and websocketupgrade listeners: a "
        f"{event_type} event has no request to answer."
    )
    if event_type == "websocketmessage":
        note += " Send a message, or close the connection."
    # It may have been made once, and be raised often.
    if note not in getattr(error, "__notes__", ()):
        error.add_note(note)
