from __future__ import annotations

import math
from enum import Enum, IntEnum, StrEnum
from typing import Any

import pytest

from holdfast.core.connection import Connection
from holdfast.core.ports import Metadata
from holdfast.errors import AttachmentError
from holdfast.wire.codec import encode_metadata, encode_plain
from tests.core.fakes import URL, FakeHost

ABOUT = Metadata(URL, "chat", frozenset({"lobby"}))


class Markup(str):
    """A str with ideas of its own, as template engines have them."""

    __slots__ = ()

    def __str__(self) -> str:
        return "something else"


class Room(StrEnum):
    LOBBY = "lobby"


class OldRoom(str, Enum):  # noqa: UP042 - what applications have written before there was StrEnum
    LOBBY = "lobby"


class Blob(bytes):
    __slots__ = ()


class Scene:
    """A handle, and all that can be seen of what is done with it."""

    def __init__(
        self, about: bytes | Metadata = ABOUT, attachment: bytes = b"", *, closed: bool = False
    ) -> None:
        self.host = FakeHost(attachment_limit=32)
        self.outbox = self.host.new_outbox()
        self.connection = Connection(self.outbox, 5, about, attachment, closed)

    @property
    def entries(self) -> list[tuple[object, ...]]:
        return self.outbox.entries


# -- what it is


def test_an_id_is_the_hosts_token() -> None:
    assert Scene().connection.id == "id-5"


def test_details_are_those_of_the_upgrade() -> None:
    connection = Scene().connection
    assert (connection.url, connection.subprotocol) == (URL, "chat")
    assert connection.channels == {"lobby"}


def test_encoded_details_are_decoded_when_first_asked_for_and_once() -> None:
    encoded = encode_metadata(ABOUT)
    scene = Scene(encoded)
    assert scene.host.decoded == []
    assert scene.connection.url == URL
    assert scene.connection.channels == {"lobby"}
    assert scene.host.decoded == [encoded]


def test_unread_details_are_returned_unchanged() -> None:
    encoded = encode_metadata(ABOUT)
    scene = Scene(encoded)
    scene.connection.send("hi")
    assert scene.connection.about is encoded
    assert scene.connection.serial == 5


def test_a_connection_shows_its_id_and_whether_it_is_closed() -> None:
    assert repr(Scene().connection) == "<Connection id-5 open>"
    assert repr(Scene(closed=True).connection) == "<Connection id-5 closed>"


def test_a_handle_has_room_for_nothing_else() -> None:
    # One is made per message.
    assert not hasattr(Scene().connection, "__dict__")


def test_a_connection_has_this_and_nothing_more() -> None:
    # The model differs: this is no Client, it has data and channels that can be looked at.
    # Still there is no ready state, no buffered amount and no ping.
    names = {name for name in dir(Connection) if not name.startswith("_")}
    for_hosts = {"about", "attachment", "commit", "serial"}
    assert names - for_hosts == {
        "channels",
        "close",
        "closed",
        "data",
        "id",
        "send",
        "send_json",
        "subprotocol",
        "subscribe",
        "unsubscribe",
        "url",
    }


@pytest.mark.parametrize("name", ["id", "url", "subprotocol", "channels", "closed"])
def test_what_a_connection_is_cannot_be_changed(name: str) -> None:
    connection = Scene().connection
    before = getattr(connection, name)
    with pytest.raises(AttributeError):
        setattr(connection, name, "something else")
    assert getattr(connection, name) == before


# -- send


@pytest.mark.parametrize(
    ("data", "sent"),
    [
        ("hello", "hello"),
        ("", ""),
        ("NUL \0, é and 🎈", "NUL \0, é and 🎈"),
        (b"\x00\xff", b"\x00\xff"),
        (b"", b""),
        (bytearray(b"ab"), b"ab"),
        (memoryview(b"abcd")[1:3], b"bc"),
        (memoryview(b"abcd")[::2], b"ac"),
        (Markup("hé"), "hé"),
        (Room.LOBBY, "lobby"),
        (OldRoom.LOBBY, "lobby"),
        (Blob(b"ab"), b"ab"),
    ],
)
def test_text_and_bytes_are_sent_as_plain_text_and_bytes(data: Any, sent: str | bytes) -> None:
    # A subclass would break the wire, and with it what other events had to say.
    scene = Scene()
    scene.connection.send(data)
    assert scene.entries == [("send", 5, sent)]
    assert type(scene.entries[0][2]) is type(sent)


