"""What the command line says and does."""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
import sys
import urllib.error
import urllib.request
from typing import TYPE_CHECKING

import pytest
from websockets.sync.client import connect

from tests.flow.server import ROOT, Server, free_port, wait_for

if TYPE_CHECKING:
    from pathlib import Path

    from tests.flow.conftest import Story

VERSIONED = """from holdfast import Response, ServiceWorker
app = ServiceWorker()
@app.on("fetch")
def page(event):
    if event.request.path == "/raise":
        raise RuntimeError("secret detail")
    return Response("{version}")
@app.on("websocketupgrade")
def join(event):
    event.accept()
@app.on("websocketmessage")
def answer(event):
    event.source.send("{version}")
"""


def holdfast(*arguments: str, run: Path, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "holdfast", *arguments],
        cwd=cwd,
        env=os.environ | {"HOLDFAST_RUN_DIR": str(run)},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def serve(spec: str, tmp_path: Path) -> subprocess.CompletedProcess[str]:
    """Serve something that cannot be served."""
    run = tmp_path / "run"
    return holdfast("serve", spec, "--port", str(free_port()), run=run, cwd=tmp_path)


def test_start_line_names_the_url(shared_story: Story) -> None:
    assert f"serving {ROOT}" in shared_story.server.log()
    assert f"on {shared_story.server.url}\n" in shared_story.server.log()


def test_port_0_is_one_that_is_free_and_every_command_knows_it(tmp_path: Path) -> None:
    # There, too, the address tells. Several servers may be started so, side by side.
    (tmp_path / "app.py").write_text(VERSIONED.format(version=1))
    run, log = tmp_path / "run", tmp_path / "log"
    arguments = [sys.executable, "-m", "holdfast", "serve", "app:app", "--port", "0"]
    env = os.environ | {"HOLDFAST_RUN_DIR": str(run)}
    with log.open("wb") as err:
        servers = [subprocess.Popen(arguments, cwd=tmp_path, env=env, stderr=err) for _ in range(2)]

    def urls() -> list[str]:
        return re.findall(r"serving app:app on (http://127\.0\.0\.1:[1-9]\d*)\n", log.read_text())

    try:
        wait_for(lambda: len(set(urls())) == 2, "both have said where they serve")
        for url in urls():
            with urllib.request.urlopen(url, timeout=20) as response:
                assert response.read() == b"1"
            port = url.rpartition(":")[2]
            assert url in holdfast("status", "--port", port, run=run).stdout
            assert holdfast("stop", "--port", port, run=run).returncode == 0
        assert [server.wait(20) for server in servers] == [0, 0]
    finally:
        for server in servers:
            server.kill()
            server.wait()


@pytest.mark.parametrize(("command", "port"), [("serve", "65536"), ("develop", "-1")])
def test_what_is_no_port_is_refused(command: str, port: str, tmp_path: Path) -> None:
    done = holdfast(command, "x:app", "--port", port, run=tmp_path / "run")
    assert done.returncode == 2
    assert f"Invalid value for '--port': {port} is not in the range 0<=x<=65535" in done.stderr


def test_status_json_has_processes_generation_and_counts(shared_story: Story) -> None:
    with connect(f"{shared_story.server.ws_url}/echo") as ws:
        ws.send("x")
        ws.recv(10)
        status = shared_story.server.status()
    assert status["supervisor"]["pid"] == shared_story.server.process.pid
    assert {"pid", "generation", "state"} <= status["workers"][0].keys()
    assert (status["generation"], status["connections"], len(status["workers"])) == (1, 1, 2)
    assert status["deliveries"] >= 1
    assert status["redeliveries"] == 0


def test_status_for_people_is_a_table(shared_story: Story) -> None:
    done = shared_story.server.cli("status")
    assert done.returncode == 0
    assert f"keeper        pid {shared_story.server.status()['keeper']['pid']}" in done.stdout


