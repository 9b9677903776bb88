"""Joins the ledger with sockets, worker links and supervisor.

Shell. Private. Everything that happens in a turn of the loop is told to the ledger; at the end of
the turn its commands are run, then every socket and link with output is written once.
"""

from __future__ import annotations

import logging
import time
from http import HTTPStatus
from typing import TYPE_CHECKING

from holdfast.framing.close_codes import VANISHED
from holdfast.framing.deflate import negotiate
from holdfast.framing.handshake import encode_response
from holdfast.keeper.admission import Admission, Refusal
from holdfast.keeper.memory import Memory
from holdfast.ledger import commands as do
from holdfast.ledger.ledger import Ledger
from holdfast.wire import control
from holdfast.wire import messages as wire

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeAlias

    from holdfast.config import KeeperLimits
    from holdfast.keeper.ports import ClientSockets, KeeperLink
    from holdfast.ledger.connection import Connection

    # Makes the clients' sockets, which tell the switchboard's ledger what happens to them.
    SocketsOf: TypeAlias = "Callable[[Switchboard], ClientSockets]"


log = logging.getLogger("holdfast.keeper")

# Whoever comes while the workers leave: nobody could dispatch the close event.
STOPPING = Refusal(503, "the server stops", "")

# Bytes of unfinished messages after which the memory is looked at, and not at the next tick only.
SOON = 16 * 1024 * 1024


