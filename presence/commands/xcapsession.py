"""What the ``presencectl xcap`` commands share: options, URIs, failures, and their run."""

from __future__ import annotations

import argparse
import os
import sys
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote

import attrs
from twisted.internet.defer import CancelledError, Deferred

from presence.commands.failures import (
    AUTHENTICATION,
    OK,
    REFUSED,
    UNREACHABLE,
    USAGE,
    CommandError,
)
from presence.commands.options import (
    add_trust_options,
    add_user_options,
    client_settings,
    fingerprint,
)
from presence.commands.session import Output, run_session
from pysip.transport.credentials import CredentialsError, load_trust_roots
from pysip.uri import canonical_aor
from xcap.agent import AgentSettings, HttpAgent, NoAnswer, split_uri
from xcap.agenttls import Trust
from xcap.auth.client import HttpCredentials
from xcap.client import Refused, UnsupportedNamespaces, XcapClient
from xcap.contents import read_conflict
from xcap.errors import XcapError
from xcap.uri import bindings_query, parse_query, quote_node, quote_segment, unquote_node

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from presence.client import ClientSettings
    from presence.commands.options import ArgumentGroup
    from xcap.records import HttpResponse

DOCUMENT_HELP = (
    "a document such as resource-lists/index (yours), or its path below the root such as "
    "resource-lists/users/sip:bob@example.com/index; with /~~/ and a node selector an element "
    "or attribute in it"
)

_HINTS = {
    400: "the server found the request faulty",
    403: "{user} is not allowed to do that",
    404: "there is no such document or node",
    405: "that cannot be done to it",
    409: "the server does not take it",
    412: "it has been changed, or was created, meanwhile",
    413: "it is too large",
    415: "it has not the type of document that belongs there; --type tells another one",
    429: "too many attempts failed",
    500: "the server has a problem; its log tells more",
    502: "a server behind it has a problem",
    503: "the server is busy",
    504: "a server behind it does not answer",
}


@attrs.frozen(slots=True, kw_only=True)
class DocumentSettings:
    """Whose documents these are, and where.

    :ivar aor: canonical address of record.
    :ivar root: XCAP root.
    """

    aor: str
    username: str
    password: str | None
    root: str
    ca: str = ""
    fingerprint: str = ""
    insecure: bool = False

    def make_client(self, reactor: Any) -> XcapClient:
        """A client of the root.

        :raises CredentialsError: the file of authorities is no good.
        """
        roots = load_trust_roots((self.ca,)) if self.ca else None
        trust = Trust(roots, self.fingerprint, self.insecure)
        credentials = None
        if self.password is not None:
            credentials = HttpCredentials(self.username, self.password)
        settings = AgentSettings(trust=trust, agent="presencectl")
        agent = HttpAgent(reactor, (self.root,), credentials, settings)
        return XcapClient(agent, self.root, self.aor)


def add_root_options(parser: argparse.ArgumentParser) -> None:
    """The options of commands that read and write documents only."""
    group = parser.add_argument_group("server and user")
    add_user_options(group)
    add_root_option(group)
    add_trust_options(group)
    group.add_argument("--debug", action="store_true", help="log to standard error")
    parser.set_defaults(server=None, transport=None)


def add_root_option(group: ArgumentGroup) -> None:
    """Where the documents are."""
    group.add_argument(
        "--root",
        metavar="URL",
        default=os.environ.get("PRESENCE_XCAP_ROOT"),
        help="where documents are (default: https://xcap.DOMAIN/ of --user; for localhost "
        "https://localhost:8443/) [$PRESENCE_XCAP_ROOT]",
    )


def sip_settings(options: argparse.Namespace) -> ClientSettings:
    """Settings of the SIP side; without TLS there, its options are for HTTPS alone.

    :raises CommandError: an option cannot be used.
    """
    plain = argparse.Namespace(**vars(options))
    if options.transport != "tls":
        plain.ca = plain.fingerprint = ""
        plain.insecure = False
    return client_settings(plain)


def document_settings(options: argparse.Namespace, sip: ClientSettings) -> DocumentSettings:
    """Settings of the HTTP side.

    :param sip: from :func:`sip_settings`.
    :raises CommandError: an option cannot be used.
    """
    host = sip.user.host.lower()
    root = options.root or default_root(host)
    if not root.endswith("/"):
        root += "/"
    try:
        origin, target = split_uri(root)
    except ValueError:
        raise CommandError(f"--root {root}: a URL https://HOST/ is needed", USAGE) from None
    if "?" in target:
        raise CommandError(f"--root {root}: a root has no query", USAGE)
    if origin.scheme == "http" and (options.ca or options.fingerprint or options.insecure):
        raise CommandError("--ca, --fingerprint and --insecure need a root with https", USAGE)
    return DocumentSettings(
        aor=canonical_aor(sip.aor),
        username=sip.username,
        password=sip.password,
        root=root,
        ca=options.ca or "",
        fingerprint=fingerprint(options.fingerprint),
        insecure=options.insecure,
    )


def default_root(host: str) -> str:
    """The root of a domain when nobody says otherwise (XCAP-03)."""
    return "https://localhost:8443/" if host == "localhost" else f"https://xcap.{host}/"


