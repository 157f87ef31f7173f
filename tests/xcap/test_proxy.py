"""The Aggregation Proxy between a client and fake back-ends."""

from __future__ import annotations

import gzip

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import globalLogPublisher
from zope.interface.verify import verifyObject

from tests.xcap.proxies import ALICE, INDEX, PEER, REQUEST_ID, FakeBackEnd, ProxyTestCase, head
from xcap.auth.identity import IdentityAsserter
from xcap.errors import XcapError
from xcap.interfaces import IHttpService
from xcap.proxy import ProxySettings
from xcap.proxylog import ProxyRecord
from xcap.records import HttpPeer, HttpResponse
from xcap.routes import Group
from xcap.upstream import UpstreamError

XML = "application/resource-lists+xml"
LONG = b"<resource-lists>" + b"<list/>" * 100 + b"</resource-lists>"


class OrderTests(ProxyTestCase):
    """What is checked, and in which order."""

    def test_interface(self) -> None:
        """The proxy is an HTTP service (AGP-01)."""
        verifyObject(IHttpService, self.proxy)

    def test_authentication_first(self) -> None:
        """AGP-02: nothing goes on without authentication, whatever else is wrong."""
        for target in (INDEX, "/unknown/users/a/b", "/resource-lists/users/sip:a@b/../x"):
            for user in (None, "wrong"):
                answer = self.refused(401, head(target, user=user))
                self.assertEqual(answer.header("www-authenticate"), "Digest x=y")
        self.nobody_asked()

    def test_401_body(self) -> None:
        """AGP-27: the body of a 401 is short plain text that names nobody."""
        answer = self.refused(401, head(user=None))
        self.assertLess(len(answer.body), 100)
        self.assertNotIn(b"alice", answer.body)

    def test_authentication_before_the_body(self) -> None:
        """AGP-02, AGP-28: a PUT is refused before its body is read, so instead of 100."""
        put = head(INDEX, "PUT", ("Content-Length", "10"), user="wrong")
        answer = self.successResultOf(self.begin(put))
        assert isinstance(answer, HttpResponse)
        self.assertEqual(answer.status, 401)

    def test_body_needed_for_authentication(self) -> None:
        """AGP-02, AGP-34: with auth-int nothing is forwarded before the body is verified."""
        put = head(INDEX, "PUT", ("Content-Length", "4"), user="alice int")
        begun = self.successResultOf(self.begin(put))
        assert not isinstance(begun, HttpResponse)
        self.nobody_asked()
        answer = self.successResultOf(Deferred.fromCoroutine(begun(b"<a/>")))
        self.assertEqual(answer.status, 200)
        self.assertEqual(self.authenticator.bodies, [None, b"<a/>"])
        self.assertEqual(self.shared.bodies, [b"<a/>"])

    def test_no_body_with_auth_int(self) -> None:
        """AGP-34: an absent body is the empty string; nobody waits for it."""
        answer = self.successResultOf(self.begin(head(user="alice int")))
        assert isinstance(answer, HttpResponse)
        self.assertEqual(answer.status, 200)
        self.assertEqual(self.authenticator.bodies, [b""])

    def test_not_entitled(self) -> None:
        """AGP-03: a user without any identity is refused with 403."""
        self.refused(403, head(user="nobody"))
        self.nobody_asked()

    def test_document_policy_is_not_ours(self) -> None:
        """AGP-03: another user's document is asked for, and the answer the XDMS's."""
        self.shared.answer = HttpResponse(403, (("Content-Type", "text/plain"),), b"no")
        target = INDEX.replace("alice", "bob")
        self.assertEqual(self.ask(head(target)).body, b"no")
        self.assertEqual(self.shared.head.target, target)

    def test_wrong_host(self) -> None:
        """AGP-10, XCAP-14: a host that is no root's is misdirected."""
        self.refused(421, head(authority="other.example.com"))
        self.assertEqual(self.ask(head(authority="XCAP.example.com:443")).status, 200)


