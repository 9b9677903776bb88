"""A file as the body of a response.

Pure: it only names the file. The host opens it (`core/ports.py:Host.read_file`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from pathlib import PurePath

__all__ = ["FileBody"]


class FileBody(NamedTuple):
    """A file to send: `path`, which has to lie inside of `root` if there is one."""

    path: PurePath
    root: PurePath | None
