"""Words that RPID and RFC 4589 have for what people do, feel, and where they are."""

from __future__ import annotations

from typing import Final


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


ACTIVITIES: Final = _words(
    """
    appointment away breakfast busy dinner holiday in-transit looking-for-work meal meeting
    on-the-phone performance permanent-absence playing presentation shopping sleeping
    spectator steering travel tv unknown vacation working worship
    """
)
"""Of ``rpid:activities`` (RFC 4480 section 3.2), as its schema has them (RPI-06)."""

MOODS: Final = _words(
    """
    afraid amazed angry annoyed anxious ashamed bored brave calm cold confused contented
    cranky curious depressed disappointed disgusted distracted embarrassed excited
    flirtatious frustrated grumpy guilty happy hot humbled humiliated hungry hurt impressed
    in_awe in_love indignant interested invincible jealous lonely mean moody nervous neutral
    offended playful proud relieved remorseful restless sad sarcastic serious shocked shy
    sick sleepy stressed surprised thirsty unknown worried
    """
)
"""Of ``rpid:mood`` (RFC 4480 section 3.4)."""

PLACES: Final = _words(
    """
    aircraft airport arena automobile bank bar bicycle bus bus-station cafe classroom club
    construction convention-center government hospital hotel industrial library motorcycle
    office outdoors parking place-of-worship prison public public-transport residence
    restaurant school shopping-area stadium store street theater train train-station truck
    underway unknown warehouse water watercraft
    """
)
"""Of ``rpid:place-type`` (RFC 4589 section 5), in a namespace of their own (RPI-05)."""