def test_sent_buffer_is_a_copy() -> None:
    scene, buffer = Scene(), bytearray(b"before")
    scene.connection.send(buffer)  # type: ignore[arg-type] # mypy is strict about bytearray
    buffer[:] = b"after!"
    assert scene.entries == [("send", 5, b"before")]


@pytest.mark.parametrize(
    ("data", "kind"),
    [(None, "NoneType"), (5, "int"), (["a"], "list"), ({"a": 1}, "dict"), (Room, "EnumType")],
)
def test_anything_else_is_no_message(data: Any, kind: str) -> None:
    scene = Scene()
    with pytest.raises(TypeError, match=f"^a message is str or bytes, not {kind}$"):
        scene.connection.send(data)
    assert scene.entries == []


@pytest.mark.parametrize(("data", "index"), [("\ud800", 0), ("ab\udfff", 2), (Markup("\ud800"), 0)])
def test_a_lone_surrogate_is_no_message(data: str, index: int) -> None:
    scene = Scene()
    with pytest.raises(ValueError, match=f"^a message has a lone surrogate at index {index}"):
        scene.connection.send(data)
    assert scene.entries == []


@pytest.mark.parametrize(
    ("value", "sent"),
    [
        ({"name": "Zoë", "n": [1, 2.5, True, None]}, '{"name":"Zoë","n":[1,2.5,true,null]}'),
        ("text", '"text"'),
        (None, "null"),
        ((1, 2), "[1,2]"),
    ],
)
def test_plain_data_can_be_sent_as_json(value: object, sent: str) -> None:
    scene = Scene()
    scene.connection.send_json(value)
    assert scene.entries == [("send", 5, sent)]


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


def cyclic() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


@pytest.mark.parametrize(
    ("value", "error"),
    [
        (object(), TypeError),
        (b"bytes", TypeError),
        ({(1, 2): 3}, TypeError),
        (math.nan, ValueError),
        ("\ud800", ValueError),
        (cyclic(), ValueError),
        (nested(50_000), ValueError),
    ],
)
def test_what_json_cannot_carry_is_refused(value: object, error: type[Exception]) -> None:
    scene = Scene()
    with pytest.raises(error):
        scene.connection.send_json(value)
    assert scene.entries == []


# -- close


@pytest.mark.parametrize("code", [1000, 1001, 1003, *range(1007, 1015), 3000, 4000, 4999])
def test_a_code_that_may_be_sent_closes(code: int) -> None:
    # 1002 is the server's to send.
    scene = Scene()
    scene.connection.close(code, "bye")
    assert scene.entries == [("close", 5, code, "bye")]
    assert scene.connection.closed


def test_closing_without_a_code_is_a_normal_closure() -> None:
    scene = Scene()
    scene.connection.close()
    assert scene.entries == [("close", 5, 1000, "")]


@pytest.mark.parametrize(
    "code", [-1, 0, 999, 1002, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65536, 2**70]
)
def test_a_code_that_may_not_be_sent_is_refused_and_the_connection_stays_open(code: int) -> None:
    scene = Scene()
    with pytest.raises(ValueError, match=f"^close code {code} may not be sent"):
        scene.connection.close(code)
    assert scene.entries == []
    assert not scene.connection.closed


class Code(IntEnum):
    GOING_AWAY = 1001


def test_a_code_named_by_an_enum_is_that_code() -> None:
    scene = Scene()
    scene.connection.close(Code.GOING_AWAY)
    assert scene.entries == [("close", 5, 1001, "")]
    assert type(scene.entries[0][2]) is int


@pytest.mark.parametrize("code", [None, True, 1000.0, "1000", b"1000"])
def test_a_code_that_is_no_int_is_refused(code: Any) -> None:
    scene = Scene()
    with pytest.raises(TypeError, match=r"^a close code is an int, not "):
        scene.connection.close(code)
    assert not scene.connection.closed


