"""SIP event framework: notifier, subscriber, publisher and compositor (RFC 6665, RFC 3903)."""
