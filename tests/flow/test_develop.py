"""`holdfast develop` reads an application anew when one of its files changes."""

from __future__ import annotations

import urllib.request
from typing import TYPE_CHECKING

import pytest
from websockets.sync.client import connect

from tests.flow.server import Server, wait_for

if TYPE_CHECKING:
    from pathlib import Path

APPLICATION = """\
from pathlib import Path

from holdfast import Response, ServiceWorker

PAGE = "".join(path.read_text() for path in sorted(Path(__file__).parent.glob("page.*")))

app = ServiceWorker()


@app.on("fetch")
def show_page(event):
    return Response.html(PAGE)


@app.on("websocketupgrade")
def join(event):
    event.accept()


@app.on("websocketmessage")
def echo(event):
    event.source.send(event.data)
"""


def page(server: Server) -> str:
    with urllib.request.urlopen(server.url, timeout=10) as response:
        return str(response.read().decode())


@pytest.mark.parametrize(
    ("name", "options"), [("page.html", []), ("page.txt", ["--watch", "*.txt"])]
)
def test_page_that_changes_is_read_anew_and_no_connection_closes(
    name: str, options: list[str], tmp_path: Path
) -> None:
    (tmp_path / "app.py").write_text(APPLICATION)
    (tmp_path / name).write_text("before")
    with (
        Server.start("app:app", *options, command="develop", cwd=tmp_path) as server,
        connect(server.ws_url) as ws,
    ):
        assert page(server) == "before"
        (tmp_path / name).write_text("after")
        wait_for(lambda: page(server) == "after", "the new page is served")
        assert f"{name}\n" in server.log()
        ws.send("still here")
        assert ws.recv(10) == "still here"


def test_settings_of_the_application_are_read_anew(tmp_path: Path) -> None:
    # The model differs: there, those of the server are read anew, too. Here they are its options.
    (tmp_path / "app.py").write_text(APPLICATION)
    (tmp_path / "page.toml").write_text("colour = 'red'")
    with (
        Server.start("app:app", command="develop", cwd=tmp_path) as server,
        connect(server.ws_url) as ws,
    ):
        (tmp_path / "page.toml").write_text("colour = 'blue'")
        wait_for(lambda: page(server) == "colour = 'blue'", "the new settings count")
        ws.send("still here")
        assert ws.recv(10) == "still here"


def test_there_are_the_processes_of_a_server_with_one_worker(tmp_path: Path) -> None:
    # D8 is different: there, a single worker that is not in development owns connections.
    (tmp_path / "app.py").write_text(APPLICATION)
    for command, options in (("develop", []), ("serve", ["--spare", "0"])):
        with Server.start("app:app", *options, command=command, workers=1, cwd=tmp_path) as server:
            status = server.status()
            processes = [status["supervisor"], status["keeper"], *status["workers"]]
            assert len({process["pid"] for process in processes}) == 3


def test_file_that_the_application_writes_does_not_reload_it(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(APPLICATION)
    with Server.start("app:app", command="develop", cwd=tmp_path) as server:
        (tmp_path / "page.json").write_text("data")
        # What comes after it is noticed, and it is not.
        (tmp_path / "page.css").write_text("style")
        wait_for(lambda: page(server) == "styledata", "the new code serves")
        assert "page.json" not in server.log()
