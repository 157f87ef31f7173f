"""Random presence documents with everything that rules know, from a seed."""

from __future__ import annotations

import random

HEAD = (
    '<?xml version="1.0" encoding="UTF-8"?><presence xmlns="urn:ietf:params:xml:ns:pidf"'
    ' xmlns:dm="urn:ietf:params:xml:ns:pidf:data-model"'
    ' xmlns:r="urn:ietf:params:xml:ns:pidf:rpid"'
    ' xmlns:op="urn:oma:xml:prs:pidf:oma-pres"'
    ' xmlns:gp="urn:ietf:params:xml:ns:pidf:geopriv10"'
    ' xmlns:gbp="urn:ietf:params:xml:ns:pidf:geopriv10:basicPolicy"'
    ' xmlns:x="urn:example:extension" entity="{}">'
)
GEOPRIV = (
    "<gp:geopriv><gp:location-info/><gp:usage-rules>"
    "<gbp:retention-expiry>2101-01-01T00:00:00Z</gbp:retention-expiry></gp:usage-rules>"
    "<gp:method>§</gp:method></gp:geopriv>"
)
TIME = "2026-01-05T00:00:00.§Z"
ANYWHERE = (
    GEOPRIV,
    "<x:a k='§'><x:b>§</x:b></x:a>",
    "<x:b>§</x:b>",
    f"<x:a>§{GEOPRIV}<r:class>§</r:class></x:a>",
)
USER_INPUT = (
    f"<r:user-input idle-threshold='§' last-input='{TIME}' x:by='§'>idle</r:user-input>",
    "<r:user-input since='§'>active</r:user-input>",
    "<r:user-input>idle</r:user-input>",
)
TUPLE = (
    "<op:willingness x:m='§'><op:basic>open</op:basic></op:willingness>",
    "<op:session-participation x:m='§'><op:basic>open</op:basic></op:session-participation>",
    "<op:registration-state x:m='§'>active</op:registration-state>",
    "<op:barring-state x:m='§'>active</op:barring-state>",
    "<r:privacy><r:note>§</r:note><r:audio/></r:privacy>",
    "<r:relationship><r:note>§</r:note><r:self/></r:relationship>",
    "<r:service-class><r:note>§</r:note><r:unknown/></r:service-class>",
    "<r:status-icon>http://icons.example/§</r:status-icon>",
    "<r:mood><r:note>§</r:note><r:sad/></r:mood>",
    "<dm:deviceID>mac:§</dm:deviceID>",
)
PERSON = (
    "<r:activities><r:note>§</r:note><r:meeting/></r:activities>",
    "<r:mood><r:note>§</r:note><r:happy/></r:mood>",
    "<r:place-is><r:note>§</r:note><r:audio><r:quiet/></r:audio></r:place-is>",
    "<r:place-type><r:note>§</r:note><r:other>§</r:other></r:place-type>",
    "<r:privacy><r:note>§</r:note><r:text/></r:privacy>",
    "<r:status-icon>http://icons.example/§</r:status-icon>",
    "<r:time-offset description='§'>60</r:time-offset>",
    "<op:overriding-willingness x:m='§'><op:basic>open</op:basic></op:overriding-willingness>",
    "<op:willingness x:m='§'/>",
    "<r:relationship><r:note>§</r:note><r:self/></r:relationship>",
)
DEVICE = (
    "<op:network-availability><op:network id='§'><op:active/></op:network>"
    "</op:network-availability>",
    "<r:status-icon>http://icons.example/§</r:status-icon>",
    "<op:willingness x:m='§'/>",
    "<r:mood><r:note>§</r:note><r:sad/></r:mood>",
)
ROOT = ("<x:a>§</x:a>", "<x:b>§</x:b>", "<r:mood><r:note>§</r:note><r:sad/></r:mood>")
STATUS = (GEOPRIV, "<x:a>§</x:a>", "<r:mood><r:note>§</r:note><r:sad/></r:mood>")
CLASSES = ("work", "home", "Work")
SERVICE_IDS = ("svc:one", "svc:two")
CONTACTS = ("sip:s@home.example", "sip:s@HOME.example", "tel:+15550100", "mailto:s@home.example")
DEVICES = ("urn:uuid:D27459B7-8213-4395-AA77-ED859A3E5B3A", "mac:0a")
SPHERES = ("home", "work")


