"""No process outlives the supervisor.

Shell. Private. Called first thing by keeper and worker. The end of the control link tells a
process whose loop runs; the kernel's parent-death signal ends one whose loop is blocked.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # linux/prctl.h


def die_with(parent: int) -> None:
    """Have the kernel kill this process when the process `parent` ends.

    Exits at once if it has ended already. On systems other than Linux only the control link
    tells.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def keep_from_children(*fds: int) -> None:
    """Keep descriptors that were inherited from the supervisor from the user's subprocesses."""
    for fd in fds:
        os.set_inheritable(fd, False)