class IdentityTests(ProxyTestCase):
    """Which identity the back-end is told."""

    def asserted(self) -> tuple[str | None, str | None]:
        """What the back-end was told last."""
        headers = self.shared.head.headers
        return headers.get("x-3gpp-asserted-identity"), headers.get("x-xcap-asserted-identity")

    def test_default(self) -> None:
        """AGP-42 to AGP-45: without a claim the default identity first, in both headers."""
        self.ask(head())
        self.assertEqual(
            self.asserted(),
            ('"sip:alice@example.com", "tel:+15555550100"', '"sip:alice@example.com"'),
        )

    def test_intended(self) -> None:
        """AGP-41, AGP-42, AGP-46: one of the own identities comes first and is passed on."""
        for value in (
            '"tel:+15555550100"',
            "tel:+15555550100",
            "<tel:+15555550100>",
            '  "tel:+1-555-555-0100" ',
            '"tel%3A%2B15555550100"',
        ):
            self.ask(head(INDEX, "GET", ("X-3GPP-Intended-Identity", value)))
            self.assertEqual(
                self.asserted(),
                ('"tel:+15555550100", "sip:alice@example.com"', '"tel:+15555550100"'),
            )
            self.assertEqual(self.shared.head.headers.get("x-3gpp-intended-identity"), value)

    def test_spelling(self) -> None:
        """AGP-40, AGP-41: identities are compared in canonical form."""
        for value in (
            '"SIP:alice@EXAMPLE.com"',
            '"sip:%61lice@example.com"',
            '"sips:alice@example.com"',
        ):
            self.ask(head(INDEX, "GET", ("X-3GPP-Intended-Identity", value)))
            self.assertEqual(self.asserted()[1], '"sip:alice@example.com"')

    def test_of_another(self) -> None:
        """AGP-42: alice with the identity of bob gets 403, nothing is forwarded, it is noted."""
        claim = ("X-3GPP-Intended-Identity", '"sip:bob@example.com"')
        self.refused(403, head(INDEX, "GET", claim))
        self.nobody_asked()
        (event,) = self.audited
        self.assertEqual(
            (event.kind, event.username, event.address), ("forbidden", "alice", PEER.address)
        )

    def test_malformed(self) -> None:
        """AGP-41: more than one value, or no URI: 400."""
        for value in (
            '"sip:alice@example.com", "tel:+15555550100"',
            "sip:alice@example.com,tel:+15555550100",
            '"alice"',
            '""',
            "",
            '"sip:alice@example.com" x',
            '"sip:alice@example.com',
            "<sip:alice@example.com",
            '"sip:al%ffice%zz@"',
            "mailto:alice@example.com",
        ):
            self.refused(400, head(INDEX, "GET", ("X-3GPP-Intended-Identity", value)))
        twice = ("X-3GPP-Intended-Identity", '"sip:alice@example.com"')
        self.refused(400, head(INDEX, "GET", twice, twice))
        self.nobody_asked()

    def test_forged(self) -> None:
        """AGP-47, AGP-152: what a client says of these fields is removed in every spelling."""
        names = (
            "X-3GPP-Asserted-Identity",
            "x-xcap-asserted-identity",
            "X-XCAP-ASSERTED-IDENTITY",
            "X_XCAP_Asserted_Identity",
            "x-3gpp_asserted-identity",
            "X-3GPP-Authorization-Flags",
            "X_3GPP_Authorization-Flags",
            "X-Forwarded-For",
            "X_Forwarded_For",
            "X-Forwarded-Proto",
            "Forwarded",
            "P-Asserted-Identity",
            "P_Asserted_Identity",
            "X-Request-Id",
            "Remote-User",
            "REMOTE_USER",
        )
        self.proxy = self.make(ProxySettings(removed=frozenset({"Remote-User"})))
        self.ask(head(INDEX, "GET", *((name, '"sip:bob@example.com"') for name in names * 2)))
        self.assertNotIn("bob", repr(self.shared.head.headers.fields))
        self.assertEqual(self.asserted()[1], '"sip:alice@example.com"')

    def test_forged_through_connection(self) -> None:
        """AGP-47, AGP-65: a client cannot have the assertion removed as hop-by-hop."""
        names = "close, X-XCAP-Asserted-Identity, X-3GPP-Asserted-Identity, Via"
        self.ask(head(INDEX, "GET", ("Connection", names)))
        self.assertNotIn(None, self.asserted())

    def test_style(self) -> None:
        """AGP-45: configuration chooses the header for each back-end."""
        self.proxy = self.make(
            asserters={"shared": IdentityAsserter("oma"), "rls": IdentityAsserter("3gpp")}
        )
        self.ask(head())
        self.assertEqual(self.asserted(), (None, '"sip:alice@example.com"'))
        self.ask(head(INDEX.replace("resource-lists", "rls-services")))
        headers = self.rls.head.headers
        self.assertIn("x-3gpp-asserted-identity", headers)
        self.assertNotIn("x-xcap-asserted-identity", headers)

    def test_authorization_stays_here(self) -> None:
        """AGP-48: credentials are not forwarded, a back-end's Authentication-Info not relayed."""
        self.shared.answer = HttpResponse(200, (("Authentication-Info", "theirs"),), b"x")
        answer = self.ask(head())
        self.assertNotIn("authorization", self.shared.head.headers)
        infos = [value for name, value in answer.headers if name.lower() == "authentication-info"]
        self.assertEqual(infos, ["length=1"])