class Publications:
    """Makes documents; each piece of information in them has a number of its own.

    :ivar share: how much of what there may be in a component there is.
    """

    def __init__(self, source: random.Random) -> None:
        self.random = source
        self.share = 0.35
        self._mark = 10**6

    def document(
        self, entity: str, *, spheres: bool = True, alone: bool = False
    ) -> tuple[bytes, set[str]]:
        """A schema-valid document, and the spheres that its persons are in.

        :param spheres: whether persons may have one.
        :param alone: at most one person and one of each service and device, which composition
            leaves as they are; and there is more in them.
        """
        self.share = 0.6 if alone else 0.35
        choices = (0, 1, 1, 1) if alone else (0, 1, 2)
        parts = [self.tuple(n, alone) for n in range(self.random.choice(choices))]
        if self.random.random() < 0.4:
            parts.append("<note>§</note>")
        parts += [self.device(n) for n in range(self.random.choice(choices))]
        found: set[str] = set()
        for number in range(self.random.choice(choices)):
            sphere = self.random.choice(SPHERES) if spheres and self.random.random() < 0.6 else ""
            found |= {sphere} if sphere else set()
            parts.append(self.person(number, sphere))
        parts += self.some(ROOT, 0.3)
        return self.marked(f"{HEAD.format(entity)}{''.join(parts)}</presence>"), found

    def marked(self, text: str) -> bytes:
        """The text with a number in each place for one."""
        first, *rest = text.split("§")
        for piece in rest:
            self._mark += 1
            first += f"{self._mark}{piece}"
        return first.encode()

    def some(self, choices: tuple[str, ...], share: float) -> list[str]:
        """A part of the choices, in their order."""
        return [one for one in choices if self.random.random() < share]

    def common(self) -> list[str]:
        """What every component may have."""
        found = self.some(ANYWHERE, 0.25)
        if self.random.random() < 0.6:
            found.insert(0, f"<r:class>{self.random.choice(CLASSES)}</r:class>")
        if self.random.random() < 0.4:
            found.append(self.random.choice(USER_INPUT))
        return found

    def tuple(self, number: int, alone: bool = False) -> str:
        """A service."""
        basic = self.random.choice(("", "<basic>open</basic>", "<basic>closed</basic>"))
        status = f"<status>{basic}{''.join(self.some(STATUS, 0.25))}</status>"
        inner = self.common() + self.some(TUPLE, self.share)
        if self.random.random() < 0.5 or alone:
            service = self.random.choice(SERVICE_IDS)
            inner.append(
                f"<op:service-description><op:service-id>{service}</op:service-id>"
                "<op:version>1.0</op:version></op:service-description>"
            )
        if self.random.random() < 0.7:
            inner.append(f"<contact>{self.random.choice(CONTACTS)}</contact>")
        inner += self.some(("<note>§</note>", f"<timestamp>{TIME}</timestamp>"), 0.5)
        return f'<tuple id="s{number}">{status}{"".join(inner)}</tuple>'

    def person(self, number: int, sphere: str) -> str:
        """A person, in a sphere if that is not empty."""
        inner = self.common() + self.some(PERSON, self.share)
        if sphere:
            inner.append(f"<r:sphere x:m='§'><r:{sphere}/></r:sphere>")
        inner += self.some(("<dm:note>§</dm:note>", f"<dm:timestamp>{TIME}</dm:timestamp>"), 0.5)
        return f'<dm:person id="p{number}">{"".join(inner)}</dm:person>'

    def device(self, number: int) -> str:
        """A device."""
        inner = self.common() + self.some(DEVICE, self.share)
        inner.append(f"<dm:deviceID>{DEVICES[number]}</dm:deviceID>")
        inner += self.some(("<dm:note>§</dm:note>", f"<dm:timestamp>{TIME}</dm:timestamp>"), 0.5)
        return f'<dm:device id="d{number}">{"".join(inner)}</dm:device>'
