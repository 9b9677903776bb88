from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.core.registration import Registration, State
from holdfast.errors import LifecycleError

STEPS = ["install", "activate", "finish", "fail", "join", "retire"]

# Written out a second time on purpose: state → step → next state.
TABLE = {
    "parsed": {"install": "installing", "join": "activated"},
    "installing": {"finish": "installed", "fail": "redundant"},
    "installed": {"activate": "activating"},
    "activating": {"finish": "activated", "fail": "redundant"},
    "activated": {"retire": "redundant"},
    "redundant": {},
}


def after(*steps: str) -> Registration:
    registration = Registration()
    for step in steps:
        registration.step(step)
    return registration


def test_a_registration_starts_parsed() -> None:
    assert Registration().state == "parsed"


def test_the_states_are_those_of_a_service_worker() -> None:
    assert {state.value for state in State} == TABLE.keys()


def test_install_and_activate_lead_to_activated() -> None:
    registration = after("install", "finish")
    assert registration.state == "installed"
    registration.step("activate")
    assert registration.state == "activating"
    registration.step("finish")
    assert registration.state == "activated"


@pytest.mark.parametrize("steps", [["install"], ["install", "finish", "activate"]])
def test_a_failed_step_leads_to_redundant(steps: list[str]) -> None:
    # Nothing is left at "installing" for a retry that can never succeed.
    assert after(*steps, "fail").state == "redundant"


def test_a_later_worker_of_a_generation_joins_it() -> None:
    assert after("join").state == "activated"


def test_a_replaced_registration_is_redundant() -> None:
    assert after("join", "retire").state == "redundant"


def test_activate_before_install_is_refused() -> None:
    with pytest.raises(LifecycleError, match="cannot activate while parsed"):
        Registration().step("activate")


def test_a_second_install_is_refused() -> None:
    registration = after("install", "finish")
    with pytest.raises(LifecycleError) as caught:
        registration.step("install")
    assert (caught.value.state, caught.value.step) == ("installed", "install")


@pytest.mark.parametrize("step", STEPS)
def test_redundant_is_the_end(step: str) -> None:
    with pytest.raises(LifecycleError):
        after("install", "fail", step)


@pytest.mark.parametrize("step", ["", "Install", "parsed", "skip_waiting", "\ud800", "\0"])
def test_a_step_that_does_not_exist_is_refused(step: str) -> None:
    registration = Registration()
    with pytest.raises(LifecycleError):
        registration.step(step)
    assert registration.state == "parsed"


@given(st.lists(st.sampled_from(STEPS)))
def test_no_sequence_of_steps_leaves_the_table(steps: list[str]) -> None:
    registration, state = Registration(), "parsed"
    for step in steps:
        try:
            registration.step(step)
        except LifecycleError:
            assert step not in TABLE[state]
        else:
            state = TABLE[state][step]
        assert registration.state == state


def test_a_registration_shows_its_state() -> None:
    assert repr(after("install")) == "<Registration installing>"