class Switchboard:
    """The keeper, but for its process, its control link, and what sockets and links are made of.

    Args:
        sockets: makes the clients' sockets. It is called once, with this switchboard, which is
            complete but for them.
        node: 5 bytes that name this keeper in connection ids.
        key: secret for connection ids.
        report: sends a message to the supervisor.
        patience: seconds that a worker may take to write a batch that it has begun; 0 for ever.
        shares_channels: whether all workers are in one process and have the same channel objects;
            then a publication is told to one of them.
    """

    def __init__(
        self,
        limits: KeeperLimits,
        node: bytes,
        key: bytes,
        report: Callable[[control.FromKeeper], None],
        *,
        sockets: SocketsOf,
        patience: float = 60.0,
        shares_channels: bool = False,
    ) -> None:
        self.limits = limits
        self.ledger = Ledger(limits)
        self.admission = Admission(
            most=limits.max_connections,
            most_per_address=limits.max_connections_per_address,
            most_per_second=limits.max_handshakes,
        )
        self._patience = patience
        self._shares_channels = shares_channels
        self._welcome = wire.Welcome(wire.VERSION, node, key)
        self._report = report
        self._links: dict[int, KeeperLink] = {}
        # Workers whose version of the wire is known.
        self._greeted: set[int] = set()
        self._deliveries = 0
        self._memory = Memory(limits.max_memory)
        self._is_stopping = False
        # Refusals that are not in the log yet, and why the last one was.
        self._turned_away = 0
        self._why = ""
        # What had been received when the memory was looked at last.
        self._received = 0
        self._run: dict[type[do.Command], Callable[[Any], None]] = {
            do.DeliverTo: self._deliver,
            do.WriteMany: lambda c: self._sockets.write_many(c.connections, c.data),
            do.PublishTo: self._publish,
            do.EndSocket: lambda c: self._sockets.end(c.connection),
            do.CloseSocket: lambda c: self._sockets.close(c.connection, c.code, c.reason),
            do.PauseReading: lambda c: self._sockets.pause_reading(c.connection),
            do.ResumeReading: lambda c: self._sockets.resume_reading(c.connection),
            do.SendTo: lambda c: self._tell(c.worker, c.message),
            do.TellSupervisor: lambda c: report(c.message),
            do.DropWorker: self._drop_worker,
            do.Quarantined: _log_quarantined,
            do.EndpointGivenUp: _log_given_up,
        }

        self._rare: dict[type[wire.FromWorker], Callable[[KeeperLink, Any], None]] = {
            wire.Hello: self._welcome_worker,
            wire.Listen: lambda link, m: self.ledger.listen(link.worker, m.channel),
            wire.Unlisten: lambda link, m: self.ledger.unlisten(link.worker, m.channel),
            wire.Alive: self._receive_alive,
            wire.Search: self._search,
            wire.LookUp: self._look_up,
            wire.Release: self._release,
        }
        self._sockets = sockets(self)

    # --- the supervisor's orders ----------------------------------------------------------------

    def add_link(self, link: KeeperLink) -> None:
        """Join a worker; what comes over its link is to be told to `receive` and `lose_link`."""
        self._links[link.worker] = link

    def prefer(self, generation: int) -> None:
        self.ledger.prefer(generation)

    def drain(self, worker: int) -> None:
        self.ledger.drain(worker)

    def close_all(self, code: int, reason: str) -> None:
        """Let nobody in from here on, and report when the last connection is gone."""
        self._is_stopping = True
        self.ledger.close_all(code, reason)

    @property
    def is_waited_for(self) -> bool:
        """True while something is to be delivered and no worker is there to take it."""
        return self.ledger.waiting > 0

    def discount_memory(self) -> None:
        """For direct mode: what the process takes so far is not for connections."""
        if self._memory.limit:
            self._memory.limit += self._memory.resident()

    def status(self) -> control.KeeperStatus:
        counts = self.ledger.counts
        return control.KeeperStatus(
            connections=len(self.ledger),
            waiting=self.ledger.waiting,
            accepted=counts.accepted,
            deliveries=self._deliveries,
            redeliveries=counts.redeliveries,
            quarantined=counts.quarantined,
            memory=self._memory.resident(),
            hits={
                "mailbox_messages": counts.pauses,
                "max_attempts": counts.quarantined,
                **(self._sockets.hits + self.admission.hits),
            },
        )

    def tick(self, now: float) -> None:
        """To be called a few times a second."""
        self.ledger.tick()
        self._sockets.tick(now)
        for link in list(self._links.values()):
            if self._patience and link.is_stuck(now, self._patience):
                why = f"it has not ended what it began to say {self._patience:g} s ago"
                self._drop_worker(do.DropWorker(link.worker, why))
        self._watch_memory()
        self._log_refusals()

    def _watch_memory(self) -> None:
        """Near the limit, let nobody in, read less, and close those who hold most."""
        self._received = self._sockets.received
        was_short, is_short = self.admission.is_short_of_memory, self._memory.is_short()
        if is_short:
            sockets = [each.socket for each in self.ledger if each.socket is not None]
            closed = self._sockets.evict(sockets, self._memory.limit // 4)
            if closed:
                log.error("short of memory (--max-memory): closed %d that held most of it", closed)
            self._memory.give_back()
            is_short = self._memory.is_short()
        self.admission.is_short_of_memory = self.ledger.is_short_of_memory = is_short
        if is_short and not was_short:
            log.error("short of memory (--max-memory): new connections get a 503")

    def _log_refusals(self) -> None:
        # Once per tick at most: whoever comes too often must not fill the log too.
        if self._turned_away:
            log.warning("refused %d new connections: %s", self._turned_away, self._why)
            self._turned_away = 0

    # --- one turn -------------------------------------------------------------------------------

    def end_turn(self) -> None:
        """Run what follows from this turn, then write: one call per socket and link."""
        if self._sockets.received - self._received > SOON:
            self._watch_memory()
        write = self._sockets.write
        commands = self.ledger.take_commands()
        while True:
            for command in commands:
                if type(command) is do.WriteMessage:
                    # By far the most of them.
                    write(command.connection, command.data)
                else:
                    self._run[type(command)](command)
            self._sockets.flush()
            # A write may have found its client gone, which is a new fact.
            commands = self.ledger.take_commands()
            if not commands:
                break
        for link in self._links.values():
            if link.has_output:
                link.flush()

    def _deliver(self, command: do.DeliverTo) -> None:
        link = self._links.get(command.worker)
        if link is not None:
            self._deliveries += len(command.deliveries)
            link.send_all(command.deliveries)

    def _publish(self, command: do.PublishTo) -> None:
        workers = [max(command.workers)] if self._shares_channels else command.workers
        for worker in workers:
            link = self._links.get(worker)
            if link is not None:
                link.send_if_room(command.publication)

    def tell_pressure(self, connection: Connection, is_high: bool) -> None:
        """The client of an attended connection does not read what is sent to it, or does again."""
        if connection.worker is not None:
            self._tell(connection.worker.number, wire.Pressure(connection.serial, is_high))

    def _tell(self, worker: int, message: wire.ToWorker) -> None:
        link = self._links.get(worker)
        if link is not None:
            link.send(message)

    # --- facts about workers --------------------------------------------------------------------

    def receive(self, link: KeeperLink, messages: list[wire.FromWorker]) -> None:
        """A worker has said something. The turn ends later, and is the caller's to end."""
        worker, receive_ack = link.ready, self.ledger.receive_ack
        if worker is None and not self._has_greeted(link, messages):
            return
        for message in messages:
            if type(message) is wire.Ack:
                # By far the most of them. The ledger ignores a worker that it has dropped.
                if worker is not None:
                    receive_ack(worker, message)
            elif not link.is_open:
                return
            elif type(message) is wire.Act:
                self.ledger.receive_actions(message.actions)
            elif type(message) is wire.Handover:
                self._adopt(link, message)
            elif type(message) is wire.Ready:
                self._make_ready(link, message)
                worker = link.ready
            else:
                self._rare[type(message)](link, message)

    def _has_greeted(self, link: KeeperLink, messages: list[wire.FromWorker]) -> bool:
        """Cut off a worker that does not begin with Hello: nobody knows what it speaks."""
        if link.worker in self._greeted or not messages or type(messages[0]) is wire.Hello:
            return True
        why = f"it began with {type(messages[0]).__name__}, not with Hello"
        self._drop_worker(do.DropWorker(link.worker, why))
        return False

    def _welcome_worker(self, link: KeeperLink, hello: wire.Hello) -> None:
        if hello.version != wire.VERSION:
            why = f"it speaks version {hello.version} of the wire, the keeper {wire.VERSION}"
            self._drop_worker(do.DropWorker(link.worker, f"{why}; restart holdfast"))
            return
        self._greeted.add(link.worker)
        link.send(self._welcome)

    def _make_ready(self, link: KeeperLink, ready: wire.Ready) -> None:
        if link.ready is None:
            link.ready = self.ledger.worker_ready(link.worker, ready.generation)
        else:
            self._drop_worker(do.DropWorker(link.worker, "it became ready twice"))

    def _receive_alive(self, link: KeeperLink, _: wire.Alive) -> None:
        if link.ready is not None:
            self.ledger.receive_alive(link.ready)

    def _release(self, link: KeeperLink, release: wire.Release) -> None:
        if link.ready is not None:
            self.ledger.release(link.ready, release.connection)

    def _search(self, link: KeeperLink, query: wire.Search) -> None:
        serials = self.ledger.search(query.channel, query.limit)
        link.send(wire.SearchResult(query.query, serials))

    def _look_up(self, link: KeeperLink, query: wire.LookUp) -> None:
        link.send(wire.LookUpResult(query.query, self.ledger.look_up(query.serials)))

    def _adopt(self, link: KeeperLink, handover: wire.Handover) -> None:
        given = None if handover.lost else link.take_socket(handover.serial)
        if given is None and not handover.lost:
            why = "announced a connection without giving its socket"
            self._drop_worker(do.DropWorker(link.worker, why))
            return
        agreement = None
        if self.limits.compress and handover.extensions:
            agreement = negotiate([(b"sec-websocket-extensions", handover.extensions)])
        try:
            response = encode_response(
                handover.key,
                subprotocol=handover.subprotocol,
                headers=handover.headers,
                extensions=None if agreement is None else agreement.extensions,
            )
        except ValueError as error:
            self._refuse(link, handover.serial, given, str(error))
            return
        address_key: Refusal | str = STOPPING
        if not self._is_stopping:
            address_key = self.admission.enter(handover.address, time.monotonic())
        if isinstance(address_key, Refusal):
            self._turn_away(link, handover, given, address_key)
            return
        connection = self.ledger.adopt(handover, link.ready)
        if connection is None:
            self.admission.leave(address_key)
            self._refuse(link, handover.serial, given, "its serial or its details make no sense")
        elif given is None:
            self.admission.leave(address_key)
            self.ledger.receive_close(connection, VANISHED, "")
        else:
            self._sockets.adopt(
                given,
                connection,
                response,
                handover.leftover,
                address_key=address_key,
                bits=0 if agreement is None else agreement.server_bits,
            )

    def _turn_away(
        self, link: KeeperLink, handover: wire.Handover, given: Any, refusal: Refusal
    ) -> None:
        """A limit is reached: the worker has done nothing wrong, and nothing of it is applied."""
        self._turned_away += 1
        self._why = refusal.why
        if handover.endpoint:
            # It waits for what its client says. A listener has returned and waits for nothing.
            link.send(wire.Refused(handover.serial, ""))
        if given is not None:
            self._sockets.refuse(given, refusal.status)

    def _refuse(self, link: KeeperLink, serial: int, given: Any, why: str) -> None:
        log.error("connection %#x from worker %d was refused: %s", serial, link.worker, why)
        link.send(wire.Refused(serial, why))
        if given is not None:
            self._sockets.refuse(given, HTTPStatus.SERVICE_UNAVAILABLE)

    def lose_link(self, link: KeeperLink, why: str | None) -> None:
        """A worker's link has ended; told again, it changes nothing.

        Args:
            why: what the worker did wrong; None if it has left, or was lost.
        """
        if self._links.get(link.worker) is not link:
            return
        del self._links[link.worker]
        self._greeted.discard(link.worker)
        self.ledger.link_lost(link.worker)
        if why is not None:
            log.error("worker %d was cut off: %s", link.worker, why)
            self._report(control.WorkerDropped(link.worker, why))
        if link.ready is not None:
            self.ledger.worker_lost(link.ready)

    def _drop_worker(self, command: do.DropWorker) -> None:
        link = self._links.get(command.worker)
        if link is not None:
            link.cut()
            self.lose_link(link, command.why)


def _log_given_up(command: do.EndpointGivenUp) -> None:
    log.error(
        "the endpoint of connection %#x was not begun again: %d workers were lost over it",
        command.connection.serial,
        command.attempts,
    )


def _log_quarantined(command: do.Quarantined) -> None:
    log.error(
        "message %d of connection %#x (%d bytes) was put aside: %d workers were lost over it",
        command.number,
        command.connection.serial,
        command.size,
        command.attempts,
    )
