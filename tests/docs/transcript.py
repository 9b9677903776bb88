"""Transcripts: what clients do and see, as a page shows it, acted out by real clients.

    Ann  opens  /?name=Ann      a WebSocket connection under a name
    Ann  >  hello               Ann sends this text
    Ann  <  Ann: hello          and receives this, next and exactly
    Ann  leaves                 closes the connection
    $ holdfast reload           what follows, up to the next line of another kind, is its output
    $ kill -9 WORKER            kills each worker in turn

At the end, whoever has not left must still be connected.
"""

from __future__ import annotations

import re
from contextlib import ExitStack
from typing import TYPE_CHECKING

from websockets.sync.client import ClientConnection, connect

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.flow.server import Server

__all__ = ["play"]

TIMEOUT = 10.0  # seconds, per message
STEP = re.compile(r"(?P<who>\w+) +(?P<does>opens|>|<|leaves) *(?P<what>.*)")


def play(text: str, server: Server, prepare_reload: Callable[[], object]) -> None:
    """Act `text` out with clients of `server`; call `prepare_reload` before each reload."""
    clients: dict[str, ClientConnection] = {}
    output: list[str] = []
    with ExitStack() as stack:
        for line in text.splitlines():
            if line.startswith("$ "):
                assert output == [], f"a command did not say {output}"
                output = _run(line[2:], server, prepare_reload)
                continue
            step = STEP.fullmatch(line)
            if step is None:
                assert output, f"this is no step, and no command said it: {line}"
                assert line == output.pop(0)
                continue
            assert output == [], f"a command said {output}"
            who, does, what = step.groups()
            if does == "opens":
                clients[who] = stack.enter_context(connect(server.ws_url + what))
            elif does == "leaves":
                clients.pop(who).close()
            elif does == ">":
                clients[who].send(what)
            else:
                assert clients[who].recv(TIMEOUT) == what, f"what {who} sees"
        assert output == [], f"a command said {output}"
        for who, client in clients.items():
            assert client.ping().wait(TIMEOUT), f"{who} is not connected any more"


def _run(command: str, server: Server, prepare_reload: Callable[[], object]) -> list[str]:
    """Run a command of a transcript; return what it printed."""
    if command == "kill -9 WORKER":
        for pid in server.worker_pids():
            server.kill_worker(pid)
        return []
    assert command == "holdfast reload", f"a transcript cannot run {command!r}"
    prepare_reload()
    done = server.reload()
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()
