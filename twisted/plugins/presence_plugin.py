"""Makes ``twistd presence`` known; strings only, so that listing plugins imports nothing."""

from twisted.application.service import ServiceMaker

presence = ServiceMaker(
    "Presence server",
    "presence.tap",
    "SIP presence: start, or check-config",
    "presence",
)
