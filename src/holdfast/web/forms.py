"""What a form was filled in with (XMLHttpRequest Standard, FormData; File API).

Pure. `Request.form` makes one of a urlencoded body; of a multipart body the host does
(`core/ports.py:Host.parse_multipart`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias, overload

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

# Fields of one form. Each costs an object or two however small it is, and a body of the allowed
# size has room for millions. Starlette and Django take 1,000 as well.
MAX_FIELDS = 1000

# Inside the class "bytes" is the method.
Bytes: TypeAlias = bytes


class File:
    """An uploaded file. Its content is in memory: it was part of a body, whose size is limited.

    Args:
        name: as the client has it, possibly empty. Never a path to write to: a client may send
            "../../etc/passwd".
        type: the media type the client gave, or "text/plain" (RFC 7578 section 4.4).
    """

    __slots__ = ("_data", "name", "type")

    def __init__(self, data: Bytes, name: str, type: str = "text/plain") -> None:
        self._data = data
        self.name = name
        self.type = type

    def __repr__(self) -> str:
        return f"<File {self.name!r}, {self.type}, {self.size} bytes>"

    @property
    def size(self) -> int:
        """Bytes of content."""
        return len(self._data)

    async def bytes(self) -> Bytes:
        """Return the content; as often as you like."""
        return self._data

    async def text(self) -> str:
        """Return the content as UTF-8; what is not UTF-8 becomes U+FFFD."""
        return self._data.decode("utf-8", "replace").removeprefix("\ufeff")


class FormData:
    """The fields of a form, in order; read-only. A value is a str, or a File if it was uploaded.

    Iterating gives each name once, as `Headers` does; `items` gives every field.
    """

    __slots__ = ("_fields",)

    def __init__(self, fields: Iterable[tuple[str, str | File]] = ()) -> None:
        self._fields = list(fields)

    def __repr__(self) -> str:
        return f"FormData({self._fields!r})"

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys())

    def __len__(self) -> int:
        return len(self.keys())

    def __contains__(self, name: object) -> bool:
        return any(key == name for key, _ in self._fields)

    def __getitem__(self, name: str) -> str | File:
        value = self.get(name)
        if value is None:
            raise KeyError(name)
        return value

    def keys(self) -> list[str]:
        """Return each name once."""
        return list(dict(self._fields))

    def items(self) -> list[tuple[str, str | File]]:
        """Return every field, in order, repeated names included."""
        return self._fields.copy()

    @overload
    def get(self, name: str) -> str | File | None: ...
    @overload
    def get(self, name: str, default: str) -> str | File: ...
    @overload
    def get(self, name: str, default: None) -> str | File | None: ...
    def get(self, name: str, default: str | None = None) -> str | File | None:
        """Return the first value of `name`."""
        return next((value for key, value in self._fields if key == name), default)

    def get_all(self, name: str) -> list[str | File]:
        """Return all values of `name`."""
        return [value for key, value in self._fields if key == name]

    def has(self, name: str) -> bool:
        """Tell whether there is a field of this name."""
        return name in self


def parse_multipart_name(raw: bytes) -> str:
    """Return the name of a field or a file as the sender had it.

    For hosts. Browsers write UTF-8 and escape the three characters that would end the name (HTML
    Standard, "multipart form data"); not others, so "%" is no escape otherwise.
    """
    text = raw.decode("utf-8", "replace")
    for escape, character in (("%0A", "\n"), ("%0D", "\r"), ("%22", '"')):
        text = text.replace(escape, character)
    return text
