"""Makes those wait who replace what keeps dying young.

Pure: time comes in as a number of seconds.
"""

from __future__ import annotations

# A process that lived this long did not die of its start.
YOUNG = 5.0  # seconds

BACK_OFF_FIRST = 0.1  # seconds; doubled with each young death
BACK_OFF_MOST = 10.0  # seconds
DOUBLINGS = 7  # reach BACK_OFF_MOST; an hour of young deaths would reach the end of all floats


class BackOff:
    """When the next start may be."""

    def __init__(self) -> None:
        self._young_deaths = 0
        self.until: float | None = None
        """When the next start is due, if one waits."""

    @property
    def is_waiting(self) -> bool:
        return self.until is not None

    def note_death(self, life: float, now: float) -> None:
        """Something has died after `life` seconds."""
        self._young_deaths = self._young_deaths + 1 if life < YOUNG else 0
        delay = 0.0
        if self._young_deaths > 1:
            doublings = min(self._young_deaths - 2, DOUBLINGS)
            delay = min(BACK_OFF_FIRST * 2.0**doublings, BACK_OFF_MOST)
        self.until = max(self.until or now, now + delay)

    def is_over(self, now: float) -> bool:
        """True if a start may be now; it is taken to be, then."""
        if self.until is not None and now < self.until:
            return False
        self.until = None
        return True

    def forget(self) -> None:
        self._young_deaths = 0
        self.until = None
