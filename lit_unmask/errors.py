"""Errors that a user can mend; the command line shows them as one sentence."""


class ConfigurationError(ValueError):
    """A setting cannot work; the message names it, its value and the remedy."""
