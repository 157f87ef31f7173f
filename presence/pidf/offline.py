"""The documents of a presentity of which nothing is known (PRE-11).

A politely blocked watcher gets the same one as an allowed watcher, so that nothing tells the
two apart (PBK-02, PBK-04).
"""

from __future__ import annotations

from hashlib import blake2b

from presence.pidf import names
from presence.pidf.parse import DECLARATION
from presence.pidf.write import attribute_value


def empty_document(entity: str) -> bytes:
    """The document of a presentity of which nothing is known: no tuple at all (PRE-11)."""
    return b'%b\n<presence xmlns="%b" entity="%b"/>' % (
        DECLARATION,
        names.PIDF.encode(),
        attribute_value(entity),
    )


def closed_document(entity: str) -> bytes:
    """The other document of PRE-11: one closed tuple, its id a stable function of the entity."""
    number = blake2b(entity.encode("utf-8", "surrogatepass"), digest_size=4).hexdigest()
    return (
        b'%b\n<presence xmlns="%b" entity="%b">'
        b'<tuple id="t%b"><status><basic>closed</basic></status></tuple></presence>'
    ) % (DECLARATION, names.PIDF.encode(), attribute_value(entity), number.encode())
