"""The face of the test kit: few names, all documented."""

from __future__ import annotations

import inspect
import pydoc
import re
import subprocess
import sys

import pytest

from holdfast import testing
from holdfast.errors import HoldfastError

PUBLIC = [
    "ApplicationError",
    "Clock",
    "ConnectionClosed",
    "Server",
    "ServerFailed",
    "StartServer",
    "Stream",
    "TestClient",
    "UpgradeRefused",
    "WebSocket",
]


def test_public_names_are_these() -> None:
    assert testing.__all__ == PUBLIC


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_can_be_imported_and_is_documented(name: str) -> None:
    public = getattr(testing, name)
    assert public.__doc__
    for member, value in vars(public).items():
        if not member.startswith("_") and (inspect.isroutine(value) or type(value) is property):
            assert value.__doc__, f"{name}.{member} has no docstring"


def test_name_that_does_not_exist_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'Nothing'"):
        getattr(testing, "Nothing")  # noqa: B009 - mypy knows that there is none.


def test_help_begins_with_what_it_is_for_and_shows_every_name() -> None:
    text = pydoc.plain(pydoc.render_doc(testing))
    assert "holdfast.testing - Tools for tests: " in text
    for name in PUBLIC:
        assert re.search(rf"^    class {name}\(", text, re.MULTILINE), f"{name} is not shown"


def test_pytest_does_not_take_the_client_for_a_test() -> None:
    assert testing.TestClient.__test__ is False


@pytest.mark.parametrize("name", ["ConnectionClosed", "ServerFailed", "UpgradeRefused"])
def test_errors_are_holdfast_errors(name: str) -> None:
    assert issubclass(getattr(testing, name), HoldfastError)


def test_client_needs_nothing_that_listens_polls_or_serves() -> None:
    # So that it works where the server does not: epoll, for one, is Linux only.
    code = """
import sys
from holdfast.testing import TestClient
shells = {"sockets", "poller", "worker_links", "process"}
print(*{f"holdfast.keeper.{name}" for name in shells} & sys.modules.keys())
print(*{"uvicorn", "uvloop", "pytest", "holdfast.testing.server"} & sys.modules.keys())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
