"""The façade: few names, all of them meant, all of them documented."""

from __future__ import annotations

import inspect
import pydoc
import re
from types import ModuleType

import pytest

import holdfast


def in_house_order(name: str) -> tuple[int, str]:
    """CONSTANTS, then Classes, then the rest: the order that ruff (RUF022) wants."""
    if len(name) > 1 and name.isupper():
        return 0, name
    return (1 if name[:1].isupper() else 2), name


def test_all_is_sorted_and_names_nothing_twice() -> None:
    assert list(holdfast.__all__) == sorted(set(holdfast.__all__), key=in_house_order)


@pytest.mark.parametrize("name", holdfast.__all__)
def test_every_public_name_can_be_imported(name: str) -> None:
    assert hasattr(holdfast, name)


@pytest.mark.parametrize("name", holdfast.__all__)
def test_every_public_class_and_function_is_documented(name: str) -> None:
    public = getattr(holdfast, name)
    if inspect.isclass(public) or inspect.isroutine(public):
        doc = public.__doc__ or ""
        # A dataclass without a docstring gets its signature for one.
        assert doc.strip(), f"{name} has no docstring"
        assert not doc.startswith(f"{name}("), f"{name} has no docstring of its own"


CLASSES = [name for name in holdfast.__all__ if inspect.isclass(getattr(holdfast, name))]


@pytest.mark.parametrize("name", CLASSES)
def test_help_says_what_each_attribute_is(name: str) -> None:
    # The text below an annotation is for readers of the source: at run time it is gone.
    public = getattr(holdfast, name)
    for attribute, kind in inspect.get_annotations(public).items():
        if (
            not attribute.startswith("_")
            and "ClassVar" not in str(kind)
            and attribute not in FOR_HOSTS
        ):
            said = re.search(rf"^ +{attribute}( \(.*\))?: ", public.__doc__, re.MULTILINE)
            assert said, f"the docstring of {name} does not say what {attribute} is"


def test_help_begins_with_what_users_need() -> None:
    text = pydoc.plain(pydoc.render_doc(holdfast))
    assert "holdfast - A server for web applications" in text
    assert "app = ServiceWorker()" in text[:2000]
    assert "tests/test_architecture.py" not in text


def test_nothing_private_is_public() -> None:
    private = [name for name in holdfast.__all__ if name.startswith("_") and name != "__version__"]
    assert private == []


def test_nothing_leaks_that_is_not_listed() -> None:
    leaked = {
        name
        for name, value in vars(holdfast).items()
        if not name.startswith("_")
        and name not in holdfast.__all__
        # Rooms become attributes when they are imported; `annotations` is the __future__ import.
        and not (isinstance(value, ModuleType) and value.__name__ == f"holdfast.{name}")
        and name != "annotations"
        # pytest rewrites the assertions of packages that bring a plugin.
        and not name.startswith("@")
    }
    assert leaked == set()


# What these classes have on the web platform, spelled as here; and what holdfast added.
STANDARD: dict[type, tuple[set[str], set[str]]] = {
    holdfast.InstallEvent: ({"type", "wait_until"}, {"is_settled"}),
    holdfast.FetchEvent: (
        {"request", "respond_with", "type", "wait_until"},
        {"is_settled", "set_cookie", "upgrade_websocket"},
    ),
    holdfast.MessageEvent: ({"data", "type", "wait_until"}, {"channel", "is_settled"}),
    holdfast.BroadcastChannel: (
        {"add_event_listener", "close", "name", "post_message", "remove_event_listener"},
        {"closed", "on"},
    ),
    holdfast.Clients: ({"get", "match_all"}, set()),
}
FOR_HOSTS = {"answer", "decision", "failures", "set_cookies"}
FOR_HOSTS |= {"lose", "receive", "wake_iterations"}
FOR_HOSTS |= {"about", "attachment", "serial"}


@pytest.mark.parametrize("kind", STANDARD)
def test_what_was_added_to_a_class_of_the_web_platform_is_known_and_little(kind: type) -> None:
    # The model differs: the model adds upgrade_websocket and nothing else. What has no
    # model on the web platform (connections, their events) has classes of its own here too.
    names = {name for name in dir(kind) if not name.startswith("_")} - FOR_HOSTS
    standard, added = STANDARD[kind]
    assert names == standard | added


def test_a_connection_is_no_client_and_its_events_are_no_message_events() -> None:
    assert holdfast.Connection.__mro__ == (holdfast.Connection, object)
    for event in (holdfast.WebSocketMessageEvent, holdfast.WebSocketCloseEvent):
        assert event.__mro__ == (event, holdfast.ExtendableEvent, object)
