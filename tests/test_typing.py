"""What a type checker sees of the façade: listeners are typed by the name of their event.

One run of mypy over one file. A line that ends in `# wrong: words` must have an error with these
words; no other line may have one.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

LISTENERS = """
from holdfast import (
    ActivateEvent,
    BroadcastChannel,
    Connection,
    ErrorEvent,
    ExtendableEvent,
    FetchEvent,
    GapEvent,
    InstallEvent,
    MessageEvent,
    Response,
    ServiceWorker,
    ShutdownEvent,
    StartupEvent,
    WebSocketCloseEvent,
    WebSocketMessageEvent,
    WebSocketUpgradeEvent,
)

app = ServiceWorker()


@app.on("install")
def install(event: InstallEvent) -> None: ...


@app.on("activate")
def activate(event: ActivateEvent) -> None: ...


@app.on("startup")
async def startup(event: StartupEvent) -> None: ...


@app.on("shutdown")
async def shutdown(event: ShutdownEvent) -> None: ...


@app.on("error")
def error(event: ErrorEvent) -> None:
    print(event.error, event.event)


@app.on("fetch")
async def fetch(event: FetchEvent) -> Response:
    return Response(event.request.url.pathname)


@app.on("fetch")
def leave_to_others(event: FetchEvent) -> None: ...


@app.on("fetch")
def perhaps(event: FetchEvent) -> Response | None:
    return Response("/") if event.request.path == "/" else None


@app.on("fetch")
async def perhaps_later(event: FetchEvent) -> Response | None:
    return perhaps(event)


@app.on("fetch")
def upgrade_here(event: FetchEvent) -> Connection:
    return event.upgrade_websocket()


app.on("fetch")(lambda event: event.respond_with(Response("x")))
app.on("fetch")(lambda event: Response("x"))
app.on("websocketupgrade")(lambda event: event.accept())


@app.on("fetch")  # wrong: cannot be "Callable
def text(event: FetchEvent) -> str:
    return "text"


@app.on("fetch")  # wrong: cannot be "Callable
async def table(event: FetchEvent) -> dict[str, str]:
    return {}


@app.on("fetch")  # wrong: cannot be "Callable
def text_or_nothing(event: FetchEvent) -> str | None:
    return None


@app.on("websocketupgrade")
def reject(event: WebSocketUpgradeEvent) -> Response:
    return Response("no", status=401)


@app.on("websocketupgrade")  # wrong: cannot be "Callable
def accept_by_text(event: WebSocketUpgradeEvent) -> str:
    return "come in"


@app.on("websocketupgrade")
async def upgrade(event: WebSocketUpgradeEvent) -> None:
    connection = event.accept(data={"name": "Ann"}, subprotocol="chat")
    connection.subscribe("lobby")
    connection.close("1000")  # wrong: incompatible type "str"


@app.on("websocketmessage", on_error="close")
async def message(event: WebSocketMessageEvent) -> None:
    event.source.send(event.data)
    event.source.send(5)  # wrong: incompatible type "int"
    BroadcastChannel("lobby").post_message({"text": event.data})
    await event.flush()


@app.on("wsmessage")
def old_name(event: WebSocketMessageEvent) -> None: ...


@app.on("websocketclose")
@app.on("wsclose")
def close(event: WebSocketCloseEvent) -> None:
    print(event.code, event.reason, event.was_clean)
    event.respond_with(Response("too late"))  # wrong: no attribute "respond_with"


@app.on("websocketmessage")  # wrong: cannot be "Callable
async def wrong_event(event: FetchEvent) -> None: ...


@app.on("websocketmessage")  # wrong: cannot be "Callable
def no_event() -> None: ...


@app.on("websocketmessage")  # wrong: cannot be "Callable
def text_only(event: str) -> None: ...


@app.on("message")  # wrong: No overload variant
def no_such_event(event: WebSocketMessageEvent) -> None: ...


@app.on("fetch", on_error="stop")  # wrong: No overload variant
def no_such_word(event: FetchEvent) -> None: ...


@app.on("install")
@app.on("startup")
async def prepare(event: ExtendableEvent) -> None:
    event.wait_until(warm_up())


async def warm_up() -> None:
    page = await app.fetch("/")
    for connection in await app.clients.match_all(channel="lobby", limit=10):
        connection.send(page.status)  # wrong: incompatible type "int"
    await app.clients.match_all(type="socket")  # wrong: incompatible type


lobby = BroadcastChannel("lobby")


@lobby.on("message")
async def heard(event: MessageEvent) -> None:
    async for message in event.channel:
        print(message)


@lobby.on("message")  # wrong: cannot be "Callable
def not_heard(event: FetchEvent) -> None: ...


@lobby.on("gap")
def gap(event: GapEvent) -> None:
    print(event.lost + 1)


async def use() -> None:
    await message(5)  # wrong: incompatible type "int"
"""

WRONG = {
    number: words
    for number, line in enumerate(LISTENERS.splitlines(), 1)
    for words in re.findall(r"# wrong: (.*)$", line)
}


@pytest.fixture(scope="module")
def findings(tmp_path_factory: pytest.TempPathFactory) -> dict[int, list[str]]:
    """Return what mypy says, by line."""
    file = tmp_path_factory.mktemp("typing") / "listeners.py"
    file.write_text(LISTENERS)
    command = [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", str(file)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stdout + done.stderr
    found: dict[int, list[str]] = {}
    for number, words in re.findall(
        r"^.*listeners\.py:(\d+): \w+: (.*)$", done.stdout, re.MULTILINE
    ):
        found.setdefault(int(number), []).append(words)
    return found


@pytest.mark.parametrize(("line", "words"), WRONG.items())
def test_a_wrong_listener_is_an_error(
    findings: dict[int, list[str]], line: int, words: str
) -> None:
    assert any(words in said for said in findings.get(line, []))


def test_a_right_listener_is_none(findings: dict[int, list[str]]) -> None:
    assert findings.keys() <= WRONG.keys()
