"""A short run of `benchmarks/chaos`: workers killed and code replaced under load."""

from __future__ import annotations

import subprocess
import sys

from tests.flow.server import ROOT


def test_nobody_notices_that_workers_are_killed_and_code_is_replaced() -> None:
    # The full run, its figures in the README: 1,000 connections for a minute.
    command = "--connections 200 --rate 10 --seconds 15 --kill 2 --reload 6 --max-stall 5"
    done = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks/chaos"), *command.split()],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=55,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "disconnected 0, lost 0, doubled or out of order 0" in done.stdout
    assert " 0 workers killed" not in done.stdout
