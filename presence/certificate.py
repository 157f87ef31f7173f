"""Certificates: checking those configured, generating one for the start without any."""

from __future__ import annotations

import datetime
import ipaddress
import os
import pathlib
from collections.abc import Iterable

import attrs
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from presence.tomlfile import WrongValueError

_LIFETIME = datetime.timedelta(days=825)
_RENEW_BEFORE = datetime.timedelta(days=30)


@attrs.frozen(slots=True)
class GeneratedCertificate:
    """A self-signed certificate in the state directory.

    :ivar certificate: PEM file.
    :ivar key: PEM file of the private key, readable by its owner only.
    :ivar fingerprint: SHA-256 of the certificate, as ``AB:CD:…``.
    :ivar created: True when it was made by this call.
    """

    certificate: pathlib.Path
    key: pathlib.Path
    fingerprint: str
    created: bool


def ensure_certificate(
    state_dir: str | os.PathLike[str], names: Iterable[str]
) -> GeneratedCertificate:
    """The self-signed certificate under ``state_dir``/tls; made when it does not serve.

    It serves while it names all ``names``, fits its key and is valid for 30 days more.

    :param names: host names and numeric addresses for subjectAltName; a host name is also
        put there as ``sip:`` URI (TRN-22, RFC 5922 7.1).
    :raises OSError: the directory cannot be written.
    """
    folder = pathlib.Path(state_dir) / "tls"
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    alternatives = _alternatives(names)
    present = _usable(certificate, key, alternatives)
    if present is not None:
        return GeneratedCertificate(certificate, key, fingerprint(present), False)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    private = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "txpresence")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + _LIFETIME)
        .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(
            x509.ExtendedKeyUsage(
                [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
            ),
            critical=False,
        )
        .sign(private, hashes.SHA256())
    )
    _write(
        key,
        private.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ),
        0o600,
    )
    _write(certificate, made.public_bytes(serialization.Encoding.PEM), 0o644)
    return GeneratedCertificate(certificate, key, fingerprint(made), True)


def fingerprint(certificate: x509.Certificate) -> str:
    """SHA-256 of a certificate in the usual writing."""
    return certificate.fingerprint(hashes.SHA256()).hex(":").upper()


def read_certificates(file: str, name: str = "certificate") -> list[x509.Certificate]:
    """The certificates of a PEM file.

    :param name: configuration key that names the file, for the error.
    :raises WrongValueError: it cannot be read or holds none.
    """
    data = _read(file, name)
    try:
        return x509.load_pem_x509_certificates(data)
    except ValueError:
        raise WrongValueError(
            (name,), file, "a file with PEM certificates", "check what the file contains"
        ) from None


def check_pair(certificate: str, key: str) -> None:
    """Check that a certificate and a private key can be used together now.

    :raises WrongValueError: for the key ``certificate`` or ``key``.
    """
    own = read_certificates(certificate)[0]
    data = _read(key, "key")
    try:
        private = serialization.load_pem_private_key(data, password=None)
    except (ValueError, TypeError):
        raise WrongValueError(
            ("key",),
            key,
            "a file with a PEM private key without password",
            "check what the file contains; openssl pkey removes a password",
        ) from None
    if private.public_key() != own.public_key():
        raise WrongValueError(
            ("key",), key, f"the private key of {certificate}", "the two files do not fit together"
        )
    if own.not_valid_after_utc < datetime.datetime.now(datetime.UTC):
        raise WrongValueError(
            ("certificate",),
            certificate,
            "a valid certificate",
            f"this one expired on {own.not_valid_after_utc:%Y-%m-%d}: renew it",
        )


def _read(file: str, name: str) -> bytes:
    try:
        return pathlib.Path(file).read_bytes()
    except OSError as error:
        raise WrongValueError(
            (name,),
            file,
            "a file that can be read",
            f"{error.strerror}: check its name and permissions",
        ) from None


def _alternatives(names: Iterable[str]) -> list[x509.GeneralName]:
    found: list[x509.GeneralName] = []
    for name in dict.fromkeys(name.lower() for name in names):
        try:
            found.append(x509.IPAddress(ipaddress.ip_address(name)))
        except ValueError:
            found.append(x509.DNSName(name))
            found.append(x509.UniformResourceIdentifier(f"sip:{name}"))
    return found


def _usable(
    certificate: pathlib.Path, key: pathlib.Path, alternatives: list[x509.GeneralName]
) -> x509.Certificate | None:
    if not certificate.exists() or not key.exists():
        return None
    try:
        check_pair(str(certificate), str(key))
    except WrongValueError:
        return None
    present = read_certificates(str(certificate))[0]
    names = present.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    soon = datetime.datetime.now(datetime.UTC) + _RENEW_BEFORE
    if present.not_valid_after_utc < soon or not set(alternatives) <= set(names):
        return None
    return present


def _write(file: pathlib.Path, data: bytes, mode: int) -> None:
    """Replace a file in one step, never readable by more than ``mode`` allows."""
    draft = file.with_suffix(".new")
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(data)
    draft.replace(file)