@pytest.mark.parametrize(
    ("reason", "sent"),
    [
        ("x" * 123, "x" * 123),
        ("é" * 61 + "x", "é" * 61 + "x"),
        ("NUL \0", "NUL \0"),
        (Markup("bye"), "bye"),
    ],
)
def test_a_reason_of_123_bytes_fits_a_close_frame(reason: str, sent: str) -> None:
    scene = Scene()
    scene.connection.close(1000, reason)
    assert scene.entries == [("close", 5, 1000, sent)]
    assert type(scene.entries[0][3]) is str


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("x" * 124, "has at most 123 bytes in UTF-8, not 124"),
        ("é" * 62, "has at most 123 bytes in UTF-8, not 124"),
        ("ab\ud800", "has a lone surrogate at index 2"),
    ],
)
def test_a_reason_that_cannot_be_sent_is_refused(reason: str, words: str) -> None:
    scene = Scene()
    with pytest.raises(ValueError, match=f"^a close reason {words}"):
        scene.connection.close(1000, reason)
    assert scene.entries == []
    assert not scene.connection.closed


@pytest.mark.parametrize("reason", [None, b"bye", 5])
def test_a_reason_that_is_no_str_is_refused(reason: Any) -> None:
    with pytest.raises(TypeError, match=r"^a close reason is a str, not "):
        Scene().connection.close(1000, reason)


def closed_by_the_application() -> Scene:
    scene = Scene()
    scene.connection.close()
    scene.outbox.take()
    return scene


@pytest.mark.parametrize("scene", [closed_by_the_application(), Scene(closed=True)])
def test_a_closed_connection_does_nothing(scene: Scene) -> None:
    scene.connection.send("late")
    scene.connection.close(1001, "late")
    scene.connection.subscribe("news")
    scene.connection.unsubscribe("lobby")
    assert scene.entries == []
    assert scene.connection.channels == {"lobby"}


@pytest.mark.parametrize(
    ("method", "arguments"),
    [
        ("send", [None]),
        ("send", ["\ud800"]),
        ("close", [1005]),
        ("subscribe", [""]),
        ("unsubscribe", [5]),
    ],
)
def test_a_closed_connection_still_refuses_what_is_wrong(method: str, arguments: list[Any]) -> None:
    with pytest.raises((TypeError, ValueError)):
        getattr(Scene(closed=True).connection, method)(*arguments)


# -- channels


def test_subscribing_is_asked_of_the_host_and_known_to_the_handle() -> None:
    scene = Scene()
    scene.connection.subscribe("news")
    assert scene.entries == [("subscribe", 5, "news")]
    assert scene.connection.channels == {"lobby", "news"}


def test_subscribing_again_is_harmless() -> None:
    scene = Scene()
    scene.connection.subscribe("lobby")
    assert scene.connection.channels == {"lobby"}


def test_unsubscribing_undoes_it() -> None:
    scene = Scene()
    scene.connection.unsubscribe("lobby")
    assert scene.entries == [("unsubscribe", 5, "lobby")]
    assert scene.connection.channels == frozenset()


def test_unsubscribing_what_was_not_subscribed_is_harmless() -> None:
    scene = Scene()
    scene.connection.unsubscribe("news")
    assert scene.connection.channels == {"lobby"}


def test_changed_channels_are_part_of_the_details_for_the_next_event() -> None:
    scene = Scene(encode_metadata(ABOUT))
    scene.connection.subscribe("news")
    assert scene.connection.about == ABOUT._replace(channels=frozenset({"lobby", "news"}))


@pytest.mark.parametrize("name", ["a", "NUL \0", " ", "é/🎈.*>", "x" * 10_000])
def test_any_text_that_is_not_empty_names_a_channel(name: str) -> None:
    scene = Scene()
    scene.connection.subscribe(name)
    assert scene.entries == [("subscribe", 5, name)]


@pytest.mark.parametrize("name", [Room.LOBBY, OldRoom.LOBBY, Markup("lobby")])
@pytest.mark.parametrize("method", ["subscribe", "unsubscribe"])
def test_a_channel_named_by_an_enum_is_the_channel_of_that_text(method: str, name: str) -> None:
    scene = Scene(Metadata(URL, None, frozenset()))
    getattr(scene.connection, method)(name)
    assert scene.entries == [(method, 5, "lobby")]
    assert {type(text) for text in (scene.entries[0][2], *scene.connection.channels)} == {str}


