"""What holds for all tests: hypothesis profiles, and the gate that accepts no skipped test.

Fixtures for flows (real processes, real sockets) are in tests/flow/conftest.py.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from _pytest.terminal import TerminalReporter

# Nothing that measures real time: on a busy machine it fails for reasons that are not in the code.
# Endless loops are pytest-timeout's business.
UNTIMED = settings(deadline=None, derandomize=False, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("dev", UNTIMED, max_examples=50)
# CI looks for new examples on every run, and for more of them.
settings.register_profile("ci", UNTIMED, max_examples=200)
# scripts/coverage uses this one: what is covered must not depend on luck.
settings.register_profile("coverage", UNTIMED, derandomize=True, max_examples=50)
settings.load_profile(
    os.environ.get("HYPOTHESIS_PROFILE") or ("ci" if os.environ.get("CI") else "dev")
)

# A test may skip itself where a program is missing (a browser, Node). Where everything must be
# there, a skip is a hole in the net: with this variable set, one skipped test fails the run. What a
# host cannot do by its nature is an xfail with a reason, not a skip.
REQUIRE_ALL = os.environ.get("HOLDFAST_REQUIRE_ALL", "") not in {"", "0"}


def skipped(config: pytest.Config) -> list[str]:
    """Return "where: why" for each test, and each file, that was skipped in this run."""
    reporter: TerminalReporter | None = config.pluginmanager.get_plugin("terminalreporter")
    reports = reporter.stats.get("skipped", []) if reporter else []
    # The reason of a skip is the last part of (file, line, reason).
    return [f"{report.nodeid}: {report.longrepr[-1]}" for report in reports]


def pytest_sessionfinish(session: pytest.Session) -> None:
    if REQUIRE_ALL and skipped(session.config) and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: TerminalReporter, config: pytest.Config) -> None:
    if REQUIRE_ALL and (holes := skipped(config)):
        terminalreporter.section("skipped, and HOLDFAST_REQUIRE_ALL is set", red=True, bold=True)
        for hole in holes:
            terminalreporter.line(hole, red=True)
