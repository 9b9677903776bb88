"""docs/reference.md is what scripts/reference makes, and that is complete."""

from __future__ import annotations

import subprocess
import sys

import pytest

import holdfast
import holdfast.testing
from tests.docs.pages import ROOT, pages


def test_the_page_is_what_the_script_makes() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "scripts/reference", "--check"],
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("name", [*holdfast.__all__, *holdfast.testing.__all__])
def test_public_name_is_on_the_page(name: str) -> None:
    text = pages()["docs/reference.md"].text
    assert f"### {name}\n" in text or f"- `{name}`: " in text or f"- [`{name}`](#" in text
