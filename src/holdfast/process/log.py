"""What all processes of a server write to standard error, one form for all.

Pure but for `log_to_stderr`. A record may quote what a client sent, in the text of an exception as
well as in the message. Whatever it quotes, nobody can take a part of it for a record of its own,
and no terminal obeys it.
"""

from __future__ import annotations

import logging

_INDENT = "    "


class RecordFormatter(logging.Formatter):
    """`LEVEL logger: message`; all further lines are indented, and what is not text is escaped."""

    def __init__(self) -> None:
        super().__init__("%(levelname)s %(name)s: %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as one or more lines, without the last line's end."""
        first, *others = super().format(record).split("\n")
        return "\n".join((_escape(first), *(_INDENT + _escape(line) for line in others)))


def _escape(line: str) -> str:
    """Replace, as `repr` does, what would not be seen, or would be seen as something else."""
    if line.isprintable():
        return line
    return "".join(
        each if each.isprintable() or each == "\t" else each.encode("unicode_escape").decode()
        for each in line
    )


def log_to_stderr() -> None:
    """Have this process write what is of level INFO or above. An application may change that."""
    handler = logging.StreamHandler()
    handler.setFormatter(RecordFormatter())
    logging.basicConfig(level=logging.INFO, handlers=[handler])
