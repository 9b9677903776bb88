"""The path of a request as ASGI has it: with the place where an application is mounted in front.

Pure. Servers and frameworks differ in what they tell: `raw_path` is optional, and `root_path` is
part of `path` for most of them and not for all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

if TYPE_CHECKING:
    from collections.abc import MutableMapping
    from typing import Any


def split_path(scope: MutableMapping[str, Any]) -> tuple[bytes, str]:
    """Return the path below `root_path`, percent-encoded, and that root, as far as it is there."""
    raw_path: bytes | None = scope.get("raw_path")
    root: str = scope.get("root_path", "")
    if raw_path is None:
        raw_path = quote(scope["path"]).encode()
    root = root.rstrip("/")
    if not root:
        return raw_path, ""
    # Encoded anew, since that of a path that came in may be written in several ways.
    prefix = quote(root)
    path: str = scope["path"]
    if path != root and not path.startswith(f"{root}/"):
        return raw_path, ""
    rest = raw_path.removeprefix(prefix.encode())
    if len(rest) == len(raw_path):
        rest = quote(path.removeprefix(root)).encode()
    return rest or b"/", prefix
