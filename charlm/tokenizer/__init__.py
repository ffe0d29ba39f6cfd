"""Text to ids and back, by characters, words or subwords."""

from charlm.tokenizer.characters import CharTokenizer
from charlm.tokenizer.interface import IdArray, Speller, Tokenizer, id_type
from charlm.tokenizer.reading import fit_tokenizer, most_tokenizer_bytes, read_tokenizer
from charlm.tokenizer.subwords import BPETokenizer
from charlm.tokenizer.words import WordTokenizer

__all__ = [
    "BPETokenizer",
    "CharTokenizer",
    "IdArray",
    "Speller",
    "Tokenizer",
    "WordTokenizer",
    "fit_tokenizer",
    "id_type",
    "most_tokenizer_bytes",
    "read_tokenizer",
]
