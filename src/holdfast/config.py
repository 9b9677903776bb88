"""Settings, read once at the border and handed on in small frozen pieces.

Pure: no I/O. The command line makes them; each process gets its own as JSON in an argument.
Seconds are floats, sizes are bytes.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any

__all__ = ["KeeperSettings", "ServerSettings", "WorkerSettings", "from_json", "to_json"]


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """What the supervisor reads."""

    application: str
    host: str = "127.0.0.1"
    port: int = 7777
    workers: int = 2
    drain_timeout: float = 30.0
    develop: bool = False
    watch: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class KeeperSettings:
    """What the keeper reads."""

    control_fd: int
    # What one message may have, over all its fragments; over it: close 1009. uvicorn takes
    # 16 MiB, Cloudflare 1 MiB.
    max_message: int = 1024 * 1024
    # What may wait for a socket that does not read; over it: close 1008. uWebSockets drops at
    # 64 KiB by default, Bun at 16 MiB.
    max_outbound: int = 1024 * 1024
    # What may wait for a worker, per connection; over it: stop reading, TCP does the rest.
    mailbox_messages: int = 64
    mailbox_bytes: int = 1024 * 1024
    # How long a peer may take to answer a close frame.
    close_timeout: float = 5.0
    # Workers that one message may kill before it is put aside.
    max_attempts: int = 3


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """What a worker reads."""

    control_fd: int
    stream_fd: int
    handover_fd: int
    listen_fd: int
    worker: int
    generation: int
    application: str
    # The first worker of a generation runs install and activate.
    first: bool
    develop: bool = False
    # uvicorn's default is 5 s as well.
    keep_alive: float = 5.0
    drain_timeout: float = 30.0
    # What install and activate may take; browsers give a service worker minutes, a deploy
    # should know sooner.
    lifecycle_timeout: float = 30.0
    # How long listeners may take to answer a request.
    request_timeout: float = 30.0


def to_json(settings: ServerSettings | KeeperSettings | WorkerSettings) -> str:
    return json.dumps(asdict(settings))


def from_json(kind: type[Any], text: str) -> Any:
    """Make settings of `kind`; for the processes that holdfast starts itself."""
    fields = json.loads(text)
    # JSON knows only lists; settings hold only tuples.
    return kind(**{k: tuple(v) if isinstance(v, list) else v for k, v in fields.items()})
