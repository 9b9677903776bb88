"""A worker is killed at every boundary there is; what the client sees is the same as without."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from websockets.exceptions import InvalidMessage
from websockets.sync.client import ClientConnection, connect

from tests.flow.server import ROOT, Server, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CRASHES = ROOT / "tests/flow/apps/crashes.py"
MESSAGES = [str(number) for number in range(20)]
UNDISTURBED = [
    "welcome",
    *(
        line
        for count, number in enumerate(MESSAGES, 1)
        for line in (f"{number}: {count}", f"all hear {number}")
    ),
]


class Scene:
    """A server that crashes where it is told to."""

    def __init__(self, server: Server, directory: Path) -> None:
        self.server = server
        self._crash = directory / "crash"
        self._journal = directory / "journal"

    def crash_at(self, boundary: str) -> None:
        # Into place at once: a worker may be reading.
        draft = self._crash.with_suffix(".draft")
        draft.write_text(boundary)
        draft.rename(self._crash)

    @property
    def has_crashed(self) -> bool:
        return not self._crash.exists()

    def journal(self) -> list[str]:
        return self._journal.read_text().splitlines()


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    (tmp_path / "journal").touch()
    env = {"CRASH": str(tmp_path / "crash"), "JOURNAL": str(tmp_path / "journal")}
    with Server.start(CRASHES, env=env) as server:
        yield Scene(server, tmp_path)


def receive(ws: ClientConnection, count: int) -> list[str]:
    return [str(ws.recv(20)) for _ in range(count)]


@pytest.mark.parametrize("pace", ["one at a time", "all at once"])
@pytest.mark.parametrize(
    "boundary",
    [
        "before the dispatch",
        "in the listener",
        "in the listener, after an await",
        "before the ack is written",
        "with half an ack written",
        "after the ack is written",
        "in wait_until, at once",
        "in wait_until",
        "in the close listener",
    ],
)
def test_client_sees_the_same_as_without_the_crash(scene: Scene, boundary: str, pace: str) -> None:
    with connect(scene.server.ws_url) as ws:
        received = receive(ws, 1)
        scene.crash_at(boundary)
        if pace == "all at once":
            for number in MESSAGES:
                ws.send(number)
            received += receive(ws, 2 * len(MESSAGES))
        else:
            for number in MESSAGES:
                ws.send(number)
                received += receive(ws, 2)
    assert received == UNDISTURBED
    wait_for(scene.journal, "the close event was handled")
    wait_for(lambda: scene.has_crashed, "a worker was killed")
    assert scene.journal() == ["closed 1000 after 20"]
    wait_for(lambda: scene.server.status()["connections"] == 0, "nothing is left")


def test_what_was_flushed_may_come_twice_and_nothing_else(scene: Scene) -> None:
    with connect(scene.server.ws_url) as ws:
        received = receive(ws, 1)
        scene.crash_at("after a flush")
        for number in MESSAGES:
            ws.send(number)
        received += receive(ws, 2 * len(MESSAGES) + 2)
    flushed = UNDISTURBED.index("7: 8")
    # The count in `data` was flushed with the rest, so that the second time counts on.
    assert received[: flushed + 2] == UNDISTURBED[: flushed + 2]
    assert received[flushed + 2 : flushed + 4] == ["7: 9", "all hear 7"]
    assert [line.partition(":")[0] for line in received[flushed + 4 :]] == [
        line.partition(":")[0] for line in UNDISTURBED[flushed + 2 :]
    ]
    assert scene.has_crashed


@pytest.mark.parametrize(
    "boundary",
    ["in the upgrade listener", "before the descriptor", "after the descriptor, before the record"],
)
def test_upgrade_in_a_worker_that_dies_is_lost_and_leaves_nothing_behind(
    scene: Scene, boundary: str
) -> None:
    # The one exception: a request that is inside a worker when it is killed.
    scene.crash_at(boundary)
    with pytest.raises((InvalidMessage, OSError)), connect(scene.server.ws_url):
        pass
    assert scene.has_crashed
    with connect(scene.server.ws_url) as ws:
        assert receive(ws, 1) == ["welcome"]
        assert scene.server.status()["connections"] == 1
    wait_for(scene.journal, "the close event was handled")
    assert scene.journal() == ["closed 1000 after 0"]


def test_upgrade_whose_record_was_sent_stands(scene: Scene) -> None:
    scene.crash_at("after the record")
    with connect(scene.server.ws_url) as ws:
        assert receive(ws, 1) == ["welcome"]
        ws.send("0")
        assert receive(ws, 2) == ["0: 1", "all hear 0"]
    assert scene.has_crashed


def test_death_during_an_install_is_not_the_end_of_a_reload(scene: Scene) -> None:
    with connect(scene.server.ws_url) as ws:
        scene.crash_at("in the install")
        assert scene.server.reload().returncode == 0
        assert scene.has_crashed
        ws.send("0")
        assert receive(ws, 3) == ["welcome", "0: 1", "all hear 0"]


def test_install_that_always_dies_leaves_the_old_code_serving(scene: Scene) -> None:
    with connect(scene.server.ws_url) as ws:
        scene.crash_at("in every install")
        done = scene.server.reload()
        assert done.returncode == 1
        assert "a worker died before it was ready (signal 9)" in done.stderr
        ws.send("0")
        assert receive(ws, 3) == ["welcome", "0: 1", "all hear 0"]
    assert scene.server.status()["generation"] == 1
