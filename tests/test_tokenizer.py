"""Characters to ids and back."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charlm.errors import CheckpointError, CorpusError
from charlm.tokenizer import CharTokenizer

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)


@given(TEXTS)
def test_round_trip(text: str) -> None:
    tokenizer = CharTokenizer.fit(text)
    ids = tokenizer.encode(text)
    assert ids.dtype == np.int32 and len(ids) == len(text)
    assert tokenizer.decode(ids) == text
    assert tokenizer.tokens == sorted(set(text))
    assert CharTokenizer.from_dict(tokenizer.to_dict()).tokens == tokenizer.tokens


@given(TEXTS, TEXTS)
def test_unknown_characters_are_named_and_skipped(known: str, text: str) -> None:
    tokenizer = CharTokenizer.fit(known)
    unknown = tokenizer.unknown(text)
    assert unknown == list(dict.fromkeys(character for character in text if character not in known))
    assert tokenizer.decode(tokenizer.encode(text, skip_unknown=True)) == "".join(c for c in text if c in known)
    if unknown:
        with pytest.raises(CorpusError, match="does not know"):
            tokenizer.encode(text)


def test_any_order_of_tokens_is_kept() -> None:
    tokenizer = CharTokenizer(["b", "a", "\U0001f98a"])
    assert tokenizer.encode("ab\U0001f98a").tolist() == [1, 0, 2]


@pytest.mark.parametrize(
    "data", [{}, {"tokens": "abc"}, {"tokens": [1, 2]}, {"tokens": ["a", "a"]}, {"tokens": ["ab"]}, []]
)
def test_damaged_files_are_refused(data: object) -> None:
    with pytest.raises(CheckpointError):
        CharTokenizer.from_dict(data)  # type: ignore[arg-type]
