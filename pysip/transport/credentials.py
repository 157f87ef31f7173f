"""Certificates, keys and trust anchors from PEM files, with errors an operator can act on."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import attrs
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)
from OpenSSL import SSL, crypto

from pysip.transport.identity import certificate_names, is_for_sip

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes, PublicKeyTypes

CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20:ECDHE+AES:AES128-SHA:!aNULL:!MD5"
"""Suites of TLS 1.2 in our order.  ECDHE first (RFC 9325 section 4.2);
TLS_RSA_WITH_AES_128_CBC_SHA last, since RFC 3261 section 26.2.1 makes everybody have it."""

_VERSIONS = {"1.2": SSL.TLS1_2_VERSION, "1.3": SSL.TLS1_3_VERSION}

_INVALID_PURPOSE = 26
"""X509_V_ERR_INVALID_PURPOSE: the extended key usage says otherwise."""


class CredentialsError(Exception):
    """A file cannot serve; the text names it, says what is wrong and what to do."""


@attrs.frozen(slots=True)
class Credentials:
    """What we prove ourselves with.

    :ivar certificate: our certificate.
    :ivar chain: intermediate certificates, ours not among them.
    :ivar key: private key of the certificate.
    """

    certificate: x509.Certificate
    chain: tuple[x509.Certificate, ...]
    key: PrivateKeyTypes = attrs.field(repr=False)

    @property
    def names(self) -> frozenset[str]:
        """SIP domains the certificate proves."""
        return certificate_names(self.certificate)

    def seconds_left(self, now: datetime | None = None) -> float:
        """Time until the certificate expires, negative afterwards."""
        moment = now or datetime.now(UTC)
        return (self.certificate.not_valid_after_utc - moment).total_seconds()


@attrs.frozen(slots=True, kw_only=True)
class TlsSettings:
    """How a TLS transport proves itself and whom it believes.

    :ivar credentials: shown as server, and as client when asked; None for a mere client.
    :ivar trust_roots: certificate authorities; None for those of the system.
    :ivar client_certificates: ``"none"``, ``"request"`` (verified if there is one) or
        ``"require"`` (TRN-23).
    :ivar ciphers: OpenSSL cipher list for TLS 1.2.
    :ivar minimum_version: oldest protocol version spoken (TRN-02).
    """

    credentials: Credentials | None
    trust_roots: tuple[x509.Certificate, ...] | None = None
    client_certificates: Literal["none", "request", "require"] = "request"
    ciphers: str = CIPHERS
    minimum_version: Literal["1.2", "1.3"] = "1.2"

    def server_context(self) -> SSL.Context:
        """The context of accepted connections."""
        context = self._context()
        if self.client_certificates != "none":
            mode = SSL.VERIFY_PEER
            if self.client_certificates == "require":
                mode |= SSL.VERIFY_FAIL_IF_NO_PEER_CERT
            context.set_verify(mode, _verify_client)
            for root in self.trust_roots or ():
                context.add_client_ca(root)
        return context

    def client_context(self) -> SSL.Context:
        """The context of connections we open; the peer's chain is always verified."""
        context = self._context()
        context.set_verify(SSL.VERIFY_PEER, _verify_server)
        return context

    def _context(self) -> SSL.Context:
        context = SSL.Context(SSL.TLS_METHOD)
        context.set_min_proto_version(_VERSIONS[self.minimum_version])
        context.set_options(
            SSL.OP_NO_COMPRESSION | SSL.OP_CIPHER_SERVER_PREFERENCE | SSL.OP_NO_TICKET
        )
        context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
        context.set_cipher_list(self.ciphers.encode("ascii"))
        mine = self.credentials
        if mine is not None:
            context.use_certificate(mine.certificate)
            for certificate in mine.chain:
                context.add_extra_chain_cert(certificate)
            context.use_privatekey(mine.key)  # type: ignore[arg-type]
        if self.trust_roots is None:
            context.set_default_verify_paths()
        else:
            store = context.get_cert_store()
            for root in self.trust_roots:
                store.add_cert(crypto.X509.from_cryptography(root))  # type: ignore[union-attr]
        return context


