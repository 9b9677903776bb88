"""The pytest plugin, in a pytest of its own: this one need not have it."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from tests.testing.apps import rooms

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT = Path(__file__).parent.parent.parent
APP = Path(rooms.__file__)

TESTS = """
import asyncio
import urllib.request


def read(server):
    with urllib.request.urlopen(server.url + "/hello", timeout=10) as response:
        return response.read()


def test_server_answers(holdfast_server):
    server = holdfast_server("rooms.py", workers=1)
    assert read(server) == b"hello"


def test_two_servers_and_async_code(holdfast_server):
    one, other = holdfast_server("rooms.py", workers=1), holdfast_server("rooms.py", workers=1)
    assert one.port != other.port

    async def story():
        return await asyncio.to_thread(read, one), await asyncio.to_thread(read, other)

    assert asyncio.run(story()) == (b"hello", b"hello")


def test_failure_shows_the_log(holdfast_server):
    holdfast_server("rooms.py", workers=1)
    assert False
"""

WHAT_IS_LOADED = """
import sys
def test_costs():
    loaded = {name for name in sys.modules if name.startswith("holdfast.")}
    assert "holdfast.testing.plugin" in loaded
    assert not {name for name in loaded if name.startswith(("holdfast.worker", "holdfast.keeper"))}
    assert "holdfast.testing.client" not in loaded
    assert "msgspec" not in sys.modules and "uvicorn" not in sys.modules
"""


def pytest_in(directory: Path, *options: str) -> subprocess.CompletedProcess[str]:
    # By its own name, and not by that of the entry point, which is known only where holdfast was
    # installed with it.
    command = [sys.executable, "-m", "pytest", "-p", "no:holdfast", "-p", "holdfast.testing.plugin"]
    return subprocess.run(
        [*command, "-p", "no:cacheprovider", *options, str(directory)],
        cwd=directory,
        env={**os.environ, "PYTEST_ADDOPTS": ""},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def write(directory: Path, files: Sequence[tuple[str, str]]) -> None:
    for name, text in files:
        (directory / name).write_text(text)


def test_fixture_starts_servers_and_stops_them_with_the_test(tmp_path: Path) -> None:
    files = [("rooms.py", APP.read_text()), ("test_it.py", TESTS), ("pytest.ini", "[pytest]\n")]
    write(tmp_path, files)
    done = pytest_in(tmp_path)
    assert "1 failed, 2 passed" in done.stdout, done.stdout + done.stderr
    _, _, log = done.stdout.partition("Captured stderr teardown")
    assert "serving" in log


def test_plugin_that_is_not_used_loads_next_to_nothing(tmp_path: Path) -> None:
    write(tmp_path, [("test_it.py", WHAT_IS_LOADED), ("pytest.ini", "[pytest]\n")])
    done = pytest_in(tmp_path)
    assert "1 passed" in done.stdout, done.stdout + done.stderr


def test_entry_point_names_the_plugin() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    home = project["entry-points"]["pytest11"]["holdfast"]
    assert hasattr(import_module(home), "holdfast_server")