class RoutingTests(ProxyTestCase):
    """Which back-end gets what."""

    def test_by_usage(self) -> None:
        """AGP-50: each usage reaches its back-end, percent-encoded or not."""
        for auid, back_end in (
            ("resource-lists", self.shared),
            ("pres-rules", self.presence),
            ("rls-services", self.rls),
            ("pres%2Drules", self.presence),
        ):
            before = len(back_end.heads)
            self.ask(head(INDEX.replace("resource-lists", auid)))
            self.assertEqual(len(back_end.heads), before + 1)
        self.ask(head("/rls-services/global/index"))
        self.assertEqual(self.rls.head.target, "/rls-services/global/index")

    def test_unknown(self) -> None:
        """AGP-51: an unknown usage is 404 and nobody is asked; case counts."""
        for auid in ("unknown", "Resource-Lists", "resource-lists%2f", ""):
            self.refused(404, head(INDEX.replace("resource-lists", auid)))
        self.nobody_asked()

    def test_target_untouched(self) -> None:
        """AGP-54: the target is forwarded byte for byte."""
        for rest in (
            "/~~/resource-lists/list%5b@name=%22a%2fb%22%5d",
            "/%7E%7E/resource-lists",
            "/~~/x%2525/*",
            "/~~/a:resource-lists?xmlns(a=urn:ietf:params:xml:ns:resource-lists)",
            '/~~/resource-lists/list[@name="a"]',
            "?",
            "/~~/resource-lists/%6cist;a=b?",
        ):
            self.ask(head(INDEX + rest))
            self.assertEqual(self.shared.head.target, INDEX + rest)

    def test_host_untouched(self) -> None:
        """AGP-55: the Host is what the client said."""
        self.ask(head(authority="Xcap.Example.Com:443"))
        self.assertEqual(self.shared.head.headers.all("host"), ["Xcap.Example.Com:443"])
        self.assertEqual(self.shared.head.authority, "Xcap.Example.Com:443")

    def test_dot_segments(self) -> None:
        """AGP-56: dot segments are 404 here, anywhere in the path."""
        for target in (
            "/resource-lists/users/../global/index",
            "/resource-lists/users/sip:alice@example.com/./index",
            "/resource-lists/users/sip:alice@example.com/%2e%2E/index",
            "/resource-lists/users/sip:alice@example.com/.%2e/index",
            INDEX + "/~~/resource-lists/../x",
            "/./resource-lists/global/index",
        ):
            self.refused(404, head(target))
        self.nobody_asked()
        self.ask(head(INDEX + "/~~/x/.../y"))
        self.assertEqual(len(self.shared.heads), 1)

    def test_malformed_target(self) -> None:
        """AGP-74, XCAP-13: bad escapes are 400."""
        self.refused(400, head(INDEX + "%zz"))
        self.refused(404, head("/resource-lists/users/%00/index"))

    def test_partition(self) -> None:
        """AGP-53: every spelling of a user reaches the same partition."""
        first, second = FakeBackEnd("0"), FakeBackEnd("1")
        self.routes.replace([Group("g", (first, second), frozenset({"resource-lists"}))])
        for i in range(20):
            before = len(first.heads), len(second.heads)
            for user in (
                f"sip:u{i}@example.com",
                f"sip%3Au{i}@EXAMPLE.com",
                f"SIP:%75{i}@example.com",
            ):
                self.ask(head(f"/resource-lists/users/{user}/index"))
            grown = len(first.heads) - before[0], len(second.heads) - before[1]
            self.assertIn(grown, ((3, 0), (0, 3)))
        self.assertTrue(first.heads)
        self.assertTrue(second.heads)

    def test_changed_routes(self) -> None:
        """AGP-61: new requests take the new route at once, those in flight end on the old."""
        self.shared.answer = None
        old = self.start(head())
        other = FakeBackEnd("other")
        self.routes.replace([Group("other", (other,), frozenset({"resource-lists"}))])
        self.ask(head())
        self.assertEqual(len(other.heads), 1)
        self.shared.waiting[0].callback(HttpResponse(200, (), b"old"))
        self.assertEqual(self.successResultOf(old).body, b"old")

    def test_down(self) -> None:
        """AGP-80: nobody is up: 503 with Retry-After between 1 and 30 s."""
        self.shared.up = False
        answer = self.refused(503, head())
        self.assertIn(int(answer.header("retry-after") or 0), range(1, 31))

    def test_options_of_everything(self) -> None:
        """XCAP-53: OPTIONS * is answered by the proxy itself."""
        answer = self.ask(head("*", "OPTIONS"))
        self.assertEqual(answer.status, 200)
        self.assertEqual(answer.header("allow"), "GET, HEAD, PUT, DELETE, OPTIONS")


