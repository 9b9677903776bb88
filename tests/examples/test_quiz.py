"""The quiz example: one winner per round and one point per win, whatever happens to workers."""

from __future__ import annotations

import asyncio
import json
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from examples.quiz import app as quiz
from websockets.sync.client import connect

from holdfast.testing import ConnectionClosed, TestClient, UpgradeRefused
from tests.testing.runner import in_loop

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from websockets.sync.client import ClientConnection

    from holdfast import WebSocketMessageEvent
    from holdfast.testing import Server, StartServer, WebSocket

# Seconds. Those in memory take a fraction of one; those with a server start a dozen processes.
pytestmark = pytest.mark.timeout(60)

FILE = Path(quiz.__file__)
ROOM = "/rooms/capitals"
(FIRST, OSLO), (SECOND, NAIROBI), *_ = quiz.ROOMS["capitals"]

# Leaves no trace but in the database, the first time that a message comes.
DIES_AFTER_EACH_MESSAGE = """
import os
import signal

from examples.quiz.app import app


@app.on("websocketmessage")
def die(event):
    if event.attempt == 1:
        os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture(autouse=True)
def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A database for this test, in this process and in the servers that it starts."""
    path = tmp_path / "quiz.db"
    monkeypatch.setattr(quiz, "DATABASE", path)
    monkeypatch.setenv("QUIZ_DATABASE", str(path))
    return path


@asynccontextmanager
async def playing(client: TestClient, name: str, room: str = ROOM) -> AsyncIterator[WebSocket]:
    async with client.connect(f"{room}?name={name}") as player:
        await hear(player, "welcome")
        yield player


async def answer(player: WebSocket, number: int, text: str) -> None:
    await player.send_json({"kind": "answer", "round": number, "text": text})


async def hear(player: WebSocket, kind: str) -> dict[str, Any]:
    """Return the next message, which is of this kind; others may have come or gone before."""
    while True:
        message: dict[str, Any] = await player.receive_json()
        if message["kind"] == kind:
            return message
        assert message["kind"] in {"joined", "left"}, message


async def hear_the_rest(player: WebSocket) -> list[dict[str, Any]]:
    """Return what is there when nothing more comes, but who came and went."""
    messages = [json.loads(message) for message in await player.receive_all()]
    return [message for message in messages if message["kind"] not in {"joined", "left"}]


async def look(player: WebSocket) -> dict[str, int]:
    """Return who is in the room, with their points."""
    await player.send_json({"kind": "look"})
    room = await hear(player, "room")
    return {member["name"]: member["score"] for member in room["players"]}


async def scores(client: TestClient) -> Any:
    return await (await client.fetch(f"{ROOM}/scores")).json()


# -- in memory


@in_loop
async def test_start_page_lists_the_rooms_and_each_has_a_page() -> None:
    async with TestClient(quiz.app) as client:
        start = await (await client.fetch("/")).text()
        for room in quiz.ROOMS:
            assert f'href="/rooms/{room}"' in start
            page = await client.fetch(f"/rooms/{room}")
            assert page.headers["content-type"].startswith("text/html")
            assert 'id="question"' in await page.text()


@in_loop
async def test_room_that_does_not_exist_is_not_found_and_never_connected() -> None:
    async with TestClient(quiz.app) as client:
        for path in ("/rooms/nowhere", "/rooms/", "/capitals", f"{ROOM}/ws"):
            with pytest.raises(UpgradeRefused) as refusal:
                async with client.connect(f"{path}?name=Ann"):
                    pass
            assert refusal.value.response.status == 404
            assert (await client.fetch(path)).status == 404
            assert (await client.fetch(f"{path}/scores")).status == 404


@pytest.mark.parametrize("query", ["", "?name=", "?name=%20%20"])
@in_loop
async def test_player_without_a_name_is_refused(query: str) -> None:
    async with TestClient(quiz.app) as client:
        with pytest.raises(UpgradeRefused) as refusal:
            async with client.connect(f"{ROOM}{query}"):
                pass
        assert refusal.value.response.status == 400


