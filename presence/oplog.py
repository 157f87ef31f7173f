"""Numbered operator problems: what can go wrong, what it means, what to do about it.

``docs/problems.md`` shows the same to operators.  Each problem is logged with its number and
its remedy by :func:`report`.  What the SIP library logs knows no numbers; a failure of it, or
an event that names its kind in the field ``problem``, gets them by :func:`numbered`.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import attrs
from twisted.logger import ILogObserver, LogLevel
from zope.interface import implementer

if TYPE_CHECKING:
    from twisted.logger import LogEvent, Logger


@attrs.frozen(slots=True)
class Problem:
    """One entry of the catalogue.

    :ivar number: stays the same in all releases.
    :ivar name: what events of the library call it.
    :ivar level: of the log event.
    :ivar title: what is wrong.
    :ivar effect: what users notice.
    :ivar action: what the operator can do.
    """

    number: int
    name: str
    level: str
    title: str
    effect: str
    action: str


CERTIFICATE = Problem(
    101,
    "certificate",
    "warn",
    "a certificate expires soon",
    "from then on clients refuse TLS connections",
    "renew it, put it in the place of the old one and send SIGHUP",
)
STORE_REFUSES = Problem(
    201,
    "store-refuses",
    "critical",
    "the store refuses writes",
    "requests that change state get 503, those under way are undone; what is known is served",
    "make the file writable: room on its disk, permissions, hardware; it is tried again every"
    " second",
)
STORE_NOT_CLOSED = Problem(
    202,
    "store-not-closed",
    "error",
    "the store was not closed cleanly",
    "none now: the next start reads its write-ahead log",
    "check the disk; keep the -wal file beside the store",
)
DAMAGED_RECORD = Problem(
    203,
    "damaged-record",
    "error",
    "a record in the store cannot be read",
    "the subscription or registration is forgotten; its client makes another when it refreshes",
    "check the disk; with many of these restore a copy of the store, or begin a new one",
)
STORE_UNREADABLE = Problem(
    204,
    "store-unreadable",
    "critical",
    "the document store cannot be read",
    "requests for documents that are not in memory get 503",
    "make the file readable; check the disk and the system log",
)
DOCUMENTS_LEFT = Problem(
    205,
    "documents-left",
    "error",
    "documents of a removed account could not be removed",
    "nobody can reach them any more",
    "make the account again, and remove it while the document store works",
)
CONTENT_REFUSES = Problem(
    211,
    "content-refuses",
    "critical",
    "the content store refuses writes",
    "uploads and removals of objects get 503; objects that are there can be read",
    "make its directory writable: room on its disk, permissions, hardware; it is tried again"
    " every second",
)
CONTENT_UNREADABLE = Problem(
    212,
    "content-unreadable",
    "critical",
    "the content store cannot be read",
    "requests for objects get 503",
    "make its directory readable; check the disk and the system log",
)
CONTENT_LOST = Problem(
    213,
    "content-lost",
    "error",
    "files of the content store are missing",
    "their objects are gone: requests for them get 404",
    "keep other programs away from its directory; check the disk",
)
OVERLOAD = Problem(
    301,
    "overload",
    "warn",
    "the server is overloaded",
    "new publications, subscriptions and registrations get 503 with Retry-After; refreshes are"
    " served",
    "look at presence_event_loop_delay_seconds and presence_store_commit_seconds for what is"
    " slow; spread the users over more servers",
)
GUESSING = Problem(
    302,
    "guessing",
    "warn",
    "somebody tries passwords",
    "that user is refused from that address for a while, the right password included",
    "with log level debug the address is told; a telephone with an old password looks the same",
)
PROXY_LOOP = Problem(
    303,
    "proxy-loop",
    "error",
    "a request has come back to the Aggregation Proxy",
    "the request got 502",
    "correct the addresses of [[proxy.backend]]: one of them leads back to this proxy",
)
ACCOUNTS_UNREADABLE = Problem(
    401,
    "accounts-unreadable",
    "error",
    "the account file cannot be read",
    "the accounts read before stay in force; changes are not seen",
    "restore the file or its permissions",
)
RELOAD_REFUSED = Problem(
    402,
    "reload-refused",
    "error",
    "reload refused, the new configuration cannot be used",
    "the old one stays in force",
    "correct the file, try it with twistd presence check-config, and send SIGHUP again",
)
TRACE_FAILED = Problem(
    403,
    "trace-failed",
    "error",
    "the trace cannot be written",
    "tracing has ended; nothing else is concerned",
    "make the file writable, and send SIGHUP to begin again",
)
ROUTE_CONFLICT = Problem(
    404,
    "route-conflict",
    "warn",
    "several back-ends claim one application usage",
    "the one configured first has it",
    "name the application usages in auids of [[proxy.backend]]",
)
PROXY_NOT_TRUSTED = Problem(
    405,
    "proxy-not-trusted",
    "error",
    "a document server does not accept the identities that the proxy asserts",
    "requests to it get 502",
    "add the address of the proxy to xdms.proxies of that server, and its certificate's "
    "name to xdms.proxy_names",
)
ASSERTED_IDENTITY = Problem(
    406,
    "asserted-identity",
    "error",
    "a proxy asserts two different identities of one requester",
    "the request got 403",
    "look after that proxy: its two identity header fields differ",
)
ACCESS_LOG_FAILED = Problem(
    407,
    "access-log-failed",
    "error",
    "the access log cannot be written",
    "requests are served and not logged",
    "make the file writable, and start the server again",
)
ACCOUNTS_VANISHED = Problem(
    408,
    "accounts-vanished",
    "error",
    "many accounts have left the account file at once",
    "those users cannot log in; their documents are kept, as the file may have been lost",
    "restore the file; documents of accounts that were meant to go stay until presencectl "
    "account add and remove of each",
)
BUG = Problem(
    501,
    "bug",
    "critical",
    "a fault of the program",
    "the request got 500 or no answer; the server goes on",
    "please report it with the traceback",
)
CANNOT_START = Problem(
    502,
    "cannot-start",
    "critical",
    "the server cannot go on",
    "the process ends with status 1",
    "remove the cause and start it again",
)
BACKEND_DOWN = Problem(
    601,
    "backend-down",
    "error",
    "a document server elsewhere is down",
    "requests for its documents get 503, or go to another server of its group",
    "start it again, or correct its address in the configuration",
)
BACKEND_CAPS = Problem(
    602,
    "backend-caps",
    "warn",
    "a document server tells capabilities that cannot be read",
    "what it said before counts",
    "look after that server: its xcap-caps document is not as RFC 4825 says",
)

CATALOGUE: dict[str, Problem] = {
    problem.name: problem
    for problem in (
        CERTIFICATE,
        STORE_REFUSES,
        STORE_NOT_CLOSED,
        DAMAGED_RECORD,
        STORE_UNREADABLE,
        DOCUMENTS_LEFT,
        CONTENT_REFUSES,
        CONTENT_UNREADABLE,
        CONTENT_LOST,
        OVERLOAD,
        GUESSING,
        PROXY_LOOP,
        ACCOUNTS_UNREADABLE,
        RELOAD_REFUSED,
        TRACE_FAILED,
        ROUTE_CONFLICT,
        PROXY_NOT_TRUSTED,
        ASSERTED_IDENTITY,
        ACCESS_LOG_FAILED,
        ACCOUNTS_VANISHED,
        BUG,
        CANNOT_START,
        BACKEND_DOWN,
        BACKEND_CAPS,
    )
}
"""All problems by name."""

_TEXT = "P{number}: {title}. Cause: {cause}. Effect: {effect}. Action: {action}."
# what is told last may go on with a traceback
_HEAD = "P{number}: {title}. Effect: {effect}. Action: {action}."


def report(log: Logger, problem: Problem, cause: str) -> None:
    """Log that a problem has begun.

    :param cause: what was seen; no addresses or documents of users (OBS-03).
    """
    log.emit(
        LogLevel.levelWithName(problem.level),
        _TEXT,
        number=problem.number,
        problem=problem.name,
        title=problem.title,
        cause=cause,
        effect=problem.effect,
        action=problem.action,
    )


def cleared(log: Logger, problem: Problem, detail: str = "") -> None:
    """Log that a problem is over, at its own level so that whoever saw it sees this."""
    log.emit(
        LogLevel.levelWithName(problem.level),
        "P{number} is over: {title} no more{detail}.",
        number=problem.number,
        title=problem.title,
        detail=f" ({detail})" if detail else "",
    )


def problem_of(event: LogEvent) -> Problem | None:
    """The problem that a log event tells of: named, or a failure, which is a bug."""
    name = event.get("problem")
    if name is None and (event.get("log_failure") is not None or event.get("isError")):
        return BUG  # isError is what the older logging API of Twisted has
    return CATALOGUE.get(name) if isinstance(name, str) else None


def numbered(event: LogEvent) -> LogEvent:
    """The event, with number, effect and action when it is one of the library's."""
    problem = problem_of(event)
    if problem is None or "number" in event:
        return event
    told: dict[str, Any] = dict(event)
    told.update(
        number=problem.number, title=problem.title, effect=problem.effect, action=problem.action
    )
    cause = event.get("log_format") or "{title}"
    told["log_format"] = f"{_HEAD} Cause: {cause}"
    return told


@implementer(ILogObserver)
class ProblemCounter:
    """Counts the problems that the log tells of.

    :ivar counts: by number.
    """

    def __init__(self) -> None:
        self.counts: Counter[int] = Counter()

    def __call__(self, event: LogEvent) -> None:
        """Count what one event tells of."""
        problem = problem_of(event)
        if problem is not None:
            self.counts[problem.number] += 1