class ForwardingTests(ProxyTestCase):
    """What becomes of header fields and bodies on the way."""

    def test_hop_by_hop(self) -> None:
        """AGP-65: fields of one hop, and those that Connection lists, go neither way."""
        hop = [
            ("Connection", "keep-alive, X-Hop"),
            ("Keep-Alive", "timeout=5"),
            ("Proxy-Authenticate", "x"),
            ("Proxy-Authorization", "x"),
            ("Proxy-Connection", "x"),
            ("TE", "trailers"),
            ("Trailer", "x"),
            ("Transfer-Encoding", "chunked"),
            ("Upgrade", "h2c"),
            ("X-Hop", "x"),
        ]
        self.shared.answer = HttpResponse(200, (*hop, ("X-End", "y")), b"x")
        put = head(INDEX, "PUT", *hop, ("X-End", "y"), ("Expect", "100-continue"))
        answer = self.ask(put, b"<a/>")
        gone = {name.lower() for name, _ in hop} | {"expect"}
        sent = {name for name, _ in self.shared.head.headers.fields}
        received = {name.lower() for name, _ in answer.headers}
        self.assertEqual((sent & gone, received & gone), (set(), set()))
        self.assertIn("x-end", sent)
        self.assertIn("x-end", received)

    def test_end_to_end(self) -> None:
        """AGP-67: all other fields pass as they are, in both directions."""
        fields = [
            ("If-Match", '"1"'),
            ("If-None-Match", '"2", W/"3"'),
            ("Accept", "*/*"),
            ("Accept-Encoding", "br"),
            ("User-Agent", "x/1"),
            ("Cookie", "a=b"),
            ("X-Unknown", "1"),
            ("X-Unknown", "2"),
        ]
        back = (
            ("ETag", '"4"'),
            ("Last-Modified", "Thu, 01 Jan 2026 00:00:00 GMT"),
            ("Content-Type", XML),
            ("Allow", "GET"),
            ("X-Other", "3"),
        )
        self.shared.answer = HttpResponse(200, back, b"<x/>")
        answer = self.ask(head(INDEX, "GET", *fields))
        for name, value in fields:
            self.assertIn((name.lower(), value), self.shared.head.headers.fields)
        self.assertEqual(answer.headers[: len(back)], back)
        self.assertEqual(answer.body, b"<x/>")

    def test_via(self) -> None:
        """AGP-66: our Via comes last on both ways, after those that were there."""
        self.shared.answer = HttpResponse(200, (("Via", "1.1 inner"),), b"")
        answer = self.ask(head(INDEX, "GET", ("Via", "1.1 outer")))
        self.assertEqual(
            self.shared.head.headers.all("via"), ["1.1 outer", "1.1 aggregation-proxy"]
        )
        via = [value for name, value in answer.headers if name.lower() == "via"]
        self.assertEqual(via, ["1.1 inner", "1.1 aggregation-proxy"])

    def test_loop(self) -> None:
        """AGP-66: a request that was here before gets 502, with an alarm, even from nobody."""
        for value in ("1.1 aggregation-proxy", "1.0 x, HTTP/1.1 Aggregation-Proxy (c)"):
            self.refused(502, head(INDEX, "GET", ("Via", value), user=None))
        self.nobody_asked()
        self.assertEqual(self.ask(head(INDEX, "GET", ("Via", "1.1 other, 1.1"))).status, 200)
        self.assertEqual(self.alarms(), ["proxy-loop"])

    def alarms(self) -> list[str]:
        """Problems logged, as the operator gets them."""
        return [event["problem"] for event in self.events if "problem" in event]

    def setUp(self) -> None:
        """Collect what is logged."""
        super().setUp()
        self.events: list[dict[str, object]] = []
        globalLogPublisher.addObserver(self.events.append)
        self.addCleanup(globalLogPublisher.removeObserver, self.events.append)

    def test_request_id(self) -> None:
        """AGP-68: an id of 128 random bits, in place of the client's, in access log and answer."""
        answer = self.ask(head(INDEX, "GET", ("X-Request-Id", "mine")))
        self.assertEqual(self.shared.head.headers.all("x-request-id"), [REQUEST_ID])
        self.assertEqual(answer.header("x-request-id"), REQUEST_ID)
        self.assertEqual(self.records[0].request_id, REQUEST_ID)

    def test_forwarded(self) -> None:
        """AGP-68: Forwarded tells where the request came from."""
        self.ask(head())
        self.assertEqual(self.shared.head.headers.all("forwarded"), ["for=192.0.2.1;proto=https"])
        self.ask(head(peer=HttpPeer("2001:db8::1")))
        self.assertEqual(
            self.shared.head.headers.all("forwarded"), ['for="[2001:db8::1]";proto=http']
        )

    def test_no_cache(self) -> None:
        """AGP-69: every request is asked upstream, conditional ones too, bodies are as they are."""
        for _ in range(2):
            answer = self.ask(head(INDEX, "GET", ("If-None-Match", '"1"')))
            self.assertEqual(answer.body, b"<x/>")
        self.assertEqual(len(self.shared.heads), 2)
        self.ask(head(INDEX, "PUT"), b" <a/>\n")
        self.assertEqual(self.shared.bodies, [b" <a/>\n"])

    def test_answers_pass(self) -> None:
        """AGP-70: all classes of answers pass with body and headers."""
        for status in (200, 201, 204, 304, 400, 403, 404, 405, 409, 412, 413, 415, 500, 503):
            fields = (("Content-Type", "application/xcap-error+xml"), ("Retry-After", "7"))
            self.shared.answer = HttpResponse(status, fields, b"<xcap-error/>")
            answer = self.ask(head())
            self.assertEqual((answer.status, answer.body), (status, b"<xcap-error/>"))
            self.assertEqual(answer.headers[:2], fields)

    def test_not_trusted(self) -> None:
        """AGP-70: 401 of an XDMS is our fault: 502 and an alarm; 421 is 502 too."""
        for status in (401, 421):
            self.shared.answer = HttpResponse(status, (("WWW-Authenticate", "x"),), b"secret")
            answer = self.refused(502, head())
            self.assertIsNone(answer.header("www-authenticate"))
            self.assertNotIn(b"secret", answer.body)
            self.shared.answer = XcapError(status)
            self.refused(502, head())
            self.refused(502, head(INDEX, "PUT"), b"<a/>")
        self.assertEqual(self.alarms(), ["proxy-not-trusted"])

    def test_errors(self) -> None:
        """AGP-80: failures of a back-end are 502, 503, 504 in plain text, with Via or not."""
        for error in (UpstreamError("reset", True), UpstreamError("late", True)):
            self.shared.answer = error
            self.refused(error.status, head())
            self.refused(error.status, head(INDEX, "PUT"), b"<a/>")

    def test_unknown_outcome(self) -> None:
        """AGP-153: a PUT with unknown outcome is not repeated."""
        self.shared.answer = UpstreamError("reset", True)
        self.refused(502, head(INDEX, "PUT"), b"<a/>")
        self.assertEqual(len(self.shared.bodies), 1)

    def test_post(self) -> None:
        """AGP-59: searches are off: there is no such usage; POST elsewhere is the XDMS's."""
        self.refused(404, head("/org.openmobilealliance.search/global/", "POST"))
        self.shared.answer = HttpResponse(405, (("Allow", "GET"),))
        self.assertEqual(self.ask(head(INDEX, "POST"), b"x").status, 405)