@in_loop
async def test_player_is_greeted_with_the_question_and_announced() -> None:
    async with TestClient(quiz.app) as client, playing(client, "Ann") as ann:
        assert await ann.receive_json() == {"kind": "joined", "name": "Ann"}
        async with client.connect(f"{ROOM}?name=Bob") as bob:
            assert await bob.receive_json() == {
                "kind": "welcome", "room": "capitals", "name": "Bob", "score": 0,
                "round": 1, "question": FIRST,
            }  # fmt: skip
            assert await ann.receive_json() == {"kind": "joined", "name": "Bob"}


@in_loop
async def test_first_right_answer_scores_and_everybody_gets_the_next_question() -> None:
    async with (
        TestClient(quiz.app) as client,
        playing(client, "Ann") as ann,
        playing(client, "Bob") as bob,
    ):
        await answer(bob, 1, f" {OSLO.upper()} ")
        for player in (ann, bob):
            assert await hear(player, "point") == {
                "kind": "point", "room": "capitals", "name": "Bob", "score": 1, "answer": OSLO,
                "round": 2, "question": SECOND,
            }  # fmt: skip
        assert await scores(client) == {"Bob": 1}


@in_loop
async def test_of_two_right_answers_one_is_first_and_the_other_too_late() -> None:
    async with (
        TestClient(quiz.app) as client,
        playing(client, "Ann") as ann,
        playing(client, "Bob") as bob,
    ):
        await answer(ann, 1, OSLO)
        await answer(bob, 1, OSLO)
        heard = [await hear_the_rest(player) for player in (ann, bob)]
        kinds = sorted([message["kind"] for message in messages] for messages in heard)
        # The one who is late may hear that before or after the other's point.
        assert kinds[0] in (["late", "point"], ["point"])
        assert sorted(kinds[0] + kinds[1]) == ["late", "point", "point"]
        assert all(message["question"] == SECOND for messages in heard for message in messages)
        assert sum((await scores(client)).values()) == 1


def test_of_many_claims_at_the_same_time_one_wins() -> None:
    quiz.query("CREATE TABLE wins (room, round, name, event UNIQUE, PRIMARY KEY (room, round))")
    with ThreadPoolExecutor(8) as threads:
        won = list(threads.map(lambda n: quiz.claim("capitals", 1, "Ann", f"event {n}"), range(40)))
    assert won.count(True) == 1


@in_loop
async def test_wrong_answer_is_told_to_its_player_only() -> None:
    async with (
        TestClient(quiz.app) as client,
        playing(client, "Ann") as ann,
        playing(client, "Bob") as bob,
    ):
        await answer(ann, 1, "Bergen")
        assert await hear(ann, "wrong") == {"kind": "wrong", "round": 1, "question": FIRST}
        assert await hear_the_rest(bob) == []
        assert await scores(client) == {}


@in_loop
async def test_round_that_has_not_come_cannot_be_won() -> None:
    async with TestClient(quiz.app) as client, playing(client, "Ann") as ann:
        await answer(ann, 2, NAIROBI)
        assert await hear(ann, "late") == {"kind": "late", "round": 1, "question": FIRST}
        assert await scores(client) == {}


@in_loop
async def test_questions_begin_anew_after_the_last() -> None:
    async with TestClient(quiz.app) as client, playing(client, "Ann") as ann:
        for number, (_, text) in enumerate(quiz.ROOMS["capitals"], 1):
            await answer(ann, number, text)
            point = await hear(ann, "point")
        assert point["round"] == len(quiz.ROOMS["capitals"]) + 1
        assert point["question"] == FIRST


@in_loop
async def test_other_rooms_hear_nothing_and_have_their_own_rounds() -> None:
    async with (
        TestClient(quiz.app) as client,
        playing(client, "Ann") as ann,
        playing(client, "Eve", "/rooms/opposites") as eve,
    ):
        await answer(ann, 1, OSLO)
        await hear(ann, "point")
        assert await hear_the_rest(eve) == []
        assert await look(eve) == {"Eve": 0}
        await answer(eve, 1, "hot")
        assert (await hear(eve, "point"))["round"] == 2


