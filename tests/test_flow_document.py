"""The document about the life of a message names only what exists.

Each hop in docs/flow.md is written as `ledger/mailbox.py:Mailbox.put`.
"""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path

FLOW = Path(__file__).parent.parent / "docs" / "flow.md"
NAME = re.compile(r"`([a-z_]+(?:/[a-z_]+)*)\.py:([A-Za-z_.]+)`")


def test_every_name_in_the_flow_document_exists() -> None:
    names = NAME.findall(FLOW.read_text())
    assert names
    for path, attributes in names:
        target: object = import_module("holdfast." + path.replace("/", "."))
        for attribute in attributes.split("."):
            target = getattr(target, attribute)
