"""The children of an element while operations change them one after the other (XPO-01)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from lxml import etree

from presence.partial.selecting import Label, Selecting
from presence.pidf import names
from xcap.tree import escape_text

_SPACE = " \t\r\n"


class Write(Protocol):
    """Writes an operation."""

    def __call__(self, kind: str, selector: str, content: str = "", more: str = "") -> str:
        """See :class:`presence.partial.difference`."""


def is_component(node: etree._Element) -> bool:
    """Whether an ``id`` makes it what it is (XPO-13)."""
    return node.tag in names.COMPONENTS


def component_key(node: etree._Element) -> tuple[object, ...]:
    """What makes a tuple, person or device the same."""
    return node.tag, node.prefix, node.get("id")


def label_of(node: etree._Element) -> Label | None:
    """By what selectors find a node; None for what is no element."""
    if not isinstance(node.tag, str):
        return None
    tag = node.tag
    return Label(tag, node.get("id") if tag in names.COMPONENTS else None)


class Children:
    """Nodes and the texts around them, as they are after the operations so far.

    :param selector: of their parent.
    :param nodes: as they are in the old document.
    :param texts: before, between and after them; perhaps empty.
    """

    def __init__(
        self,
        selector: str,
        nodes: Sequence[etree._Element],
        texts: Sequence[str],
        selecting: Selecting,
        write: Write,
    ) -> None:
        self._selector = selector
        self._selecting = selecting
        self._labels = [label_of(node) for node in nodes]
        self._texts = list(texts)
        self._write = write

    def path(self, index: int) -> str:
        """The selector of a node, which is an element."""
        return f"{self._selector}/{self._selecting.step(self._labels, index)}"

    def change(
        self,
        at: int,
        count: int,
        nodes: Sequence[tuple[etree._Element, str]],
        texts: Sequence[str],
    ) -> list[str] | None:
        """Replace nodes that follow each other, with the texts around them, by others.

        :param at: index of the first one.
        :param count: how many; perhaps none.
        :param nodes: new ones, each with its text.
        :param texts: before, between and after these.
        :returns: the operations, None when there is no simple way.
        """
        there = self._texts[at : at + count + 1]
        if not count and not nodes:
            return [] if there == list(texts) else self._text(at, texts[0])
        if not nodes:
            return self._remove(at, count, texts[0])
        if not count:
            return self._insert(at, nodes, texts)
        labels = [*self._labels[at : at + count], *(label_of(node) for node, _ in nodes)]
        if None in labels:
            return None
        if count == len(nodes) and there == list(texts):
            return self._exchange(at, nodes)
        for left in dict.fromkeys((there[0], there[-1], "")):
            state = list(self._labels), list(self._texts)
            removed = self._remove(at, count, left)
            added = self._insert(at, nodes, texts) if removed is not None else None
            if removed is not None and added is not None:
                return removed + added
            self._labels, self._texts = state
        return None

    def _text(self, at: int, wanted: str) -> list[str] | None:
        """Change a text."""
        if not self._texts[at]:
            return self._insert(at, (), (wanted,))
        full = sum(1 for text in self._texts[:at] if text)
        only = full == 0 and not any(self._texts[at + 1 :])
        selector = f"{self._selector}/text(){'' if only else f'[{full + 1}]'}"
        self._texts[at] = wanted
        if wanted:
            return [self._write("replace", selector, escape_text(wanted))]
        return [self._write("remove", selector)]

    def _exchange(self, at: int, nodes: Sequence[tuple[etree._Element, str]]) -> list[str]:
        """Replace elements, each by one."""
        done = []
        for index, (node, content) in enumerate(nodes, at):
            done.append(self._write("replace", self.path(index), content))
            self._labels[index] = label_of(node)
        return done

    def _remove(self, at: int, count: int, wanted: str) -> list[str] | None:
        """Remove elements so that a text is left."""
        texts = self._texts[at : at + count + 1]
        if None in self._labels[at : at + count]:
            return None
        dropped = _dropped(texts, wanted)
        if dropped is None:
            return None
        done = []
        for number in range(count):
            before = number == 0 and dropped[0]
            after = dropped[number + 1]
            space = "both" if before and after else "before" if before else "after"
            more = f' ws="{space}"' if before or after else ""
            done.append(self._write("remove", self.path(at), "", more))
            del self._labels[at]
        self._texts[at : at + count + 1] = [wanted]
        return done

    def _insert(
        self, at: int, nodes: Sequence[tuple[etree._Element, str]], texts: Sequence[str]
    ) -> list[str] | None:
        """Add nodes where there is a text, perhaps an empty one, and give them their texts."""
        there = self._texts[at]
        first, last = texts[0], texts[-1]
        before = self._labels[at - 1] if at else None
        after = self._labels[at] if at < len(self._labels) else None
        around = list(texts)
        if first.startswith(there) and at == len(self._labels):
            selector, position = self._selector, ""
        elif last.endswith(there) and before is not None:
            selector, position = self.path(at - 1), "after"
        elif first.startswith(there) and after is not None:
            selector, position = self.path(at), "before"
        elif last.endswith(there) and at == 0:
            selector, position = self._selector, "prepend"
        else:
            return None
        if position in ("after", "prepend"):
            around[-1] = around[-1][: len(around[-1]) - len(there)]
        else:
            around[0] = around[0][len(there) :]
        parts = [escape_text(around[0])]
        for (_, content), text in zip(nodes, around[1:], strict=True):
            parts += (content, escape_text(text))
        more = f' pos="{position}"' if position else ""
        self._labels[at:at] = [label_of(node) for node, _ in nodes]
        self._texts[at : at + 1] = list(texts)
        return [self._write("add", selector, "".join(parts), more)]


def _dropped(texts: Sequence[str], wanted: str) -> list[bool] | None:
    """Which texts, being white space, to drop so that the others are what is wanted."""
    last = len(texts) - 1
    for keep in ("all", "last", "first", "none"):
        dropped = [
            bool(text)
            and (
                keep == "none"
                or (keep == "last" and number < last)
                or (keep == "first" and number > 0)
            )
            for number, text in enumerate(texts)
        ]
        pairs = list(zip(texts, dropped, strict=True))
        if "".join(text for text, drop in pairs if not drop) == wanted and not any(
            text.strip(_SPACE) for text, drop in pairs if drop
        ):
            return dropped
    return None
