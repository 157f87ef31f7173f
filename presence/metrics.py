"""Figures of a running node (OBS-01).

Nothing is kept here: the parts count with plain integers, and a scrape reads them.
"""

from __future__ import annotations

import os
import platform
import resource
import sys
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

from twisted.internet.interfaces import IReadDescriptor

from presence.exposition import Family, Labels, counter, gauge, histogram
from presence.overload import resident_memory
from presence.server import PresenceServer
from presence.xdmmetrics import collect_xdm
from presence.xdmtables import HttpListen
from pysip.transport.base import host_port
from pysip.transport.connections import StreamTransport

if TYPE_CHECKING:
    from presence.build import Node
    from presence.tables import Listen
    from pysip.interfaces import ITransport


def collect(node: Node, problems: Mapping[int, int]) -> Iterator[Family]:
    """All figures of a node; no user is named by any.

    :param problems: how often each numbered problem was logged.
    """
    yield from _process()
    yield from _transports(node)
    yield from _transactions(node)
    yield from _state(node)
    yield from _store(node)
    yield from _strain(node)
    yield from _rules(node)
    yield from _lists(node)
    yield from _objects(node)
    yield from collect_xdm(node)
    yield counter(
        "presence_problems_total",
        "Numbered operator problems logged.",
        *(({"number": str(number)}, count) for number, count in sorted(problems.items())),
    )


def _process() -> Iterator[Family]:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    yield gauge(
        "presence_info",
        "Versions.",
        ({"version": release(), "python": platform.python_version()}, 1),
    )
    yield counter(
        "process_cpu_seconds_total",
        "CPU time of the process in seconds.",
        ({}, usage.ru_utime + usage.ru_stime),
    )
    yield gauge(
        "process_resident_memory_bytes", "Resident memory in bytes.", ({}, resident_memory())
    )
    yield gauge(
        "presence_memory_blocks",
        "Blocks of memory that objects of the program occupy; what they leave is used again.",
        ({}, sys.getallocatedblocks()),
    )
    yield gauge("process_open_fds", "Open file descriptors.", ({}, _descriptors()))


def release() -> str:
    """The version of this program."""
    try:
        return version("txpresence")
    except PackageNotFoundError:  # run from a checkout that was never installed
        return "unknown"


def _descriptors() -> int:
    try:
        return len(os.listdir("/proc/self/fd")) - 1  # less the one of this look
    except OSError:
        return 0


def _transports(node: Node) -> Iterator[Family]:
    named: list[tuple[Labels, ITransport]] = [
        ({"transport": transport.protocol, "address": host_port(*transport.local)}, transport)
        for _, transport in node.transports
    ]
    yield counter(
        "presence_messages_received_total",
        "Messages received, malformed ones too.",
        *((labels, transport.received) for labels, transport in named),
    )
    yield counter(
        "presence_messages_sent_total",
        "Messages handed to the network.",
        *((labels, transport.sent) for labels, transport in named),
    )
    yield counter(
        "presence_messages_malformed_total",
        "Messages received that could not be parsed.",
        *((labels, transport.malformed) for labels, transport in named),
    )
    yield counter(
        "presence_messages_dropped_total",
        "Messages that could not be sent, and keep-alive datagrams.",
        *((labels, transport.dropped) for labels, transport in named),
    )
    dropped = _kernel_drops()
    yield counter(
        "presence_udp_overflow_total",
        "Datagrams that the system dropped because the receive buffer was full.",
        *(
            (labels, dropped[inode])
            for labels, transport in named
            if (inode := _inode(transport)) in dropped
        ),
    )
    streams = [(labels, each) for labels, each in named if isinstance(each, StreamTransport)]
    yield gauge(
        "presence_connections",
        "Open TCP and TLS connections.",
        *((labels, transport.connections) for labels, transport in streams),
    )
    yield counter(
        "presence_connections_refused_total",
        "Connections not accepted or not opened for want of room.",
        *((labels, transport.refused) for labels, transport in streams),
    )
    points: list[tuple[Labels, Listen | HttpListen]] = [
        (each[0], point) for each, (point, _) in zip(named, node.transports, strict=True)
    ]
    points += _https_points(node)
    yield gauge(
        "presence_certificate_expiry_timestamp_seconds",
        "When the certificate of a TLS listening point expires, seconds of the Unix epoch.",
        *(
            (labels, settings.credentials.certificate.not_valid_after_utc.timestamp())
            for labels, point in points
            if (settings := node.tls.get(point)) is not None and settings.credentials is not None
        ),
    )


