"""Imports the user's application and takes it through its lifecycle.

Shell. Private. What fails here is the application's fault, so the report shows its own lines and
none of ours.
"""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

from holdfast.core.dispatch import dispatch
from holdfast.core.events import ActivateEvent, InstallEvent, ShutdownEvent, StartupEvent
from holdfast.core.outbox import current_outbox
from holdfast.core.scope import ServiceWorker

if TYPE_CHECKING:
    from types import ModuleType

    from holdfast.worker.host import WorkerHost

__all__ = ["ApplicationError", "load", "run_event", "start"]

# What a control packet carries with room to spare.
MAX_TRACEBACK = 64 * 1024  # characters


class ApplicationError(Exception):
    """The application cannot be started; says why, and where in its own code."""

    def __init__(self, summary: str, error: BaseException | None = None) -> None:
        self.summary = summary
        self.traceback = "" if error is None else _own_traceback(error)

    def __str__(self) -> str:
        return self.summary


def load(spec: str) -> ServiceWorker:
    """Import `module:name` or `path/to/file.py:name`; the name is `app` when left out.

    Raises:
        ApplicationError: there is no such module, it raises, or the name is no ServiceWorker.
    """
    source, _, name = spec.partition(":")
    name = name or "app"
    module = _import_file(Path(source)) if source.endswith(".py") else _import_module(source)
    app: object = module
    for part in name.split("."):
        app = getattr(app, part, None)
        if app is None:
            raise ApplicationError(f"{source} has no attribute {name!r}")
    if not isinstance(app, ServiceWorker):
        kind = type(app).__qualname__
        raise ApplicationError(f"{spec} is a {kind}, not a holdfast.ServiceWorker")
    return app


async def start(app: ServiceWorker, host: WorkerHost, *, first: bool, timeout: float) -> None:
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


async def run_event(
    app: ServiceWorker,
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
    return f"importing {source} raised {type(error).__name__}: {error}"


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