@pytest.mark.parametrize(
    ("name", "error", "words"),
    [
        ("", ValueError, "a channel name has at least one character"),
        ("a\udc00", ValueError, "a channel name has a lone surrogate at index 1"),
        (None, TypeError, "a channel name is a str, not NoneType"),
        (b"lobby", TypeError, "a channel name is a str, not bytes"),
        (7, TypeError, "a channel name is a str, not int"),
        (["lobby"], TypeError, "a channel name is a str, not list"),
    ],
)
@pytest.mark.parametrize("method", ["subscribe", "unsubscribe"])
def test_what_names_no_channel_is_refused(
    method: str, name: Any, error: type[Exception], words: str
) -> None:
    scene = Scene()
    with pytest.raises(error, match=f"^{words}"):
        getattr(scene.connection, method)(name)
    assert scene.entries == []
    assert scene.connection.channels == {"lobby"}


# -- data


def test_data_is_none_until_set() -> None:
    scene = Scene()
    assert scene.connection.data is None
    assert scene.host.decoded == []


def test_data_is_decoded_when_first_touched_and_once() -> None:
    encoded = encode_plain({"n": 1})
    scene = Scene(attachment=encoded)
    assert scene.host.decoded == []
    assert scene.connection.data == scene.connection.data == {"n": 1}
    assert scene.host.decoded == [encoded]


def test_data_changed_in_place_is_committed() -> None:
    scene = Scene(attachment=encode_plain({"n": 1}))
    scene.connection.data["n"] = 2
    assert scene.entries == []
    scene.connection.commit()
    assert scene.entries == [("attach", 5, encode_plain({"n": 2}))]
    assert scene.connection.attachment == encode_plain({"n": 2})


def test_data_assigned_is_committed() -> None:
    scene = Scene(attachment=encode_plain("before"))
    scene.connection.data = "after"
    scene.connection.commit()
    assert scene.entries == [("attach", 5, encode_plain("after"))]


def test_data_set_back_to_none_is_committed() -> None:
    scene = Scene(attachment=encode_plain("before"))
    scene.connection.data = None
    scene.connection.commit()
    assert scene.entries == [("attach", 5, encode_plain(None))]


def test_data_that_was_only_read_is_not_committed() -> None:
    encoded = encode_plain(["a"])
    scene = Scene(attachment=encoded)
    assert scene.connection.data == ["a"]
    scene.connection.commit()
    assert scene.entries == []
    assert scene.connection.attachment is encoded


def test_data_that_was_not_touched_costs_nothing() -> None:
    scene = Scene(attachment=b"not even decodable")
    scene.connection.commit()
    assert scene.entries == []
    assert scene.host.decoded == []


def test_a_commit_is_not_repeated() -> None:
    scene = Scene()
    scene.connection.data = {"n": 1}
    scene.connection.commit()
    scene.connection.commit()
    assert scene.entries == [("attach", 5, encode_plain({"n": 1}))]


def test_data_held_across_a_commit_can_still_be_changed_in_place() -> None:
    # A listener that streams: record = event.source.data; …; await event.flush(); record[…] = …
    scene = Scene(attachment=encode_plain({"n": 1}))
    record = scene.connection.data
    record["n"] = 2
    scene.connection.commit()
    record["n"] = 3
    assert scene.connection.data is record
    scene.connection.commit()
    assert scene.entries[1:] == [("attach", 5, encode_plain({"n": 3}))]


@pytest.mark.parametrize("data", [{1, 2}, "\ud800", 2**64, "x" * 32, [[object()]]])
def test_invalid_data_keeps_old_data(data: object) -> None:
    encoded = encode_plain("old")
    scene = Scene(attachment=encoded)
    scene.connection.data = data
    with pytest.raises(AttachmentError):
        scene.connection.commit()
    assert scene.entries == []
    assert scene.connection.attachment is encoded


def test_the_hosts_limit_applies_to_data() -> None:
    scene = Scene()
    scene.connection.data = b"x" * 30
    scene.connection.commit()
    scene.connection.data = b"x" * 31
    with pytest.raises(AttachmentError, match="has 33 bytes, over the limit of 32"):
        scene.connection.commit()


def test_data_can_still_be_changed_when_the_connection_is_closed() -> None:
    scene = Scene(closed=True)
    scene.connection.data = "last words"
    scene.connection.commit()
    assert scene.entries == [("attach", 5, encode_plain("last words"))]


def test_what_is_sent_after_the_event_leaves_at_once() -> None:
    scene = Scene()
    scene.connection.send("now")
    assert scene.outbox.seal() == [("send", 5, "now")]
    scene.connection.send("later")
    assert scene.host.leaving == [("send", 5, "later")]