def test_control_socket_is_closed_to_others(shared_story: Story) -> None:
    socket = shared_story.server._run / f"{shared_story.server.port}.sock"
    assert stat.S_IMODE(socket.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE(socket.stat().st_mode) == 0o600


@pytest.mark.parametrize("command", ["status", "reload", "stop"])
def test_control_is_not_reachable_over_http(shared_story: Story, command: str) -> None:
    # Who can reach the port is no operator.
    server = shared_story.server
    for path in (f"/{command}", f"/.holdfast/{command}", "/"):
        body = json.dumps({"command": command}).encode()
        request = urllib.request.Request(server.url + path, data=body, method="POST")
        if path == "/":
            with urllib.request.urlopen(request, timeout=10) as response:
                assert response.read().startswith(b"version 1 from ")  # The application's answer.
            continue
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(request, timeout=10)
        assert caught.value.code == 404
        caught.value.close()
    status = server.status()
    assert (status["generation"], len(status["workers"])) == (1, 2)


def test_run_directory_that_is_open_to_others_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    done = holdfast("status", "--port", "1", run=tmp_path)
    assert done.returncode == 1
    assert "mode 0700" in done.stderr


@pytest.mark.parametrize("command", ["status", "reload", "stop"])
def test_command_without_a_server_says_so(command: str, tmp_path: Path) -> None:
    done = holdfast(command, "--port", "1", run=tmp_path / "run")
    assert done.returncode == 1
    assert done.stderr == "holdfast: no holdfast server of yours answers for port 1\n"


def test_port_in_use_is_named_with_what_to_do(shared_story: Story, tmp_path: Path) -> None:
    port = str(shared_story.server.port)
    done = holdfast("serve", "x:app", "--port", port, run=tmp_path / "run")
    assert done.returncode == 1
    assert f"127.0.0.1:{port} is in use by another program" in done.stderr


def test_module_that_does_not_exist_is_named_without_a_traceback(tmp_path: Path) -> None:
    done = serve("nowhere:app", tmp_path)
    assert done.returncode == 1
    assert "there is no module 'nowhere'" in done.stderr
    assert "Traceback" not in done.stderr


def test_import_error_shows_the_lines_of_the_user_only(tmp_path: Path) -> None:
    (tmp_path / "bad.py").write_text("import nowhere_else\n")
    done = serve("bad:app", tmp_path)
    assert done.returncode == 1
    assert 'bad.py", line 1, in <module>' in done.stderr
    assert "No module named 'nowhere_else'" in done.stderr
    assert "holdfast/worker" not in done.stderr
    assert "importlib" not in done.stderr


def test_syntax_error_shows_the_line(tmp_path: Path) -> None:
    (tmp_path / "bad.py").write_text("app = (\n")
    done = serve("bad.py:app", tmp_path)
    assert done.returncode == 1
    assert "SyntaxError" in done.stderr
    assert "app = (" in done.stderr


def test_object_that_is_no_service_worker_is_named(tmp_path: Path) -> None:
    (tmp_path / "bad.py").write_text("app = 7\n")
    done = serve("bad.py:app", tmp_path)
    assert done.returncode == 1
    assert "bad.py:app is a int, neither a holdfast.ServiceWorker nor" in done.stderr


def test_attribute_that_does_not_exist_is_named(tmp_path: Path) -> None:
    (tmp_path / "bad.py").write_text("")
    done = serve("bad.py:app", tmp_path)
    assert done.returncode == 1
    assert "bad.py has no attribute 'app'" in done.stderr


@pytest.mark.parametrize(("command", "is_shown"), [("serve", False), ("develop", True)])
def test_error_details_reach_a_client_only_in_develop_mode(
    command: str, is_shown: bool, tmp_path: Path
) -> None:
    (tmp_path / "app.py").write_text(VERSIONED.format(version=1))
    with Server.start("app:app", command=command, cwd=tmp_path) as server:
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(f"{server.url}/raise", timeout=10)
        assert caught.value.code == 500
        assert (b"secret detail" in caught.value.read()) is is_shown
        caught.value.close()


def test_develop_reloads_when_a_file_changes_and_keeps_the_connection(tmp_path: Path) -> None:
    file = tmp_path / "app.py"
    file.write_text(VERSIONED.format(version="one"))
    with (
        Server.start("app:app", command="develop", cwd=tmp_path) as server,
        connect(server.ws_url) as ws,
    ):
        file.write_text(VERSIONED.format(version="two"))
        wait_for(lambda: server.status()["generation"] == 2, "the change was noticed")
        ws.send("?")
        assert ws.recv(10) == "two"


def test_status_json_is_json_and_nothing_else(shared_story: Story) -> None:
    json.loads(shared_story.server.cli("status", "--json").stdout)
