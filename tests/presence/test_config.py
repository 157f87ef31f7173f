"""The configuration: decoding, messages, checks, and the annotated file."""

from __future__ import annotations

import os
import pathlib
import re
import tomllib
from typing import Any, get_args, get_origin

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from presence import config
from presence.addresses import is_address, is_host, parse_peer, sip_protocol, split_port
from presence.certificate import ensure_certificate
from presence.config import Config, ConfigError, Listen, default_listen, load, restart_required
from presence.tomlfile import dotted, line_of, toml
from pysip.uri import canonical_aor

ROOT = pathlib.Path(__file__).resolve().parents[2]
ANNOTATED = ROOT / "etc" / "presence.toml"


class ConfigCase(SynchronousTestCase):
    """Loads texts."""

    def setUp(self) -> None:
        """Make a directory, and forget what the environment says."""
        self.folder = pathlib.Path(self.mktemp()).absolute()
        self.folder.mkdir()
        self.patch(os, "environ", {k: v for k, v in os.environ.items() if k != "PRESENCE_STATE"})

    def write(self, text: str) -> str:
        """A file with ``text``; its name."""
        file = self.folder / "presence.toml"
        file.write_text(text, encoding="utf-8")
        return str(file)

    def load(self, text: str) -> Config:
        """The configuration that ``text`` makes."""
        return load(self.write(text))

    def refused(self, text: str) -> ConfigError:
        """The error that ``text`` makes."""
        return self.assertRaises(ConfigError, self.load, text)


class BuiltInTests(ConfigCase):
    """Without a file."""

    def test_loopback_only(self) -> None:
        """TRN-01, TRN-02: UDP, TCP and TLS on loopback, with Digest."""
        points = load().listen
        self.assertEqual({p.transport for p in points}, {"udp", "tcp", "tls"})
        self.assertTrue({p.address for p in points} <= {"127.0.0.1", "::1"})
        self.assertEqual(
            {(p.transport, p.bind_port) for p in points if p.address[0] == "1"},
            {("udp", 5060), ("tcp", 5060), ("tls", 5061)},
        )
        self.assertEqual({p.auth for p in points}, {"digest"})

    def test_defaults_of_the_specification(self) -> None:
        """PUB-04, SUB-04, NOT-13, LIM-01, CLI-04: the collected defaults."""
        c = load()
        for table in (c.publication, c.subscription):
            expires = (table.default_expires, table.min_expires, table.max_expires)
            self.assertEqual(expires, (3600, 60, 86400))
        self.assertEqual(c.subscription.notify_interval, 5.0)
        self.assertEqual(c.subscription.default_decision, "allow")
        self.assertEqual(c.limits.publications_per_presentity, 32)
        self.assertEqual(c.limits.subscriptions_per_watcher, 1000)
        self.assertEqual(c.limits.subscriptions_per_pair, 10)
        self.assertEqual(c.limits.pidf_size, 256 * 1024)

    def test_state_directory_order(self) -> None:
        """The option goes before the file, the file before the environment."""
        file = self.write('state_dir = "mine"')
        self.assertEqual(load().state_path, pathlib.Path(config.DEFAULT_STATE_DIR).expanduser())
        os.environ["PRESENCE_STATE"] = "/from/environment"
        self.assertEqual(load().state_path, pathlib.Path("/from/environment"))
        self.assertEqual(load(file).state_path, self.folder / "mine")
        self.assertEqual(load(file, "/from/option").state_path, pathlib.Path("/from/option"))
        self.assertEqual(load(file, "/o").store_path, pathlib.Path("/o/presence.sqlite"))

    def test_default_listen_is_distinct(self) -> None:
        """The built-in listening points pass the check for duplicates."""
        Config(listen=default_listen())


