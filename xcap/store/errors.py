"""What can be wrong with a store."""


class StoreError(Exception):
    """The medium cannot be used; the text tells the operator why and what to do."""