@in_loop
async def test_players_of_a_room_are_those_who_are_connected() -> None:
    async with TestClient(quiz.app) as client, playing(client, "Ann") as ann:
        async with playing(client, "Bob") as bob:
            await answer(bob, 1, OSLO)
            await hear(ann, "point")
            assert await look(ann) == {"Ann": 0, "Bob": 1}
        assert await hear(ann, "left") == {"kind": "left", "name": "Bob"}
        assert await look(ann) == {"Ann": 0}


@in_loop
async def test_player_whose_network_breaks_is_announced_too() -> None:
    async with (
        TestClient(quiz.app) as client,
        playing(client, "Ann") as ann,
        playing(client, "Bob") as bob,
    ):
        await bob.vanish()
        assert await hear(ann, "left") == {"kind": "left", "name": "Bob"}


@in_loop
async def test_player_who_loads_the_page_again_has_points_and_the_question() -> None:
    async with TestClient(quiz.app) as client:
        async with playing(client, "Ann") as ann:
            await answer(ann, 1, OSLO)
            await hear(ann, "point")
        async with client.connect(f"{ROOM}?name=Ann") as ann:
            welcome = await hear(ann, "welcome")
            assert (welcome["score"], welcome["question"]) == (1, SECOND)


@pytest.mark.parametrize(
    "frame",
    [
        "Oslo",
        "",
        "null",
        "[1, 2]",
        "{}",
        '{"kind": "dance"}',
        '{"kind": "answer"}',
        '{"kind": "answer", "round": "1", "text": "Oslo"}',
        '{"kind": "answer", "round": 1, "text": null}',
        '{"kind": "answer", "round": 0, "text": "Oslo"}',
        '{"kind": "answer", "round": 1e400, "text": "Oslo"}',
        '{"kind": "answer", "round": 99999999999999999999, "text": "Oslo"}',
        "[" * 100_000,
        b"\xff\x00",
    ],
    ids=lambda frame: repr(frame[:60]),
)
@in_loop
async def test_frame_that_is_no_move_is_an_error_for_its_sender_only(frame: str | bytes) -> None:
    async with (
        TestClient(quiz.app) as client,
        playing(client, "Ann") as ann,
        playing(client, "Bob") as bob,
    ):
        await ann.send(frame)
        assert (await hear(ann, "error"))["text"]
        assert await hear_the_rest(bob) == []
        await answer(ann, 1, OSLO)
        assert (await hear(ann, "point"))["score"] == 1
        assert client.errors == []


@in_loop
async def test_scores_survive_a_crash_and_a_reload() -> None:
    async with (
        TestClient(quiz.app) as client,
        playing(client, "Ann") as ann,
        playing(client, "Bob") as bob,
    ):
        await answer(ann, 1, OSLO)
        assert (await hear(ann, "point"))["score"] == (await hear(bob, "point"))["score"] == 1
        await client.crash_worker()
        assert await look(bob) == {"Ann": 1, "Bob": 0}
        await answer(ann, 2, NAIROBI)
        assert (await hear(ann, "point"))["score"] == 2
        await client.reload(quiz.app)
        assert await look(ann) == {"Ann": 2, "Bob": 0}
        assert await scores(client) == {"Ann": 2}
        assert client.connections == 2


@in_loop
async def test_points_are_kept_with_the_connection_and_not_only_in_the_database(
    database: Path,
) -> None:
    async with TestClient(quiz.app) as client, playing(client, "Ann") as ann:
        await answer(ann, 1, OSLO)
        await hear(ann, "point")
        await asyncio.to_thread(database.unlink)
        await client.reload(quiz.app)  # Makes an empty table.
        assert await look(ann) == {"Ann": 1}
        assert await scores(client) == {}


