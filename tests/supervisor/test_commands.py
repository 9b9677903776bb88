from __future__ import annotations

from typing import get_args

import pytest

from holdfast.supervisor import commands as do


def test_every_command_is_listed() -> None:
    assert {command.__name__ for command in get_args(do.Command)} == set(do.__all__) - {"Command"}


@pytest.mark.parametrize("command", get_args(do.Command))
def test_every_command_says_what_is_to_be_done(command: type) -> None:
    assert command.__doc__
    assert not command.__doc__.startswith(f"{command.__name__}(")


def test_commands_are_values() -> None:
    assert do.Kill(1) == do.Kill(1, "") != do.Kill(1, "why")
    with pytest.raises(AttributeError):
        do.Kill(1).worker = 2  # type: ignore[misc]
