"""What may go wrong with a judge itself."""


class SuiteError(Exception):
    """The judge failed: it says nothing about the virtual node."""
