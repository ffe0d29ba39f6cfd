"""What can go wrong, said so that a user can act on it: what was wrong, the value, the way out."""


class CharLMError(Exception):
    """Base of every error whose message is written for the user."""


class ConfigError(CharLMError):
    """A setting is out of range, of the wrong kind, or does not fit the others."""


class CorpusError(CharLMError):
    """A text cannot be read, found, downloaded or trained on."""


class CheckpointError(CharLMError):
    """A run or a file of weights is missing, damaged or does not fit its description."""


class JobError(CharLMError):
    """A training cannot start, go on or be controlled."""
