"""A quiz with rooms: the first right answer scores a point, and brings the next question.

    holdfast serve examples/quiz/app.py:app

Open http://127.0.0.1:7777/ in two windows, choose a room and two names, and play. Then:

    holdfast status           shows the workers: kill -9 one of them, or all
    holdfast reload           after a change in this file: one more room in ROOMS, for instance

Nobody is disconnected, no point is lost, none is counted twice. Who has won which round is in a
SQLite file that all workers share: QUIZ_DATABASE names it, or it is in the temporary directory.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Any

from holdfast import (
    BadRequest,
    BroadcastChannel,
    FetchEvent,
    InstallEvent,
    NotFound,
    Response,
    ServiceWorker,
    WebSocketCloseEvent,
    WebSocketMessageEvent,
    WebSocketUpgradeEvent,
)

# Room → its questions and their answers: asked in turn, then from the beginning.
ROOMS = {
    "capitals": [("Norway", "Oslo"), ("Kenya", "Nairobi"), ("Peru", "Lima"), ("Japan", "Tokyo")],
    "opposites": [("cold", "hot"), ("early", "late"), ("empty", "full"), ("cheap", "expensive")],
}
LONGEST_NAME = 30  # characters
GONE = 4404  # a close code of this application's own; the page knows it
DATABASE = os.environ.get("QUIZ_DATABASE") or Path(tempfile.gettempdir(), "holdfast-quiz.db")
PATHS = {f"/rooms/{room}": room for room in ROOMS}
LINKS = "".join(f'<li><a href="{path}">{room}</a></li>' for path, room in PATHS.items())
PAGE = Path(__file__).with_name("page.html").read_text("utf-8").replace("<!-- rooms -->", LINKS)

app = ServiceWorker()


def query(sql: str, **values: str | int) -> list[Any]:
    with closing(sqlite3.connect(DATABASE)) as database, database:
        return database.execute(sql, values).fetchall()


@app.on("install")
def make_table(event: InstallEvent) -> None:
    columns = "room TEXT, round INTEGER, name TEXT, event TEXT UNIQUE, PRIMARY KEY (room, round)"
    query(f"CREATE TABLE IF NOT EXISTS wins ({columns})")


def claim(room: str, number: int, name: str, event: str) -> bool:
    """Win the round if it is the current one; tell whether it is this event that has won it.

    The INSERT decides, in one step for all workers. A message whose worker dies before it is done
    comes again, with the same event id: its row is there already then, and remains the only one.
    """
    insert = """INSERT INTO wins SELECT :room, :number, :name, :event
                WHERE :number = (SELECT count(*) + 1 FROM wins WHERE room = :room)"""
    query(insert, room=room, number=number, name=name, event=event)
    return bool(query("SELECT 1 FROM wins WHERE event = :event", event=event))


def standing(room: str) -> tuple[dict[str, Any], dict[str, int]]:
    """Return the current round with its question, and the points of all who have any."""
    sql = "SELECT name, count(*) FROM wins WHERE room = :room GROUP BY name ORDER BY 2 DESC"
    scores = dict(query(sql, room=room))
    won = sum(scores.values())
    return {"round": won + 1, "question": ROOMS[room][won % len(ROOMS[room])][0]}, scores


@app.on("fetch")
async def show(event: FetchEvent) -> Response | None:
    path = event.request.path
    if path == "/" or path in PATHS:
        return Response.html(PAGE)
    if room := PATHS.get(path.removesuffix("/scores")):
        _, scores = await asyncio.to_thread(standing, room)
        return Response.json(scores)
    return None  # That makes a 404.


@app.on("websocketupgrade")
async def join(event: WebSocketUpgradeEvent) -> None:
    room = PATHS.get(event.request.path)
    if room is None:
        raise NotFound("There is no such room.")
    name = event.request.url.search_params.get("name", "").strip()[:LONGEST_NAME]
    if not name:
        raise BadRequest("Who are you? Join with ?name=…")
    now, scores = await asyncio.to_thread(standing, room)
    player = {"room": room, "name": name, "score": scores.get(name, 0)}
    connection = event.accept(data=player)
    connection.subscribe(room)
    connection.send_json({"kind": "welcome", **player, **now})
    BroadcastChannel(room).post_message({"kind": "joined", "name": name})


@app.on("websocketmessage")
async def play(event: WebSocketMessageEvent) -> None:
    if event.source.data["room"] not in ROOMS:
        # It was there when this player joined; the version of today has no such room.
        event.source.close(GONE, "This room is gone.")
        return
    try:
        message = event.json()
    except ValueError:
        message = None
    match message:
        case {"kind": "answer", "round": int(number), "text": str(text)} if 0 < number < 2**31:
            await judge(event, number, text)
        case {"kind": "look"}:
            await show_room(event)
        case _:
            event.source.send_json({"kind": "error", "text": "This is no move of the game."})


async def judge(event: WebSocketMessageEvent, number: int, text: str) -> None:
    player = event.source.data
    room, name = player["room"], player["name"]
    _, answer = ROOMS[room][(number - 1) % len(ROOMS[room])]
    is_right = text.strip().casefold() == answer.casefold()
    won = is_right and await asyncio.to_thread(claim, room, number, name, event.id)
    now, scores = await asyncio.to_thread(standing, room)
    if won:
        player["score"] = scores[name]
        BroadcastChannel(room).post_message({"kind": "point", **player, "answer": answer, **now})
    else:
        event.source.send_json({"kind": "wrong" if number == now["round"] else "late", **now})


async def show_room(event: WebSocketMessageEvent) -> None:
    """Tell who is here and what is asked. The page wants to know after each change it hears of."""
    room = event.source.data["room"]
    players = [player.data for player in await app.clients.match_all(channel=room)]
    now, _ = await asyncio.to_thread(standing, room)
    event.source.send_json({"kind": "room", "players": players, **now})


@app.on("websocketclose")
def leave(event: WebSocketCloseEvent) -> None:
    player = event.source.data
    BroadcastChannel(player["room"]).post_message({"kind": "left", "name": player["name"]})
