"""One version of the application and where it stands in its life.

Pure. The states are those of a service worker; the table below is the only place that says which
follows which. A failed install or activate leads to redundant: nothing is retried in the same
process, the supervisor starts a new one.

    parsed → installing → installed → activating → activated → redundant
"""

from __future__ import annotations

from enum import Enum

from holdfast.errors import LifecycleError


class State(Enum):
    PARSED = "parsed"
    INSTALLING = "installing"
    INSTALLED = "installed"
    ACTIVATING = "activating"
    ACTIVATED = "activated"
    REDUNDANT = "redundant"


# (state, step) → next state
_STEPS = {
    (State.PARSED, "install"): State.INSTALLING,
    (State.INSTALLING, "finish"): State.INSTALLED,
    (State.INSTALLING, "fail"): State.REDUNDANT,
    (State.INSTALLED, "activate"): State.ACTIVATING,
    (State.ACTIVATING, "finish"): State.ACTIVATED,
    (State.ACTIVATING, "fail"): State.REDUNDANT,
    # A worker that is not the first of its generation: install and activate ran elsewhere.
    (State.PARSED, "join"): State.ACTIVATED,
    (State.ACTIVATED, "retire"): State.REDUNDANT,
}


class Registration:
    """The state of one version of the application, in one worker."""

    def __init__(self) -> None:
        self._state = State.PARSED

    def __repr__(self) -> str:
        return f"<Registration {self.state}>"

    @property
    def state(self) -> str:
        """ "parsed", "installing", "installed", "activating", "activated" or "redundant"."""
        return self._state.value

    def step(self, name: str) -> None:
        """For hosts: take one step of the table.

        Raises:
            LifecycleError: the step does not lead anywhere from the present state.
        """
        following = _STEPS.get((self._state, name))
        if following is None:
            raise LifecycleError(self.state, name)
        self._state = following
