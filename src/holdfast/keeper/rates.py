"""How much a client may send per second: a bucket of tokens each for frames and bytes.

Pure. Only for those who send, and only if a limit is set.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Hashable


class Rates:
    """Tells how long a client has to wait before it is read again.

    A bucket holds one second's worth: so much may come at once.

    Args:
        frames: messages and control frames per second; 0 for no limit.
        bytes: bytes per second; 0 for no limit.
    """

    def __init__(self, *, frames: int, bytes: int) -> None:
        self._limits = (frames, bytes)
        # By client: what it has spent of each bucket, and as of when.
        self._spent: dict[Hashable, tuple[float, float, float]] = {}

    def __bool__(self) -> bool:
        """True if there is any limit."""
        return any(self._limits)

    def spend(self, client: Hashable, frames: int, bytes: int, now: float) -> float:
        """Note what came from a client; return how many seconds' worth of its rate it has spent.

        What is over 1 has to be waited for, so many seconds, before the client is read again.

        Args:
            now: seconds, of any clock that only goes forward.
        """
        before_frames, before_bytes, then = self._spent.get(client, (0.0, 0.0, now))
        passed = now - then
        most_frames, most_bytes = self._limits
        spent_frames = max(before_frames - passed * most_frames, 0.0) + frames
        spent_bytes = max(before_bytes - passed * most_bytes, 0.0) + bytes
        self._spent[client] = (spent_frames, spent_bytes, now)
        return max(
            spent_frames / most_frames if most_frames else 0.0,
            spent_bytes / most_bytes if most_bytes else 0.0,
        )

    def forget(self, client: Hashable) -> None:
        """The client is gone."""
        self._spent.pop(client, None)