def _verify_server(
    connection: SSL.Connection, certificate: crypto.X509, error: int, depth: int, ok: int
) -> bool:
    return _verify(certificate, error, depth, bool(ok), server=True)


def _verify_client(
    connection: SSL.Connection, certificate: crypto.X509, error: int, depth: int, ok: int
) -> bool:
    return _verify(certificate, error, depth, bool(ok), server=False)


def _verify(certificate: crypto.X509, error: int, depth: int, ok: bool, *, server: bool) -> bool:
    """OpenSSL's verdict, except that it does not know the usage of RFC 5924."""
    if not ok and error == _INVALID_PURPOSE and depth == 0:
        return is_for_sip(certificate.to_cryptography(), server=server)
    return ok


def load_credentials(
    certificate: str, key: str = "", *, password: bytes | None = None
) -> Credentials:
    """Our certificate (followed by its intermediates) and its private key from PEM files.

    :param key: file of the key; the certificate's file when empty.
    :param password: of an encrypted key.
    :raises CredentialsError: a file is missing, unreadable or does not hold what it should.
    """
    certificates = load_certificates(certificate)
    key = key or certificate
    found = _load_key(key, password)
    if _public(found.public_key()) != _public(certificates[0].public_key()):
        raise CredentialsError(
            f"{key}: the private key does not belong to the first certificate in {certificate};"
            " name the key it was requested with, and put our own certificate before the"
            " intermediate ones"
        )
    return Credentials(certificates[0], tuple(certificates[1:]), found)


def load_trust_roots(files: Iterable[str]) -> tuple[x509.Certificate, ...]:
    """The certificate authorities in PEM files.

    :raises CredentialsError: see :func:`load_credentials`.
    """
    return tuple(root for file in files for root in load_certificates(file))


def load_certificates(file: str) -> list[x509.Certificate]:
    """The certificates of a PEM file, at least one.

    :raises CredentialsError: see :func:`load_credentials`.
    """
    data = _read(file)
    if b"-----BEGIN CERTIFICATE-----" not in data:
        raise CredentialsError(
            f"{file}: no PEM certificate in it; a block that begins with"
            " '-----BEGIN CERTIFICATE-----' is expected"
            " (convert DER with: openssl x509 -inform der -in FILE -out FILE.pem)"
        )
    try:
        return x509.load_pem_x509_certificates(data)
    except ValueError as error:
        raise CredentialsError(
            f"{file}: a certificate in it cannot be read ({error}); fetch or copy it anew"
        ) from error


def _load_key(file: str, password: bytes | None) -> PrivateKeyTypes:
    data = _read(file)
    if b"PRIVATE KEY-----" not in data:
        raise CredentialsError(
            f"{file}: no PEM private key in it; a block that begins with"
            " '-----BEGIN PRIVATE KEY-----' is expected"
        )
    try:
        return load_pem_private_key(_key_block(data), password)
    except TypeError as error:
        raise CredentialsError(
            f"{file}: the private key is encrypted and no password was given, or the reverse;"
            " store it unencrypted and readable by this service only (mode 0600)"
        ) from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise CredentialsError(
            f"{file}: the private key cannot be read; check the password and the file"
        ) from error


def _key_block(data: bytes) -> bytes:
    """The private key out of a PEM file that may hold certificates before it."""
    marker = data.index(b"PRIVATE KEY-----")
    return data[data.rindex(b"-----BEGIN", 0, marker) :]


def _read(file: str) -> bytes:
    try:
        return Path(file).read_bytes()
    except FileNotFoundError as error:
        raise CredentialsError(f"{file}: no such file; correct the path or create it") from error
    except OSError as error:
        raise CredentialsError(
            f"{file}: cannot be read ({error.strerror}); let the user of this service read it"
        ) from error


def _public(key: PublicKeyTypes) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
