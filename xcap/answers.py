"""Pieces of answers of the document servers, and of the header fields that shape them."""

from __future__ import annotations

from xcap.conditions import http_date
from xcap.errors import Conflict, XcapError
from xcap.records import Document, HttpResponse
from xcap.report import CONTENT_TYPE, report
from xcap.uri import Target, tidy

ALLOW = "GET, HEAD, PUT, DELETE, OPTIONS"
"""Methods of documents, elements and attributes (XCAP-53)."""
ALLOW_READ = "GET, HEAD, OPTIONS"
"""Methods of computed documents and of namespace bindings."""

_NO_STORE = ("Cache-Control", "no-store")
_NO_CACHE = ("Cache-Control", "no-cache")


def refusal(error: XcapError, base: str = "", target: Target | None = None) -> HttpResponse:
    """The answer to a request that is refused: for a conflict its report, else plain text.

    :param base: absolute URI of the XCAP root, for reports.
    :param target: of the request; a conflict needs it.
    """
    if isinstance(error, Conflict) and target is not None:
        body = report(error, base, target)
        return HttpResponse(409, (("Content-Type", CONTENT_TYPE), _NO_STORE), body)
    if error.status == 304:
        return HttpResponse(304, (*error.headers, _NO_CACHE))
    headers = (*error.headers, ("Content-Type", "text/plain; charset=utf-8"), _NO_STORE)
    return HttpResponse(error.status, headers, f"{error.text}\n".encode() if error.text else b"")


def entity(document: Document, content_type: str, body: bytes) -> HttpResponse:
    """The answer to a GET (XCAP-65, XCAP-158).

    :param document: what ``body`` is all or a part of; without time when it is computed.
    """
    headers = [("Content-Type", content_type), ("ETag", f'"{document.etag}"'), _NO_CACHE]
    if document.modified:
        headers.append(("Last-Modified", http_date(document.modified)))
    return HttpResponse(200, tuple(headers), body)


def conditional(status: int, etag: str | None) -> HttpResponse:
    """The answer when preconditions decide: 304 or 412, with the current tag (XCAP-157)."""
    tag = () if etag is None else (("ETag", f'"{etag}"'),)
    if status == 304:
        return HttpResponse(304, (*tag, _NO_CACHE))
    return refusal(XcapError(status, "Precondition failed", tag))


def changed(document: Document | None, location: str = "") -> HttpResponse:
    """The answer to PUT and DELETE (XCAP-112, XCAP-120, XCAP-125).

    :param document: as it is now, None when it is gone.
    :param location: URI of what was created, "" when nothing was.
    """
    headers: tuple[tuple[str, str], ...] = ()
    if document is not None:
        headers = (("ETag", f'"{document.etag}"'),)
    if location:
        return HttpResponse(201, (*headers, ("Location", location)))
    return HttpResponse(200, headers)


def request_uri(base: str, target: Target) -> str:
    """The absolute URI of a request."""
    uri = base + tidy(target.document)
    if target.node is not None:
        uri += f"/~~/{tidy(target.node)}"
        if target.query:
            uri += f"?{tidy(target.query)}"
    return uri


def media_type(value: str | None) -> tuple[str, str]:
    """Media type and charset of a Content-Type, in lower case, "" without (XCAP-80)."""
    essence, *parameters = (value or "").split(";")
    charset = ""
    for parameter in parameters:
        name, _, text = parameter.partition("=")
        if name.strip().lower() == "charset":
            charset = text.strip().strip('"').lower()
    return essence.strip().lower(), charset


def acceptable(accept: str | None, content_type: str) -> bool:
    """Whether an Accept field admits a media type (XCAP-57); the closest range decides."""
    if accept is None or accept == "*/*" or not accept.strip():
        return True
    ranges = {content_type: 3, content_type.partition("/")[0] + "/*": 2, "*/*": 1}
    closest, admitted = 0, False
    for item in accept.lower().split(","):
        name, *parameters = item.split(";")
        level = ranges.get(name.strip())
        if level is None or level < closest:
            continue
        admitted = (admitted and level == closest) or not any(map(_is_zero, parameters))
        closest = level
    return admitted


def _is_zero(parameter: str) -> bool:
    name, _, value = parameter.partition("=")
    return name.strip() == "q" and value.strip() in ("0", "0.", "0.0", "0.00", "0.000")
