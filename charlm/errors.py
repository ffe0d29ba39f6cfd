"""What can go wrong, said so that a user can act on it: what was wrong, the value, the way out."""

from collections.abc import Mapping
from typing import Any


class CharLMError(Exception):
    """Base of every error whose message is written for the user."""


class ConfigError(CharLMError):
    """A setting is out of range, of the wrong kind, or does not fit the others."""


class CorpusError(CharLMError):
    """A text cannot be read, found, downloaded or trained on."""


class CheckpointError(CharLMError):
    """A run or a file of weights is missing, damaged or does not fit its description."""


class JobError(CharLMError):
    """A training cannot start, go on or be controlled.

    Args:
        message: one sentence.
        fix: settings with which it would, by name; None if there are no such.
    """

    def __init__(self, message: str, fix: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.fix = dict(fix or {})


class LimitError(CharLMError):
    """A visitor of a public Space asks for more than one may have there."""


class Halted(Exception):
    """Something long was broken off because it was asked to."""
