"""Drawing text from a model: the choice of the next token, texts written beside each other, and generators of text."""

from charlm.sample.choice import choose, probabilities
from charlm.sample.streams import Stream, Writer
from charlm.sample.texts import generate, generate_many, interleave
from charlm.sample.writers import writer_for

__all__ = ["Stream", "Writer", "choose", "generate", "generate_many", "interleave", "probabilities", "writer_for"]
