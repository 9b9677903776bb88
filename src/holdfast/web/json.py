"""JSON as this package reads and writes it: RFC 8259, not Python's dialect.

Pure. NaN and Infinity are Python's own, and other programs fail on them.
"""

from __future__ import annotations

from json import JSONDecoder, JSONEncoder
from typing import Any

# As for attachments: deeper than any sensible value, and a cycle ends here too.
MAX_DEPTH = 64


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is not JSON")


_ENCODER = JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))
_DECODER = JSONDecoder(parse_constant=_refuse)


def to_json(value: object) -> str:
    """Return plain data as JSON text.

    Raises:
        TypeError: JSON has no such type.
        ValueError: JSON has no such number (NaN, infinity), or the value is nested too deeply.
    """
    try:
        return _ENCODER.encode(value)
    except RecursionError as error:
        raise ValueError("the value is nested too deeply for JSON") from error


def parse_json(text: str | bytes) -> Any:
    """Return what JSON text says; bytes are UTF-8 (RFC 8259 section 8.1).

    Raises:
        ValueError: it is not JSON.
    """
    if isinstance(text, bytes):
        text = text.decode()
    try:
        return _DECODER.decode(text)
    except RecursionError as error:
        # A stranger's thousand brackets are bad input, not a fault of this program.
        raise ValueError("the JSON is nested too deeply") from error


def check_json(value: object, path: str) -> None:
    """Raise for what would not come back from JSON as it went in.

    Raises:
        TypeError: a key is no str.
        ValueError: nested too deeply, or in a cycle.
    """
    _check(value, path, 0)


def _check(value: object, path: str, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise ValueError(f"{path} is nested deeper than {MAX_DEPTH} levels, or refers to itself")
    if isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                kind = type(key).__qualname__
                raise TypeError(f"a key of {path} is a {kind}; in JSON, keys are str")
            _check(item, f"{path}[{key!r}]", depth + 1)
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            _check(item, f"{path}[{index}]", depth + 1)
