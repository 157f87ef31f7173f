"""What went wrong, for people and for scripts: messages and exit statuses."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pysip.uac import retry_after

if TYPE_CHECKING:
    from pysip.message import Response

OK = 0
REFUSED = 1
USAGE = 2
UNREACHABLE = 3
AUTHENTICATION = 4

EXIT_STATUS = """\
exit status:
  0  done
  1  refused by the server, or an account change that cannot be made
  2  wrong use of the command
  3  server unreachable, or no answer in time
  4  authentication failed"""

_HINTS = {
    400: "the server found the request or document faulty",
    403: "{user} is not allowed to do that",
    404: "the server does not know that address; is its domain served there?",
    413: "the document is too large",
    415: "the server does not take that type of document",
    416: "the server does not know that kind of address",
    423: "ask for a longer time with --expires",
    480: "it cannot be reached now",
    488: "the server does not take the filters",
    489: "the server does not serve presence",
    500: "the server has a problem; its log tells more",
    503: "the server is busy",
}


class CommandError(Exception):
    """A command cannot do its work.

    :ivar status: exit status of the process.
    """

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


def unreachable(server: str, cause: str, *, tls: bool = False) -> CommandError:
    """The server is not there, or does not answer.

    :param server: as the user would name it.
    """
    advice = "check that it runs, and --server and --transport"
    if tls and ("certificate" in cause or "TLS" in cause):
        advice = (
            "name its certificate authority with --ca, its certificate with --fingerprint, "
            "or (only to try things out) use --insecure"
        )
    return CommandError(f"cannot reach {server}: {cause}; {advice}", UNREACHABLE)


def refusal(response: Response | None, what: str, user: str, password: bool) -> CommandError:
    """The server refused; None is no answer at all.

    :param what: what was tried, such as "publishing for sip:a@b".
    :param user: who tried.
    :param password: whether there was a password to answer challenges with.
    """
    if response is None:
        return CommandError(f"{what}: no answer from the server; is it running?", UNREACHABLE)
    said = f"{response.status} {response.reason}".strip()
    warning = response.first("warning")
    if warning:
        said = f"{said} (Warning: {warning})"
    if response.status in (401, 407):
        advice = f"check --user and the password of {user}"
        if not password:
            advice = "it asks for a password: give --password-file or set PRESENCE_PASSWORD_FILE"
        return CommandError(f"{what}: {said}; {advice}", AUTHENTICATION)
    hint = _HINTS.get(response.status, "").format(user=user)
    seconds = retry_after(response)
    if seconds is not None:
        hint = f"{hint or 'it asks to wait'}; try again in {seconds} s"
    return CommandError(f"{what}: {said}" + (f"; {hint}" if hint else ""), REFUSED)
