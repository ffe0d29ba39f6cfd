"""Text to ids and back, by characters, words or subwords."""

from charlm.tokenizers.base import IdArray, Speller, Tokenizer, id_type
from charlm.tokenizers.characters import CharTokenizer
from charlm.tokenizers.files import fit_tokenizer, most_tokenizer_bytes, read_tokenizer
from charlm.tokenizers.subwords import BPETokenizer
from charlm.tokenizers.words import WordTokenizer

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
