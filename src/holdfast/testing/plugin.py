"""The pytest plugin: the fixture `holdfast_server`.

Loaded by pytest itself, in every project of an environment that has holdfast installed; so it
imports nothing before the fixture is used. TestClient needs no fixture.
"""

from __future__ import annotations

import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from holdfast.testing.server import Server, StartServer


@pytest.fixture
def holdfast_server(request: pytest.FixtureRequest) -> Iterator[StartServer]:
    """Start real holdfast servers, which are stopped at the end of the test.

        def test_chat(holdfast_server: StartServer) -> None:
            server = holdfast_server("examples/chat/app.py", workers=2)
            urllib.request.urlopen(server.url)

    Takes what `holdfast.testing.Server.start` takes; relative paths are relative to pytest's root
    directory. What the servers wrote is shown when the test fails.
    """
    from holdfast.testing.server import Server

    servers: list[Server] = []
    with ExitStack() as running:

        def start(
            application: str | Path,
            *arguments: str,
            workers: int = 2,
            command: str = "serve",
            env: Mapping[str, str] | None = None,
            cwd: Path | str | None = None,
        ) -> Server:
            server = running.enter_context(
                Server.start(
                    application,
                    *arguments,
                    workers=workers,
                    command=command,
                    env=env,
                    cwd=request.config.rootpath if cwd is None else cwd,
                )
            )
            servers.append(server)
            return server

        yield start
    for server in servers:
        # Captured by pytest, and shown with a failure.
        sys.stderr.write(server.log())
