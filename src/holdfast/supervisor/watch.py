"""File changes, for develop mode.

Shell. Private.
"""

from __future__ import annotations

import logging
from pathlib import PurePath
from typing import TYPE_CHECKING

import watchfiles

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

log = logging.getLogger("holdfast")

# How long a burst of changes may last (editors write several files): the model's number.
DEBOUNCE = 50  # milliseconds

# What people write and applications read when they start. No *.json, *.txt, *.db: those are what
# applications write, and one that does so at its start would be reloaded for ever.
PATTERNS = (
    "*.py", "*.html", "*.css", "*.js", "*.svg", "*.jinja", "*.jinja2", "*.j2", "*.toml", "*.yaml",
    "*.yml", "*.ini", ".env",
)  # fmt: skip

# Beside those that watchfiles knows: .git, .venv, node_modules, __pycache__ and their like.
IGNORED = ("site-packages", "venv", ".ruff_cache")


class SourceFilter(watchfiles.DefaultFilter):
    """Lets through what is a reason to reload.

    Args:
        patterns: more than `PATTERNS`: of names, as "*.json", or of the ends of paths, as
            "templates/*".
    """

    def __init__(self, patterns: Sequence[str] = ()) -> None:
        super().__init__(ignore_dirs=(*self.ignore_dirs, *IGNORED))
        self._patterns = (*PATTERNS, *filter(None, patterns))

    def __call__(self, change: watchfiles.Change, path: str) -> bool:
        file = PurePath(path)
        return super().__call__(change, path) and any(map(file.match, self._patterns))


async def reload_on_change(
    path: str, patterns: Sequence[str], reload: Callable[[], object]
) -> None:
    """Call `reload` whenever a file below `path` changes that `SourceFilter` lets through.

    Until cancelled, or until files cannot be watched any more: then the log says why.
    """
    changes = watchfiles.awatch(
        path, watch_filter=SourceFilter(patterns), debounce=DEBOUNCE, step=10
    )
    try:
        async for batch in changes:
            changed = ", ".join(sorted(name for _, name in batch))
            log.info("changed: %s", changed)
            reload()
    except (OSError, RuntimeError) as error:
        # Gone, not readable, or more directories than fs.inotify.max_user_watches lets be watched.
        log.error(
            "changes below %s are not noticed: %s; `holdfast reload` works all the same",
            path,
            error,
        )
