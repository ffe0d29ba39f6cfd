"""The errors that a user can act on; each message says what was wrong, the value, and the way out.

CharLMError
├── ConfigError
├── CorpusError
├── CheckpointError
├── HubError
├── JobError
├── LimitError
└── MeasurementError
"""

from collections.abc import Mapping
from typing import Any


class CharLMError(Exception):
    """Base of every error whose message is written for the user."""


class ConfigError(CharLMError):
    """A setting is out of range, of the wrong type, or does not fit the others."""


class CorpusError(CharLMError):
    """A text cannot be read, found, downloaded or trained on."""


class CheckpointError(CharLMError):
    """A run or a checkpoint is missing, damaged or does not fit its description."""


class HubError(CharLMError):
    """The Hugging Face Hub cannot be reached, refuses, or holds nothing that can be taken."""


class JobError(CharLMError):
    """A training cannot start, continue or be controlled.

    Args:
        message: one sentence.
        fix: settings that fix it, by name; None if none are known.
    """

    def __init__(self, message: str, fix: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.fix = dict(fix or {})


class LimitError(CharLMError):
    """A visitor of a public Space asked for more than a quota allows."""


class MeasurementError(CharLMError):
    """A measurement makes no sense for this model or text, or cannot be done with what is at hand."""


class Halted(Exception):
    """A long computation was stopped on request."""
