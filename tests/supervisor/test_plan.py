from __future__ import annotations

import pytest

from holdfast.supervisor.plan import Child, ChildState, Plan


@pytest.mark.parametrize("state", ChildState)
def test_a_child_that_drains_is_leaving(state: ChildState) -> None:
    child = Child(1, 1, first=False, spare=False, started=0.0, state=state)
    assert child.is_leaving == (state is ChildState.DRAINING)


@pytest.mark.parametrize("state", ChildState)
def test_a_retiring_child_still_serves(state: ChildState) -> None:
    child = Child(1, 1, first=False, spare=False, started=0.0, state=state)
    assert child.serves == (state in (ChildState.SERVING, ChildState.RETIRING))


def test_a_plan_does_not_change() -> None:
    plan = Plan(2, 2, 0, 120.0, 30.0, 60.0)
    with pytest.raises(AttributeError):
        plan.workers = 3  # type: ignore[misc]
