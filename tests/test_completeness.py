"""Nothing is left out: neither a dependency from the package, nor a test from a run."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.test_architecture import imports, package_files

ROOT = Path(__file__).parent.parent

# Loaded by nobody but the tool that brings its own library along.
BROUGHT_ALONG = {"testing/plugin.py": {"pytest"}}


def declared() -> set[str]:
    """Return the packages that come with holdfast, by the names they are imported by."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = [re.split(r"[^\w-]", line, maxsplit=1)[0] for line in project["dependencies"]]
    return {name.replace("-", "_") for name in names}


def undeclared(files: list[tuple[str, str]], allowed: set[str]) -> list[str]:
    known = allowed | sys.stdlib_module_names | {"holdfast"}
    return [
        f"{path} imports {name}"
        for path, name in imports(files)
        if not {name.split(".")[0]} <= known | BROUGHT_ALONG.get(path, set())
    ]


def test_what_the_package_imports_comes_with_it() -> None:
    # What is there by luck, with the tools of a developer, is missing at a user's.
    assert undeclared(package_files(), declared()) == []


def test_an_import_that_is_not_declared_is_noticed() -> None:
    assert undeclared([("http/forms.py", "import python_multipart, multipart")], declared()) == [
        "http/forms.py imports multipart"
    ]
    assert undeclared([("testing/server.py", "import pytest")], declared()) != []


def has_tests(file: Path) -> bool:
    tree = ast.parse(file.read_text())
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    return any(isinstance(n, functions) and n.name.startswith("test_") for n in tree.body)


@pytest.mark.timeout(300)  # It imports all tests, while others run.
def test_every_file_with_tests_is_found_by_a_run() -> None:
    # The model's CI never ran one of its folders.
    files = [f for f in (ROOT / "tests").rglob("*.py") if "node_modules" not in f.parts]
    named = [f for f in files if f.name.startswith("test_")]
    assert [f for f in files if has_tests(f) and f not in named] == []
    script = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(script, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:]
    collected = {line.partition("::")[0] for line in done.stdout.splitlines() if "::" in line}
    assert {f.relative_to(ROOT).as_posix() for f in named} - collected == set()


def test_a_run_that_finds_no_test_has_failed() -> None:
    done = subprocess.run(
        [ROOT / "scripts/test", __file__, "-k", "nothing_has_this_name"],
        env=os.environ | {"VENV": sys.prefix},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 5, done.stdout + done.stderr
    # And CI leaves nothing out, nor lets a test skip itself: tests/conftest.py.
    ci = (ROOT / ".ci/run").read_text()
    assert "HOLDFAST_REQUIRE_ALL=1\nmake test\n" in ci
    assert "scripts/test\n" in (ROOT / "Makefile").read_text()
