"""File changes, for develop mode.

Shell. Private.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import watchfiles

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["reload_on_change"]

log = logging.getLogger("holdfast")

# How long a burst of changes may last (editors write several files): the model's number.
DEBOUNCE = 50  # milliseconds


async def reload_on_change(path: str, reload: Callable[[], None]) -> None:
    """Call `reload` whenever a Python file below `path` changes, until cancelled."""
    changes = watchfiles.awatch(
        path, watch_filter=watchfiles.PythonFilter(), debounce=DEBOUNCE, step=10
    )
    async for batch in changes:
        changed = ", ".join(sorted(name for _, name in batch))
        log.info("changed: %s", changed)
        reload()