def _https_points(node: Node) -> list[tuple[Labels, Listen | HttpListen]]:
    """Where HTTPS is spoken, labelled as the transports are."""
    return [
        ({"transport": "HTTPS", "address": host_port(point.address, point.port)}, point)
        for point in node.tls
        if isinstance(point, HttpListen)
    ]


def _inode(transport: ITransport) -> int:
    """Inode of the socket of a UDP transport, 0 for others."""
    if not IReadDescriptor.providedBy(transport):
        return 0
    descriptor = IReadDescriptor(transport).fileno()
    return os.fstat(descriptor).st_ino if descriptor >= 0 else 0


def _kernel_drops() -> dict[int, int]:
    """Datagrams dropped on receipt, by inode of the UDP socket (proc(5), /proc/net/udp)."""
    found = {}
    for name in ("udp", "udp6"):
        try:
            with open(f"/proc/self/net/{name}", encoding="ascii") as table:
                lines = table.readlines()[1:]
        except OSError:
            continue
        for line in lines:
            fields = line.split()
            found[int(fields[9])] = int(fields[12])
    return found


def _transactions(node: Node) -> Iterator[Family]:
    layer = node.ua.layer
    yield counter(
        "presence_requests_total",
        "Requests received, without retransmissions.",
        *(
            ({"transport": protocol, "method": method}, count)
            for (protocol, method), count in sorted(layer.requests.items())
        ),
    )
    yield counter(
        "presence_responses_total",
        "Responses sent, without retransmissions.",
        *(
            ({"transport": protocol, "method": method, "code": str(status)}, count)
            for (protocol, method, status), count in sorted(layer.responses.items())
        ),
    )
    yield counter(
        "presence_peer_requests_total",
        "Requests received from trusted peers.",
        *(({"peer": peer}, count) for peer, count in sorted(node.identities.peers.items())),
    )
    yield counter(
        "presence_requests_sent_total",
        "Requests sent; each server that is tried counts.",
        *(({"method": method}, count) for method, count in sorted(layer.requests_sent.items())),
    )
    yield counter(
        "presence_retransmissions_total",
        "Requests received or sent again.",
        ({"direction": "received"}, layer.retransmissions),
        ({"direction": "sent"}, layer.retransmissions_sent),
    )
    yield counter(
        "presence_responses_undelivered_total",
        "Responses given up because the way to the sender has failed.",
        ({}, layer.undelivered),
    )
    yield gauge(
        "presence_transactions",
        "Live transactions.",
        ({"side": "server"}, len(layer.servers)),
        ({"side": "client"}, len(layer.clients)),
    )
    yield counter("presence_dns_lookups_total", "Questions to DNS.", ({}, node.records.lookups))
    yield gauge("presence_timers", "Timers that run.", ({}, len(node.wheel)))


def _state(node: Node) -> Iterator[Family]:
    notifier, compositor = node.events.notifier, node.events.compositor
    pending = notifier.pending
    yield gauge(
        "presence_subscriptions",
        "Live subscriptions, each of which is a dialog.",
        ({"state": "active"}, len(notifier) - pending),
        ({"state": "pending"}, pending),
    )
    yield gauge("presence_publications", "Live publications.", ({}, compositor.count))
    yield gauge(
        "presence_presentities",
        "Users with publications, or with watchers.",
        ({"has": "publications"}, compositor.published_resources),
        ({"has": "watchers"}, notifier.watched_resources),
    )
    yield gauge("presence_bindings", "Registered contacts.", ({}, node.registrar.count))
    yield gauge("presence_accounts", "Digest accounts.", ({}, len(node.accounts)))
    yield counter(
        "presence_notify_outcomes_total",
        "NOTIFYs by their final answer; 408 is none, 503 also an unreachable watcher.",
        *(
            ({"code": str(status)}, count)
            for status, count in sorted(notifier.sender.outcomes.items())
        ),
    )


