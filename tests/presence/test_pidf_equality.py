"""Tests of :mod:`presence.pidf.equality`."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from presence.pidf.equality import UriSet, device_key


class EqualityTests(SynchronousTestCase):
    """Tests of the comparison of URIs."""

    def assert_same(self, a: str, b: str, expected: bool = True) -> None:
        """Both URIs compare as expected, in both directions."""
        for one, other in ((a, b), (b, a)):
            self.assertIs(other in UriSet([one]), expected, (one, other))

    def test_device_ids(self) -> None:
        """DMO-06: deviceIDs compare as URIs of their kind, white space trimmed."""
        for a, b, expected in (
            ("urn:uuid:D27459B7", " urn:uuid:d27459b7\n", True),
            ("URN:UUID:d27459b7", "urn:uuid:d27459b7", True),
            ("urn:esn:0123ABCD", "urn:esn:0123abcd", True),
            ("mac:8ABC23FF09", "MAC:8abc23ff09", True),
            ("urn:example:Printer", "urn:EXAMPLE:Printer", True),
            ("urn:example:Printer", "urn:example:printer", False),
            ("urn:example:a%2cb", "urn:example:a%2Cb", True),
            ("urn:example:a?+here", "urn:example:a", True),
            ("urn:example:a#part", "urn:example:a?=x=y", True),
            ("urn:uuid:d27459b7", "urn:uuid:d27459b8", False),
            ("urn:uuid:1", "urn:esn:1", False),
            ("x:Serial", "X:Serial", True),
            ("x:Serial", "x:serial", False),
            ("no uri", "no uri ", True),
            ("", "", True),
        ):
            self.assertIs(device_key(a) == device_key(b), expected, (a, b))
            self.assert_same(a, b, expected)

    def test_services(self) -> None:
        """RUL-12: contacts compare by the rules of their scheme."""
        self.assert_same("sip:bob@Home.example", "SIP:%62ob@home.example")
        self.assert_same("sip:bob@home.example", "sip:bob@home.example;custom=1")
        self.assert_same("sip:bob@home.example", "sip:Bob@home.example", False)
        self.assert_same("sip:bob@home.example", "sip:bob@home.example:5060", False)
        self.assert_same("sip:bob@home.example", "sips:bob@home.example", False)
        self.assert_same("tel:+1-555-0100", "tel:+15550100")
        self.assert_same("tel:+15550100", "sip:+15550100@home.example;user=phone", False)
        self.assert_same("http://Example.com/A", "HTTP://example.com/A")
        self.assert_same("http://example.com/A", "http://example.com/a", False)
        self.assert_same("http://Bob@example.com", "http://bob@example.com", False)
        self.assert_same("mailto:bob@example.com", "mailto:bob@example.com")
        self.assert_same("sip:", "sip:")
        self.assert_same("sip:", "sip:bob@home.example", False)

    def test_several(self) -> None:
        """RUL-12: any of several may be the equivalent one; none are in an empty set."""
        uris = UriSet(["sip:bob@home.example;custom=1", "sip:bob@home.example;custom=2"])
        self.assertIn("sip:bob@home.example;custom=2", uris)
        self.assertIn("sip:bob@home.example", uris)
        self.assertNotIn("sip:bob@home.example;custom=3", uris)
        self.assertTrue(uris)
        self.assertNotIn("", UriSet([]))
        self.assertFalse(UriSet([]))