class MessageTests(ConfigCase):
    """Each message names file, line, key, what was found, what is expected and a remedy."""

    def test_wrong_type(self) -> None:
        """A text where a number belongs."""
        error = self.refused('[log]\nlevel = "info"\n[timers]\nt1 = "fast"\n')
        self.assertEqual(
            str(error),
            f'{self.folder}/presence.toml, line 4: timers.t1: found "fast", expected a number '
            "above 0; correct it, or leave the key out for the default 0.5",
        )
        self.assertEqual((error.key, error.line), ("timers.t1", 4))

    def test_unknown_key(self) -> None:
        """A misspelt key is refused, with the key that was meant."""
        error = self.refused("[subscription]\nnotify_intervall = 1\n")
        self.assertEqual((error.key, error.line), ("subscription.notify_intervall", 2))
        self.assertIn("did you mean notify_interval?", str(error))

    def test_no_toml(self) -> None:
        """Text that is no TOML: the parser's line and column."""
        error = self.refused("domains = [example.com]\n")
        self.assertIn("line 1, column 12", str(error))

    def test_missing_file(self) -> None:
        """A file that is not there."""
        error = self.assertRaises(ConfigError, load, str(self.folder / "none.toml"))
        self.assertIn("none.toml: found no file", str(error))

    def test_not_utf8(self) -> None:
        """A file in another encoding."""
        file = self.folder / "latin.toml"
        file.write_bytes(b'state_dir = "\xe4"')
        error = self.assertRaises(ConfigError, load, str(file))
        self.assertIn("UTF-8", str(error))

    def test_missing_key(self) -> None:
        """The one key without a default, at the header of its table."""
        error = self.refused('[[listen]]\ntransport = "udp"\n[[listen]]\nport = 5070\n')
        self.assertEqual((error.key, error.line), ("listen[1].transport", 3))
        self.assertIn("found nothing", str(error))

    def test_free_names(self) -> None:
        """Inside tables with names of the operator's own the name is told."""
        error = self.refused(
            'domains = ["example.com"]\n[domain."example.com"]\nnotify_interval = -1\n'
        )
        self.assertEqual((error.key, error.line), ('domain."example.com".notify_interval', 3))

    def refusals(self) -> list[tuple[str, str, str]]:
        """Texts, the key that is wrong in each, and words of its message."""
        udp = '[[listen]]\ntransport = "udp"\n'
        return [
            ('[content]\ntypes = ["text/html"]', "content.types[0]", "no browser runs"),
            ('[content]\ntypes = ["*/*"]', "content.types[0]", "media type"),
            ("[content]\nsize = 30000000", "content.size", "total_size"),
            ("[content]\ndefault_life = 9000000", "content.default_life", "max_life"),
            ('[content]\nproxies = ["x"]', "content.proxies[0]", "numeric address"),
            ('[content.uris]\n"ftp://x/" = "localhost"', 'content.uris."ftp://x/"', "https"),
            ('[content.uris]\n"https://x/" = "y.example"', 'content.uris."https://x/"', "domains"),
            (
                '[content.uris]\n"https://localhost:8443/" = "localhost"',
                'content.uris."https://localhost:8443/"',
                "no XCAP root below it",
            ),
            ('[[content.server]]\nuri = "x"', "content.server[0].uri", "https URI"),
            (
                '[[content.server]]\nuri = "https://x/"\nkey = "k"',
                "content.server[0].certificate",
                "pair",
            ),
            (
                "[[content.listen]]\nport = 8443",
                "content.listen[0]",
                "nothing else listens",
            ),
            ("roles = []", "roles", "at least one role"),
            ('roles = ["rl"]', "roles[0]", '"presence-server"'),
            ("domains = []", "domains", "at least one domain"),
            ('domains = ["a b"]', "domains[0]", "domain name"),
            ('domains = "example.com"', "domains", "list in brackets"),
            ('[domain_aliases]\n"a.b" = "x.example"', 'domain_aliases."a.b"', "domains"),
            ('[domain."x.example"]\nnotify_interval = 1', 'domain."x.example"', "add it to"),
            ("store = 1", "store", "a table"),
            ("listen = 1", "listen", "list in brackets"),
            (udp + "port = 65536", "listen[0].port", "from 0 to 65535"),
            (udp + 'port = "5060"', "listen[0].port", "from 0 to 65535"),
            (udp + 'address = "localhost"', "listen[0].address", "numeric IP address"),
            (udp + 'auth = "no"', "listen[0].auth", '"both", "digest", "none", "trust"'),
            (udp + 'advertise = "a b:1"', "listen[0].advertise", "host name"),
            (udp + 'advertise = "a:x"', "listen[0].advertise", "host name"),
            (udp + udp, "listen[1]", "no other"),
            (udp + 'certificate = "a"\nkey = "b"', "listen[0].certificate", "transport is tls"),
            ('[[listen]]\ntransport = "tls"\nkey = "b"', "listen[0].certificate", "other half"),
            ('[tls]\ncertificate = "x"', "tls.key", "other half"),
            ('[trust]\npeers = ["192.0.2.1/24"]', "trust.peers[0]", "no bits set"),
            ('[trust]\npeers = ["192.0.2.1:0"]', "trust.peers[0]", "numeric address"),
            ('[trust]\ntls_names = ["*"]', "trust.tls_names[0]", "domain name"),
            ("[digest]\nalgorithms = []", "digest.algorithms", "at least one"),
            ('[digest]\nalgorithms = ["MD5", "MD5"]', "digest.algorithms", "none twice"),
            ('[locator]\nnameservers = ["dns"]', "locator.nameservers[0]", "numeric"),
            ('[locator]\nnameservers = ["192.0.2.1:x"]', "locator.nameservers[0]", "numeric"),
            ('[locator.hosts]\n"a.example" = ["b"]', 'locator.hosts."a.example"[0]', "SIP URI"),
            ("[timers]\nt1 = inf", "timers.t1", "finite"),
            ("[timers]\nt1 = 5", "timers.t2", "at least t1"),
            ("[timers]\nt1 = true", "timers.t1", "a number"),
            ("[limits]\npidf_size = 2000000", "limits.pidf_size", "at most body_size"),
            ("[limits]\npublish_burst = 0", "limits.publish_burst", "not below 1"),
            ("[publication]\nmin_expires = 90000", "publication.min_expires", "max_expires"),
            ("[publication]\ndefault_expires = 30", "publication.default_expires", "min_expires"),
            ("[registrar]\nmax_expires = 600", "registrar.default_expires", "max_expires"),
            ("[subscription]\nmin_expires = 3601\ndefault_expires = 4000",
             "subscription.min_expires", "RFC 6665"),
            ("[overload]\nretry_after = 5", "overload.retry_after", "from 10 to 60"),
            ('[metrics]\naddress = "here"', "metrics.address", "numeric"),
            ("[metrics]\nenabled = 1", "metrics.enabled", "true or false"),
            ("[store]\npath = ''", "store.path", "not empty"),
            (
                '[publication]\nnetwork_sources = ["gateway"]',
                "publication.network_sources[0]",
                "network source",
            ),
            ('[trace]\nusers = ["alice"]', "trace.users[0]", "address of a user"),
            ("[trace]\nmax_size = 10", "trace.max_size", "not below 65536"),
        ]  # fmt: skip

    def test_refusals(self) -> None:
        """Every check of a value: the right key, and words that help."""
        for text, key, words in self.refusals():
            error = self.refused(text)
            self.assertEqual(error.key, key, text)
            self.assertIn(words, str(error), text)
            self.assertIsNotNone(error.line, text)

    def test_refusals_of_documents(self) -> None:
        """The same for document servers and the proxy."""
        for text, key, words in (
            ("[[proxy.listen]]\naddress = 'x'\nport = 1", "proxy.listen[0].address", "numeric"),
            ("[[proxy.listen]]\nport = 1\ncertificate = 'c'", "proxy.listen[0].key", "together"),
            (
                "[[xdms.listen]]\nport = 1\ntls = false\nclient_ca = 'c'",
                "xdms.listen[0].client_ca",
                "remove it",
            ),
            ("[[proxy.listen]]\nport = 5061", "proxy.listen[0]", "nothing else listens on"),
            (
                "[[xdms.listen]]\nport = 8080\n[[proxy.listen]]\nport = 8080",
                "proxy.listen[0]",
                "change its port",
            ),
            ("[http]\nbalancers = ['lb']", "http.balancers[0]", "numeric"),
            ("[xcap.roots]\n'ftp://x/' = 'localhost'", 'xcap.roots."ftp://x/"', "https URI"),
            ("[xcap.roots]\n'https://x/?q' = 'localhost'", 'xcap.roots."https://x/?q"', "query"),
            ("[xcap.roots]\n'https://x/' = 'other'", 'xcap.roots."https://x/"', "domains"),
            ("[[xcap.trusted]]\nread = true", "xcap.trusted[0].identity", "either"),
            ("[[xcap.trusted]]\nidentity = 'x'", "xcap.trusted[0].identity", "address"),
            ("[xcap]\nservice_template = 'x'", "xcap.service_template", "<id>"),
            ("[xdms]\nproxies = ['x']", "xdms.proxies[0]", "network"),
            (
                "[[proxy.backend]]\nname = 'a'\nservers = []",
                "proxy.backend[0].servers",
                "at least one",
            ),
            (
                "[[proxy.backend]]\nname = 'a'\nservers = ['x']",
                "proxy.backend[0].servers[0]",
                "https URI",
            ),
            (
                "[[proxy.backend]]\nname = 'a'\nservers = ['http://x']\nkey = 'k'",
                "proxy.backend[0].certificate",
                "together",
            ),
            (
                "[[proxy.backend]]\nname = 'a'\nservers = ['http://x']\n"
                "[[proxy.backend]]\nname = 'a'\nservers = ['http://y']",
                "proxy.backend[1].name",
                "of its own",
            ),
            ("[proxy]\nalgorithms = []", "proxy.algorithms", "at least one"),
            ("[fetch]\nidentity = 'x'", "fetch.identity", "address"),
            ("[fetch]\nexpires = 10", "fetch.expires", "from 60"),
            (
                "[[fetch.server]]\nname = 'a'\nservers = ['http://x']\n"
                "[[fetch.server]]\nname = 'a'\nservers = ['http://y']",
                "fetch.server[1].name",
                "of its own",
            ),
            (
                "[[fetch.server]]\nname = 'a'\nservers = ['http://x']\nsip = ['alice@x']",
                "fetch.server[0].sip[0]",
                "SIP URI of a server",
            ),
            (
                "[[fetch.server]]\nname = 'a'\nservers = ['http://x']\nsip = ['sip:x', 'sip:y']",
                "fetch.server[0].sip",
                "one for each",
            ),
            (
                "[[listen]]\ntransport = 'udp'\n"
                "[[fetch.server]]\nname = 'a'\nservers = ['http://x']\nsip = ['sips:x']",
                "fetch.server[0].sip[0]",
                "such a [[listen]]",
            ),
            ("roles = ['aggregation-proxy']", "proxy.backend", "behind the proxy"),
            ("[rls]\nidentity = 'x'", "rls.identity", "address"),
            ("[rls]\nroute = 'core'", "rls.route", "SIP URI of a server"),
        ):
            error = self.refused(text)
            self.assertEqual(error.key, key, text)
            self.assertIn(words, str(error), text)

    def test_long_values_are_cut(self) -> None:
        """A message stays one line of bearable length."""
        error = self.refused(f'[log]\nlevel = "{"x" * 1000}"')
        self.assertLess(len(str(error)), 400)
        self.assertNotIn("\n", str(error))

    def test_line_of_nearest(self) -> None:
        """A key in an inline table is found at the line of the table."""
        text = '# c\nlocator.hosts = { "a.example" = [\n"sip:b"] }\n'
        self.assertEqual(line_of(text, ("locator", "hosts", "a.example", 0)), 2)
        self.assertIsNone(line_of("", ("a",)))


