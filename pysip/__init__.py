"""A SIP stack for presence: messages, transports, transactions, dialogs and event packages."""
