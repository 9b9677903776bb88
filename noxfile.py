"""What CI runs, on each Python that this machine has: `nox`, or one of `nox --list`.

A session makes an environment of its own; `make test` and `make docs` use one for everything.
"""

from __future__ import annotations

import nox

nox.options.error_on_missing_interpreters = False

PYTHONS = ["3.11", "3.12", "3.13", "3.14"]

# Stories with real processes, other servers, browsers and load generators: `make test` has them.
WITH_PROCESSES = [
    "benchmarks", "compliance", "conformance", "docs", "examples", "flow", "mounts", "node",
]  # fmt: skip


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """Run the unit tests, or what pytest's arguments select."""
    session.install("-e", ".[dev]")
    left_out = [f"--ignore=tests/{directory}" for directory in WITH_PROCESSES]
    session.run("python", "-m", "pytest", *(session.posargs or ["-q", *left_out]))


@nox.session
def lint(session: nox.Session) -> None:
    """Check formatting, lint, types and allowed imports."""
    session.install("-e", ".[dev,docs]")
    session.run("scripts/check", external=True, env={"VENV": session.virtualenv.location})


@nox.session
def docs(session: nox.Session) -> None:
    """Build the site; a broken link is an error."""
    session.install("-e", ".[docs]")
    session.run("mkdocs", "build", "--strict", env={"NO_MKDOCS_2_WARNING": "1"})
