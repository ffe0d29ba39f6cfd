"""Drawing text from a model: the choice of the next token, texts written beside each other, and generators of text."""

from charlm.generation.generate import generate, generate_many, interleave, writer_for
from charlm.generation.sampling import choose, probabilities
from charlm.generation.streams import Stream, Writer

__all__ = ["Stream", "Writer", "choose", "generate", "generate_many", "interleave", "probabilities", "writer_for"]
