"""What `holdfast status` says of a keeper.

Private. Asked by whoever answers that command: the supervisor, or direct mode.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any

    from holdfast.config import KeeperLimits
    from holdfast.wire.control import KeeperStatus

__all__ = ["describe_keeper"]


def describe_keeper(status: KeeperStatus, limits: KeeperLimits) -> dict[str, Any]:
    """Return its part of the answer, ready for JSON."""
    return {
        "connections": status.connections,
        "waiting": status.waiting,
        "accepted": status.accepted,
        "deliveries": status.deliveries,
        "redeliveries": status.redeliveries,
        "quarantined": status.quarantined,
        "memory": status.memory,
        "limits": {
            name: {"limit": value, "hits": status.hits.get(name, 0)}
            for name, value in asdict(limits).items()
        },
    }
