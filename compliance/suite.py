"""The Autobahn test suite: finds a Python for it, installs it, runs it.

Shell. The suite is what everybody measures WebSocket servers with, and its last release wants
Python 2.7. So it lives in an environment of its own, made by a virtualenv old enough to know that
Python, in an environment of *its* own. Both are kept between runs.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from compliance.report import Case, read_case

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["SUITE", "CannotRun", "NoResult", "install", "run"]

# Exactly this one: the counts in the documentation are its counts.
SUITE = "autobahntestsuite==25.10.1"
# The first virtualenv that does not know Python 2.7 any more.
VIRTUALENV = "virtualenv<20.22"


class CannotRun(Exception):
    """The suite cannot be installed here; says why, and what would help."""


class NoResult(Exception):
    """The suite ran, and did not say about each case how it went: the server may have died."""


def install(python27: str | None) -> Path:
    """Return the suite's program, which was installed before or is now.

    Args:
        python27: a Python 2.7; None to look for one.

    Raises:
        CannotRun: there is none, or nothing can be installed.
    """
    home = _cache()
    with (home / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two runs at once would install into one directory
        program = home / "suite/bin/wstest"
        stamp = home / "suite/installed"
        if stamp.exists() and stamp.read_text() == SUITE and program.exists():
            return program
        python = _find_python27(python27)
        print(f"installing {SUITE} into {home} (Python: {python})", flush=True)
        tool = home / "tool"
        _do(sys.executable, "-m", "venv", "--clear", tool)
        _do(tool / "bin/pip", "install", "--quiet", VIRTUALENV)
        _do(tool / "bin/virtualenv", "--quiet", "--clear", "-p", python, home / "suite")
        _do(home / "suite/bin/pip", "install", "--quiet", SUITE)
        stamp.write_text(SUITE)
        return program


def run(
    program: Path, url: str, cases: Sequence[str], excluded: Sequence[str], timeout: float
) -> list[Case]:
    """Run the suite against a server and return what it found, in the suite's order.

    Args:
        timeout: seconds for all of it.

    Raises:
        NoResult: the suite came to no end, or did not run all it was asked for.
    """
    with tempfile.TemporaryDirectory(prefix="holdfast-compliance-") as directory:
        home = Path(directory)
        reports = home / "reports"
        spec = {
            "outdir": str(reports),
            "servers": [{"agent": "holdfast", "url": url}],
            "cases": list(cases),
            "exclude-cases": list(excluded),
            "exclude-agent-cases": {},
        }
        (home / "spec.json").write_text(json.dumps(spec))
        log = home / "log"
        with log.open("wb") as output:
            try:
                subprocess.run(
                    [program, "-m", "fuzzingclient", "-s", "spec.json"],
                    cwd=home, env=_environment(), stdin=subprocess.DEVNULL, stdout=output,
                    stderr=subprocess.STDOUT, timeout=timeout, check=False,
                )  # fmt: skip
            except subprocess.TimeoutExpired:
                why = f"the suite came to no end in {timeout:g} s"
                raise NoResult(f"{why}:\n{_tail(log)}") from None
        return _read(reports, log)


def _read(reports: Path, log: Path) -> list[Case]:
    index = reports / "index.json"
    if not index.exists():
        raise NoResult(f"the suite made no report:\n{_tail(log)}")
    results = json.loads(index.read_text()).get("holdfast", {})
    # When a connection is refused the suite stops and reports what it has, as if that were all.
    asked = re.search(r"will run (\d+) test cases", log.read_text(errors="replace"))
    if asked is None or int(asked[1]) != len(results) or not results:
        count = asked[1] if asked else "?"
        raise NoResult(f"the suite ran {len(results)} of {count} cases:\n{_tail(log)}")
    return [
        read_case(case, summary, json.loads((reports / summary["reportfile"]).read_text()))
        for case, summary in sorted(results.items(), key=lambda item: _order(item[0]))
    ]


def _order(case: str) -> list[int]:
    return [int(part) for part in case.split(".")]


def _tail(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-15:])


def _cache() -> Path:
    """Return a directory that stays, and into which nobody else can put a program."""
    base = os.environ.get("XDG_CACHE_HOME")
    if base:
        home = Path(base) / "holdfast-compliance"
    else:
        home = Path(tempfile.gettempdir()) / f"holdfast-compliance-{os.getuid()}"
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    if home.is_symlink() or home.stat().st_uid != os.getuid():
        raise CannotRun(f"{home} belongs to somebody else; set XDG_CACHE_HOME")
    return home


def _find_python27(wanted: str | None) -> str:
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    candidates = [wanted] if wanted else [
        *map(str, sorted(pyenv.glob("versions/2.7*/bin/python2.7"), reverse=True)),
        shutil.which("python2.7"),
        shutil.which("python2"),
    ]  # fmt: skip
    for candidate in candidates:
        if candidate and _is_python27(candidate):
            return candidate
    raise CannotRun(
        "the Autobahn test suite needs Python 2.7, and there is none "
        f"{'at ' + wanted if wanted else 'on PATH or in pyenv'}; "
        "install one (pyenv install 2.7.18), or name it: --python27 PATH"
    )


def _is_python27(program: str) -> bool:
    # A shim of pyenv may be there and refuse; the suite needs both modules.
    code = "import sys, ssl, zlib; sys.exit(sys.version_info[:2] != (2, 7))"
    try:
        done = subprocess.run(
            [program, "-c", code], env=_environment(), capture_output=True, timeout=20, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def _do(*command: str | Path) -> None:
    done = subprocess.run(
        list(map(str, command)), env=_environment(), capture_output=True, text=True, check=False
    )
    if done.returncode:
        what = " ".join(map(str, command))
        raise CannotRun(f"{what} failed:\n{done.stdout}{done.stderr}".strip())


def _environment() -> dict[str, str]:
    """Return the environment without what is meant for this Python."""
    mine = {"PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "PYTHONWARNINGS"}
    return {name: value for name, value in os.environ.items() if name not in mine}
