"""Figures of the Content Server (OBS-01)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from presence.exposition import Family, counter, gauge, histogram

if TYPE_CHECKING:
    from presence.contentserver import Content


def collect_content(content: Content) -> Iterator[Family]:
    """All figures of a Content Server; no user and no object is named by any."""
    server, store, ending = content.server, content.store, content.ending
    yield counter(
        "presence_content_answers_total",
        "Answers of the Content Server.",
        *(
            ({"kind": kind, "method": method, "code": str(status)}, count)
            for (kind, method, status), count in sorted(server.requests.items())
        ),
    )
    yield gauge("presence_content_objects", "Objects that are stored.", ({}, store.objects))
    yield gauge(
        "presence_content_bytes",
        "Octets of all objects; what a user stored twice counts twice.",
        ({}, store.octets),
    )
    yield gauge("presence_content_uploads", "Uploads under way.", ({}, server.uploads))
    yield counter(
        "presence_content_received_bytes_total",
        "Octets of content that came.",
        ({}, server.received),
    )
    yield counter(
        "presence_content_sent_bytes_total", "Octets of content that went out.", ({}, server.sent)
    )
    yield counter(
        "presence_content_removed_total",
        "Objects removed by the server itself.",
        ({"reason": "expired"}, ending.expired),
        ({"reason": "user"}, ending.orphaned),
    )
    yield counter(
        "presence_content_authentications_total",
        "Credentials of requests to the Content Server by what came out.",
        *(
            ({"outcome": outcome}, count)
            for outcome, count in sorted(content.authenticator.outcomes.items())
        ),
    )
    yield gauge(
        "presence_content_failed", "1 while the content store refuses writes.", ({}, store.failed)
    )
    yield counter(
        "presence_content_commits_total", "Batches of changes made durable.", ({}, store.commits)
    )
    yield counter("presence_content_changes_total", "Changes made durable.", ({}, store.rows))
    yield histogram(
        "presence_content_commit_seconds",
        "Time that a batch of changes took to be durable.",
        store.latency,
    )
