"""Which close codes there are, and who may use which (RFC 6455 section 7.4)."""

from __future__ import annotations

import pytest

from holdfast.framing import close_codes
from holdfast.framing.close_codes import NO_CODE, TLS_FAILED, VANISHED, may_be_chosen, may_be_sent

NAMED = {value for name, value in vars(close_codes).items() if name.isupper()}


def test_every_code_but_1004_has_a_name() -> None:
    assert {*range(1000, 1016)} - {1004} == NAMED


def test_codes_on_the_wire_have_a_meaning() -> None:
    sendable = {code for code in range(65536) if may_be_sent(code)}
    assert sendable == {*range(1000, 1004), *range(1007, 1015), *range(3000, 5000)}


@pytest.mark.parametrize("code", [NO_CODE, VANISHED, TLS_FAILED])
def test_codes_for_reporting_are_never_sent(code: int) -> None:
    assert not may_be_sent(code)


def test_application_may_not_blame_its_peer() -> None:
    assert {code for code in range(65536) if may_be_sent(code) != may_be_chosen(code)} == {1002}


@pytest.mark.parametrize("code", [-1, 2**70])
def test_no_other_number_is_a_code(code: int) -> None:
    assert not may_be_sent(code)
