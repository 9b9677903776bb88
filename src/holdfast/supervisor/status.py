"""What `holdfast status` says of what a server has done, and of its limits.

Pure. Private. Asked by whoever answers that command: the supervisor, or direct mode.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from holdfast.config import ServerSettings
from holdfast.setting import Group, records

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Mapping
    from typing import Any

    from holdfast.wire.control import KeeperStatus


def count_http(total: Counter[str], counted: Mapping[str, int], settings: ServerSettings) -> None:
    """Add what a worker has counted of the limits there are."""
    for name in _limits(settings, Group.HTTP):
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
            for name, value in _limits(settings, Group.WEBSOCKETS, Group.HTTP).items()
        },
    }


def _limits(settings: ServerSettings, *groups: Group) -> dict[str, Any]:
    values = asdict(settings) | asdict(settings.keeper) | asdict(settings.http)
    limits = [each for each in records(ServerSettings) if each.group in groups and each.is_counted]
    return {each.name: values[each.name] for each in limits}
