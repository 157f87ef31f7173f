"""P-Charging-Vector: values to send (RFC 7315 sections 4.6 and 5.6; IMS-11 to IMS-13)."""

from __future__ import annotations

from pysip.header import is_token, quote


def charging_vector(icid: str, network: str) -> str:
    """The value for a request that we originate (IMS-12).

    :param icid: charging identity, unique in the world.
    :param network: our own network.
    """
    return f"icid-value={quote(icid)};orig-ioi={_value(network)}"


def with_term_ioi(vector: str, network: str) -> str:
    """The value for the response to a request with ``vector`` (IMS-13).

    :param vector: as received, in any order of parameters.
    :param network: our own network; it replaces a ``term-ioi`` that is there.
    """
    kept = [
        field for field in _fields(vector) if field.partition("=")[0].strip().lower() != "term-ioi"
    ]
    return ";".join((*kept, f"term-ioi={_value(network)}"))


def _value(text: str) -> str:
    return text if is_token(text) else quote(text)


def _fields(vector: str) -> list[str]:
    """What stands between the semicolons outside of quotes."""
    if '"' not in vector:
        return vector.split(";")
    fields, start, quoted, escaped = [], 0, False, False
    for position, character in enumerate(vector):
        if escaped:
            escaped = False
        elif quoted and character == "\\":
            escaped = True
        elif character == '"':
            quoted = not quoted
        elif character == ";" and not quoted:
            fields.append(vector[start:position])
            start = position + 1
    fields.append(vector[start:])
    return fields
