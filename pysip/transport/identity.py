"""SIP domain identities in certificates (RFC 5922 section 7, TRN-22)."""

from __future__ import annotations

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_SIP_DOMAIN_USAGE = x509.ObjectIdentifier("1.3.6.1.5.5.7.3.20")
"""id-kp-sipDomain (RFC 5924)."""


def identity_asked(name: str, host: str) -> str:
    """What a TLS peer has to prove: the domain asked for, else its address.

    :param name: domain of the URI before DNS resolution, or "".
    :param host: numeric address.
    :returns: in lower case, without the final dot of a rooted name.
    """
    return (name or host).lower().rstrip(".").strip("[]")


def certificate_names(certificate: x509.Certificate) -> frozenset[str]:
    """The SIP domain identities of a verified certificate (RFC 5922 section 7.1).

    Hosts of ``sip:`` URIs without user part in the subjectAltName; only if there is none,
    its dNSNames; only if there is no subjectAltName at all, the common name.

    :returns: lower case; wildcards stay what they are, names that match nothing
        (section 7.2).
    """
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return frozenset(
            str(name.value).lower().rstrip(".")
            for name in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
            if _is_domain(str(name.value))
        )
    except ValueError:  # an extension that cannot be decoded proves nothing
        return frozenset()
    domains = {
        domain
        for uri in names.get_values_for_type(x509.UniformResourceIdentifier)
        if (domain := _uri_domain(uri))
    } or set(names.get_values_for_type(x509.DNSName))
    return frozenset(domain.lower().rstrip(".") for domain in domains)


def certificate_addresses(certificate: x509.Certificate) -> frozenset[str]:
    """The IP addresses a certificate proves.

    RFC 5922 knows domains only; a URI with a numeric host is checked against iPAddress
    entries, as everywhere else (RFC 9525 section 3).
    """
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return frozenset()
    return frozenset(str(address) for address in names.get_values_for_type(x509.IPAddress))


def is_for_sip(certificate: x509.Certificate, *, server: bool) -> bool:
    """Whether the extended key usage allows it as a SIP peer (RFC 5280 4.2.1.12, RFC 5924).

    :param server: the peer is the TLS server.
    """
    try:
        usages = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return True
    except ValueError:
        return False
    wanted = ExtendedKeyUsageOID.SERVER_AUTH if server else ExtendedKeyUsageOID.CLIENT_AUTH
    return any(
        usage in (wanted, _SIP_DOMAIN_USAGE, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE)
        for usage in usages
    )


def _uri_domain(uri: str) -> str:
    """Host of a ``sip:`` URI that names a domain, else ""."""
    scheme, _, rest = uri.partition(":")
    if scheme.lower() != "sip" or "@" in rest:
        return ""
    host = rest.partition("?")[0].partition(";")[0]
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]


def _is_domain(text: str) -> bool:
    """Whether a common name reads as a DNS name."""
    labels = text.rstrip(".").split(".")
    return all(
        label and len(label) < 64 and label.isascii() and label.replace("-", "").isalnum()
        for label in labels
    )
