"""The generated certificate."""

from __future__ import annotations

import datetime
import pathlib
import stat

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from twisted.trial.unittest import SynchronousTestCase

from presence import certificate
from presence.certificate import check_pair, ensure_certificate, read_certificates


class EnsureTests(SynchronousTestCase):
    """:func:`presence.certificate.ensure_certificate`."""

    def setUp(self) -> None:
        """Make one."""
        self.folder = pathlib.Path(self.mktemp())
        self.made = ensure_certificate(self.folder, ["localhost", "127.0.0.1", "::1"])

    def test_made(self) -> None:
        """The pair fits, and the fingerprint is that of the certificate."""
        self.assertTrue(self.made.created)
        check_pair(str(self.made.certificate), str(self.made.key))
        (own,) = read_certificates(str(self.made.certificate))
        self.assertEqual(self.made.fingerprint, own.fingerprint(hashes.SHA256()).hex(":").upper())

    def test_key_is_private(self) -> None:
        """Nobody but the owner reads the key or enters its directory."""
        self.assertEqual(stat.S_IMODE(self.made.key.stat().st_mode), 0o600)
        self.assertEqual(stat.S_IMODE(self.made.key.parent.stat().st_mode), 0o700)

    def test_names(self) -> None:
        """TRN-22: a domain is there as SIP URI and host name, an address as address."""
        (own,) = read_certificates(str(self.made.certificate))
        names = own.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        self.assertEqual(names.get_values_for_type(x509.DNSName), ["localhost"])
        uris = names.get_values_for_type(x509.UniformResourceIdentifier)
        self.assertEqual(uris, ["sip:localhost"])
        addresses = [str(a) for a in names.get_values_for_type(x509.IPAddress)]
        self.assertEqual(addresses, ["127.0.0.1", "::1"])

    def test_kept(self) -> None:
        """It is made once: clients that know it go on to trust it."""
        again = ensure_certificate(self.folder, ["127.0.0.1", "LOCALHOST"])
        self.assertFalse(again.created)
        self.assertEqual(again.fingerprint, self.made.fingerprint)

    def test_new_name(self) -> None:
        """A name that it lacks makes a new one."""
        again = ensure_certificate(self.folder, ["localhost", "ps.example.com"])
        self.assertTrue(again.created)
        self.assertNotEqual(again.fingerprint, self.made.fingerprint)

    def test_expiring(self) -> None:
        """One that ends soon is made anew."""
        self.patch(certificate, "_RENEW_BEFORE", datetime.timedelta(days=1000))
        self.assertTrue(ensure_certificate(self.folder, ["localhost"]).created)

    def test_damaged(self) -> None:
        """Files that do not fit together any more are made anew."""
        self.made.key.write_text("")
        again = ensure_certificate(self.folder, ["localhost"])
        self.assertTrue(again.created)
        check_pair(str(again.certificate), str(again.key))
