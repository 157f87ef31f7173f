"""``presencectl`` by hand against a real server (issue 4, item 7)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import quote

from presence.commands.failures import REFUSED
from tests.e2e.daemon import PASSWORD, ROOT
from tests.e2e.phone import aor, notes
from tests.e2e.test_rules import LISTS, RULES, RulesTestCase, one, rich, rule, ruleset
from tests.e2e.wire import HOST

IETF = f"/pres-rules/users/{quote(aor('alice'), safe=':@')}/index"


class CommandTestCase(RulesTestCase):
    """Base: people at terminals."""

    def ctl(self, *words: str, status: int = 0, user: str = "alice") -> str:
        """Run a command and give what it has said."""
        secret = self.server.directory / "secret"
        secret.write_text(f"{PASSWORD}\n")
        common = ["--user", aor(user), "--password-file", str(secret)]
        if words[0] in ("watchers", "watch", "publish") or words[:2] == ("rules", "explain"):
            common += ["--server", f"{HOST}:{self.server.port('tcp')}", "--transport", "tcp"]
        if words[0] in ("authorize", "rules"):
            common += ["--root", self.xdm.root, "--ca", self.xdm.proxy.certificate]
        done = subprocess.run(
            [sys.executable, "-m", "presence.ctl", *words, *common],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore", "TZ": "UTC"},
            capture_output=True,
            text=True,
            timeout=60,
        )
        self.assertEqual(done.returncode, status, (words, done.stdout, done.stderr))
        return done.stdout + done.stderr


class Deciding(CommandTestCase):
    """presencectl watchers, authorize and rules explain."""

    def test_reactive(self) -> None:
        """One sees who waits, decides, and is told why."""
        watch = self.watch(self.bob, 202)
        self.assertTold(self.bob, watch, "pending")
        self.assertIn(f"{aor('bob')}: pending (subscribe)", self.ctl("watchers", "--fetch"))
        self.assertIn("no rules", self.ctl("rules", "explain", "bob", status=1))
        self.assertEqual(self.ctl("authorize", "bob", "allow"), f"{aor('bob')}: allow\n")
        self.assertEqual(notes(self.assertTold(self.bob, watch, "active")), ["here"])
        self.assertIn('"status": "active"', self.ctl("watchers", "--fetch", "--json"))
        self.assertIn("already", self.ctl("authorize", aor("bob"), "allow"))
        told = self.ctl("rules", "explain", "bob")
        self.assertTrue(told.startswith(f"{aor('bob')}: allow\n"), told)
        self.assertIn("rule presencectl_allow (allow): used", told)
        self.assertIn("rule wp_prs_unlisted (confirm): not used", told)
        told = self.ctl("rules", "explain", "carol", "--json")
        self.assertEqual(json.loads(told)["decision"], "confirm")
        self.assertTold(self.carol, self.watch(self.carol, 202), "pending")
        self.ctl("authorize", "bob", "polite-block")
        self.assertEqual(notes(self.assertTold(self.bob, watch, "active")), [])
        self.ctl("authorize", "bob", "block")
        self.assertTold(self.bob, watch, "terminated;reason=rejected")

    def test_ietf(self) -> None:
        """Who has a document of the IETF only has that edited, and it decides (XDM-100)."""
        self.client.store(IETF, ruleset(rule("bob", one("bob"), "confirm")))
        watch = self.watch(self.bob, 202)
        self.assertTold(self.bob, watch, "pending")
        self.assertEqual(self.ctl("authorize", "bob", "allow"), f"{aor('bob')}: allow\n")
        self.assertEqual(notes(self.assertTold(self.bob, watch, "active")), ["here"])
        self.assertIn(b"presencectl_allow", self.client.get(IETF).body)
        told = json.loads(self.ctl("rules", "explain", "bob", "--json"))
        self.assertEqual((told["decision"], told["documents"]), ("allow", ["pres-rules/index"]))
        everybody = rule("all", "<cp:identity><cp:many/></cp:identity>", "allow")
        self.client.store(IETF, ruleset(everybody))
        told = self.ctl("authorize", "bob", "block", status=REFUSED)
        self.assertIn("it would still be allow: rule all (identity many): allow", told)
        self.assertNotIn(b"presencectl", self.client.get(IETF).body)

    def test_lists_and_sphere(self) -> None:
        """Lists are resolved as the server does, and the sphere is the one that is published.

        XDM-116, XDM-120.
        """
        step = 'resource-lists/list[@name="friends"]'
        anchor = f"{self.xdm.root.rstrip('/')}{LISTS}/~~/{quote(step, safe='/@=')}"
        members = f'<list name="friends"><entry uri="{aor("bob")}"/></list>'
        space = "urn:ietf:params:xml:ns:resource-lists"
        self.client.store(
            LISTS, f'<resource-lists xmlns="{space}">{members}</resource-lists>'.encode()
        )
        listed = f"<ocp:external-list><ocp:entry anc='{anchor}'/></ocp:external-list>"
        self.write(
            rule("office", f'{listed}<cp:sphere value="work"/>', "allow"),
            rule("friends", listed, "confirm"),
        )
        told = json.loads(self.ctl("rules", "explain", "bob", "--json"))
        self.assertEqual((told["decision"], told["sphere"]), ("confirm", None))
        self.assertEqual(told["lists"][anchor], {"members": 1, "holds": True, "problems": []})
        self.assertEqual(
            [(o["sphere"], o["decision"]) for o in told["outlook"]], [("work", "allow")]
        )
        sphere = b"<r:sphere><r:work/></r:sphere></dm:person>"
        self.alice.publish(rich().replace(b"</dm:person>", sphere))
        told = self.ctl("rules", "explain", "bob")
        self.assertTrue(told.startswith(f"{aor('bob')}: allow\n"), told)
        self.assertIn("sphere: work", told)
        self.assertTold(self.bob, self.watch(self.bob, 200), "active")
        told = self.ctl("rules", "explain", "carol")
        self.assertTrue(told.startswith(f"{aor('carol')}: block\n"), told)


class Operating(CommandTestCase):
    """What operators see."""

    changed: ClassVar[dict[str, Any]] = {
        "override": {
            "before": [{"name": "refused", "decision": "block", "watchers": ["bob@example.com"]}]
        },
        "xcap": {
            "trusted": [
                {
                    "identity": "sip:carol@example.com",
                    "auids": [
                        "org.openmobilealliance.pres-rules",
                        "pres-rules",
                        "resource-lists",
                        "org.openmobilealliance.xcap-directory",
                    ],
                }
            ]
        },
    }

    def test_explain(self) -> None:
        """Why a watcher is refused or pending, with the lists and defaults of the operator.

        PSV-11, XDM-139, XDM-150.
        """
        config = ("--presentity", "alice", "--config", str(self.server.config))
        self.assertTold(self.alice, self.watch(self.alice, 200), "active")
        pending = self.phone("dave")
        self.assertTold(pending, self.watch(pending, 202), "pending")
        told = self.ctl("rules", "explain", "dave", *config, user="carol")
        self.assertTrue(told.startswith(f"{aor('dave')}: confirm\n"), told)
        self.assertIn("none, so that the operator's default decides", told)
        self.write(rule("friends", one("bob"), "allow"))
        self.watch(self.bob, 403)
        told = self.ctl("rules", "explain", "bob", *config, user="carol")
        self.assertTrue(told.startswith(f"{aor('bob')}: block\n"), told)
        self.assertIn("operator's list before the rules refused (block): used", told)
        self.assertIn("rule friends (allow): not used", told)
        told = self.ctl("rules", "explain", "bob")
        self.assertTrue(told.startswith(f"{aor('bob')}: allow\n"), told)
        self.assertIn("not seen from here: what the operator", told)
        self.assertEqual(self.client.delete(RULES).status, 200)
        self.client.store(IETF, ruleset(rule("dave", one("dave"), "polite-block")))
        told = json.loads(self.ctl("rules", "explain", "dave", "--json", *config, user="carol"))
        self.assertEqual(told["decision"], "polite-block")
        self.assertEqual(told["documents"], ["pres-rules/index"])
        told = self.ctl("rules", "explain", "bob", "--presentity", "alice", status=1, user="bob")
        self.assertIn("403", told)
        self.ctl("rules", "explain", "bob", "--config", str(Path("none.toml")), status=2)


class Showing(CommandTestCase):
    """presencectl publish and watch."""

    changed: ClassVar[dict[str, Any]] = {"subscription": {"default_decision": "allow"}}

    def test_rich(self) -> None:
        """What one says about oneself the other sees, in lines and in parts."""
        icon = "https://icons.example.com/me.png"
        self.ctl(
            *("publish", "--once", "--activity", "meeting", "--activity", "Gartenarbeit"),
            *("--mood", "happy", "--place", "office", "--sphere", "work", "--icon", icon),
            *("--note", "back at ten", "--device", "urn:uuid:8e56a60a-0d07-4c5b-b1e7-0d29cc2b0aa1"),
            user="carol",
        )
        lines = self.ctl("watch", "carol", "--fetch", user="bob").splitlines()
        self.assertRegex(
            lines[0],
            rf'^[\d:]{{8}}  {aor("carol")}  open  meeting, Gartenarbeit, happy "back at ten"$',
        )
        self.assertEqual(
            [line.strip() for line in lines[1:]],
            [
                "person       at office; sphere work",
                "device       urn:uuid:8e56a60a-0d07-4c5b-b1e7-0d29cc2b0aa1",
                f"status-icon  {icon}",
            ],
        )
        told = json.loads(self.ctl("watch", "carol", "--fetch", "--json", user="bob"))
        self.assertEqual(told["persons"][0]["place_types"][0]["values"], ["office"])
        self.assertEqual(told["activities"], ["meeting", "Gartenarbeit"])
