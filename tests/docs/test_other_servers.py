"""Every command of docs/how-to/other-servers.md serves what the page says it serves."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import urllib.error
import urllib.request
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect
from websockets.typing import Origin

from tests.docs.pages import pages
from tests.docs.stories import APPLICATION
from tests.flow.server import free_port, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PAGE = pages()["docs/how-to/other-servers.md"]
COMMANDS = [
    line
    for block in PAGE.blocks
    if block.language == "console"
    for line in re.findall(r"^\$ (.*)$", block.code, re.MULTILINE)
]

# By the name that a command serves.
CODE = {"app": PAGE.code("chat"), "asgi": PAGE.code("settings"), "site": PAGE.code("below")}

TIMEOUT = 15.0  # seconds


@contextmanager
def running(command: str, directory: Path) -> Iterator[int]:
    """Run a command of the page; return the port."""
    port = free_port()
    arguments = shlex.split(command.replace("7777", str(port)))
    name = re.findall(r"chat:(\w+)", command)[0]
    (directory / APPLICATION).write_text(CODE[name])
    process = subprocess.Popen(
        [sys.executable, "-m", *arguments],
        cwd=directory,
        env=os.environ | {"HOLDFAST_RUN_DIR": str(directory / "run"), "PYTHONPATH": str(directory)},
        stdin=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        wait_for(lambda: serves(port), f"{command} serves", 30)
        yield port
    finally:
        process.terminate()
        try:
            process.wait(TIMEOUT)
        finally:
            process.kill()


def serves(port: int) -> bool:
    try:
        urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=TIMEOUT).close()
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True


@pytest.mark.parametrize("command", COMMANDS)
def test_command_serves_the_chat(command: str, tmp_path: Path) -> None:
    path = "/chat/" if "site" in command else "/"
    with running(command, tmp_path) as port:
        url = f"ws://127.0.0.1:{port}{path}"
        with connect(f"{url}?name=Bob") as bob, connect(f"{url}?name=Ann") as ann:
            ann.send("hello")
            assert bob.recv(TIMEOUT) == "Ann: hello"


def test_settings_count(tmp_path: Path) -> None:
    (command,) = [command for command in COMMANDS if "chat:asgi" in command]
    with running(command, tmp_path) as port:
        url = f"ws://127.0.0.1:{port}/"
        with connect(url, origin=Origin("https://example.com")) as ws:
            ws.send("x" * (64 * 1024 + 1))
            with pytest.raises(ConnectionClosed) as closed:
                ws.recv(TIMEOUT)
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1009


def test_every_server_of_the_table_is_on_the_page() -> None:
    table = pages()["docs/hosts.md"].text.partition("<!-- hosts -->\n")[2].splitlines()[0]
    for server in ("--direct", "uvicorn", "Granian", "Hypercorn", "Daphne"):
        assert server in table
        assert any(server.lower() in command for command in COMMANDS)
