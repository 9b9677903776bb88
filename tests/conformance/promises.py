"""What a story promises, and which hosts cannot keep it.

    @promise("a rejection is a full HTTP response", daphne="it has no denial response: 403")
    def test_…(server): …

A host that cannot keep a promise fails the story visibly, for the reason given; should it pass one
day, the suite says so. Where a story would break a host for the others, it does not run (`Never`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from tests.conformance.hosts import ASGI, HOSTS, KIT

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    from _pytest.mark.structures import ParameterSet

    T = TypeVar("T", bound=Callable[..., object])

__all__ = ["NO_PORT", "NO_PROCESS", "Never", "Promise", "parameters", "promise"]

# Names for several hosts.
GROUPS = {"asgi": ASGI, "single": ("direct", *ASGI)}


class Never(str):
    """A reason for which a story does not even run."""

    __slots__ = ()


# Why the test kit does not run a story.
NO_PORT = Never("the test kit has no port, and its clients send whole messages only")
NO_PROCESS = Never("the test kit is a part of the process that runs the test")


@dataclass(frozen=True)
class Promise:
    text: str
    lacks: dict[str, str]
    """By the name of a host that cannot keep it: why."""


def promise(text: str, **lacks: str) -> Callable[[T], T]:
    """Say what a story promises: a row of the table in docs/hosts.md.

    Args:
        lacks: by host, or by group of hosts ("asgi", "single"): why it cannot keep that.
    """
    reasons: dict[str, str] = {}
    for name, reason in lacks.items():
        for host in GROUPS.get(name, (name,)):
            reasons[host] = reason
    assert reasons.keys() <= {host.name for host in (*HOSTS, KIT)}

    def register(story: T) -> T:
        story.promise = Promise(text, reasons)  # type: ignore[attr-defined]
        return story

    return register


def parameters(made: Promise) -> list[ParameterSet]:
    """Return the hosts, with a mark on each that cannot keep the promise."""
    return [
        pytest.param(
            host,
            id=host.name,
            marks=[
                pytest.mark.xfail(reason=reason, run=not isinstance(reason, Never), strict=True)
                for name, reason in made.lacks.items()
                if name == host.name
            ],
        )
        for host in (*HOSTS, KIT)
    ]
