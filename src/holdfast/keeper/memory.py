"""How much memory this process takes.

Shell. Private. Asked a few times a second: one read of a file that the kernel makes up.
"""

from __future__ import annotations

import ctypes
import os

# Where it begins to matter, as a part of the limit: between two looks more may come.
NEARLY = 0.8


class Memory:
    """Tells when this process comes near its limit. Linux only; elsewhere it never does.

    Args:
        limit: bytes; 0 for none.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        try:
            self._statm = os.open("/proc/self/statm", os.O_RDONLY | os.O_CLOEXEC) if limit else -1
            self._trim = ctypes.CDLL(None).malloc_trim
        except (OSError, AttributeError):
            self._statm = -1
        self._page = os.sysconf("SC_PAGE_SIZE") if self._statm >= 0 else 0

    def resident(self) -> int:
        """Return the resident memory in bytes, 0 if it is not known."""
        if self._statm < 0:
            return 0
        return int(os.pread(self._statm, 256, 0).split()[1]) * self._page

    def is_short(self) -> bool:
        """Tell whether there is too little left to let anybody in."""
        return self.limit > 0 and self.resident() > self.limit * NEARLY

    def give_back(self) -> None:
        """Return to the kernel what is free, as far as the allocator can."""
        if self._statm >= 0:
            self._trim(0)
