"""Imports the user's application and takes it through its lifecycle.

Shell. Private. What fails here is the application's fault, so the report shows its own lines and
none of ours.
"""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import inspect
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

from holdfast.core.dispatch import dispatch
from holdfast.core.events import ActivateEvent, InstallEvent, ShutdownEvent, StartupEvent
from holdfast.core.ports import current_outbox
from holdfast.core.registration import Registration
from holdfast.core.scope import GlobalScope
from holdfast.http.lifespan import LifespanFailed
from holdfast.http.mounts import Mounts

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

    from holdfast.worker.host import WorkerHost

# What to look for in a module when nothing is said; Django's is the second.
USUAL_NAMES = ("app", "application")

# What a control packet carries with room to spare.
MAX_TRACEBACK = 64 * 1024  # characters


class ApplicationError(Exception):
    """The application cannot be started; says why, and where in its own code."""

    def __init__(self, summary: str, error: BaseException | None = None) -> None:
        self.summary = summary
        self.traceback = "" if error is None else _own_traceback(error)

    def __str__(self) -> str:
        return self.summary


def load(spec: str) -> GlobalScope:
    """Import `module:name` or `path/to/file.py:name`, or `module:name()` to call what is there.

    The name is `app`, or else `application`, when it is left out. An ASGI application is mounted
    in a Scope of its own.

    Raises:
        ApplicationError: there is no such module, it raises, or the name is no application.
    """
    source, _, name = spec.partition(":")
    module = _import_file(Path(source)) if source.endswith(".py") else _import_module(source)
    if not name:
        name = next((usual for usual in USUAL_NAMES if hasattr(module, usual)), USUAL_NAMES[0])
    app: object = module
    for part in name.removesuffix("()").split("."):
        app = getattr(app, part, None)
        if app is None:
            raise ApplicationError(f"{source} has no attribute {name.removesuffix('()')!r}")
    if name.endswith("()"):
        app = _call_factory(spec, app)
    if isinstance(app, GlobalScope):
        return app
    return _mount(spec, app)


def _call_factory(spec: str, factory: object) -> object:
    if not callable(factory):
        raise ApplicationError(f"{spec}: a {type(factory).__qualname__} cannot be called")
    try:
        return factory()
    except BaseException as error:
        raise ApplicationError(_summary(spec, error), error) from error


def _mount(spec: str, app: object) -> GlobalScope:
    """Return an application that is nothing but this one of ASGI."""
    if not callable(app):
        kind = type(app).__qualname__
        what = "neither a holdfast.ServiceWorker nor an ASGI application"
        raise ApplicationError(f"{spec} is a {kind}, {what}")
    worker = GlobalScope()
    try:
        worker.mount(app)
    except TypeError as error:
        hint = f"; if it makes one, serve {spec + '()'!r} (--factory)" if _is_factory(app) else ""
        raise ApplicationError(f"{spec}: {error}{hint}") from None
    return worker


def _is_factory(app: Callable[..., object]) -> bool:
    """Tell whether this can be called without arguments."""
    try:
        inspect.signature(app).bind()
    except TypeError:
        return False
    return True


def as_new(app: GlobalScope) -> GlobalScope:
    """Return an application object that may have lived before, as one that has not."""
    app.registration = Registration()
    return app


async def start(app: GlobalScope, host: WorkerHost, *, first: bool, timeout: float) -> None:
    """Run install and activate if this is its generation's first worker, and startup.

    Raises:
        ApplicationError: a listener raised, or took longer than `timeout` seconds.
    """
    registration = app.registration
    if first:
        for step, event_class in (("install", InstallEvent), ("activate", ActivateEvent)):
            registration.step(step)
            try:
                await run_event(app, host, event_class, timeout)
            except ApplicationError:
                registration.step("fail")
                raise
            registration.step("finish")
    else:
        registration.step("join")
    await run_event(app, host, StartupEvent, timeout)


async def start_mounts(app: GlobalScope) -> Mounts:
    """Start the lifespans of what is mounted; call `shutdown` of what is returned in the end.

    No time limit but that of the worker's start.

    Raises:
        ApplicationError: one of the applications says that it cannot start.
    """
    mounts = Mounts(app.mounts)
    try:
        await mounts.startup()
    except LifespanFailed as failure:
        problem = ApplicationError(str(failure), failure.error)
        problem.traceback = problem.traceback or failure.message
        raise problem from failure.error
    return mounts


async def run_event(
    app: GlobalScope,
    host: WorkerHost,
    kind: type[InstallEvent | ActivateEvent | StartupEvent | ShutdownEvent],
    timeout: float,
) -> None:
    """Dispatch a lifecycle event and wait for all it was extended with.

    Raises:
        ApplicationError: a listener or `wait_until` work raised, or `timeout` seconds passed.
    """
    outbox = host.new_outbox()
    event = kind(outbox)
    current_outbox.set(outbox)
    try:
        async with asyncio.timeout(timeout):
            failure = await dispatch(event, app.registered[event.type])
            if failure is None:
                host.commit(outbox)
            else:
                host.discard(outbox)
            await host.finish_works()
    except TimeoutError:
        raise ApplicationError(f"{event.type} took longer than {timeout:g} s") from None
    error = failure.error if failure is not None else next(iter(event.failures), None)
    if error is not None:
        summary = f"{event.type} raised {type(error).__name__}: {error}"
        raise ApplicationError(summary, error) from error


def _import_module(name: str) -> ModuleType:
    sys.path.insert(0, "")
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            raise ApplicationError(
                f"there is no module {error.name!r} here or on sys.path"
            ) from None
        raise ApplicationError(_import_summary(name, error), error) from error
    except BaseException as error:
        raise ApplicationError(_import_summary(name, error), error) from error


def _import_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise ApplicationError(f"there is no file {str(path)!r}")
    sys.path.insert(0, str(path.parent.resolve()))
    spec = importlib.util.spec_from_file_location(path.stem, path.resolve())
    assert spec is not None  # The name ends in .py.
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # As an import would: dataclasses and pickling look the module up by name.
    sys.modules[path.stem] = module
    try:
        spec.loader.exec_module(module)
    except BaseException as error:
        raise ApplicationError(_import_summary(str(path), error), error) from error
    return module


def _import_summary(source: str, error: BaseException) -> str:
    return _summary(f"importing {source}", error)


def _summary(what: str, error: BaseException) -> str:
    return f"{what} raised {type(error).__name__}: {error}"


def _own_traceback(error: BaseException) -> str:
    """Format `error` with the frames of the user's code and its libraries, without ours."""
    ours = str(Path(__file__).parent.parent)
    report = traceback.TracebackException.from_exception(error)
    part: traceback.TracebackException | None = report
    while part is not None:
        part.stack = traceback.StackSummary.from_list(
            frame
            for frame in part.stack
            if not frame.filename.startswith((ours, "<frozen importlib"))
            and Path(frame.filename).parts[-2:-1] != ("importlib",)
        )
        part = part.__cause__ or part.__context__
    return "".join(report.format())[-MAX_TRACEBACK:]
