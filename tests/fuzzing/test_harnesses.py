"""The harnesses of `fuzzing/` still fit, and find what they are for; without a fuzzer.

Each plays its corpus, and some thousand mutations of it that are the same in every run.
"""

from __future__ import annotations

import importlib
import random
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import fuzzing.framing_decoder
from holdfast.framing import handshake
from holdfast.framing.decoder import Decoder
from holdfast.ledger.ledger import Ledger
from holdfast.wire.stream import BatchReader

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CORPUS = Path(__file__).parents[2] / "fuzzing/corpus"
NAMES = sorted(directory.name for directory in CORPUS.iterdir() if directory.is_dir())
MUTATIONS = 5000


def harness(name: str) -> Callable[[bytes], None]:
    fuzz: Callable[[bytes], None] = importlib.import_module(f"fuzzing.{name}").fuzz
    return fuzz


def seeds(name: str) -> list[bytes]:
    return [file.read_bytes() for file in sorted((CORPUS / name).iterdir())]


def mutations(name: str) -> Iterator[bytes]:
    """Yield inputs near those of the corpus: bytes replaced, doubled, cut out."""
    chance, corpus = random.Random(name), seeds(name)
    for _ in range(MUTATIONS):
        data = bytearray(chance.choice(corpus))
        for _ in range(chance.randrange(1, 6)):
            start = chance.randrange(len(data) + 1)
            end = start + chance.randrange(4)
            data[start:end] = chance.choice([chance.randbytes(2), data[start:end] * 2, b""])
        yield bytes(data)


def test_every_harness_has_a_corpus_and_every_corpus_a_harness() -> None:
    files = CORPUS.parent.glob("*.py")
    assert set(NAMES) == {file.stem for file in files if "\ndef fuzz(" in file.read_text()}
    assert all(map(seeds, NAMES))


@pytest.mark.parametrize("name", NAMES)
def test_a_harness_finds_nothing_in_its_corpus(name: str) -> None:
    fuzz = harness(name)
    for data in seeds(name):
        fuzz(data)


@pytest.mark.parametrize("name", NAMES)
def test_a_harness_finds_nothing_in_mutations_of_its_corpus(name: str) -> None:
    fuzz = harness(name)
    for data in mutations(name):
        fuzz(data)


# -- the harnesses catch what they are for: planted faults


def assert_found(name: str) -> None:
    fuzz = harness(name)

    def play() -> None:
        for data in mutations(name):
            fuzz(data)

    with pytest.raises(AssertionError):
        play()


def test_events_that_depend_on_the_cut_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    class Impatient(Decoder):
        __slots__ = ()

        def receive(self, data: bytes) -> list[Any]:
            return super().receive(data) if len(data) > 1 else []

    monkeypatch.setattr(fuzzing.framing_decoder, "Decoder", Impatient)
    assert_found("framing_decoder")


def test_messages_that_depend_on_the_cut_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    receive = BatchReader.receive

    def receive_once(self: BatchReader[Any], data: bytes) -> list[Any]:
        return [] if self._partial else receive(self, data)

    monkeypatch.setattr(BatchReader, "receive", receive_once)
    assert_found("wire_decoder")


def test_a_smuggled_header_line_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handshake, "_LINE_BREAKER", re.compile(rb"\0"))
    assert_found("handshake")


def test_an_acknowledgement_that_is_wrong_and_has_no_effect_is_noticed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Ledger, "_refuse_ack", lambda *_: None)
    assert_found("ledger")