def document_uri(text: str, settings: DocumentSettings) -> str:
    """The absolute URI of what people type; see :data:`DOCUMENT_HELP`.

    Node selectors may be typed as they are, with quotes and brackets, or percent-encoded.

    :raises CommandError: it names nothing that could be there.
    """
    root = settings.root
    if text.lower().startswith(("http://", "https://")):
        if not text.startswith(root):
            raise CommandError(f"{text}: not below {root}; is --root right?", USAGE)
        return text
    document, separator, node = text.strip("/").partition("/~~/")
    segments = [segment for segment in document.split("/") if segment]
    if not segments:
        raise CommandError("the name of a document is missing", USAGE)
    if len(segments) == 1:
        segments.append("index")
    if segments[1] not in ("users", "global"):
        segments[1:1] = ["users", settings.aor]
    elif len(segments) < (4 if segments[1] == "users" else 3):
        raise CommandError(f"{text}: not a document; write for example {segments[0]}/index", USAGE)
    uri = root + "/".join(quote_segment(unquote(segment)) for segment in segments)
    return uri + (f"/~~/{_node(node)}" if separator else "")


def collection_uri(text: str, settings: DocumentSettings) -> str:
    """What can be followed, relative to the root: like :func:`document_uri`, or a collection.

    :raises CommandError: it names nothing that could be there.
    """
    if not text.endswith("/") or "/~~/" in text:
        return document_uri(text, settings)[len(settings.root) :]
    segments = [segment for segment in text.removeprefix(settings.root).split("/") if segment]
    if not segments:
        raise CommandError(f"{text}: write for example resource-lists/", USAGE)
    if len(segments) == 1 or segments[1] not in ("users", "global"):
        segments[1:1] = ["users", settings.aor]
    return "".join(quote_segment(unquote(segment)) + "/" for segment in segments)


def _node(text: str) -> str:
    selector, mark, query = text.partition("?xmlns(")
    try:
        decoded = unquote_node(selector)
    except XcapError:
        decoded = selector  # typed with a percent sign of its own
    try:
        bindings = parse_query(quote(f"xmlns({query}", safe="%()=^")) if mark else {}
        return quote_node(decoded) + (f"?{bindings_query(bindings)}" if mark else "")
    except XcapError as error:
        raise CommandError(f"{text}: {error.text}", USAGE) from None


def http_refusal(response: HttpResponse, what: str, settings: DocumentSettings) -> CommandError:
    """The server refused.

    :param what: what was tried, such as "writing resource-lists/index".
    """
    status = response.status
    if status == 401:
        advice = f"check --user and the password of {settings.aor}"
        if settings.password is None:
            advice = "it asks for a password: give --password-file or set PRESENCE_PASSWORD_FILE"
        return CommandError(f"{what}: status 401; {advice}", AUTHENTICATION)
    hint = _HINTS.get(status, "").format(user=settings.aor)
    conflict = read_conflict(response)
    if conflict is not None:
        hint = f"{conflict.kind}: {conflict.phrase}" if conflict.phrase else conflict.kind
        for exists in conflict.exists:
            hint += f"; {exists.field} is taken"
            if exists.alternatives:
                hint += f", free is {' or '.join(exists.alternatives)}"
    seconds = response.header("retry-after")
    if seconds:
        hint = f"{hint or 'it asks to wait'}; try again in {seconds} s"
    return CommandError(f"{what}: status {status}" + (f"; {hint}" if hint else ""), REFUSED)


def no_answer(error: NoAnswer) -> CommandError:
    """There was no answer that could be used."""
    advice = "check that it runs, and --root"
    if error.kind == "tls":
        advice = (
            "name its certificate authority with --ca, its certificate with --fingerprint, "
            "or (only to try things out) use --insecure"
        )
    elif error.kind == "unproven":
        advice = "somebody else may answer in its place"
    return CommandError(f"cannot reach {error.server}: {error}; {advice}", UNREACHABLE)


class DocumentSession:
    """One command with a client of documents, from start to end.

    :param work: does it and gives the exit status.
    :param what: for errors.
    """

    def __init__(
        self,
        reactor: Any,
        settings: DocumentSettings,
        what: str,
        work: Callable[[XcapClient], Awaitable[int]],
        errors: Output,
    ) -> None:
        self._reactor = reactor
        self._settings = settings
        self._what = what
        self._work = work
        self._errors = errors
        self._whole: Deferred[int] | None = None

    def start(self) -> Deferred[int]:
        """Do everything; fires with the exit status once all is closed."""
        self._whole = Deferred.fromCoroutine(self._go())
        return self._whole

    def interrupt(self) -> None:
        """The user has had enough."""
        if self._whole is not None:
            self._whole.cancel()

    async def _go(self) -> int:
        try:
            client = self._settings.make_client(self._reactor)
        except CredentialsError as error:
            return self._fail(CommandError(str(error), USAGE))
        try:
            return await self._work(client)
        except CancelledError:
            return OK
        except (NoAnswer, Refused, UnsupportedNamespaces, CommandError, ValueError) as error:
            return self._fail(self._translated(error))
        finally:
            await client.agent.stop()

    def _translated(self, error: Exception) -> CommandError:
        if isinstance(error, CommandError):
            return error
        if isinstance(error, NoAnswer):
            return no_answer(error)
        if isinstance(error, Refused):
            return http_refusal(error.response, self._what, self._settings)
        if isinstance(error, UnsupportedNamespaces):
            text = f"{self._what}: the server does not know {error}; --unchecked tries all the same"
            return CommandError(text, REFUSED)
        return CommandError(f"{self._what}: {error}", USAGE)

    def _fail(self, error: CommandError) -> int:
        self._errors.line(f"presencectl: {error}")
        return error.status


def run_documents(
    settings: DocumentSettings,
    what: str,
    work: Callable[[XcapClient], Awaitable[int]],
    output: Output,
    *,
    debug: bool = False,
) -> int:
    """Run a :class:`DocumentSession` under the reactor; gives the exit status of the process."""

    def make(reactor: Any) -> DocumentSession:
        return DocumentSession(reactor, settings, what, work, Output(sys.stderr))

    return run_session(make, output, debug=debug)
