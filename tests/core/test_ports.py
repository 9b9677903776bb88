from __future__ import annotations

import inspect
from typing import TYPE_CHECKING

import pytest

from holdfast.core.ports import Found, Host, Metadata, Outbox, Waiter
from holdfast.wire.outbox import WireHost, WireOutbox
from tests.core.fakes import FakeHost, FakeOutbox, FakeWaiter

if TYPE_CHECKING:
    # That each really has the port's types is for mypy to say, which checks this file.
    HOST: Host = FakeHost()
    WIRE_HOST: WireHost = FakeHost()
    WAITER: Waiter = FakeWaiter()
    FAKE_OUTBOX: Outbox = FakeOutbox(FakeHost())
    WIRE_OUTBOX: Outbox = WireOutbox(WIRE_HOST)


def members(port: type) -> set[str]:
    return {name for name in dir(port) if not name.startswith("_")}


def parameters(owner: type, name: str) -> list[str]:
    return list(inspect.signature(getattr(owner, name)).parameters)


def methods(port: type) -> list[str]:
    return sorted(name for name in members(port) if inspect.isfunction(getattr(port, name)))


@pytest.mark.parametrize("outbox", [FakeOutbox, WireOutbox])
@pytest.mark.parametrize("name", methods(Outbox))
def test_an_outbox_takes_every_action_as_the_port_says(outbox: type, name: str) -> None:
    assert parameters(outbox, name) == parameters(Outbox, name)


@pytest.mark.parametrize("outbox", [FakeOutbox, WireOutbox])
def test_an_outbox_has_all_of_the_port(outbox: type) -> None:
    assert members(Outbox) <= set(dir(outbox(FakeHost())))


@pytest.mark.parametrize("name", methods(Host))
def test_the_fake_host_does_what_the_core_needs_as_the_port_says(name: str) -> None:
    assert parameters(FakeHost, name) == parameters(Host, name)


def test_the_fake_host_has_all_of_the_port() -> None:
    assert members(Host) <= set(dir(FakeHost()))


@pytest.mark.parametrize("name", sorted(members(Host)))
def test_every_member_of_a_host_is_explained(name: str) -> None:
    assert inspect.getdoc(getattr(Host, name))


def test_what_was_found_is_a_value() -> None:
    assert Found(1, b"about", b"data", False) == (1, b"about", b"data", False)


def test_details_of_a_connection_are_a_value() -> None:
    about = Metadata("http://example.org/", "chat", frozenset({"lobby"}))
    assert about == Metadata("http://example.org/", "chat", frozenset({"lobby"}))
    assert about._replace(channels=frozenset()).channels == frozenset()
    assert about.channels == {"lobby"}
