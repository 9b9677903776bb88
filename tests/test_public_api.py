"""The façade: few names, all of them meant, all of them documented."""

from __future__ import annotations

import inspect
from types import ModuleType

import pytest

import holdfast


def in_house_order(name: str) -> tuple[int, str]:
    """CONSTANTS, then Classes, then the rest: the order that ruff (RUF022) wants."""
    if len(name) > 1 and name.isupper():
        return 0, name
    return (1 if name[:1].isupper() else 2), name


def test_all_is_sorted_and_names_nothing_twice() -> None:
    assert list(holdfast.__all__) == sorted(set(holdfast.__all__), key=in_house_order)


@pytest.mark.parametrize("name", holdfast.__all__)
def test_every_public_name_can_be_imported(name: str) -> None:
    assert hasattr(holdfast, name)


@pytest.mark.parametrize("name", holdfast.__all__)
def test_every_public_class_and_function_is_documented(name: str) -> None:
    public = getattr(holdfast, name)
    if inspect.isclass(public) or inspect.isroutine(public):
        doc = public.__doc__ or ""
        # A dataclass without a docstring gets its signature for one.
        assert doc.strip(), f"{name} has no docstring"
        assert not doc.startswith(f"{name}("), f"{name} has no docstring of its own"


def test_nothing_private_is_public() -> None:
    private = [name for name in holdfast.__all__ if name.startswith("_") and name != "__version__"]
    assert private == []


def test_nothing_leaks_that_is_not_listed() -> None:
    leaked = {
        name
        for name, value in vars(holdfast).items()
        if not name.startswith("_")
        and name not in holdfast.__all__
        # Rooms become attributes when they are imported; `annotations` is the __future__ import.
        and not (isinstance(value, ModuleType) and value.__name__ == f"holdfast.{name}")
        and name != "annotations"
    }
    assert leaked == set()