class ContentTests(ConfigCase):
    """Where the Content Server is reached (AGP-107)."""

    def told(self, text: str) -> tuple[dict[str, str], list[int]]:
        """Base URIs, and ports of its own."""
        made = load(self.write(text))
        return made.content_uris(), [at.port for at in made.content.listen]

    def test_shared(self) -> None:
        """With the proxy in the same process it is below the XCAP roots, by the same ports."""
        self.assertEqual(self.told(""), ({"https://localhost:8443/cs/": "localhost"}, []))
        uris, ports = self.told('domains = ["Example.com"]')
        self.assertEqual((uris, ports), ({"https://xcap.example.com/cs/": "example.com"}, []))

    def test_own(self) -> None:
        """Alone it has a port of its own; what is configured counts."""
        uris, ports = self.told('roles = ["content-server"]')
        self.assertEqual((uris, ports[0]), ({"https://localhost:8444/cs/": "localhost"}, 8444))
        uris, ports = self.told('domains = ["example.com"]\n[[content.listen]]\nport = 9443')
        self.assertEqual(
            (uris, ports), ({"https://content.example.com/cs/": "example.com"}, [9443])
        )
        uris, _ = self.told('[content.uris]\n"https://h.example/objects" = "localhost"')
        self.assertEqual(uris, {"https://h.example/objects/": "localhost"})

    def test_absent(self) -> None:
        """A process without the role has no port for it."""
        self.assertEqual(self.told('roles = ["presence-server"]')[1], [])


