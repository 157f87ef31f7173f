"""Rates and limits of publications (PUB-04, PUB-16, LIM-01, PSV-15)."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from presence.limits import DomainRates, PublicationLimits
from pysip.errors import SipError
from pysip.event.interfaces import IPublicationPolicy, IRatePolicy


class DomainRatesTests(SynchronousTestCase):
    """The notification interval (NOT-13, PSV-15)."""

    def test_default(self) -> None:
        """One for everybody."""
        rates = DomainRates(5.0, {})
        verifyObject(IRatePolicy, rates)
        self.assertEqual(rates.interval("presence", "sip:bob@example.com"), 5.0)

    def test_by_domain(self) -> None:
        """A domain may have its own, 0 too (PSV-15)."""
        rates = DomainRates(5.0, {"example.com": 1.0, "example.net": 0.0})
        for uri, interval in (
            ("sip:bob@example.com", 1.0),
            ("sip:b%40x@example.net", 0.0),
            ("sip:bob@example.org", 5.0),
            ("tel:+1", 5.0),
        ):
            self.assertEqual(rates.interval("presence", uri), interval, uri)


class PublicationLimitsTests(SynchronousTestCase):
    """What a publisher may do."""

    def setUp(self) -> None:
        """On a clock set by hand."""
        self.now = 0.0

    def limits(self, **options: Any) -> PublicationLimits:
        """The limits."""
        return PublicationLimits(lambda: self.now, **options)

    def refusal(self, limits: PublicationLimits, *arguments: Any) -> SipError:
        """Why one more is refused."""
        error: SipError = self.assertRaises(SipError, limits.admit, *arguments)
        return error

    def test_grant(self) -> None:
        """Default, cut, or refused as too brief; never more than asked for (PUB-04)."""
        limits = self.limits(default_expires=1800, min_expires=60, max_expires=7200)
        verifyObject(IPublicationPolicy, limits)
        for asked, granted in ((None, 1800), (60, 60), (61, 61), (7200, 7200), (2**32 - 1, 7200)):
            self.assertEqual(limits.grant(asked), granted, asked)
        for asked in (1, 59):
            error: SipError = self.assertRaises(SipError, limits.grant, asked)
            self.assertEqual((error.status, error.headers), (423, (("Min-Expires", "60"),)))

    def test_per_resource(self) -> None:
        """403 with a Warning for one publication too many, not for modifying one (LIM-01)."""
        limits = self.limits(per_resource=2, rate=0)
        limits.admit("sip:bob@example.com", "sip:bob@example.com", 1, True)
        limits.admit("sip:bob@example.com", "sip:bob@example.com", 2, False)
        error = self.refusal(limits, "sip:bob@example.com", "sip:bob@example.com", 2, True)
        self.assertEqual(error.status, 403)
        self.assertIn("publication limit", dict(error.headers)["Warning"])

    def test_total_size(self) -> None:
        """413 for a document that makes all together too large; one alone never is (LIM-01)."""
        limits = self.limits(total_size=1000)
        limits.admit_size(0, 5000)
        limits.admit_size(400, 600)
        error: SipError = self.assertRaises(SipError, limits.admit_size, 400, 601)
        self.assertEqual(error.status, 413)
        self.assertIn("all publications", dict(error.headers)["Warning"])

    def test_rate(self) -> None:
        """A burst, then the rate; 503 says how long to wait (PUB-16)."""
        limits = self.limits(rate=0.5, burst=3)
        for _ in range(3):
            limits.admit("r", "sip:bob@example.com", 0, True)
        error = self.refusal(limits, "r", "sip:bob@example.com", 0, False)
        self.assertEqual((error.status, dict(error.headers)["Retry-After"]), (503, "3"))
        limits.admit("r", "sip:carol@example.com", 0, True)  # by publisher
        self.now = 1.9
        self.refusal(limits, "r", "sip:bob@example.com", 0, False)
        self.now = 2.0
        limits.admit("r", "sip:bob@example.com", 0, False)

    def test_refused_for_their_number(self) -> None:
        """What was refused as one too many has not used up the rate."""
        limits = self.limits(rate=1.0, burst=1, per_resource=1)
        for _ in range(5):
            self.assertEqual(self.refusal(limits, "r", "p", 1, True).status, 403)
        limits.admit("r", "p", 1, False)

    def test_defaults(self) -> None:
        """One a second and ten at once, 32 publications, a minute to a day (PUB-04, PUB-16)."""
        limits = self.limits()
        self.assertEqual(
            (limits.grant(None), limits.grant(60), limits.grant(10**6)), (3600, 60, 86400)
        )
        for _ in range(10):
            limits.admit("r", "p", 31, True)
        self.assertEqual(self.refusal(limits, "r", "p", 0, True).status, 503)
        self.assertEqual(self.refusal(limits, "r", "p", 32, True).status, 403)
