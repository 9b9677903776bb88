"""The keeper process: `python -m holdfast.keeper.process SETTINGS PARENT`.

Shell. Private. Started by the supervisor, told what to do over the control link, gone when the
supervisor is.
"""

from __future__ import annotations

import gc
import logging
import os
import resource
import secrets
import signal
import socket
import sys
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from holdfast.config import KeeperSettings, from_json
from holdfast.keeper.link import WorkerLink
from holdfast.keeper.poller import Poller
from holdfast.keeper.sockets import open_sockets
from holdfast.keeper.switchboard import Switchboard
from holdfast.ledger.ledger import TICK
from holdfast.process.control import ControlLink
from holdfast.process.lifeline import die_with, keep_from_children
from holdfast.process.log import log_to_stderr
from holdfast.wire import control
from holdfast.wire.identity import KEY_BYTES, NODE_BYTES

if TYPE_CHECKING:
    from holdfast.config import KeeperLimits

log = logging.getLogger("holdfast.keeper")

# Descriptors that are not connections: links, standard streams, what has just been handed over.
RESERVE = 256


class Keeper:
    """The switchboard under a supervisor."""

    def __init__(self, settings: KeeperSettings) -> None:
        # Without a data directory a node is as old as its keeper, and so are the ids it made.
        node, key = secrets.token_bytes(NODE_BYTES), secrets.token_bytes(KEY_BYTES)
        self._poller = poller = Poller()
        self._switchboard = Switchboard(
            allow_descriptors(settings.limits),
            node,
            key,
            self._report,
            sockets=partial(open_sockets, poller),
            patience=settings.event_timeout,
        )
        self._control: ControlLink[control.ToKeeper] = ControlLink(
            socket.socket(fileno=settings.control_fd),
            control.ToKeeper,
            poller,
            on_message=self._obey,
            on_lost=poller.stop,
        )

    def run(self) -> None:
        """Serve until the supervisor is gone."""
        self._poller.run(self._switchboard, TICK)

    def _report(self, message: control.FromKeeper) -> None:
        self._control.send(message)

    def _obey(self, message: control.ToKeeper, fds: list[int]) -> None:
        switchboard = self._switchboard
        if isinstance(message, control.AddWorker):
            stream_fd, handover_fd = fds
            switchboard.add_link(
                WorkerLink(
                    message.worker,
                    stream_fd,
                    handover_fd,
                    self._poller,
                    on_messages=switchboard.receive,
                    on_lost=switchboard.lose_link,
                )
            )
        elif isinstance(message, control.Prefer):
            switchboard.prefer(message.generation)
        elif isinstance(message, control.DrainWorker):
            switchboard.drain(message.worker)
        elif isinstance(message, control.CloseAll):
            switchboard.close_all(message.code, message.reason)
        else:
            self._report(switchboard.status())


def allow_descriptors(limits: KeeperLimits) -> KeeperLimits:
    """Return limits that say how many connections there may be.

    If they do not yet, this process is allowed as many descriptors as it may have, and connections
    get all that are not needed otherwise.
    """
    if limits.max_connections:
        return limits
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    descriptors = most if most != resource.RLIM_INFINITY else sys.maxsize
    return replace(limits, max_connections=max(descriptors - RESERVE, 1))


def main() -> None:
    die_with(int(sys.argv[2]))
    settings = from_json(KeeperSettings, sys.argv[1])
    keep_from_children(settings.control_fd)
    log_to_stderr()
    # The terminal's Ctrl-C reaches the whole group; when to stop is the supervisor's decision.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    # Nothing in the keeper refers to itself for long, so the collector finds nothing; but at its
    # default it looks at the young objects once per 700 messages of a turn (15 % of the CPU).
    gc.freeze()
    gc.set_threshold(100_000, 50, 100)
    Keeper(settings).run()
    # Clients get a TCP close from the kernel; nothing is left to do in order.
    os._exit(0)


if __name__ == "__main__":
    main()
