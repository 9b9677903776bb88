"""A short run of `benchmarks/endpoints`: its clients notice nothing."""

from __future__ import annotations

import subprocess
import sys

from tests.flow.server import ROOT


def test_nobody_notices_that_workers_are_killed_and_code_is_replaced() -> None:
    # The full run, with uvicorn beside it: 200 clients, and what HTTP costs.
    command = "--quick --server holdfast --clients 100"
    done = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks/endpoints"), *command.split()],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=55,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("holdfast,") == 2