class FileTests(ConfigCase):
    """Certificates and other files that the configuration names."""

    def test_pair_accepted(self) -> None:
        """Relative names are relative to the file; the pair is used by the listening point."""
        ensure_certificate(self.folder, ["ps.example"])
        c = self.load(
            '[tls]\ncertificate = "tls/certificate.pem"\nkey = "tls/key.pem"\n'
            '[[listen]]\ntransport = "tls"\n'
        )
        self.assertEqual(
            c.certificate_files(c.listen[0]),
            (self.folder / "tls/certificate.pem", self.folder / "tls/key.pem"),
        )

    def test_none_means_generated(self) -> None:
        """TRN-02: TLS without a certificate is possible."""
        c = self.load('[[listen]]\ntransport = "tls"\n')
        self.assertIsNone(c.certificate_files(c.listen[0]))

    def refused_pair(self, certificate: str, key: str) -> ConfigError:
        """The error that a certificate and key make."""
        return self.refused(
            f'[[listen]]\ntransport = "tls"\ncertificate = "{certificate}"\nkey = "{key}"\n'
        )

    def test_unreadable(self) -> None:
        """A certificate that is not there, and one that is a directory."""
        error = self.refused_pair("none.pem", "none.key")
        self.assertEqual((error.key, error.line), ("listen[0].certificate", 3))
        self.assertIn("No such file", str(error))
        self.assertIn("Is a directory", str(self.refused_pair(".", ".")))

    def test_wrong_content(self) -> None:
        """Files that hold something else."""
        ensure_certificate(self.folder, ["ps.example"])
        (self.folder / "text").write_text("hello")
        self.assertIn("PEM certificates", str(self.refused_pair("text", "text")))
        error = self.refused_pair("tls/certificate.pem", "text")
        self.assertEqual(error.key, "listen[0].key")
        self.assertIn("PEM private key", str(error))

    def test_mismatch(self) -> None:
        """A key that belongs to another certificate."""
        ensure_certificate(self.folder / "a", ["ps.example"])
        ensure_certificate(self.folder / "b", ["ps.example"])
        error = self.refused_pair("a/tls/certificate.pem", "b/tls/key.pem")
        self.assertEqual(error.key, "listen[0].key")
        self.assertIn("do not fit together", str(error))

    def test_authorities(self) -> None:
        """A file of authorities is tried as well."""
        (self.folder / "empty.pem").write_text("")
        self.assertEqual(self.refused('[tls]\nca = "empty.pem"').key, "tls.ca")
        self.assertEqual(self.refused('[tls]\nclient_ca = "none.pem"').key, "tls.client_ca")


