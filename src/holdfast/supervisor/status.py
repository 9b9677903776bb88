"""What `holdfast status` says of what a server has done, and of its limits.

Pure. Private. Asked by whoever answers that command: the supervisor, or direct mode.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Mapping
    from typing import Any

    from holdfast.config import ServerSettings
    from holdfast.wire.control import KeeperStatus

# A connection that is closed since it had nothing more to ask is nothing that a limit did.
UNCOUNTED = "keep_alive"


def count_http(total: Counter[str], counted: Mapping[str, int], settings: ServerSettings) -> None:
    """Add what a worker has counted of the limits there are."""
    for name in _http_limits(settings):
        if name in counted:
            total[name] += counted[name]


def describe(
    status: KeeperStatus, http: Mapping[str, int], settings: ServerSettings
) -> dict[str, Any]:
    """Return this part of the answer, ready for JSON.

    Args:
        http: from `count_http`, of all workers that there were.
    """
    hits = {**http, **status.hits}
    return {
        "connections": status.connections,
        "waiting": status.waiting,
        "accepted": status.accepted,
        "deliveries": status.deliveries,
        "redeliveries": status.redeliveries,
        "quarantined": status.quarantined,
        "memory": status.memory,
        "limits": {
            name: {"limit": value, "hits": hits.get(name, 0)}
            for name, value in {**asdict(settings.keeper), **_http_limits(settings)}.items()
        },
    }


def _http_limits(settings: ServerSettings) -> dict[str, Any]:
    limits = asdict(settings.http)
    del limits[UNCOUNTED]
    return {
        **limits,
        "max_body": settings.max_body,
        "request_timeout": settings.request_timeout,
    }
