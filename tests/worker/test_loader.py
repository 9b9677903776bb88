"""An application from its import to its activation, on a real loop with a link that records."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Any, cast

import pytest

from holdfast import BroadcastChannel, ServiceWorker
from holdfast.core.events import ShutdownEvent
from holdfast.errors import LifecycleError
from holdfast.wire.messages import Act, PublishText
from holdfast.worker.host import WorkerHost
from holdfast.worker.loader import ApplicationError, load, run_event, start, start_mounts
from tests import jumping

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from pathlib import Path

    import msgspec

    from holdfast.core.events import ExtendableEvent
    from holdfast.worker.stream_link import Link

TYPES = ["install", "activate", "startup", "shutdown"]


class Sent:
    """A link that records."""

    def __init__(self) -> None:
        self.messages: list[msgspec.Struct] = []

    def send(self, message: msgspec.Struct) -> None:
        self.messages.append(message)


def run(work: Callable[[WorkerHost], Awaitable[None]]) -> list[msgspec.Struct]:
    """Run `work` with a host; return what was sent to the keeper."""
    sent = Sent()

    async def main() -> None:
        await work(WorkerHost(1, cast("Link", sent), asyncio.get_running_loop()))

    jumping.run(main())
    return sent.messages


def started(app: ServiceWorker, *, first: bool = True, timeout: float = 5) -> list[msgspec.Struct]:
    return run(lambda host: start(app, host, first=first, timeout=timeout))


def journal(app: ServiceWorker) -> list[str]:
    """Return what will be noted: each lifecycle event, and the state it came in."""
    lines: list[str] = []

    def note(event: ExtendableEvent) -> None:
        lines.append(f"{event.type} {app.registration.state}")

    for type in TYPES:
        app.add_event_listener(type, note)
    return lines


async def fail() -> None:
    raise OSError("no database")


# -- the lifecycle


def test_the_first_worker_of_a_generation_installs_activates_and_starts_up() -> None:
    app = ServiceWorker()
    lines = journal(app)
    started(app)
    assert lines == ["install installing", "activate activating", "startup activated"]
    assert app.registration.state == "activated"


def test_every_other_worker_only_starts_up() -> None:
    # The model differs: there, every worker installs and activates. B15: one that comes for one
    # that has died is such another worker.
    app = ServiceWorker()
    lines = journal(app)
    started(app, first=False)
    assert lines == ["startup activated"]


def test_an_application_without_lifecycle_listeners_is_activated_at_once() -> None:
    app = ServiceWorker()
    assert started(app) == []
    assert app.registration.state == "activated"


def test_each_step_waits_for_all_work_of_the_one_before() -> None:
    app = ServiceWorker()
    lines = journal(app)

    @app.on("install")
    async def install(event: ExtendableEvent) -> None:
        await asyncio.sleep(0)
        event.wait_until(work("one"))
        event.wait_until(work("two"))

    async def work(name: str) -> None:
        await asyncio.sleep(0)
        lines.append(f"{name} {app.registration.state}")

    started(app)
    assert lines[:3] == ["install installing", "one installing", "two installing"]
    assert lines[3:] == ["activate activating", "startup activated"]


def test_work_may_be_extended_from_the_loop_while_other_work_is_pending() -> None:
    # With a timer of the loop, not with a step of the test.
    app = ServiceWorker()
    lines: list[str] = []

    @app.on("install")
    def install(event: ExtendableEvent) -> None:
        event.wait_until(first(event))

    async def first(event: ExtendableEvent) -> None:
        is_extended = asyncio.Event()
        asyncio.get_running_loop().call_soon(extend, event, is_extended)
        await is_extended.wait()

    def extend(event: ExtendableEvent, is_extended: asyncio.Event) -> None:
        event.wait_until(last())
        is_extended.set()

    async def last() -> None:
        await asyncio.sleep(0)
        lines.append(app.registration.state)

    started(app)
    assert lines == ["installing"]


@pytest.mark.parametrize("step", ["install", "activate", "startup"])
@pytest.mark.parametrize("how", ["at once", "after waiting", "in its work"])
def test_a_step_that_fails_ends_the_lifecycle(step: str, how: str) -> None:
    # Redundant, and not for ever on its way.
    app = ServiceWorker()
    lines = journal(app)

    def listener(event: ExtendableEvent) -> object:
        if how == "at once":
            raise OSError("no database")
        if how == "after waiting":
            return fail()
        event.wait_until(fail())
        return None

    app.add_event_listener(step, listener)
    with pytest.raises(ApplicationError, match=rf"^{step} raised OSError: no database$") as caught:
        started(app)
    assert "OSError: no database" in caught.value.traceback
    assert len(lines) == TYPES.index(step) + 1
    assert app.registration.state == ("activated" if step == "startup" else "redundant")


@pytest.mark.parametrize("step", ["install", "activate", "startup"])
@pytest.mark.parametrize("how", ["listener", "work"])
def test_a_step_that_takes_too_long_fails(step: str, how: str) -> None:
    app = ServiceWorker()

    def listener(event: ExtendableEvent) -> object:
        never = asyncio.Event().wait()
        if how == "listener":
            return never
        event.wait_until(never)
        return None

    app.add_event_listener(step, listener)
    with pytest.raises(ApplicationError, match=rf"^{step} took longer than 0\.01 s$"):
        started(app, timeout=0.01)


def test_a_lifecycle_is_not_run_twice() -> None:
    app = ServiceWorker()
    started(app)
    with pytest.raises(LifecycleError, match="cannot install while activated"):
        started(app)


def test_what_a_lifecycle_event_posts_leaves_when_it_has_ended() -> None:
    app = ServiceWorker()

    @app.on("install")
    async def install(event: ExtendableEvent) -> None:
        BroadcastChannel("lobby").post_message("a new version")

    assert started(app) == [Act([PublishText("lobby", "a new version", 0, 0)])]


def test_what_a_lifecycle_event_posts_that_fails_is_forgotten() -> None:
    app = ServiceWorker()
    sent = Sent()

    @app.on("install")
    async def install(event: ExtendableEvent) -> None:
        BroadcastChannel("lobby").post_message("a new version")
        await fail()

    async def main() -> None:
        host = WorkerHost(1, cast("Link", sent), asyncio.get_running_loop())
        await start(app, host, first=True, timeout=5)

    with pytest.raises(ApplicationError):
        jumping.run(main())
    assert sent.messages == []


def test_an_event_may_be_run_alone() -> None:
    app = ServiceWorker()
    lines = journal(app)
    run(lambda host: run_event(app, host, ShutdownEvent, 5))
    assert lines == ["shutdown parsed"]


# -- loading


def write(directory: Path, source: str) -> str:
    file = directory / "loaded_app.py"
    file.write_text(source)
    return str(file)


@pytest.fixture(autouse=True)
def clean_imports(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Loading changes where Python looks for modules, and what it has found."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield
    sys.modules.pop("loaded_app", None)


def test_an_application_is_found_by_its_name(tmp_path: Path) -> None:
    source = "from holdfast import ServiceWorker\napp = ServiceWorker()\nother = ServiceWorker()"
    path = write(tmp_path, source)
    one, other = load(path), load(f"{path}:other")
    assert one.registration.state == "parsed"
    assert one is not other


@pytest.mark.parametrize(
    ("source", "words", "line"),
    [
        ("undefined_name", "NameError: name 'undefined_name' is not defined", "undefined_name"),
        ("1 + 'a'", "TypeError: unsupported operand type", "1 + 'a'"),
        ("import no_such_module", "ModuleNotFoundError: No module named 'no_such_", "import no_"),
        ("from json import nothing", "ImportError: cannot import name 'nothing'", "from json"),
        ("raise ValueError('top')", "ValueError: top", "raise ValueError('top')"),
        ("None.attribute", "AttributeError: 'NoneType' object has no attribute", "None.attr"),
        ("def f(:", "SyntaxError: invalid syntax", "def f(:"),
        ("import sys; sys.exit(3)", "SystemExit: 3", "sys.exit(3)"),
    ],
)
def test_what_an_application_raises_when_it_is_imported_is_told_with_its_line(
    tmp_path: Path, source: str, words: str, line: str
) -> None:
    path = write(tmp_path, source)
    with pytest.raises(ApplicationError) as caught:
        load(path)
    assert str(caught.value).startswith(f"importing {path} raised {words}")
    assert line in caught.value.traceback
    assert "holdfast" not in caught.value.traceback


def test_an_application_that_was_mended_can_be_loaded(tmp_path: Path) -> None:
    path = write(tmp_path, "raise ValueError")
    with pytest.raises(ApplicationError):
        load(path)
    write(tmp_path, "from holdfast import ServiceWorker\napp = ServiceWorker()")
    assert load(path).registration.state == "parsed"


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("no_such_module:app", "there is no module 'no_such_module' here or on sys.path"),
        ("no/such/file.py", "there is no file 'no/such/file.py'"),
        ("json:app", "json has no attribute 'app'"),
        (
            "json:decoder",
            "json:decoder is a module, neither a holdfast.ServiceWorker nor an ASGI application",
        ),
        ("json:nothing()", "json has no attribute 'nothing'"),
        ("json:decoder()", "json:decoder(): a module cannot be called"),
    ],
)
def test_what_is_no_application_is_named(spec: str, words: str) -> None:
    with pytest.raises(ApplicationError) as caught:
        load(spec)
    assert (str(caught.value), caught.value.traceback) == (words, "")


ASGI = """
async def app(scope, receive, send): ...

