"""The product's filters and an oracle by lxml's XPath agree (FLT-10 to FLT-17)."""

from __future__ import annotations

import itertools
import random

from lxml import etree
from twisted.trial.unittest import SynchronousTestCase

from presence.filters.content import select
from presence.filters.document import read_filters
from presence.filters.triggers import fired
from presence.pidf.validate import accept
from tests.presence import filters_oracle
from tests.presence.publications import Publications
from tests.presence.random_filters import TRIGGERS, RandomFilters
from tests.presence.view_oracle import canonical

DOCUMENTS = 150
EACH = 8


class OracleTests(SynchronousTestCase):
    """Random documents with random filters."""

    def documents(self, source: random.Random) -> list[bytes]:
        """Valid documents, each after the other."""
        made = Publications(source)
        return [
            accept(
                made.document("sip:bob@example.com", alone=source.random() < 0.7)[0],
                entity_ok=lambda entity: True,
                strict=True,
            )
            for _ in range(DOCUMENTS)
        ]

    def test_content(self) -> None:
        """FLT-04, FLT-05, FLT-07, FLT-09 to FLT-12: what is left of a document."""
        source = random.Random(4661)
        filters = RandomFilters(source)
        nothing = 0
        for document in self.documents(source):
            for _ in range(EACH):
                asked = filters.asked(0.0)
                (read,) = read_filters(
                    filters_oracle.filter_set(asked.element("f")), "presence"
                ).filters
                left = select(document, read.what)
                root = None if left is None else etree.fromstring(left)
                found = canonical(root) if root is not None and len(root) else None
                self.assertEqual(found, filters_oracle.select(document, asked), asked)
                nothing += found is None
        self.assertTrue(0 < nothing < DOCUMENTS * EACH / 2)

    def test_triggers(self) -> None:
        """FLT-06, FLT-15 to FLT-17: whether a change is waited for."""
        source = random.Random(4660)
        documents = self.documents(source)
        told = 0
        for before, after in itertools.pairwise(documents):
            for trigger in TRIGGERS:
                asked = filters_oracle.Asked(triggers=(trigger,))
                body = filters_oracle.filter_set(asked.element("f"))
                (read,) = read_filters(body, "presence").filters
                found = fired(read.triggers, before, after)
                self.assertEqual(found, filters_oracle.fires(before, after, asked), trigger)
                told += found
        self.assertTrue(DOCUMENTS < told < DOCUMENTS * len(TRIGGERS) - DOCUMENTS)