class AccessTests(ConfigCase):
    """What the tables say when asked."""

    def test_domain_overrides(self) -> None:
        """NOT-13: a domain has its own interval, 0 included; the rest is general."""
        c = self.load(
            'domains = ["a.example", "b.example"]\n[subscription]\ndefault_decision = "block"\n'
            '[domain."A.example"]\nnotify_interval = 0\n'
        )
        self.assertEqual(c.notify_interval("a.example"), 0.0)
        self.assertEqual(c.notify_interval("b.example"), 5.0)
        self.assertEqual(c.default_decision("a.example"), "block")

    def test_peers(self) -> None:
        """IMS-01: addresses, networks and ports of trusted peers."""
        c = self.load('[trust]\npeers = ["192.0.2.7:5060", "2001:db8::/32", "[::1]:5070"]')
        self.assertEqual(
            [(str(network), port) for network, port in c.trust.networks],
            [("192.0.2.7/32", 5060), ("2001:db8::/32", None), ("::1/128", 5070)],
        )

    def test_one_port_for_udp_and_tcp(self) -> None:
        """UDP and TCP share a port number; port 0 is never a duplicate."""
        self.load('[[listen]]\ntransport = "udp"\n[[listen]]\ntransport = "tcp"\n')
        self.load('[[listen]]\ntransport = "udp"\nport = 0\n' * 2)

    def test_restart_required(self) -> None:
        """NFR-02: what a reload can change is not named, the rest is, by key."""
        old = Config(listen=(Listen("udp"),))
        new = msgspec.structs.replace(
            old,
            listen=(Listen("tcp"),),
            subscription=config.Subscription(notify_interval=0.0),
            limits=config.Limits(publish_rate=0.0, body_size=2000000),
        )
        self.assertEqual(restart_required(old, new), ["listen", "limits.body_size"])
        self.assertEqual(restart_required(old, old), [])

    def test_reloadable_keys_exist(self) -> None:
        """The reloadable names are names of keys."""
        keys = set(Config.__struct_fields__) | set(defaults(Config))
        self.assertLessEqual(config.RELOADABLE, keys)

    def test_warnings(self) -> None:
        """What is allowed but dangerous or senseless is named."""
        found = config.warnings(
            self.load(
                '[[listen]]\ntransport = "udp"\naddress = "0.0.0.0"\nauth = "none"\n'
                '[[listen]]\ntransport = "tls"\naddress = "0.0.0.0"\nauth = "trust"\n'
                '[store]\ntype = "memory"\n[trace]\nusers = ["a@localhost"]\n'
            )
        )
        self.assertEqual(len(found), 6, found)
        self.assertEqual(config.warnings(load()), [])

    def test_rules_out_of_reach(self) -> None:
        """A Presence Server that reads no rules of users is warned of."""
        alone = "roles = ['presence-server']\n"
        (told,) = config.warnings(self.load(alone))
        self.assertIn("[[fetch.server]]", told)
        server = "[[fetch.server]]\nservers = ['http://127.0.0.1:1/']\n"
        for more in (
            "name = 'presence-xdms'",
            "name = 'a'\nauids = ['org.openmobilealliance.pres-rules']",
        ):
            self.assertEqual(config.warnings(self.load(alone + server + more)), [])

    def test_ways(self) -> None:
        """The transport by which a server elsewhere is reached."""
        for text, protocol in {
            "sip:192.0.2.7": "UDP",
            "sip:x.example:5070;transport=TCP": "TCP",
            "sip:[2001:db8::7]:5060;transport=tls": "TLS",
            "sips:x.example": "TLS",
            "sip:a@x.example": None,
            "sip:x.example;lr": None,
            "sip:x.example;transport=sctp": None,
            "sip:x.example:0": None,
            "http://x.example": None,
        }.items():
            self.assertEqual(sip_protocol(text), protocol, text)

    def test_http_warnings(self) -> None:
        """HTTP without TLS, and a certificate nobody trusts, on public addresses."""
        found = config.warnings(
            self.load(
                "[[listen]]\ntransport = 'tcp'\n"
                "[[proxy.listen]]\naddress = '192.0.2.1'\nport = 443\n"
                "[[xdms.listen]]\naddress = '192.0.2.1'\nport = 80\ntls = false\n"
            )
        )
        self.assertEqual(len(found), 2, found)
        self.assertIn("no TLS", found[0])
        self.assertIn("self-signed", found[1])

    def test_proxy_has_no_sip(self) -> None:
        """Subscriptions to changes do not pass the proxy: by itself it speaks no SIP (AGP-60)."""
        backend = "[[proxy.backend]]\nname = 'a'\nservers = ['http://127.0.0.1:1/']"
        told = self.load(f"roles = ['aggregation-proxy']\n{backend}")
        self.assertEqual(told.listen, ())
        self.assertEqual([at.port for at in told.proxy.listen[:1]], [8443])

    def test_roots(self) -> None:
        """The roots without configuration, and as configured (XCAP-02, XCAP-03, XCAP-04)."""
        self.assertEqual(load().xcap_roots(), {"https://localhost:8443/": "localhost"})
        told = self.load("domains = ['Example.com', '192.0.2.1']\n[[proxy.listen]]\nport = 444")
        self.assertEqual(
            told.xcap_roots(),
            {
                "https://xcap.example.com/": "example.com",
                "https://192.0.2.1:444/": "192.0.2.1",
            },
        )
        told = self.load("[xcap.roots]\n'https://a.example/x' = 'localhost'")
        self.assertEqual(told.xcap_roots(), {"https://a.example/x/": "localhost"})

    def test_user_addresses(self) -> None:
        """OBS-02: addresses as an operator may write them; each has a canonical form."""
        for good in ("a@b.example", "sip:a.b@192.0.2.1", "pres:a@b", "sips:a@b", "tel:+4930"):
            self.assertTrue(is_address(good), good)
            canonical_aor(good if ":" in good else f"sip:{good}")
        for bad in (
            "a",
            "@b",
            "a@",
            "a b@c",
            "sip:c",
            "tel:",
            "tel:49",
            "tel:+x",
            "im:a@b@",
            "ä@b",
            "a@b c",
        ):
            self.assertFalse(is_address(bad), bad)

    @given(
        st.text(st.characters(max_codepoint=130), max_size=12),
        st.sampled_from(["", "sip:", "pres:", "tel:", "tel:+"]),
    )
    def test_addresses_have_a_canonical_form(self, user: str, scheme: str) -> None:
        """OBS-02: whatever passes the check can be traced."""
        text = f"{scheme}{user}" if scheme[:3] == "tel" else f"{scheme}{user}@example.com"
        if is_address(text):
            canonical_aor(text if scheme else f"sip:{text}")

    def test_hosts_and_ports(self) -> None:
        """Names and addresses as an operator may write them."""
        for good in ("a", "a.example", "a.example.", "192.0.2.1", "::1", "x-1.example", "_a.b"):
            self.assertTrue(is_host(good), good)
        for bad in ("", ".", "a..b", "-a", "a-", "a b", "[::1]", "a:1", "ä.example", "x" * 64):
            self.assertFalse(is_host(bad), bad)
        self.assertEqual(split_port("[::1]:5060"), ("::1", 5060))
        self.assertEqual(split_port("[::1]"), ("::1", None))
        self.assertEqual(split_port("::1"), ("::1", None))
        self.assertEqual(split_port("a:1"), ("a", 1))
        for bad in ("a:", "a:0", "a:65536", "[::1]5060", "[::1", "a:+1"):
            self.assertRaises(ValueError, split_port, bad)
        self.assertRaises(ValueError, parse_peer, "a.example")

    def test_dotted(self) -> None:
        """Keys are written as TOML writes them."""
        self.assertEqual(dotted(("a", 0, "b c", "d-e")), 'a[0]."b c".d-e')


