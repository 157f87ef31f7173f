"""Request targets and octets that mean ill: nothing is reached, and life goes on."""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Iterator

from tests.chaos.test_xdm_hostile import HOME, INDEX, HostileTestCase
from tests.e2e.phone import aor
from tests.e2e.xdm import DOCUMENT, LISTS_TYPE

_SECONDS = 30.0
_SEED = 20_260_302


class Targets(HostileTestCase):
    """Request targets that try to be something else."""

    def test_paths(self) -> None:
        """Traversal, slashes in disguise, bad UTF-8 (XCAP-10, XCAP-12, XCAP-13, AGP-56)."""
        before = sorted(path.name for path in self.xdm.proxy.directory.rglob("*"))
        for status, targets in (
            (
                404,
                (
                    f"{HOME}/../../../../etc/passwd",
                    f"{HOME}/..%2f..%2fetc%2fpasswd",
                    f"{HOME}/%2e%2e/index",
                    f"{HOME}/.%2E/{aor('bob')}/index",
                    f"/resource-lists/users/{aor('bob')}/../{aor('alice')}/index",
                    f"/resource-lists/users/{aor('bob')}%2F..%2F{aor('alice')}/index",
                    f"/resource-lists/users%2F{aor('alice')}%2Findex",
                    f"/resource-lists%2Fusers/{aor('alice')}/index",
                    f"{HOME}%2Findex",
                    f"{HOME}%2findex",
                    f"{HOME}//index",
                    f"{HOME}/./index",
                    f"{HOME}/index/",
                    f"{HOME}/index%2F",
                    f"{HOME}/dir%2Findex",
                    f"{HOME}/index%00",
                    f"{HOME}/index%00.xml",
                    f"{HOME}/%252e%252e/index",
                    f"/{'../' * 50}etc/passwd",
                    "/resource-lists/users/sip:alice%00@example.com/index",
                ),
            ),
            (
                400,
                (
                    f"{HOME}/%c0%ae%c0%ae/index",
                    f"{HOME}%c0%afindex",
                    f"{HOME}/%ff%fe",
                    f"{HOME}/%ed%a0%80",
                    f"{HOME}/%f4%90%80%80",
                    f"{HOME}/%u002e/index",
                    f"{HOME}/index%",
                    f"{HOME}/index%2",
                    f"{INDEX}/~~/%ff",
                    f"{INDEX}/~~/*?%ff",
                    f"{INDEX}/~~/*?xmlns(a=%c0%af)",
                    f"{INDEX}#/../..",
                ),
            ),
        ):
            for target in targets:
                for method in ("GET", "PUT", "DELETE"):
                    body = DOCUMENT if method == "PUT" else None
                    answer = self.client.ask(method, target, body, content_type=LISTS_TYPE)
                    wanted = status
                    if "%252e" in target and method == "PUT":
                        wanted = 409  # a directory of that name, which there is none of
                    self.assertEqual(answer.status, wanted, (method, target))
        after = sorted(path.name for path in self.xdm.proxy.directory.rglob("*"))
        self.assertEqual(after, before)
        self.check()

    def test_selectors(self) -> None:
        """Selectors and queries made to take long do not (XCAP-34, XCAP-42)."""
        for status, tail in (
            (404, "[" * 7000),
            (404, "a" * 7000),
            (404, "*" + "[1]" * 2000),
            (404, "*[@a=%22" + "&" * 7000 + "%22]"),
            (404, "*[@" + "a:" * 3000 + "=%22%22]"),
            (404, "*[" + "9" * 7000 + "]"),
            (404, "*/" * 63 + "*"),
            (414, "*/" * 64 + "*"),
            (400, "*?" + "(" * 7000),
            (400, "*?xmlns(a=" + "(" * 7000),
            (400, "*?" + "xmlns(a=b" * 700),
            (400, "*?" + "%5e" * 2300),
            (200, "*?" + "xmlns(a=b)" * 700),
            (414, "a" * 9000),
        ):
            began = time.monotonic()
            answer = self.client.get(f"{INDEX}/~~/{tail}")
            self.assertEqual(answer.status, status, (tail[:30], answer.body))
            self.assertLess(time.monotonic() - began, _SECONDS)
        self.check()

    def test_random_octets(self) -> None:
        """Whatever comes over TLS is refused or ignored (AGP-74)."""
        rng = random.Random(_SEED)
        whole = self.head("PUT", INDEX, f"Content-Type: {LISTS_TYPE}", "Content-Length: 10")

        def mutated() -> Iterator[bytes]:
            for _ in range(150):
                octets = bytearray(whole + b"0123456789")
                for _ in range(rng.randrange(1, 6)):
                    place = rng.randrange(len(octets))
                    choice = rng.randrange(3)
                    if choice == 0:
                        octets[place] = rng.randrange(256)
                    elif choice == 1:
                        del octets[place : place + rng.randrange(20)]
                    else:
                        octets[place:place] = rng.randbytes(rng.randrange(20))
                yield bytes(octets)
            for _ in range(50):
                yield rng.randbytes(rng.randrange(1, 500))

        for octets in mutated():
            with self.connect() as sock, contextlib.suppress(OSError):
                sock.sendall(octets)
                sock.unwrap().close()
        self.check()
