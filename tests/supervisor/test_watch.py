from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from watchfiles import Change

from holdfast.supervisor.watch import SourceFilter, reload_on_change

if TYPE_CHECKING:
    from pathlib import Path


def is_watched(path: str, *patterns: str) -> bool:
    return SourceFilter(patterns)(Change.modified, path)


@pytest.mark.parametrize(
    "name", ["app.py", "page.html", "style.css", "page.js", "settings.toml", "x.jinja", ".env"]
)
def test_what_people_write_is_watched(name: str) -> None:
    assert is_watched(f"/home/ann/chat/{name}")
    assert is_watched(f"/home/ann/chat/templates/{name}")


@pytest.mark.parametrize(
    "name", ["data.json", "chat.db", "chat.db-journal", "app.log", "notes.txt"]
)
def test_what_programs_write_is_not(name: str) -> None:
    # Or an application that writes its settings at its start would be reloaded for ever.
    assert not is_watched(f"/home/ann/chat/{name}")


@pytest.mark.parametrize(
    "path",
    [
        ".git/hooks/x.py",
        "node_modules/ws/index.js",
        "__pycache__/app.py",
        ".venv/lib/x.py",
        "venv/lib/x.py",
        "env/lib/python3.11/site-packages/x.py",
        ".mypy_cache/x.py",
        ".ruff_cache/x.toml",
        "app.pyc",
        "app.py~",
        ".#app.py",
    ],
)
def test_what_tools_write_is_not(path: str) -> None:
    assert not is_watched(f"/home/ann/chat/{path}", "*")


def test_more_patterns_can_be_given() -> None:
    assert is_watched("/chat/words.json", "*.json")
    assert is_watched("/chat/lists/words.txt", "lists/*")
    assert not is_watched("/chat/other/words.txt", "lists/*")
    assert is_watched("/chat/app.py", "*.json")
    assert not is_watched("/chat/words.txt", "")


def test_that_nothing_can_be_watched_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = str(tmp_path / "gone")
    asyncio.run(reload_on_change(path, (), lambda: None))
    (message,) = caplog.messages
    assert message.startswith(f"changes below {path} are not noticed: ")
