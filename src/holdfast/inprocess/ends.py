"""The ends of a worker that shares its process with its keeper.

Shell. Private.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from holdfast.config import AsgiSettings, worker_settings
from holdfast.http.asgi import HandoverUnavailable

if TYPE_CHECKING:
    from typing import Any

    from holdfast.config import ServerSettings, WorkerSettings
    from holdfast.inprocess.link import KeeperEnd

# Where there is one worker: its generation; and one that will never be. To prefer that one has the
# keeper drain the worker.
GENERATION = 1
NEVER = 2

# No descriptor is inherited.
NO_DESCRIPTORS = {"control_fd": -1, "stream_fd": -1, "handover_fd": -1, "listen_fd": -1}


def settings_of_worker(
    settings: ServerSettings | AsgiSettings, *, worker: int, **own: Any
) -> WorkerSettings:
    """Make the settings of a worker, the first of its generation, that is never replaced.

    Args:
        own: what is other than that.
    """
    single: dict[str, Any] = {"generation": GENERATION, "first": True}
    single |= {"idle_timeout": 0.0, "max_events": 0, "max_rss": 0}
    if isinstance(settings, AsgiSettings):
        single["application"] = ""  # It was loaded by somebody else.
    return worker_settings(settings, worker=worker, **{**NO_DESCRIPTORS, **single, **own})


class CopiedDescriptors:
    """`worker/handover.py:Descriptors`: copies of them, for a keeper in this process."""

    def __init__(self, keeper_end: KeeperEnd) -> None:
        self._keeper_end = keeper_end

    async def give_descriptor(self, serial: int, fd: int) -> None:
        try:
            copy = os.dup(fd)
        except OSError as error:
            raise HandoverUnavailable(f"its descriptor cannot be copied: {error}") from error
        self._keeper_end.give_socket(serial, copy)
