"""The reference describes every public name once. Whether the names exist, `make docs` tells."""

from __future__ import annotations

import re

import holdfast
import holdfast.testing
from tests.docs.pages import pages

FIXTURE = "holdfast.testing.plugin.holdfast_server"


def test_every_public_name_is_described_once() -> None:
    public = [f"holdfast.{name}" for name in holdfast.__all__]
    public += [f"holdfast.testing.{name}" for name in holdfast.testing.__all__]
    text = "\n".join(page.text for name, page in pages().items() if "/reference/" in name)
    described = re.findall(r"^::: (holdfast\.\S+)$", text, re.MULTILINE)
    assert sorted(described) == sorted([*public, FIXTURE])