class HostileTests(ProxyTestCase):
    """Whatever comes."""

    @given(
        st.text(st.characters(max_codepoint=126), max_size=80),
        st.sampled_from(("GET", "PUT", "DELETE", "OPTIONS", "HEAD", "X")),
        st.lists(
            st.tuples(
                st.sampled_from(
                    (
                        "X-3GPP-Intended-Identity",
                        "Via",
                        "Connection",
                        "Content-Encoding",
                        "Content-Length",
                        "Accept-Encoding",
                        "If-Match",
                        "Accept",
                    )
                ),
                st.text(st.characters(max_codepoint=255, exclude_characters="\r\n\0")),
            ),
            max_size=4,
        ),
    )
    def test_anything(self, text: str, method: str, fields: list[tuple[str, str]]) -> None:
        """AGP-74, AGP-80: every request of a user gets an answer, never a traceback."""
        self.setUp()
        for back_end in (self.shared, self.presence, self.rls):
            back_end.answer = HttpResponse(200, (), b"")
        caps = "/xcap-caps/global/index"
        for target in (f"/{text}", INDEX + text, f"{INDEX}/~~/{text}", f"{caps}/~~/{text}"):
            answer = self.ask(head(target, method, *fields), b"<a/>")
            self.assertIn(answer.status, {*range(200, 500), 502, 503})


