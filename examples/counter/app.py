"""Count per connection, across crashes and deploys.

    holdfast serve examples/counter/app.py:app

Open http://127.0.0.1:7777/ and press the button a few times. Then:

    kill -9 PID               the page shows the pid of the worker that answered last
    holdfast reload           after a change in this file: STEP = 10, for instance

and go on pressing. The count goes on where it was, on the same connection. It is not kept in a
variable of this program, nor in a database: it is the connection's `data`, which holdfast keeps
beside the socket, outside of the process that runs this code.
"""

from __future__ import annotations

import os
from pathlib import Path

from holdfast import (
    FetchEvent,
    Response,
    ServiceWorker,
    WebSocketMessageEvent,
    WebSocketUpgradeEvent,
)

STEP = 1
PAGE = Path(__file__).with_name("page.html").read_text(encoding="utf-8")

app = ServiceWorker()


@app.on("fetch")
def show_page(event: FetchEvent) -> Response:
    if event.request.path != "/":
        return Response("Not Found", status=404)
    return Response.html(PAGE)


@app.on("websocketupgrade")
def connect(event: WebSocketUpgradeEvent) -> None:
    event.accept(data={"count": 0})


@app.on("websocketmessage")
def count(event: WebSocketMessageEvent) -> None:
    # Changed in place is changed: the new count is kept when this listener returns, together
    # with the answer, or not at all.
    event.source.data["count"] += STEP
    answer = {"count": event.source.data["count"], "step": STEP, "worker": os.getpid()}
    event.source.send_json(answer)
