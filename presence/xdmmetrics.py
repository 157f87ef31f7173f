"""Figures of the document servers and the Aggregation Proxy (AGP-85, OBS-01)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from presence.contentmetrics import collect_content
from presence.exposition import Family, Labels, counter, gauge, histogram

if TYPE_CHECKING:
    from presence.build import Node
    from presence.xdm import Documents, Proxy
    from xcap.http.site import HttpSite


def collect_xdm(node: Node) -> Iterator[Family]:
    """All figures of the HTTP side of a node; no user is named by any."""
    documents, proxy = node.documents, node.proxy
    sites = []
    if documents is not None and documents.site is not None:
        sites.append(("xdms", documents.site))
    if proxy is not None:
        sites.append(("proxy", proxy.site))
    if node.content is not None and node.content.site is not None:
        sites.append(("content", node.content.site))
    if sites:
        yield from _http(sites)
    answers: list[tuple[Labels, float]] = []
    if documents is not None:
        answers += _answers("xdms", documents.server.answers)
    if proxy is not None:
        answers += _answers("proxy", proxy.proxy.requests)
    if documents is not None or proxy is not None:
        yield counter("presence_xcap_answers_total", "Answers to requests for documents.", *answers)
    if documents is not None:
        yield from _documents(documents)
    if proxy is not None:
        yield from _proxy(proxy)
    if node.content is not None:
        yield from collect_content(node.content)


def _answers(
    server: str, counted: Mapping[tuple[str, str, int], int]
) -> list[tuple[Labels, float]]:
    return [
        ({"server": server, "auid": auid, "method": method, "code": str(status)}, count)
        for (auid, method, status), count in sorted(counted.items())
    ]


def _http(sites: list[tuple[str, HttpSite]]) -> Iterator[Family]:
    counts = [({"server": name}, site.counters) for name, site in sites]
    yield gauge(
        "presence_http_connections",
        "Open HTTP connections.",
        *((labels, each.open) for labels, each in counts),
    )
    yield counter(
        "presence_http_connections_refused_total",
        "HTTP connections closed at once: too many, or overload.",
        *((labels, each.refused) for labels, each in counts),
    )
    yield counter(
        "presence_http_malformed_total",
        "HTTP requests refused because of their syntax or size.",
        *((labels, each.malformed) for labels, each in counts),
    )
    yield counter(
        "presence_http_timeouts_total",
        "HTTP connections closed because the client was too slow.",
        *((labels, each.timeouts) for labels, each in counts),
    )
    yield counter(
        "presence_http_overload_total",
        "HTTP requests refused with 503 because of overload.",
        *((labels, each.overloads) for labels, each in counts),
    )
    yield counter(
        "presence_http_handshakes_total",
        "TLS handshakes of HTTP clients.",
        *(
            ({**labels, "kind": kind}, count)
            for labels, each in counts
            for kind, count in (
                ("full", each.handshakes - each.resumptions),
                ("resumed", each.resumptions),
                ("failed", each.handshake_failures),
            )
        ),
    )


def _documents(documents: Documents) -> Iterator[Family]:
    store = documents.store
    yield gauge(
        "presence_documents_failed",
        "1 while the document store refuses writes.",
        ({}, store.failed),
    )
    yield counter(
        "presence_documents_commits_total", "Batches of changes made durable.", ({}, store.commits)
    )
    yield counter("presence_documents_changes_total", "Changes made durable.", ({}, store.rows))
    yield histogram(
        "presence_documents_commit_seconds",
        "Time that a batch of changes took to be durable.",
        store.latency,
    )


def _proxy(proxy: Proxy) -> Iterator[Family]:
    outcomes = proxy.authenticator.outcomes
    yield counter(
        "presence_proxy_authentications_total",
        "Credentials of HTTP requests by what came out.",
        *(({"outcome": outcome}, count) for outcome, count in sorted(outcomes.items())),
    )
    yield gauge(
        "presence_proxy_nonces",
        "Nonces whose use is counted.",
        ({}, len(proxy.authenticator.windows)),
    )
    named = [({"backend": remote.name}, remote) for remote in proxy.servers.remotes]
    yield gauge(
        "presence_backend_up",
        "1 while a document server elsewhere is in use.",
        *((labels, remote.up) for labels, remote in named),
    )
    yield counter(
        "presence_backend_failures_total",
        "Requests to document servers elsewhere without an answer.",
        *(
            ({**labels, "kind": kind}, count)
            for labels, remote in named
            for kind, count in sorted(remote.failures.items())
        ),
    )
    yield counter(
        "presence_backend_seconds_total",
        "Time that answers of document servers elsewhere took.",
        *((labels, remote.seconds.total) for labels, remote in named),
    )
    yield counter(
        "presence_backend_answers_total",
        "Answers of document servers elsewhere.",
        *((labels, sum(remote.seconds.counts)) for labels, remote in named),
    )
