"""Makes messages of the wire out of choices, by their types: new ones need no change here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import inspect

if TYPE_CHECKING:
    from fuzzing.choices import Choices

__all__ = ["like", "nearly"]


def nearly(kind: inspect.Type, choices: Choices) -> Any:
    """Return what encodes to a message of this type, but is wrong somewhere now and then."""
    return _make(kind, choices, 0, is_wild=True)


def like(kind: inspect.Type, choices: Choices) -> Any:
    """Return what encodes to a message of this type, whatever it means."""
    return _make(kind, choices, 0, is_wild=False)


def _make(kind: inspect.Type, choices: Choices, depth: int, *, is_wild: bool) -> Any:
    if is_wild and choices.number(32) == 31:
        return _anything(choices, depth)

    def make(part: inspect.Type) -> Any:
        return _make(part, choices, depth + 1, is_wild=is_wild)

    match kind:
        case inspect.UnionType():
            return make(choices.pick(kind.types))
        case inspect.StructType():
            return [kind.tag, *(make(field.type) for field in kind.fields)]
        case inspect.ListType():
            return [make(kind.item_type) for _ in range(choices.number(4))]
        case inspect.DictType():
            return {choices.text(): make(kind.value_type) for _ in range(choices.number(3))}
        case inspect.TupleType():
            return [make(each) for each in kind.item_types]
        case _:
            return _plain(kind, choices)


def _plain(kind: inspect.Type, choices: Choices) -> Any:
    match kind:
        case inspect.IntType():
            return choices.integer()
        case inspect.StrType():
            return choices.text()
        case inspect.BytesType():
            return choices.chunk()
        case inspect.BoolType():
            return choices.flag()
        case inspect.NoneType():
            return None
        case _:
            raise NotImplementedError(kind)


def _anything(choices: Choices, depth: int) -> Any:
    kind = choices.number(8)
    if kind == 7 and depth < 20:
        return [_anything(choices, depth + 1) for _ in range(choices.number(5))]
    values = (choices.integer, choices.text, choices.chunk, choices.flag, lambda: None, lambda: 0.5)
    return values[kind]() if kind < len(values) else {choices.text(): choices.integer()}
