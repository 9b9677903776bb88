"""Header fields: an ordered multi-map with case-insensitive names.

Pure. The one representation is the wire's: a list of (lower-case name, value) pairs of bytes, as
ASGI passes them. A request's headers therefore cost nothing until one is asked for, and then only
that one is decoded; a response's headers are checked where the application sets them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from operator import itemgetter
from typing import TypeAlias, overload

# RFC 9110 section 5.6.2.
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")

# RFC 9110 section 5.5 and I-5.9: CR, LF and NUL let one field become two, or a response become two.
# The Fetch Standard allows other control characters; servers do not, and would drop the response.
_UNSAFE = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")


class Headers:
    """The header fields of a request or a response.

    Iterating gives each name once, in lower case and in order of first appearance, because
    `in`, `[]`, `len` and `dict(headers)` then agree with each other as for any mapping. Two fields
    of one name are two pairs of `items`.

    Two Headers are equal if every name has the same values in the same order; the order of
    different names carries no meaning (RFC 9110 section 5.3).

    Raises:
        ValueError: a name is not a token, or a value cannot be sent.
        TypeError: a name or a value is not a str, or these are no pairs of them.
    """

    __slots__ = ("_raw",)

    def __init__(self, init: HeadersInit | None = None) -> None:
        self._raw: list[tuple[bytes, bytes]]
        if init is None:
            self._raw = []
        elif isinstance(init, Headers):
            self._raw = init._raw.copy()
        else:
            self._raw = [_encode(name, value) for name, value in _pairs(init)]

    @classmethod
    def from_raw(cls, raw: Iterable[tuple[bytes, bytes]]) -> Headers:
        """For hosts: take fields as they came from the wire, names in lower case as ASGI has them.

        Nothing is checked or decoded; the host's HTTP parser has done the first.
        """
        headers = cls.__new__(cls)
        headers._raw = list(raw)
        return headers

    @property
    def raw(self) -> list[tuple[bytes, bytes]]:
        """For hosts: the fields as ASGI wants them. A copy."""
        return self._raw.copy()

    def __repr__(self) -> str:
        return f"Headers({self.items()!r})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Headers):
            return NotImplemented
        by_name = itemgetter(0)
        return sorted(self._raw, key=by_name) == sorted(other._raw, key=by_name)

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys())

    def __len__(self) -> int:
        return len(self.keys())

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self.has(name)

    def __getitem__(self, name: str) -> str:
        value = self.get(name)
        if value is None:
            raise KeyError(name)
        return value

    def keys(self) -> list[str]:
        """Return each name once."""
        return [name.decode("latin-1") for name in dict(self._raw)]

    def items(self) -> list[tuple[str, str]]:
        """Return every field, in order, repeated names included."""
        return [(name.decode("latin-1"), value.decode("latin-1")) for name, value in self._raw]

    @overload
    def get(self, name: str) -> str | None: ...
    @overload
    def get(self, name: str, default: str) -> str: ...
    @overload
    def get(self, name: str, default: None) -> str | None: ...
    def get(self, name: str, default: str | None = None) -> str | None:
        """Return the value of `name`; several are joined with ", " (RFC 9110 section 5.3).

        Except "set-cookie", whose values contain commas of their own: here the first of them. Use
        `get_set_cookie` for all.
        """
        key = _key(name)
        values = [value for field, value in self._raw if field == key]
        if len(values) > 1 and key != b"set-cookie":
            return b", ".join(values).decode("latin-1")
        return values[0].decode("latin-1") if values else default

    def get_all(self, name: str) -> list[str]:
        """Return the values of `name`, one for each field."""
        key = _key(name)
        return [value.decode("latin-1") for field, value in self._raw if field == key]

    def get_set_cookie(self) -> list[str]:
        """Return the values of all Set-Cookie fields."""
        return self.get_all("set-cookie")

    def has(self, name: str) -> bool:
        """Tell whether there is a field of this name."""
        key = _key(name)
        return any(field == key for field, _ in self._raw)

    def set(self, name: str, value: str) -> None:
        """Make `value` the only value of `name`, in the place of the first one there was."""
        pair = _encode(name, value)
        raw = self._raw
        first = next((index for index, field in enumerate(raw) if field[0] == pair[0]), len(raw))
        kept = [field for field in raw[first:] if field[0] != pair[0]]
        raw[first:] = [pair, *kept]

    def append(self, name: str, value: str) -> None:
        """Add a field; those of the same name stay."""
        self._raw.append(_encode(name, value))

    def delete(self, name: str) -> None:
        """Remove every field of this name; there need not be one."""
        key = _key(name)
        self._raw = [field for field in self._raw if field[0] != key]

    def copy(self) -> Headers:
        """Return Headers that can be changed without changing these."""
        return Headers.from_raw(self._raw)


HeadersInit: TypeAlias = Headers | Mapping[str, str] | Iterable[tuple[str, str]]


def is_token(text: str) -> bool:
    """Tell whether this can name a field, a method or a cookie (RFC 9110 section 5.6.2)."""
    return isinstance(text, str) and _TOKEN.fullmatch(text) is not None


def _pairs(init: HeadersInit) -> Iterable[tuple[str, str]]:
    if isinstance(init, Mapping):
        return init.items()
    # A str is an iterable of strs: "ab" would become a field "a" with the value "b".
    if isinstance(init, str | bytes) or not isinstance(init, Iterable):
        kind = type(init).__qualname__
        raise TypeError(f"headers are a mapping, or pairs of name and value, not {kind}")
    return map(_pair, init)


def _pair(field: Sequence[str]) -> tuple[str, str]:
    if not isinstance(field, tuple | list) or len(field) != 2:
        # Without what it is: it may be a secret.
        raise TypeError("a header is a pair of name and value, as a tuple or a list")
    name, value = field
    return name, value


def _key(name: str) -> bytes:
    """Return `name` as it is stored. What cannot be a name becomes one that nothing has.

    Encoded before it is lowered: str.lower turns the Kelvin sign into an ASCII "k".
    """
    try:
        return name.encode("ascii", "replace").lower()
    except AttributeError:
        kind = type(name).__qualname__
        raise TypeError(f"a header name is a str, not {kind}") from None


def _encode(name: str, value: str) -> tuple[bytes, bytes]:
    if not isinstance(name, str):
        raise TypeError(f"a header name is a str, not {type(name).__qualname__}")
    if not isinstance(value, str):
        raise TypeError(f"the value of header {name!r} is a str, not {type(value).__qualname__}")
    if not is_token(name):
        raise ValueError(f"{name!r} is not a header name (RFC 9110 section 5.6.2)")
    try:
        data = value.encode("latin-1").strip(b" \t")
    except UnicodeEncodeError:
        # From None: the codec's message repeats the value, which may be a secret.
        raise ValueError(f"the value of header {name!r} has a character outside latin-1") from None
    # Looked for after stripping blanks only: a newline at the end is an attack or a mistake too.
    if _UNSAFE.search(data) is not None:
        raise ValueError(f"the value of header {name!r} contains a control character")
    return name.lower().encode("ascii"), data
