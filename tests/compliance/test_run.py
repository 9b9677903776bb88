from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

RUN = Path(__file__).parents[2] / "compliance/run"


def compliance(cache: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, RUN, *arguments],
        env=os.environ | {"XDG_CACHE_HOME": str(cache)},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_without_python_27_it_says_so_and_what_to_do(tmp_path: Path) -> None:
    done = compliance(tmp_path, "--python27", str(tmp_path / "python2.7"))
    assert done.returncode == 2
    assert "needs Python 2.7, and there is none at" in done.stderr
    assert "--python27 PATH" in done.stderr
    assert "Traceback" not in done.stderr


def test_another_python_is_not_taken_for_it(tmp_path: Path) -> None:
    done = compliance(tmp_path, "--python27", sys.executable)
    assert done.returncode == 2
