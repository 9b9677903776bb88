"""Parses multipart forms (RFC 7578) with the package python-multipart.

Knows no event loop. The parser tells what it finds piece by piece; `_Form` puts fields together.
Everything is kept in memory: a form is part of a body, whose size the host limits.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from python_multipart import MultipartParser
from python_multipart.multipart import parse_options_header

from holdfast.web.forms import MAX_FIELDS, File, FormData, parse_multipart_name

if TYPE_CHECKING:
    from collections.abc import AsyncIterable

    from python_multipart.multipart import MultipartCallbacks

# A part has two or three header lines: what it is called, its type, maybe its encoding. A file
# name may be long. Werkzeug takes 8 KiB for a line as well.
MAX_HEADERS = 8
MAX_HEADER = 8 * 1024  # bytes

# The parser logs each mistake of a stranger; whoever answers 400 says enough.
SILENT = logging.Logger("python_multipart", logging.CRITICAL + 1)


async def parse_multipart(content_type: str, body: AsyncIterable[bytes]) -> FormData:
    """Read `body` as `core/ports.py:Host.parse_multipart` says.

    Raises:
        ValueError: it is no such form, or one with too many fields or headers.
    """
    _, parameters = parse_options_header(content_type)
    boundary = parameters.get(b"boundary")
    if not boundary:
        raise ValueError("its Content-Type names no boundary")
    form = _Form()
    parser = MultipartParser(
        boundary, form.callbacks(), max_header_count=MAX_HEADERS, max_header_size=MAX_HEADER
    )
    parser.logger = SILENT
    async for chunk in body:
        parser.write(chunk)
    return form.finish()


class _Form:
    """Collects what the parser finds."""

    def __init__(self) -> None:
        self._fields: list[tuple[str, str | File]] = []
        self._is_complete = False
        # Of the part being read: a header line, all header lines, the content.
        self._header_name = bytearray()
        self._header_value = bytearray()
        self._headers: dict[bytes, bytes] = {}
        self._data = bytearray()

    def callbacks(self) -> MultipartCallbacks:
        return {
            "on_part_begin": self._begin_part,
            "on_header_field": lambda data, start, end: self._header_name.extend(data[start:end]),
            "on_header_value": lambda data, start, end: self._header_value.extend(data[start:end]),
            "on_header_end": self._end_header,
            "on_headers_finished": self._check_headers,
            "on_part_data": lambda data, start, end: self._data.extend(data[start:end]),
            "on_part_end": self._end_part,
            "on_end": self._end,
        }

    def finish(self) -> FormData:
        if not self._is_complete:
            raise ValueError("it ends too early")
        return FormData(self._fields)

    def _begin_part(self) -> None:
        if len(self._fields) == MAX_FIELDS:
            raise ValueError(f"it has more than {MAX_FIELDS} fields")
        self._headers = {}
        self._data = bytearray()

    def _end_header(self) -> None:
        name, value = bytes(self._header_name), bytes(self._header_value)
        self._header_name, self._header_value = bytearray(), bytearray()
        self._headers[name.lower()] = value.strip(b" \t")

    def _check_headers(self) -> None:
        """Refuse a part without a name before its content is read."""
        self._name()

    def _name(self) -> tuple[bytes, bytes | None]:
        """Return the name of the field and, if there is one, of the file."""
        disposition = self._headers.get(b"content-disposition")
        kind, parameters = parse_options_header(disposition)
        name = parameters.get(b"name")
        if kind != b"form-data" or name is None:
            # RFC 7578 section 4.2.
            raise ValueError("a part has no Content-Disposition of form-data with a name")
        return name, parameters.get(b"filename")

    def _end_part(self) -> None:
        name, filename = self._name()
        data = bytes(self._data)
        value: str | File
        if filename is None:
            value = data.decode("utf-8", "replace")
        else:
            kind = self._headers.get(b"content-type", b"text/plain").decode("latin-1")
            value = File(data, parse_multipart_name(filename), kind)
        self._fields.append((parse_multipart_name(name), value))

    def _end(self) -> None:
        self._is_complete = True