@pytest.mark.parametrize("move", ['{"kind": "look"}', "nonsense"])
@in_loop
async def test_player_of_a_room_that_a_new_version_no_longer_has_is_told_and_disconnected(
    move: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with TestClient(quiz.app) as client:
        async with playing(client, "Ann") as ann, playing(client, "Eve", "/rooms/opposites") as eve:
            monkeypatch.delitem(quiz.ROOMS, "capitals")
            await client.reload(quiz.app)
            await ann.send(move)
            with pytest.raises(ConnectionClosed, match=r"4404 'This room is gone\.'"):
                await hear(ann, "room")
            assert await look(eve) == {"Eve": 0}
        assert client.errors == []


@in_loop
async def test_win_whose_worker_dies_after_writing_it_is_counted_and_told_once() -> None:
    attempts: list[int] = []

    async def die(event: WebSocketMessageEvent) -> None:
        attempts.append(event.attempt)
        assert quiz.standing("capitals")[1] == {"Ann": 1}, "the point is written by now"
        if event.attempt == 1:
            await client.crash_worker()

    client = TestClient(quiz.app)
    quiz.app.add_event_listener("websocketmessage", die)  # After the one of the quiz.
    try:
        async with client, playing(client, "Ann") as ann, playing(client, "Bob") as bob:
            await answer(ann, 1, OSLO)
            for player in (ann, bob):
                (point,) = await hear_the_rest(player)
                assert (point["kind"], point["score"], point["round"]) == ("point", 1, 2)
            assert attempts == [1, 2]
            assert await scores(client) == {"Ann": 1}
            assert client.errors == []
    finally:
        quiz.app.remove_event_listener("websocketmessage", die)


# -- with a real server


def said(player: ClientConnection, number: int, text: str) -> None:
    player.send(json.dumps({"kind": "answer", "round": number, "text": text}))


def heard(player: ClientConnection, kind: str) -> dict[str, Any]:
    while True:
        message: dict[str, Any] = json.loads(player.recv(timeout=10))
        if message["kind"] == kind:
            return message
        assert message["kind"] in {"joined", "left"}, message


def scores_on(server: Server) -> Any:
    with urllib.request.urlopen(f"{server.url}{ROOM}/scores", timeout=10) as response:
        return json.load(response)


def test_game_goes_on_while_workers_are_killed_and_code_is_replaced(
    holdfast_server: StartServer,
) -> None:
    server = holdfast_server(FILE, workers=2)
    address = f"{server.ws_url}{ROOM}?name="
    with connect(f"{address}Ann") as ann, connect(f"{address}Bob") as bob:
        heard(ann, "welcome")
        heard(bob, "welcome")
        for number, (_, text) in enumerate(quiz.ROOMS["capitals"], 1):
            said(ann if number % 2 else bob, number, text)
            server.kill_worker()
            points = [heard(player, "point") for player in (ann, bob)]
            assert points[0] == points[1]
            assert points[0]["round"] == number + 1
            assert points[0]["score"] == (number + 1) // 2
        server.reload()
        ann.send('{"kind": "look"}')
        players = heard(ann, "room")["players"]
        assert [(member["name"], member["score"]) for member in players] == [("Ann", 2), ("Bob", 2)]
    assert scores_on(server) == {"Ann": 2, "Bob": 2}


def test_win_is_counted_once_though_each_worker_kills_itself_after_writing_it(
    holdfast_server: StartServer, tmp_path: Path
) -> None:
    (tmp_path / "dying.py").write_text(DIES_AFTER_EACH_MESSAGE)
    root = str(FILE.parents[2])
    server = holdfast_server(tmp_path / "dying.py", workers=2, env={"PYTHONPATH": root})
    before = server.worker_pids()
    with connect(f"{server.ws_url}{ROOM}?name=Ann") as ann:
        heard(ann, "welcome")
        for number, text in ((1, OSLO), (2, NAIROBI)):
            said(ann, number, text)
            point = heard(ann, "point")
            assert (point["score"], point["round"]) == (number, number + 1)
            server.wait_until_serving()
        assert not set(before) & set(server.worker_pids()), "two answers, two dead workers"
    assert scores_on(server) == {"Ann": 2}
