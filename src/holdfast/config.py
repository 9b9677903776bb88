"""Settings, read once at the border and handed on in small frozen pieces.

Pure: no I/O. The command line makes them; each process gets its own as JSON in an argument.
Seconds are floats, sizes are bytes.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any


@dataclass(frozen=True, slots=True)
class KeeperLimits:
    """What clients may take of the keeper, and how long they may be silent."""

    # What one message may have, over all its fragments; over it: close 1009. uvicorn takes
    # 16 MiB, Cloudflare 1 MiB.
    max_message: int = 1024 * 1024
    # What may wait for a socket that does not read: when more is sent to it then, close 1008. What
    # one event sends may be longer. uWebSockets drops at 64 KiB by default, Bun at 16 MiB.
    max_outbound: int = 1024 * 1024
    # What becomes of a publication for a client that is over max_outbound: "close" the client, or
    # "drop" the publication. Its own messages close it in any case.
    slow_consumer: str = "close"
    # What may wait for a worker, per connection; over it: stop reading, TCP does the rest.
    mailbox_messages: int = 64
    mailbox_bytes: int = 1024 * 1024
    # Ping a client that has been silent for so long; 0 for never. Proxies give up on connections
    # after 60 s (nginx, AWS), some mobile networks after 30 s.
    ping_interval: float = 25.0
    # How long it may take to answer; then it is gone: 1006. Phoenix and websockets wait 20 s too.
    pong_timeout: float = 20.0
    # Connections of mounted applications that close with their worker do so over this time, and
    # not all at once: their clients come again.
    close_spread: float = 5.0
    # How long a peer may take to answer a close frame.
    close_timeout: float = 5.0
    # Workers that one message may kill before it is put aside.
    max_attempts: int = 3
    # Connections in all; over it: 503. 0: as many as the process may have descriptors.
    max_connections: int = 0
    # Connections per IPv4 address or IPv6 network of 64 bits, which is what one customer gets;
    # over it: 429. 0 for no limit: behind a proxy that is not trusted all have one address.
    max_connections_per_address: int = 0
    # Connections opened per second; over it: 503. 0 for no limit.
    max_handshakes: int = 0
    # Messages and control frames, and bytes, per second and connection; over it: read later, so
    # that nothing is lost and TCP slows the client down. 0 for no limit.
    max_message_rate: int = 0
    max_byte_rate: int = 0
    # Memory of the keeper in bytes; near it: 503 for new connections, and those that hold most
    # of it are closed. 0 for no limit. 1 GiB is enough for some 500,000 idle connections.
    max_memory: int = 1024 * 1024 * 1024
    # Answer this text with that one, at once and without a worker: for clients that cannot send
    # ping frames, as browsers cannot.
    auto_response: tuple[str, str] | None = None
    # Offer permessage-deflate (RFC 7692): less traffic for more CPU.
    compress: bool = False


@dataclass(frozen=True, slots=True)
class HttpLimits:
    """What clients may ask of a worker over HTTP, and how long they may take."""

    # Bytes of the request line and the header fields of one request; over it: 431, or 414. Node
    # takes 16 KiB, nginx and Kestrel 32 KiB, uvicorn with httptools anything.
    max_header_size: int = 32 * 1024
    # Header fields of one request; over it: 431. gunicorn, hyper and Kestrel take 100 too. Each
    # costs more memory than it has bytes.
    max_headers: int = 100
    # Seconds that a client may take for the head of a request, from the opening of the connection
    # or from the first byte of a further request, and that it may pause in its body; over it: 408.
    # 0 for ever. Apache has 20 s for both, Node and nginx 60 s, uvicorn waits for ever.
    header_timeout: float = 20.0
    # Seconds that a client may take nothing of a response that waits for it; over it, the
    # connection is cut. 0 for ever. nginx and Apache have 60 s too, uvicorn waits for ever.
    write_timeout: float = 60.0
    # Seconds that a connection may wait for its next request; 0: one request each. uvicorn's and
    # Node's default is 5 s as well.
    keep_alive: float = 5.0
    # Requests, handshakes included, that one worker answers at once; over it: 503. 0 for any
    # number, as with uvicorn: what is too many, only the application knows.
    limit_concurrency: int = 0


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """What the supervisor reads."""

    application: str
    host: str = "127.0.0.1"
    port: int = 7777
    workers: int = 2
    drain_timeout: float = 30.0
    # How many workers stay when none has anything to do; None for all.
    min_workers: int | None = None
    # After how long without anything to do those who are too many leave; 0 for never.
    idle_timeout: float = 60.0
    # Workers that are loaded and wait to take the place of another. None: one if there is only one
    # worker, whose death would mean a process start for everybody; else the others take over.
    spares: int | None = None
    # How long a worker may take to import the application and start it.
    start_timeout: float = 120.0
    # How long the listeners of one WebSocket event may take; then they are cancelled. A worker
    # whose loop stands for longer is killed. 0 for ever.
    event_timeout: float = 60.0
    # A worker is replaced, without anybody noticing, after so many events and requests, or when it
    # takes so much memory (bytes); 0 for never.
    max_events: int = 0
    max_rss: int = 0
    develop: bool = False
    watch: tuple[str, ...] = ()
    # More files to watch than supervisor/watch.py does by itself.
    watch_patterns: tuple[str, ...] = ()
    # For the workers, who have the reasons.
    max_body: int = 16 * 1024 * 1024
    request_timeout: float = 30.0
    forwarded_allow_ips: str = "127.0.0.1,::1"
    # Origins, beside the server's own, whose pages may open a WebSocket: "https://example.com",
    # "https://*.example.com", "*" for all.
    allow_origins: tuple[str, ...] = ()
    keeper: KeeperLimits = KeeperLimits()
    http: HttpLimits = HttpLimits()


@dataclass(frozen=True, slots=True)
class KeeperSettings:
    """What the keeper reads."""

    control_fd: int
    # See ServerSettings.
    event_timeout: float = 60.0
    limits: KeeperLimits = KeeperLimits()


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """What a worker reads."""

    control_fd: int
    stream_fd: int
    handover_fd: int
    listen_fd: int  # -1: accept nothing
    worker: int
    generation: int
    application: str
    # The first worker of a generation runs install and activate.
    first: bool
    # A spare takes nothing before it is told to serve.
    spare: bool = False
    develop: bool = False
    drain_timeout: float = 30.0
    # For these, see ServerSettings.
    event_timeout: float = 60.0
    idle_timeout: float = 0.0
    max_events: int = 0
    max_rss: int = 0
    # What install and activate may take; browsers give a service worker minutes, a deploy
    # should know sooner.
    lifecycle_timeout: float = 30.0
    # How long listeners may take to answer a request, reading its body included; 0 for ever. What
    # proxies and browsers wait for an answer is 60 s and more: by then nobody knows why.
    request_timeout: float = 30.0
    # What the body of one request may have; over it: 413. Most applications read it into memory,
    # once per request that runs. uvicorn knows no limit, nginx takes 1 MiB, aiohttp 1 MiB, Bun
    # 128 MiB. This is a photograph from a telephone, with room to spare.
    max_body: int = 16 * 1024 * 1024
    # Whose X-Forwarded-For and X-Forwarded-Proto to believe: addresses and networks, with commas
    # between them; "*" for everybody's. uvicorn's default: proxies on this machine.
    forwarded_allow_ips: str = "127.0.0.1,::1"
    allow_origins: tuple[str, ...] = ()
    http: HttpLimits = HttpLimits()


@dataclass(frozen=True, slots=True)
class AsgiSettings:
    """What an application reads that somebody else's server serves."""

    # For all of these, see above; they have the same defaults.
    develop: bool = False
    drain_timeout: float = 30.0
    event_timeout: float = 60.0
    lifecycle_timeout: float = 30.0
    request_timeout: float = 30.0
    max_body: int = 16 * 1024 * 1024
    allow_origins: tuple[str, ...] = ()
    # Of these, only what is about messages: connections, and their memory, are the server's.
    keeper: KeeperLimits = KeeperLimits(max_memory=0)


def worker_settings(server: ServerSettings | AsgiSettings, **own: Any) -> WorkerSettings:
    """Make the settings of a worker: what both kinds know by one name, and what is its `own`."""
    known = {field.name for field in fields(WorkerSettings)}
    shared = {
        field.name: getattr(server, field.name)
        for field in fields(server)
        if field.name in known and field.name not in own
    }
    return WorkerSettings(**shared, **own)


def to_json(settings: ServerSettings | KeeperSettings | WorkerSettings) -> str:
    return json.dumps(asdict(settings))


def from_json(kind: type[Any], text: str) -> Any:
    """Make settings of `kind`; for the processes that holdfast starts itself."""
    return kind(**_read(json.loads(text)))


def _read(fields: dict[str, Any]) -> dict[str, Any]:
    # JSON knows only lists; settings hold only tuples.
    values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in fields.items()}
    # The kinds of settings that others contain.
    for name, kind in (("keeper", KeeperLimits), ("limits", KeeperLimits), ("http", HttpLimits)):
        if name in values:
            values[name] = kind(**_read(values[name]))
    return values
