from __future__ import annotations

import copy
import pickle
import re

import pytest

from holdfast import errors
from holdfast.errors import (
    AlreadyDecided,
    AttachmentError,
    BodyUsed,
    BrokenWire,
    ChannelClosed,
    EventSettled,
    HoldfastError,
    LifecycleError,
    LocalError,
    MessagesLost,
    NotAnUpgradeRequest,
    NotInsideHoldfast,
    RemoteError,
    SelfFetchTooDeep,
    UnknownDelivery,
)

# Each with the words a user will read, and its data.
EXAMPLES: list[tuple[HoldfastError, str, dict[str, object]]] = [
    (AlreadyDecided(), "already answered", {}),
    (
        AttachmentError("data['a']", "is a set"),
        r"^data\['a'\] is a set$",
        {"path": "data['a']", "why": "is a set"},
    ),
    (BodyUsed(), "a body can be read once", {}),
    (ChannelClosed("lobby"), r"BroadcastChannel\('lobby'\) was closed", {"channel": "lobby"}),
    (EventSettled("fetch"), "this fetch event is over", {"event_type": "fetch"}),
    (
        LifecycleError("parsed", "activate"),
        "^cannot activate while parsed$",
        {"state": "parsed", "step": "activate"},
    ),
    (MessagesLost(3), "^3 messages were lost", {"count": 3}),
    (SelfFetchTooDeep(10), "10 levels deep", {"limit": 10}),
    (NotAnUpgradeRequest(), "'Upgrade: websocket'", {}),
    (
        NotInsideHoldfast("BroadcastChannel.post_message"),
        r"^BroadcastChannel\.post_message needs a running holdfast",
        {"what": "BroadcastChannel.post_message"},
    ),
    (BrokenWire("not a batch"), "^not a batch$", {}),
    (
        UnknownDelivery(3, 2),
        "^delivery 3, attempt 2, is not in flight$",
        {"number": 3, "attempt": 2},
    ),
]
BRANCHES = {HoldfastError, LocalError, RemoteError}


def drawn_tree() -> dict[str, str]:
    """Return name → name of the parent, as drawn at the top of the file."""
    parents: dict[str, str] = {}
    path: list[str] = []
    for indent, name in re.findall(r"^( *)([A-Z]\w+)(?=  |$)", errors.__doc__ or "", re.MULTILINE):
        depth = len(indent) // 4
        path[depth:] = [name]
        parents[name] = path[depth - 1] if depth else "Exception"
    return parents


def test_the_tree_is_drawn_as_it_is() -> None:
    actual = {name: getattr(errors, name).__base__.__name__ for name in errors.__all__}
    assert drawn_tree() == actual


def test_every_error_is_listed() -> None:
    defined = {
        name
        for name, value in vars(errors).items()
        if isinstance(value, type) and value.__module__ == errors.__name__
    }
    assert set(errors.__all__) == defined


@pytest.mark.parametrize("name", errors.__all__)
def test_every_error_says_whose_fault_it_is(name: str) -> None:
    error = getattr(errors, name)
    if error is not HoldfastError:
        assert issubclass(error, LocalError) != issubclass(error, RemoteError)
    assert error.__doc__


def test_every_error_has_an_example_here() -> None:
    assert {type(error) for error, _, _ in EXAMPLES} | BRANCHES == {
        getattr(errors, name) for name in errors.__all__
    }


@pytest.mark.parametrize(("error", "words", "data"), EXAMPLES)
def test_an_error_reads_as_a_sentence(
    error: HoldfastError, words: str, data: dict[str, object]
) -> None:
    assert re.search(words, str(error))
    assert "\n" not in str(error)


@pytest.mark.parametrize(("error", "words", "data"), EXAMPLES)
def test_the_data_of_an_error_are_attributes(
    error: HoldfastError, words: str, data: dict[str, object]
) -> None:
    assert {name: getattr(error, name) for name in data} == data


@pytest.mark.parametrize(("error", "words", "data"), EXAMPLES)
def test_an_error_can_be_copied_and_sent_elsewhere(
    error: HoldfastError, words: str, data: dict[str, object]
) -> None:
    for other in (copy.copy(error), pickle.loads(pickle.dumps(error))):
        assert type(other) is type(error)
        assert str(other) == str(error)
