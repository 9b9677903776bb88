"""What has happened since the keeper started.

Pure. Shown by `holdfast status`.
"""

from __future__ import annotations


class Counts:
    """Counted by the ledger."""

    __slots__ = ("accepted", "pauses", "quarantined", "redeliveries")

    def __init__(self) -> None:
        self.accepted = 0
        """Connections that were adopted."""
        self.pauses = 0
        """Times that nothing more was read from a client since its mailbox was full."""
        self.redeliveries = 0
        """Deliveries that were in flight at a worker when it was lost."""
        self.quarantined = 0
        """Messages that were put aside."""
