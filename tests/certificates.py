"""Certificates made on the fly, for tests of TLS and HTTPS."""

from __future__ import annotations

import datetime
import ipaddress
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_BOTH = (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH)


@attrs.frozen
class Authority:
    """A certificate authority.

    :ivar file: PEM file of its certificate, to be trusted.
    :ivar directory: where it and what it issues is written.
    """

    file: str
    directory: str
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey


@attrs.frozen
class Issued:
    """Paths of a certificate and its key, both PEM."""

    certificate: str
    key: str


def make_ca(directory: str = "", name: str = "Test Authority") -> Authority:
    """A new self-signed authority.

    :param directory: where to write; a new one below the working directory (that of
        trial) if empty.
    """
    directory = directory or tempfile.mkdtemp(prefix="certificates", dir=os.getcwd())
    key = ec.generate_private_key(ec.SECP256R1())
    subject = _name(name)
    certificate = (
        _builder(subject, subject, key, 30)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    file = _write(directory, "ca", certificate.public_bytes(Encoding.PEM))
    return Authority(file, directory, certificate, key)


def issue(
    ca: Authority,
    sans: Iterable[str] = (),
    *,
    common_name: str = "test",
    usages: Sequence[x509.ObjectIdentifier] = _BOTH,
    days: float = 7,
    password: bytes = b"",
) -> Issued:
    """A certificate and key of ``ca``.

    :param sans: subjectAltName: ``sip:`` (or other) URIs, IP addresses, DNS names; the
        extension is left out when there are none.
    :param usages: extended key usage.
    :param days: validity from now; negative for an expired one.
    :param password: encrypts the key.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    builder = _builder(_name(common_name), ca.certificate.subject, key, days)
    names = [_general_name(san) for san in sans]
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    if usages:
        builder = builder.add_extension(x509.ExtendedKeyUsage(usages), critical=False)
    certificate = builder.sign(ca.key, hashes.SHA256())
    encryption = BestAvailableEncryption(password) if password else NoEncryption()
    return Issued(
        _write(ca.directory, "cert", certificate.public_bytes(Encoding.PEM)),
        _write(
            ca.directory, "key", key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)
        ),
    )


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, days: float
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=10))
        .not_valid_after(now + datetime.timedelta(days=days))
    )


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _general_name(text: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        if text.partition(":")[1]:
            return x509.UniformResourceIdentifier(text)
        return x509.DNSName(text)


def _write(directory: str, kind: str, data: bytes) -> str:
    handle, file = tempfile.mkstemp(prefix=kind, suffix=".pem", dir=directory)
    os.close(handle)
    Path(file).write_bytes(data)
    return file
