"""What a change costs a presentity with many watchers, by how many classes rules make of them.

Run: ``python bench/micro_views.py [watchers] [changes]``

The server of ``micro_server.py``, with a rule document in which each class of watchers has a
rule and permissions of its own.  Columns: classes; compositions and transformations for each
change, which are to be 1 and one for each class (RUL-26); microseconds of CPU for a change, all
NOTIFYs and their answers included, and for each watcher.  The last row is the cost without
sharing: every watcher is a class.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.clients import Source, Watcher
from bench.load import users
from bench.micro_server import Bench
from bench.servers import DOMAIN
from presence.interfaces import ICompositionPolicy
from presence.policy import OperatorWatcherPolicy
from presence.rules.decide import decide
from presence.rules.document import read_rules
from presence.rules.model import Context, Decision
from presence.rules.model import Watcher as Who
from presence.rules.transform import Transformation
from pysip.interfaces import Identity

HEAD = (
    '<cp:ruleset xmlns:cp="urn:ietf:params:xml:ns:common-policy"'
    ' xmlns:pr="urn:ietf:params:xml:ns:pres-rules">'
)
RULE = (
    '<cp:rule id="r{0}"><cp:conditions><cp:identity>{1}</cp:identity></cp:conditions>'
    "<cp:actions><pr:sub-handling>allow</pr:sub-handling></cp:actions><cp:transformations>"
    "<pr:provide-services><pr:all-services/></pr:provide-services>"
    "<pr:provide-note>true</pr:provide-note>"
    '<pr:provide-unknown-attribute name="n{0}" ns="urn:x">true</pr:provide-unknown-attribute>'
    "</cp:transformations></cp:rule>"
)


class Classes(OperatorWatcherPolicy):
    """Decides by rules, one for each class.

    :param watchers: URIs.
    :param classes: how many.
    """

    def __init__(self, watchers: Sequence[str], classes: int) -> None:
        super().__init__()
        rules = []
        for number in range(classes):
            ones = "".join(f'<cp:one id="{uri}"/>' for uri in watchers[number::classes])
            rules.append(RULE.format(number, ones))
        self._rules = read_rules(f"{HEAD}{''.join(rules)}</cp:ruleset>".encode(), "oma")

    def decide(self, presentity: str, watcher: Identity) -> Decision:
        """As the rules say."""
        who = Who(watcher.uris, watcher.anonymous)
        return decide(self._rules, frozenset((presentity,)), who, Context(0.0))


class Counted:
    """A composition policy that counts how often it composes."""

    def __init__(self, policy: ICompositionPolicy) -> None:
        self._policy = policy
        self.count = 0

    def compose(self, *arguments: Any) -> Any:
        """As the policy does."""
        self.count += 1
        return self._policy.compose(*arguments)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._policy, name)


def main() -> None:
    """Print one line for each number of classes."""
    number = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    changes = int(sys.argv[2]) if len(sys.argv) > 2 else 20
    transformed = [0]
    apply = Transformation.apply

    def counted(self: Transformation, root: Any) -> None:
        transformed[0] += 1
        apply(self, root)

    Transformation.apply = counted  # type: ignore[method-assign]
    print(
        f"{'classes':>8}{'compositions':>14}{'transformations':>17}{'us/change':>11}{'us/NOTIFY':>11}"
    )
    for classes in (1, 3, 10, number):
        bench = Bench()
        names = [name.encode() for name in users(number + 1)]
        source = Source(bench, names[0], DOMAIN.encode(), 0)
        watchers = [
            Watcher(bench, name, DOMAIN.encode(), n, source) for n, name in enumerate(names[1:], 1)
        ]
        bench.watchers = {watcher.call_id: watcher for watcher in watchers}
        package = bench.node.events.package
        package.watchers = Classes([watcher.aor.decode() for watcher in watchers], classes)
        package.composition = composed = Counted(package.composition)  # type: ignore[assignment]
        bench.run([source.publish])
        bench.run([watcher.subscribe for watcher in watchers])
        source.watchers.extend(watchers)
        gc.collect()
        gc.freeze()
        transformed[0] = composed.count = 0
        spent = bench.run([source.publish] * changes, 1)
        print(
            f"{classes:8}{composed.count / changes:14.1f}{transformed[0] / changes:17.1f}"
            f"{spent:11.0f}{spent / number:11.1f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
