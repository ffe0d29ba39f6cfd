"""Drawing text from a model: the choice of the next token, texts written beside each other, and generators of text."""

from charlm.generation.generate import Decoder, decoder_for, generate, generate_many, interleave
from charlm.generation.sampling import choose, probabilities
from charlm.generation.streams import Stream

__all__ = ["Decoder", "Stream", "choose", "decoder_for", "generate", "generate_many", "interleave", "probabilities"]
