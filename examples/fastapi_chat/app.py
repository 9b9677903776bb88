"""The chat, written for FastAPI: its connections outlive reloads and crashes as well.

    holdfast serve examples/fastapi_chat/app.py:app

Open http://127.0.0.1:7777/ in two windows, choose two names, and talk. Then, without a pause,
change GREETING in this file and run `holdfast reload`, or kill a worker (`holdfast status` shows
them): both pages stay connected, nobody is welcomed twice, and what was typed in the meantime
arrives.

`/docs` is FastAPI's own.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Query, WebSocket, WebSocketDisconnect
from fastapi.responses import HTMLResponse

from holdfast import BroadcastChannel

GREETING = "Welcome! Say something nice."
LONGEST_TEXT = 2000  # characters
PAGE = Path(__file__).with_name("page.html").read_text(encoding="utf-8")

app = FastAPI(title="chat")

Name = Annotated[str, Query(min_length=1, max_length=30)]


def kept(websocket: WebSocket) -> dict[str, Any]:
    """What holdfast keeps of a connection: `connection`, `resumed` and `data`."""
    extension: dict[str, Any] = websocket.scope["extensions"]["holdfast"]
    return extension


def tell(room: str, kind: str, name: str, text: str = "") -> None:
    """Tell everybody in the room; the worker's pid is there to show that workers come and go."""
    message = {"kind": kind, "name": name, "text": text, "worker": os.getpid()}
    BroadcastChannel(room).post_message(message)


@app.get("/", response_class=HTMLResponse)
async def page() -> str:
    return PAGE


@app.websocket("/ws")
async def chat(
    websocket: WebSocket,
    name: Name,
    kept: Annotated[dict[str, Any], Depends(kept)],
    room: Name = "lobby",
) -> None:
    await websocket.accept()
    # Again and again is fine. What is published in the room reaches the client without this worker.
    kept["connection"].subscribe(room)
    if not kept["resumed"]:
        await websocket.send_json({"kind": "welcome", "text": GREETING})
        tell(room, "join", name)
    data = kept["data"]
    try:
        while True:
            text = (await websocket.receive_text()).strip()[:LONGEST_TEXT]
            if text:
                data["said"] = data.get("said", 0) + 1
                tell(room, "say", f"{name} ({data['said']})", text)
    except WebSocketDisconnect:
        # The client has left. When only this worker goes, the endpoint is cancelled instead.
        tell(room, "leave", name)
