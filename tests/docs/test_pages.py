"""A check that catches nothing looks just like documentation in order."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.docs.pages import pages, read
from tests.docs.stories import APPLICATION
from tests.docs.transcript import play
from tests.flow.server import Server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TEXT = """\
<!-- test: app one -->
```python
x = 1
```

<!-- test: app two = one + this -->
```python
y = x
```

<!-- test: app three -->

Something between the two.

```python
z = 1
```

<!-- test: appp four -->
```python
```
"""


def test_comment_belongs_to_the_block_right_below_it() -> None:
    marks = [block.mark for block in read("page.md", TEXT).blocks]
    assert marks == ["app one", "app two = one + this", "", "appp four"]


def test_misspelt_comment_gives_no_role() -> None:
    assert read("page.md", TEXT).blocks[3].roles == {}


def test_block_can_be_added_to_another() -> None:
    page = read("page.md", TEXT)
    assert page.applications() == ["one", "two"]
    assert page.code("two") == "x = 1\n\n\ny = x\n"


@pytest.mark.parametrize(
    "text",
    [
        "Ann  opens  /\nAnn  >  a\nAnn  <  you said: b",
        "Ann  opens  /\nAnn  >  a\nAnn  <  you said: a\n$ holdfast reload\ngeneration 7 serves",
        "$ holdfast reload",
        "nobody knows what this is",
    ],
)
def test_transcript_that_is_not_true_fails(text: str, echo: Server) -> None:
    with pytest.raises(AssertionError):
        play(text, echo, lambda: None)


@pytest.fixture(scope="module")
def echo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    directory: Path = tmp_path_factory.mktemp("echo")
    tutorial = pages()["docs/tutorial.md"]
    tutorial.write_files(directory)
    (directory / APPLICATION).write_text(tutorial.code("echo"))
    with Server.start(APPLICATION, cwd=directory) as server:
        yield server