class CodingTests(ProxyTestCase):
    """gzip."""

    def setUp(self) -> None:
        """A document worth coding."""
        super().setUp()
        fields = (("Content-Type", XML), ("ETag", '"1"'), ("Content-Length", "9"))
        self.shared.answer = HttpResponse(200, fields, LONG)

    def test_answer(self) -> None:
        """AGP-71, AGP-72: coded for who takes it, ETag as it was, Authentication-Info after it."""
        answer = self.ask(head(INDEX, "GET", ("Accept-Encoding", "gzip")))
        self.assertEqual(answer.header("content-encoding"), "gzip")
        self.assertEqual(answer.header("vary"), "Accept-Encoding")
        self.assertEqual(answer.header("etag"), '"1"')
        self.assertIsNone(answer.header("content-length"))
        self.assertEqual(gzip.decompress(answer.body), LONG)
        self.assertEqual(answer.header("authentication-info"), f"length={len(answer.body)}")
        self.assertEqual(self.records[0].sent, len(answer.body))

    def test_not_asked_for(self) -> None:
        """AGP-71: not for others, not when switched off."""
        self.assertEqual(self.ask(head()).body, LONG)
        self.proxy = self.make(ProxySettings(compress=False))
        answer = self.ask(head(INDEX, "GET", ("Accept-Encoding", "gzip")))
        self.assertEqual(answer.body, LONG)

    def test_head(self) -> None:
        """AGP-71, AGP-38: HEAD gets what GET gets, but its digest covers no body."""
        answer = self.ask(head(INDEX, "HEAD", ("Accept-Encoding", "gzip")))
        self.assertEqual(answer.header("content-encoding"), "gzip")
        self.assertEqual(answer.header("authentication-info"), "length=0")
        self.assertEqual(self.shared.head.method, "GET")
        self.ask(head(INDEX, "HEAD"))
        self.assertEqual(self.shared.head.method, "HEAD")

    def test_head_length(self) -> None:
        """AGP-67: the length in the answer to HEAD is kept."""
        self.shared.answer = HttpResponse(200, (("Content-Length", "1234"),))
        self.assertEqual(self.ask(head(INDEX, "HEAD")).header("content-length"), "1234")
        self.assertIsNone(self.ask(head()).header("content-length"))

    def test_head_varies(self) -> None:
        """AGP-71, XCAP-55: HEAD without body tells like GET that the coding varies."""
        for length, varies in (("1234", "Accept-Encoding"), ("12", None), ("x", None)):
            fields = (("Content-Length", length), ("Content-Type", "application/x+xml"))
            self.shared.answer = HttpResponse(200, fields)
            answer = self.ask(head(INDEX, "HEAD"))
            self.assertEqual((answer.header("vary"), answer.body), (varies, b""))

    def test_tag_comes_back(self) -> None:
        """AGP-72: If-Match with the tag of a coded answer reaches the XDMS as it was given."""
        answer = self.ask(head(INDEX, "GET", ("Accept-Encoding", "gzip")))
        self.ask(head(INDEX, "PUT", ("If-Match", answer.header("etag") or "")), b"<a/>")
        self.assertEqual(self.shared.head.headers.get("if-match"), '"1"')

    def test_request(self) -> None:
        """AGP-73: gzip bodies pass as they are; other codings are 415 with what is known."""
        body = gzip.compress(LONG)
        for coding in ("gzip", "x-gzip", "identity", "GZIP"):
            self.ask(head(INDEX, "PUT", ("Content-Encoding", coding)), body)
            self.assertEqual(self.shared.bodies[-1], body)
            self.assertEqual(self.shared.head.headers.get("content-encoding"), coding)
        before = len(self.shared.heads)
        for coding in ("br", "gzip, br", "deflate"):
            answer = self.refused(415, head(INDEX, "PUT", ("Content-Encoding", coding)), body)
            self.assertEqual(answer.header("accept-encoding"), "gzip")
        self.assertEqual(len(self.shared.heads), before)

    def test_size(self) -> None:
        """AGP-73, AGP-76: the limit counts on the coded size: 413, at once if it is announced."""
        self.proxy = self.make(ProxySettings(body=100))
        self.refused(413, head(INDEX, "PUT", ("Content-Length", "101")), b"")
        self.refused(413, head(INDEX, "PUT", ("Transfer-Encoding", "chunked")), b"x" * 101)
        self.assertEqual(self.shared.bodies, [])
        self.ask(head(INDEX, "PUT", ("Content-Length", "100")), b"x" * 100)
        self.assertEqual(len(self.shared.bodies), 1)


