"""Joins the ledger with sockets, worker links and supervisor.

Shell. Private. Everything that happens in a turn of the loop is told to the ledger; at the end of
the turn its commands are run, then every socket and link with output is written once.
"""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING

from holdfast.framing.handshake import encode_response
from holdfast.keeper import commands as do
from holdfast.keeper.ledger import Ledger, Limits
from holdfast.keeper.poller import Poller
from holdfast.keeper.sockets import Sockets
from holdfast.keeper.worker_links import WorkerLink
from holdfast.wire import control
from holdfast.wire import messages as wire

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from holdfast.config import KeeperSettings

__all__ = ["Switchboard"]

# What a publication becomes on its way to a worker.
PUBLICATIONS = {
    wire.PublishText: wire.PublicationText,
    wire.PublishBinary: wire.PublicationBinary,
    wire.PublishJson: wire.PublicationJson,
}

log = logging.getLogger("holdfast.keeper")

UNAVAILABLE = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class Switchboard:
    """The keeper, but for its process and its control link.

    Args:
        node: 5 bytes that name this keeper in connection ids.
        key: secret for connection ids.
        report: sends a message to the supervisor.
    """

    def __init__(
        self,
        settings: KeeperSettings,
        node: bytes,
        key: bytes,
        report: Callable[[control.FromKeeper], None],
    ) -> None:
        self._welcome = wire.Welcome(wire.VERSION, node, key)
        self._report = report
        self._links: dict[int, WorkerLink] = {}
        self._deliveries = 0
        self.poller = Poller(self.end_turn)
        self._ledger = Ledger(
            Limits(settings.mailbox_messages, settings.mailbox_bytes, settings.max_attempts)
        )
        self._sockets = Sockets(
            self._ledger,
            self.poller,
            max_message=settings.max_message,
            max_outbound=settings.max_outbound,
            close_timeout=settings.close_timeout,
        )
        self._run: dict[type[do.Command], Callable[[Any], None]] = {
            do.DeliverTo: self._deliver,
            do.WriteMany: lambda c: self._sockets.write_many(c.connections, c.data),
            do.PublishTo: self._publish,
            do.CloseSocket: lambda c: self._sockets.close(c.connection, c.code, c.reason),
            do.PauseReading: lambda c: self._sockets.pause_reading(c.connection),
            do.ResumeReading: lambda c: self._sockets.resume_reading(c.connection),
            do.TellDrained: lambda c: self._tell(c.worker, wire.Drained()),
            do.Probe: lambda c: self._tell(c.worker, wire.Probe()),
            do.CallWorker: lambda _: report(control.WorkWaits()),
            do.DropWorker: self._drop_worker,
            do.Quarantined: _log_quarantined,
            do.ReportEmpty: lambda _: report(control.Empty()),
        }

        self._rare: dict[type[wire.FromWorker], Callable[[WorkerLink, Any], None]] = {
            wire.Hello: self._welcome_worker,
            wire.Listen: lambda link, m: self._ledger.listen(link.worker, m.channel),
            wire.Unlisten: lambda link, m: self._ledger.unlisten(link.worker, m.channel),
            wire.Alive: self._receive_alive,
            wire.Search: self._search,
            wire.LookUp: self._look_up,
        }

    # --- the supervisor's orders ----------------------------------------------------------------

    def add_worker(self, worker: int, stream_fd: int, handover_fd: int) -> None:
        self._links[worker] = WorkerLink(
            worker,
            stream_fd,
            handover_fd,
            self.poller,
            on_messages=self._receive,
            on_lost=self._lose_worker,
        )

    def prefer(self, generation: int) -> None:
        self._ledger.prefer(generation)

    def retire(self, worker: int) -> None:
        self._ledger.retire(worker)

    def close_all(self, code: int, reason: str) -> None:
        self._ledger.close_all(code, reason)

    def status(self) -> control.KeeperStatus:
        counts = self._ledger.counts
        return control.KeeperStatus(
            connections=len(self._ledger),
            waiting=self._ledger.waiting,
            accepted=counts.accepted,
            deliveries=self._deliveries,
            redeliveries=counts.redeliveries,
            quarantined=counts.quarantined,
        )

    def tick(self, now: float) -> None:
        """To be called a few times a second."""
        self._ledger.tick()
        self._sockets.tick(now)

    # --- one turn -------------------------------------------------------------------------------

    def end_turn(self) -> None:
        """Run what follows from this turn, then write: one call per socket and link."""
        write = self._sockets.write
        commands = self._ledger.take_commands()
        while True:
            for command in commands:
                if type(command) is do.WriteMessage:
                    # By far the most of them.
                    write(command.connection, command.data)
                else:
                    self._run[type(command)](command)
            self._sockets.flush()
            # A write may have found its client gone, which is a new fact.
            commands = self._ledger.take_commands()
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
        action = command.publication
        kind = PUBLICATIONS[type(action)]
        publication = kind(action.channel, action.data, action.poster)
        for worker in command.workers:
            link = self._links.get(worker)
            if link is not None:
                link.send_if_room(publication)

    def _tell(self, worker: int, message: wire.ToWorker) -> None:
        link = self._links.get(worker)
        if link is not None:
            link.send(message)

    # --- facts about workers --------------------------------------------------------------------

    def _receive(self, link: WorkerLink, messages: list[wire.FromWorker]) -> None:
        worker, receive_ack = link.ready, self._ledger.receive_ack
        for message in messages:
            if type(message) is wire.Ack:
                # By far the most of them. The ledger ignores a worker that it has dropped.
                if worker is not None:
                    receive_ack(worker, message)
            elif not link.is_open:
                return
            elif type(message) is wire.Act:
                self._ledger.receive_actions(message.actions)
            elif type(message) is wire.Handover:
                self._adopt(link, message)
            elif type(message) is wire.Ready:
                self._make_ready(link, message)
                worker = link.ready
            else:
                self._rare[type(message)](link, message)

    def _welcome_worker(self, link: WorkerLink, hello: wire.Hello) -> None:
        if hello.version != wire.VERSION:
            why = f"it speaks version {hello.version} of the wire, the keeper {wire.VERSION}"
            self._drop_worker(do.DropWorker(link.worker, f"{why}; restart holdfast"))
            return
        link.send(self._welcome)

    def _make_ready(self, link: WorkerLink, ready: wire.Ready) -> None:
        if link.ready is None:
            link.ready = self._ledger.worker_ready(link.worker, ready.generation)
        else:
            self._drop_worker(do.DropWorker(link.worker, "it became ready twice"))

    def _receive_alive(self, link: WorkerLink, _: wire.Alive) -> None:
        if link.ready is not None:
            self._ledger.receive_alive(link.ready)

    def _search(self, link: WorkerLink, query: wire.Search) -> None:
        serials = self._ledger.search(query.channel, query.limit)
        link.send(wire.SearchResult(query.query, serials))

    def _look_up(self, link: WorkerLink, query: wire.LookUp) -> None:
        link.send(wire.LookUpResult(query.query, self._ledger.look_up(query.serials)))

    def _adopt(self, link: WorkerLink, handover: wire.Handover) -> None:
        fd = None if handover.lost else link.take_descriptor(handover.serial)
        if fd is None and not handover.lost:
            why = "announced a connection without giving its descriptor"
            self._drop_worker(do.DropWorker(link.worker, why))
            return
        try:
            response = encode_response(
                handover.key, subprotocol=handover.subprotocol, headers=handover.headers
            )
        except ValueError as error:
            self._refuse(link, handover.serial, fd, str(error))
            return
        connection = self._ledger.adopt(handover, link.ready)
        if connection is None:
            self._refuse(link, handover.serial, fd, "its serial or its details make no sense")
        elif fd is None:
            self._ledger.receive_close(connection, 1006, "")
        else:
            self._sockets.adopt(fd, connection, response, handover.leftover)

    def _refuse(self, link: WorkerLink, serial: int, fd: int | None, why: str) -> None:
        log.error("connection %#x from worker %d was refused: %s", serial, link.worker, why)
        link.send(wire.Refused(serial, why))
        if fd is not None:
            try:
                os.write(fd, UNAVAILABLE)
            except OSError:
                pass  # The client is gone; nobody is left to tell.
            finally:
                os.close(fd)

    def _lose_worker(self, link: WorkerLink, why: str | None) -> None:
        del self._links[link.worker]
        self._ledger.link_lost(link.worker)
        if why is not None:
            log.error("worker %d was cut off: %s", link.worker, why)
            self._report(control.WorkerDropped(link.worker, why))
        if link.ready is not None:
            self._ledger.worker_lost(link.ready)

    def _drop_worker(self, command: do.DropWorker) -> None:
        link = self._links.get(command.worker)
        if link is not None:
            link.cut()
            self._lose_worker(link, command.why)


def _log_quarantined(command: do.Quarantined) -> None:
    log.error(
        "message %d of connection %#x (%d bytes) was put aside: %d workers were lost over it",
        command.number,
        command.connection.serial,
        command.size,
        command.attempts,
    )