def make_app():
    return app

def fail():
    raise ValueError("no settings")

def wsgi_app(environ, start_response): ...
"""


@pytest.mark.parametrize("name", ["", ":app", ":make_app()"])
def test_an_asgi_application_is_mounted_at_the_root(tmp_path: Path, name: str) -> None:
    app = load(write(tmp_path, ASGI) + name)
    (mount,) = app.mounts
    assert (mount.app.__name__, mount.path, mount.closes("/")) == ("app", "", False)


def test_without_a_name_that_of_django_is_looked_for_too(tmp_path: Path) -> None:
    app = load(write(tmp_path, ASGI.replace("def app(", "def application(")))
    assert app.mounts[0].app.__name__ == "application"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("wsgi_app", "a WSGI application needs a bridge around it, such as a2wsgi"),
        ("make_app", "if it makes one, serve '"),
    ],
)
def test_what_is_called_otherwise_than_asgi_is_no_application(
    tmp_path: Path, name: str, words: str
) -> None:
    with pytest.raises(ApplicationError, match=words):
        load(f"{write(tmp_path, ASGI)}:{name}")


def test_what_a_factory_raises_is_told_with_its_line(tmp_path: Path) -> None:
    path = write(tmp_path, ASGI)
    with pytest.raises(ApplicationError) as caught:
        load(f"{path}:fail()")
    assert str(caught.value) == f"{path}:fail() raised ValueError: no settings"
    assert 'raise ValueError("no settings")' in caught.value.traceback
    assert "holdfast" not in caught.value.traceback


# -- what is mounted


def living(steps: str) -> ServiceWorker:
    """An application whose lifespan goes as far as `steps` says."""

    async def mounted(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        if steps == "raises":
            try:
                raise OSError("no database")
            except OSError:
                await send({"type": "lifespan.startup.failed", "message": "no database"})
                raise
        step = "failed" if steps == "fails" else "complete"
        await send({"type": f"lifespan.startup.{step}", "message": "no database"})

    app = ServiceWorker()
    app.mount(mounted)
    return app


def test_what_is_mounted_is_started() -> None:
    assert jumping.run(start_mounts(living("completes")))


@pytest.mark.parametrize(
    ("steps", "line"), [("raises", 'raise OSError("no database")'), ("fails", "no database")]
)
def test_a_lifespan_that_fails_fails_the_start(steps: str, line: str) -> None:
    with pytest.raises(ApplicationError, match=r"startup of .* failed: no data") as caught:
        jumping.run(start_mounts(living(steps)))
    assert line in caught.value.traceback