def defaults(kind: type[msgspec.Struct], prefix: str = "") -> dict[str, str]:
    """The dotted keys of a struct with their defaults in TOML; ``*`` stands for free names."""
    found = {}
    for field in msgspec.structs.fields(kind):
        name, inner, origin = prefix + field.name, field.type, get_origin(field.type)
        if origin in (tuple, dict):
            inner = get_args(inner)[1 if origin is dict else 0]
        if isinstance(inner, type) and issubclass(inner, msgspec.Struct):
            found |= defaults(inner, name + (".*." if origin is dict else "."))
            continue
        default = field.default
        if default is msgspec.NODEFAULT and field.default_factory is not msgspec.NODEFAULT:
            default = field.default_factory()
        found[name] = "" if default in (None, msgspec.NODEFAULT) else toml(default)
    return found


def written(table: dict[str, Any], prefix: str = "") -> set[str]:
    """The dotted keys of TOML data, as :func:`defaults` names them."""
    found = set()
    for key, value in table.items():
        name = prefix + key
        found.add(name)
        for inner in value if isinstance(value, list) else [value]:
            if name == "domain":
                for own in inner.values():
                    found |= written(own, "domain.*.")
            elif isinstance(inner, dict):
                found |= written(inner, name + ".")
    return found


class AnnotatedFileTests(ConfigCase):
    """``etc/presence.toml`` and the operator's guide say what the code does."""

    def test_values_are_the_defaults(self) -> None:
        """Loading it gives the built-in configuration, on IPv4."""
        told, built_in = load(ANNOTATED), load()
        self.assertEqual(told.proxy.listen, built_in.proxy.listen[:1])
        told, built_in = (
            msgspec.structs.replace(c, proxy=msgspec.structs.replace(c.proxy, listen=()))
            for c in (told, built_in)
        )
        self.assertEqual(
            msgspec.structs.replace(told, listen=()), msgspec.structs.replace(built_in, listen=())
        )
        self.assertEqual(
            [(p.transport, p.address, p.bind_port, p.auth) for p in told.listen],
            [(p.transport, p.address, p.bind_port, p.auth) for p in default_listen()[:3]],
        )
        for point in told.listen:
            self.assertEqual(
                msgspec.structs.replace(point, port=None), Listen(transport=point.transport)
            )

    def test_every_key_is_there(self) -> None:
        """No key is missing; the keys of ``[domain]`` stand in comments."""
        text = ANNOTATED.read_text(encoding="utf-8")
        commented = r"^# (?=\[domain\.|notify_interval|default_decision|\[\[|[a-z_]+ = )"
        text = re.sub(commented, "", text, flags=re.M)
        text = text.replace('identity = ""', 'identity = "sip:rls@example.com"')
        text = text.replace('domains = ["localhost"]', 'domains = ["localhost", "example.com"]')
        load(self.write(text))
        self.assertEqual(set(defaults(Config)) - written(tomllib.loads(text)), set())

    def test_guide(self) -> None:
        """docs/operator.md lists each key with its default and whether a reload applies it."""
        guide = (ROOT / "docs" / "operator.md").read_text(encoding="utf-8")
        row = re.compile(r"^\| `([^`]+)` \| (?:`([^`]*)`)? *\| [^|]* \| (yes)? *\|$", re.M)
        rows = [found.groups(default="") for found in row.finditer(guide)]
        self.assertEqual({key: default for key, default, _ in rows}, defaults(Config))
        for key, _, reload in rows:
            reloadable = not {key, key.partition(".")[0]}.isdisjoint(config.RELOADABLE)
            self.assertEqual(bool(reload), reloadable, key)

    def test_examples(self) -> None:
        """The examples load."""
        examples = list((ROOT / "etc" / "examples").glob("*.toml"))
        self.assertGreaterEqual(len(examples), 3)
        for file in examples:
            load(file)
