"""What a setting is: a field of a frozen dataclass with a record, and what is made of records.

Pure. `config.py` has the settings. The command line, the checks, the status and the reference are
made from their records, so that nothing about a setting is written twice.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, is_dataclass, replace
from enum import StrEnum
from functools import cache
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, get_args, get_type_hints

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

# For each type, what a value of it is called, and what it is in Python.
TYPES: dict[Any, tuple[str, tuple[type, ...]]] = {
    bool: ("a bool", (bool,)),
    int: ("an int", (int,)),
    float: ("a number of {}", (int, float)),
    str: ("a str", (str,)),
    tuple[str, ...]: ("a list of {}s", (tuple,)),
    tuple[str, str]: ("two texts", (tuple,)),
}


class Unit(NamedTuple):
    """What a value counts, and the bounds of a number."""

    name: str
    least: float = 0
    most: float | None = None
    scale: int = 1  # what a person gives, times this, is what settings hold


@dataclass(frozen=True, slots=True)
class Setting:
    """The record of one setting."""

    default: Any
    unit: Unit
    group: Group
    help: str
    """What it does, for `--help`."""
    reason: str
    """Why the default is what it is, and what others chose."""
    choices: tuple[str, ...] = ()
    unset: str = ""
    """What None means, if that is the default."""
    check: Callable[[Any], object] | None = None
    """Raises ValueError for a value that type and bounds allow and that is none all the same."""
    is_counted: bool = True
    """Whether `holdfast status` shows it as a limit, if its group is about clients."""
    flag: str | None = ""
    """The option of the command line. None: it has none yet."""
    name: str = ""
    type: Any = None
    """One of `TYPES`."""

    @property
    def variable(self) -> str:
        """The name of its environment variable."""
        return f"HOLDFAST_{self.name.upper()}"

    @property
    def given_default(self) -> Any:
        """The default as a person would give it."""
        return self.default if self.unit.scale == 1 else self.default // self.unit.scale

    @property
    def shown_default(self) -> str:
        given = self.given_default
        if given is None or given == ():
            return self.unset or "none"
        if given is False:
            return "no"
        return f"{given:g}" if isinstance(given, float) else str(given)

    @property
    def bounds(self) -> str:
        """What is allowed, in words; "" for any text."""
        if self.type not in (int, float):
            return " or ".join(self.choices)
        least, most = self.unit.least, self.unit.most
        return f"at least {least}" if most is None else f"{least} to {most}"

    def kept(self, value: Any) -> Any:
        """Return what settings hold when a person gives `value`.

        Raises:
            TypeError: it is of another type.
            ValueError: it is out of bounds, or otherwise impossible.
        """
        if value is None and self.default is None:
            return None
        if tuple in TYPES[self.type][1] and not isinstance(value, str):
            value = tuple(value)
        self._check_type(value)
        self._check_bounds(value)
        if self.check is not None:
            self.check(value)
        return value if self.unit.scale == 1 else value * self.unit.scale

    def _check_type(self, value: object) -> None:
        words, types = TYPES[self.type]
        # In Python, a bool is an int.
        if not isinstance(value, types) or isinstance(value, bool) != (self.type is bool):
            wanted = words.format(self.unit.name)
            raise TypeError(f"{self.name} is {wanted}, not {type(value).__name__}")

    def _check_bounds(self, value: Any) -> None:
        if self.choices and value not in self.choices:
            raise ValueError(f"{self.name} is {self.bounds}, not {value!r}")
        if self.type not in (int, float):
            return
        least, most = self.unit.least, self.unit.most
        # Not `value < least`: that is false for NaN.
        if not value >= least:
            raise ValueError(f"{self.name} is at least {least}, not {value!r}")
        if most is not None and value > most:
            raise ValueError(f"{self.name} is at most {most}, not {value!r}")


class Group(StrEnum):
    """What settings are about; a heading of `--help`."""

    SERVER = "Server"
    TRUST = "Origins and proxies"
    DEVELOPMENT = "Development"
    WORKERS = "Workers"
    REPLACING = "Replacing workers"  # without meaning where there is only one process
    HTTP = "HTTP requests"
    WEBSOCKETS = "WebSocket connections"

    def setting(self, default: T, unit: Unit, *, help: str, reason: str, **more: Any) -> T:
        """Return a field for a dataclass. `more` has the names of `Setting`."""
        record = Setting(default, unit, self, help, reason, **more)
        made: T = field(default=default, metadata={"record": record})
        return made


@cache
def records(kind: Any) -> tuple[Setting, ...]:
    """Return the records of a dataclass, and of those that its fields hold."""
    types, pieces = get_type_hints(kind), _pieces(kind)
    found: list[Setting] = []
    # What is its own comes before what others have too.
    for each in sorted(fields(kind), key=lambda each: each.name not in kind.__annotations__):
        if each.name in pieces:
            found += records(pieces[each.name].__class__)
        elif record := each.metadata.get("record"):
            found.append(_named(record, each.name, types[each.name]))
    return tuple(found)


def make(kind: Callable[..., T], **values: Any) -> T:
    """Make settings of what a person gives, by names alone: each dataclass in them gets its own.

    Raises:
        TypeError: a value is of the wrong type, or there is no such setting.
        ValueError: a value is out of bounds, or otherwise impossible.
    """
    known = {each.name: each for each in records(kind)}
    for name in values.keys() & known.keys():
        values[name] = known[name].kept(values[name])
    for name, piece in _pieces(kind).items():
        of_it = {each.name for each in fields(piece)} & values.keys()
        values[name] = replace(piece, **{each: values.pop(each) for each in of_it})
    return kind(**values)


def read(kind: Any, values: dict[str, Any]) -> Any:
    """Make settings again of what JSON knows of them; it has only lists for tuples."""
    own = {name: tuple(v) if isinstance(v, list) else v for name, v in values.items()}
    pieces = _pieces(kind)
    inner = {name: read(type(pieces[name]), values[name]) for name in pieces.keys() & values.keys()}
    return kind(**(own | inner))


def _pieces(kind: Any) -> dict[str, Any]:
    """Return the settings that those of `kind` hold, as they are by default."""
    return {each.name: each.default for each in fields(kind) if is_dataclass(each.default)}


def _named(record: Setting, name: str, annotation: Any) -> Setting:
    if isinstance(annotation, UnionType):
        (annotation,) = set(get_args(annotation)) - {NoneType}
    flag = f"--{name.replace('_', '-')}" if record.flag == "" else record.flag
    return replace(record, name=name, type=annotation, flag=flag)
