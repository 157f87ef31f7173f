"""Host names, numeric addresses and ports as they are written in the configuration."""

from __future__ import annotations

import ipaddress
import re

from presence.tomlfile import Path, WrongValueError

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def is_host(text: str) -> bool:
    """Whether ``text`` is a domain name or a numeric address (IPv6 without brackets)."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        pass
    else:
        return True
    labels = text.removesuffix(".").split(".")
    return len(text) <= 253 and all(
        0 < len(label) <= 63
        and label.isascii()
        and label.replace("-", "").replace("_", "").isalnum()
        and not label.startswith("-")
        and not label.endswith("-")
        for label in labels
    )


def is_address(text: str) -> bool:
    """Whether ``text`` is the address of a user.

    That is ``user@host``, a SIP or pres URI, or a tel URI with a global number.
    """
    scheme, colon, rest = text.partition(":")
    if colon and scheme == "tel":
        return rest[:1] == "+" and rest.isascii() and rest[1:].isdigit()
    if scheme == "pres" and "?" in rest:
        return False  # there it begins the header fields of the URI
    user, at, host = (rest if scheme in ("sip", "sips", "pres") else text).rpartition("@")
    return (
        bool(at and user)
        and user.isascii()
        and all(mark.isalnum() or mark in "-_.!~*'()&=+$,;?/" for mark in user)
        and is_host(host)
    )


def split_port(text: str) -> tuple[str, int | None]:
    """``host``, ``host:port``, ``[v6]``, ``[v6]:port`` or bare IPv6 into host and port.

    :raises ValueError: the port is none, or brackets are out of place.
    """
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        port = rest.removeprefix(":")
        if not bracket or (rest and rest == port):
            raise ValueError(f"no address: {text}")
    elif text.count(":") == 1:
        host, _, port = text.partition(":")
        rest = ":" + port
    else:
        return text, None
    if not rest:
        return host, None
    if not (port.isdecimal() and port.isascii() and 0 < int(port) < 65536):
        raise ValueError(f"no port: {text}")
    return host, int(port)


def parse_peer(text: str) -> tuple[Network, int | None]:
    """A trusted peer as network and port (None for any port).

    :raises ValueError: it is neither address nor network.
    """
    host, port = split_port(text)
    return ipaddress.ip_network(host), port


def check_address(key: Path, text: str) -> None:
    """Check a numeric address found in the configuration.

    :raises WrongValueError: for ``key``.
    """
    try:
        ipaddress.ip_address(text)
    except ValueError:
        raise WrongValueError(
            key, text, "a numeric IP address", 'write for example "192.0.2.7", "0.0.0.0" or "::"'
        ) from None


def check_place(key: Path, text: str, numeric: bool) -> None:
    """Check a host, or numeric address, with or without port found in the configuration.

    :raises WrongValueError: for ``key``.
    """
    try:
        host, _ = split_port(text)
        if numeric:
            ipaddress.ip_address(host)
    except ValueError:
        host = ""
    if not is_host(host):
        kind = "numeric IP address" if numeric else "host name or address"
        example = "192.0.2.7" if numeric else "ps.example.com"
        raise WrongValueError(
            key,
            text,
            f"a {kind}, with or without port",
            f'write for example "{example}", "192.0.2.7:5060" or "[2001:db8::7]:5060"',
        )


_SERVER = re.compile(
    r"(sips?):(\[[0-9A-Fa-f:.]+\]|[^:;\[\]@]+)(:[0-9]{1,5})?(?:;transport=(\w+))?", re.I
)


def sip_protocol(text: str) -> str | None:
    """The transport by which a server is reached: ``UDP``, ``TCP`` or ``TLS``.

    :param text: its SIP URI, such as ``sip:192.0.2.7:5060;transport=tcp``.
    :returns: None for anything else.
    """
    found = _SERVER.fullmatch(text)
    if found is None or not is_host(found[2].strip("[]")) or found[3] == ":0":
        return None
    protocol = (found[4] or "udp").upper()
    if protocol not in ("UDP", "TCP", "TLS"):
        return None
    return "TLS" if found[1].lower() == "sips" else protocol
