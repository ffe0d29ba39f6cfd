"""Text to ids and back."""

from charlm.tokenizer.characters import CharTokenizer, IdArray, id_type, most_tokenizer_bytes

__all__ = ["CharTokenizer", "IdArray", "id_type", "most_tokenizer_bytes"]
