"""Runs each story on each host, and compares what came out with the table in docs/hosts.md.

D16: an application cannot tell the modes apart, and one suite over all of them sees to it.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.conformance.hosts import HOSTS
from tests.conformance.promises import Promise, parameters
from tests.conformance.table import PAGE, is_complete, render, table_in

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.conformance.hosts import Host, Running
    from tests.conformance.table import Results

# By host: those that serve for many stories.
Shared = dict[str, "Running"]

RESULTS = pytest.StashKey["Results"]()

# `scripts/hosts` wants the results here.
RESULTS_FILE = os.environ.get("HOLDFAST_HOSTS_RESULTS")


@pytest.fixture(scope="module")
def server(host: Host, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server for all stories of a file that leave it as they found it."""
    with host.start(tmp_path_factory.mktemp(host.name)) as running:
        yield running


@pytest.fixture
def own_server(host: Host, tmp_path: Path) -> Iterator[Running]:
    """A server of its own for a story that stops it, or worse."""
    with host.start(tmp_path) as running:
        yield running


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    made: Promise | None = getattr(metafunc.function, "promise", None)
    if made is not None:
        # By host in the scope of a file: one server after the other, and none for other tests. They
        # would see that the kit, which runs in their process, hears channels.
        metafunc.parametrize("host", parameters(made), scope="module")


# --- the table ----------------------------------------------------------------------------------


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    # In the order of the stories, so that the table does not depend on how they were run.
    stories = [item for item in items if _promise(item) is not None]
    results: Results = {}
    for item in sorted(stories, key=_place):
        made = _promise(item)
        assert made is not None
        results.setdefault(made.text, {})
    config.stash[RESULTS] = results


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]):  # type: ignore[no-untyped-def]
    report: pytest.TestReport = yield
    made = _promise(item)
    if made is not None and (report.when == "call" or report.outcome != "passed"):
        row = item.config.stash[RESULTS][made.text]
        host: Host = item.callspec.params["host"]  # type: ignore[attr-defined]
        if host not in HOSTS:
            return report  # It has no column.
        name = host.name
        reason = getattr(report, "wasxfail", "") if report.skipped else ""
        if report.failed:
            reason = "failed"
        # Of several stories with one promise, the one that was not kept counts.
        row[name] = row.get(name, "") or reason.removeprefix("[NOTRUN] ")
    return report


def pytest_sessionfinish(session: pytest.Session) -> None:
    results = session.config.stash.get(RESULTS, {})
    if not is_complete(results) or session.exitstatus != pytest.ExitCode.OK:
        return
    if RESULTS_FILE is not None:
        Path(RESULTS_FILE).write_text(json.dumps(results))
    elif table_in(PAGE.read_text()) != render(results):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    results = config.stash.get(RESULTS, {})
    is_ours = RESULTS_FILE is None and is_complete(results) and "failed" not in str(results)
    if is_ours and table_in(PAGE.read_text()) != render(results):
        terminalreporter.section("docs/hosts.md has another table of hosts", red=True, bold=True)
        terminalreporter.line("run scripts/hosts")


def _promise(item: pytest.Item) -> Promise | None:
    found = getattr(getattr(item, "function", None), "promise", None)
    return found if isinstance(found, Promise) else None


def _place(item: pytest.Item) -> tuple[str, int]:
    path, line, _ = item.location
    return path, line or 0
