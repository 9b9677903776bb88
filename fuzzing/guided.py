"""Runs a harness under atheris: `python -m fuzzing.guided NAME [libFuzzer's arguments]`.

Use `fuzzing/run`, which has everything installed first.
"""

from __future__ import annotations

import importlib
import sys

import atheris


def main() -> None:
    _, name, *arguments = sys.argv
    # The harness as well: msgspec is in C, and how its messages are made is what can be seen.
    with atheris.instrument_imports(include=["holdfast", "fuzzing"]):
        harness = importlib.import_module(f"fuzzing.{name}")
    atheris.Setup([sys.argv[0], *arguments], harness.fuzz)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