class LimitTests(ProxyTestCase):
    """Rates, accounting, and clients that leave."""

    def test_rate(self) -> None:
        """AGP-76: 60 requests of a subscriber at once, 20 a second; then 429 with Retry-After."""
        self.authenticator.identities["bob"] = ("sip:bob@example.com",)
        for _ in range(60):
            self.assertEqual(self.ask(head()).status, 200)
        self.assertEqual(self.refused(429, head()).header("retry-after"), "1")
        self.assertEqual(self.ask(head(user="bob")).status, 200)
        self.clock.advance(0.05)
        self.assertEqual(self.ask(head()).status, 200)
        self.refused(429, head())

    def test_rate_is_of_the_subscriber(self) -> None:
        """AGP-76: another of the own identities is no way around it."""
        claim = ("X-3GPP-Intended-Identity", '"tel:+15555550100"')
        for _ in range(30):
            self.ask(head())
            self.ask(head(INDEX, "GET", claim))
        self.refused(429, head(INDEX, "GET", claim))

    def test_client_leaves(self) -> None:
        """AGP-81: the work for a GET ends with its client; the record says so."""
        self.shared.answer = None
        work = self.start(head())
        work.cancel()
        self.failureResultOf(work, CancelledError)
        self.assertEqual(self.shared.cancelled, 1)
        self.assertEqual(self.records[-1].status, 499)
        self.assertEqual(self.proxy.abandoned, 1)

    def test_bug(self) -> None:
        """AGP-84: a fault of ours is not hidden, and is in the access log."""
        self.shared.answer = ZeroDivisionError()
        self.failureResultOf(self.start(head()), ZeroDivisionError)
        self.failureResultOf(self.start(head(INDEX, "PUT")), ZeroDivisionError)
        self.assertEqual(len(self.records), 2)

    def test_access_record(self) -> None:
        """AGP-84: what is told of a request; no credentials, no bodies, no query."""
        self.shared.answer = None
        target = INDEX + "/~~/x?xmlns(a=b)"
        work = self.start(head(target, "PUT", ("Content-Length", "4")), b"<a/>")
        self.clock.advance(0.5)
        self.shared.waiting[0].callback(HttpResponse(201, (), b"ok"))
        self.successResultOf(work)
        self.assertEqual(
            self.records,
            [
                ProxyRecord(
                    time=1_700_001_000.0,
                    request_id=REQUEST_ID,
                    peer=PEER,
                    username="alice",
                    identity=ALICE[0],
                    method="PUT",
                    target=INDEX + "/~~/x",
                    auid="resource-lists",
                    back_end="shared",
                    status=201,
                    received=4,
                    sent=2,
                    seconds=0.5,
                    auth_seconds=0.0,
                    upstream_seconds=0.5,
                )
            ],
        )

    def test_refused_record(self) -> None:
        """AGP-84: a request of nobody is told of as well."""
        self.ask(head(user=None))
        (record,) = self.records
        self.assertEqual((record.username, record.identity, record.back_end), ("-", "-", "-"))
        self.assertEqual(record.status, 401)

    def test_counters(self) -> None:
        """AGP-85: answers are counted; no name of a client becomes one of a counter."""
        self.ask(head())
        self.ask(head("/evil/users/a/b"))
        self.ask(head(INDEX, "BREW"))
        self.ask(head(user=None))
        self.assertEqual(
            self.proxy.requests,
            {
                ("resource-lists", "GET", 200): 1,
                ("-", "GET", 404): 1,
                ("resource-lists", "-", 200): 1,
                ("-", "GET", 401): 1,
            },
        )
