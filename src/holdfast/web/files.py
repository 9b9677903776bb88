"""A file as the body of a response: what is said of it, and when it need not be sent.

Pure: it only names the file. The host opens it (`core/ports.py:Host.read_file`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import PurePath

    from holdfast.web.headers import Headers

# A table of our own. That of `mimetypes` depends on the system's files, which it reads at the first
# call, and on Python's version: 3.11 has neither fonts nor Markdown, and an old name for scripts.
_TYPES = {
    "avif": "image/avif",
    "bin": "application/octet-stream",
    "bmp": "image/bmp",
    "css": "text/css",
    "csv": "text/csv",
    "flac": "audio/flac",
    "gif": "image/gif",
    "gz": "application/gzip",
    "htm": "text/html",
    "html": "text/html",
    "ico": "image/vnd.microsoft.icon",
    "ics": "text/calendar",
    "jpeg": "image/jpeg",
    "jpg": "image/jpeg",
    "js": "text/javascript",
    "json": "application/json",
    "jsonld": "application/ld+json",
    "m4a": "audio/mp4",
    "map": "application/json",
    "md": "text/markdown",
    "mjs": "text/javascript",
    "mov": "video/quicktime",
    "mp3": "audio/mpeg",
    "mp4": "video/mp4",
    "oga": "audio/ogg",
    "ogg": "audio/ogg",
    "ogv": "video/ogg",
    "opus": "audio/ogg",
    "otf": "font/otf",
    "pdf": "application/pdf",
    "png": "image/png",
    "rss": "application/rss+xml",
    "rtf": "application/rtf",
    "svg": "image/svg+xml",
    "tar": "application/x-tar",
    "tif": "image/tiff",
    "tiff": "image/tiff",
    "ttf": "font/ttf",
    "txt": "text/plain",
    "vtt": "text/vtt",
    "wasm": "application/wasm",
    "wav": "audio/wav",
    "weba": "audio/webm",
    "webm": "video/webm",
    "webmanifest": "application/manifest+json",
    "webp": "image/webp",
    "woff": "font/woff",
    "woff2": "font/woff2",
    "xhtml": "application/xhtml+xml",
    "xml": "application/xml",
    "zip": "application/zip",
}


class FileBody(NamedTuple):
    """A file to send: `path`, which has to lie inside of `root` if there is one."""

    path: PurePath
    """Relative to `root` if there is one, else to the working directory."""
    root: PurePath | None


def guess_type(path: PurePath) -> str:
    """Return the Content-Type that goes with the suffix; text is taken for UTF-8."""
    kind = _TYPES.get(path.suffix[1:].lower(), "application/octet-stream")
    return f"{kind}; charset=utf-8" if kind.startswith("text/") else kind


def entity_tag(mtime_ns: int, size: int) -> str:
    """Return the ETag of a file (RFC 9110 section 8.8.3).

    Weak: a file can change twice within one tick of its file system's clock.
    """
    return f'W/"{mtime_ns:x}-{size:x}"'


def is_unchanged(
    request: Headers, etag: str, modified: int, parse_date: Callable[[str], int | None]
) -> bool:
    """Tell whether a GET or HEAD has its client's copy confirmed with 304 (RFC 9110 section 13).

    Args:
        etag: of what would be sent.
        modified: when that was changed, in seconds since the epoch.
        parse_date: a date of HTTP as seconds since the epoch, or None if it is none.
    """
    tags = request.get("if-none-match")
    if tags is not None:
        # The date is for those that know no tags, and does not count then (section 13.1.3).
        return tags.strip() == "*" or _opaque(etag) in map(_opaque, tags.split(","))
    since = request.get("if-modified-since")
    date = None if since is None else parse_date(since)
    return date is not None and modified <= date


def _opaque(tag: str) -> str:
    """Return what weak comparison compares (RFC 9110 section 8.8.3.2)."""
    return tag.strip().removeprefix("W/")
