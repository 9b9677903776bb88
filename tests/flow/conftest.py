"""Fixtures of the flow tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.flow.server import ROOT, Server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

STORY = ROOT / "tests/flow/apps/story.py"


class Story:
    """A server that runs `apps/story.py`, the version it runs, and what it noted."""

    def __init__(self, server: Server, directory: Path) -> None:
        self.server = server
        self._directory = directory

    def set_version(self, version: str) -> None:
        (self._directory / "version").write_text(version)

    def journal(self) -> list[str]:
        return (self._directory / "journal").read_text().splitlines()


@pytest.fixture(scope="module")
def shared_story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    """One server for the tests of a file that leave it as they found it."""
    yield from _story(tmp_path_factory.mktemp("story"))


@pytest.fixture
def story(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Story]:
    """A server of its own for a test that replaces code or kills processes.

    Options come from `@pytest.mark.parametrize("story", [("--option", "value")], indirect=True)`.
    """
    yield from _story(tmp_path, *getattr(request, "param", ()))


def _story(directory: Path, *options: str) -> Iterator[Story]:
    (directory / "version").write_text("1")
    (directory / "journal").touch()
    env = {"VERSION": str(directory / "version"), "JOURNAL": str(directory / "journal")}
    with Server.start(STORY, *options, env=env) as server:
        yield Story(server, directory)
