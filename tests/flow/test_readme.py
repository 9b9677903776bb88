"""The example in the README is an application that works."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from websockets.sync.client import connect

from tests.flow.server import ROOT, Server

if TYPE_CHECKING:
    from pathlib import Path


def test_the_example_is_a_chat(tmp_path: Path) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    (tmp_path / "chat.py").write_text(code)
    with (
        Server.start("chat:app", cwd=tmp_path) as server,
        connect(f"{server.ws_url}/?name=Bob") as bob,
        connect(f"{server.ws_url}/?name=Ann") as ann,
    ):
        bob.send("hello")
        assert (ann.recv(10), bob.recv(10)) == ("Bob: hello", "Bob: hello")
