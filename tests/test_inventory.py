"""What scripts/inventory takes for the name of an entry, and what not."""

from __future__ import annotations

import importlib.util
from importlib.machinery import SourceFileLoader
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from types import ModuleType

SCRIPT = Path(__file__).parent.parent / "scripts/inventory"


def load() -> ModuleType:
    loader = SourceFileLoader("inventory", str(SCRIPT))
    spec = importlib.util.spec_from_loader("inventory", loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


@pytest.fixture
def inventory(monkeypatch: pytest.MonkeyPatch) -> Any:
    # What a script is compiled to is not kept beside it.
    monkeypatch.setattr("sys.dont_write_bytecode", True)
    return load()


def named(inventory: Any, program: str) -> set[str]:
    found: set[str] = set()
    return found.union(*(inventory.ids_in(line) for _, line in inventory.prose(program)))


def test_entries_are_named_in_comments_and_docstrings(inventory: Any) -> None:
    program = '''"""All of D16."""
def test_one():
    """C3, I-4.9."""
    x = 1  # A8-A10 are different
'''
    assert named(inventory, program) == {"D16", "C3", "I-4.9", "A8", "A9", "A10"}


@pytest.mark.parametrize(
    "line",
    [
        'x = "C3"',
        'b"""D4"""',
        "C3 = 1",
        "x = 1  # noqa: C901, E501",
        "import x  # ruff: noqa: E402",
        "# /caf%C3%A9",
        "# U+E9 and U+00E9",
        "# 0xC3, fc00::C3E9",
        "# ABC3, C03, C",
        "def test_C3(): ...",
    ],
)
def test_what_is_not_prose_names_nothing(inventory: Any, line: str) -> None:
    assert named(inventory, f"y = 0\n{line}\n") == set()


def test_where_an_entry_is_named_is_the_line_of_its_name(inventory: Any) -> None:
    program = 'def f():\n    """Says.\n\n    C3.\n    """\n    # D4\n'
    lines = {n for n, line in inventory.prose(program) if inventory.ids_in(line)}
    assert lines == {4, 6}


def test_a_reason_excuses_the_entries_it_stands_behind_and_no_others(inventory: Any) -> None:
    design = """## 1. Other
| C1 | x | y |
## 2. Not taken over
Text about C2.

| id | what it is | why not here |
|---|---|---|
| C3, C5-6 | like C4 | see C7 |
## 3. Other
| C8 | x | y |
"""
    assert inventory.excused_in(design) == {"C3", "C5", "C6"}