def _store(node: Node) -> Iterator[Family]:
    store = node.store
    yield gauge("presence_store_failed", "1 while the store refuses writes.", ({}, store.failed))
    yield counter("presence_store_commits_total", "Batches made durable.", ({}, store.commits))
    yield counter("presence_store_rows_total", "Rows made durable.", ({}, store.rows))
    yield counter("presence_store_refused_total", "Batches refused.", ({}, store.refused))
    yield gauge(
        "presence_store_oldest_change_seconds",
        "How long the oldest change has waited to become durable.",
        ({}, store.oldest),
    )
    yield histogram(
        "presence_store_commit_seconds", "Time that a batch took to be durable.", store.latency
    )


def _strain(node: Node) -> Iterator[Family]:
    guard = node.guard
    yield histogram(
        "presence_event_loop_delay_seconds",
        "Lateness of the event loop, measured four times a second.",
        guard.delays,
    )
    yield histogram(
        "presence_event_loop_turn_seconds",
        "Processor time of a turn of the event loop, in which all else waits.",
        node.turns.lengths,
    )
    yield gauge(
        "presence_event_loop_longest_turn_seconds",
        "Processor time of the longest turn since the start.",
        ({}, node.turns.longest),
    )
    yield gauge(
        "presence_overload_load",
        "Strain as share of the limits of [overload]; from 1 on new requests get 503.",
        ({}, guard.load),
    )
    yield counter(
        "presence_overload_shed_total", "Requests refused for overload.", ({}, guard.shed)
    )


def _rules(node: Node) -> Iterator[Family]:
    policy, reading = node.authorization, node.reading
    yield gauge(
        "presence_rules_held",
        "Presentities whose rules are at hand.",
        ({}, 0 if policy is None else policy.held),
    )
    yield gauge(
        "presence_rules_documents",
        "Copies of documents that decisions depend on.",
        ({}, 0 if policy is None else policy.documents),
    )
    yield gauge(
        "presence_fetch_server_up",
        "1 while a document server elsewhere is in use whose documents are read here.",
        *(
            ({"server": remote.name}, remote.up)
            for remote in (() if reading is None else reading.servers.remotes)
        ),
    )


def _lists(node: Node) -> Iterator[Family]:
    lists = node.lists
    yield gauge(
        "presence_list_subscriptions",
        "Live subscriptions to lists.",
        ({}, 0 if lists is None else len(lists.package.live)),
    )
    yield gauge(
        "presence_list_members",
        "Members that are watched for lists: served in this process, or over SIP.",
        ({"served": "here"}, 0 if lists is None else lists.local.count),
        ({"served": "elsewhere"}, 0 if lists is None else lists.sip.count),
    )
    yield gauge(
        "presence_list_members_waiting",
        "Members whose watching is to begin or to end when it is their turn.",
        ({}, 0 if lists is None else len(lists.pace)),
    )
    yield gauge(
        "presence_list_services",
        "Lists that are followed, or were looked for just now.",
        ({}, 0 if lists is None else len(lists.services)),
    )
    yield gauge(
        "presence_list_documents",
        "Copies of documents that lists are made of.",
        ({}, 0 if lists is None else lists.services.documents),
    )


def _objects(node: Node) -> Iterator[Family]:
    events = node.events
    outcomes: Mapping[tuple[str, str], int] = {}
    if isinstance(events, PresenceServer):
        outcomes = events.package.objects.contents.outcomes
    yield counter(
        "presence_object_requests_total",
        "Requests of the Presence Server to Content Servers by their outcome.",
        *(
            ({"operation": operation, "outcome": outcome}, count)
            for (operation, outcome), count in sorted(outcomes.items())
        ),
    )
