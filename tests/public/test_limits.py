"""The table of limits: when it holds, what is refused beyond it, and in which words."""

from dataclasses import fields

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charlm.config import ModelConfig, SampleConfig, TrainConfig
from charlm.errors import ConfigError, LimitError
from charlm.public.limits import (
    ELSEWHERE,
    Limits,
    check_context,
    check_model,
    check_sampling,
    check_text_size,
    check_tokens,
    check_training,
    fitted,
    is_public,
)

LIMITS = Limits()


@pytest.mark.parametrize(
    ("public", "space", "expected"),
    [(None, None, False), ("0", None, False), ("1", None, True), (None, "me/lab", True), ("0", "me/lab", False),
     ("1", "me/lab", True), ("", "me/lab", True), ("", "", False)],
)  # fmt: skip
def test_when_the_limits_hold(
    public: str | None, space: str | None, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("CHARLM_PUBLIC", public), ("SPACE_ID", space)):
        if value is not None:
            monkeypatch.setenv(name, value)
    assert is_public() is expected


@pytest.mark.parametrize("value", ["yes", "2", "true", " 1", "-1"])
def test_a_setting_that_is_neither_yes_nor_no_is_refused(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHARLM_PUBLIC", value)
    with pytest.raises(ConfigError, match="CHARLM_PUBLIC must be 0 or 1"):
        is_public()


def test_every_row_says_what_it_bounds() -> None:
    rows = LIMITS.rows()
    assert [row["name"] for row in rows] == [row.name for row in fields(Limits)]
    assert all(row["what"] and row["unit"] and row["value"] > 0 for row in rows)


def test_what_is_at_the_limit_passes() -> None:
    model = ModelConfig(vocab_size=50, hidden_size=LIMITS.hidden_size, num_layers=LIMITS.num_layers)
    check_model(LIMITS, model, LIMITS.parameters)
    steps, minutes = LIMITS.steps, LIMITS.run_minutes
    check_training(LIMITS, TrainConfig(steps=steps, minutes=minutes, batch_size=256, seq_len=64))
    check_text_size(LIMITS, LIMITS.corpus_bytes)
    check_sampling(LIMITS, "x" * LIMITS.prompt, SampleConfig(length=LIMITS.length))


def test_what_is_beyond_is_refused_with_value_limit_and_way_out() -> None:
    with pytest.raises(LimitError) as refused:
        check_text_size(LIMITS, 2_000_001)
    said = str(refused.value)
    assert "2,000,001" in said and "2,000,000" in said and "shorter" in said and ELSEWHERE in said


def test_words_of_a_long_text_are_not_even_counted() -> None:
    long, word = "a " * (LIMITS.corpus_bytes // 2 + 1), ModelConfig(level="word")
    check_tokens(LIMITS, long, ModelConfig())
    check_tokens(LIMITS, long[:-2], ModelConfig(level="word", vocab_size=LIMITS.vocab_size))
    with pytest.raises(LimitError, match="the text has 2,000,002 bytes"):
        check_tokens(LIMITS, long, word)
    with pytest.raises(LimitError, match="vocab_size is 20,001"):
        check_tokens(LIMITS, "a", ModelConfig(level="bpe", vocab_size=20_001))
    with pytest.raises(LimitError, match=r"vocab_size is 20,001.*larger min_count"):
        check_model(LIMITS, ModelConfig(level="word", vocab_size=20_001), 1)


@given(st.integers(1, 4096), st.integers(1, 4096))
def test_a_step_is_never_wider_than_allowed(batch_size: int, seq_len: int) -> None:
    config = TrainConfig(batch_size=batch_size, seq_len=seq_len)
    if batch_size * seq_len <= LIMITS.tokens_a_step:
        check_training(LIMITS, config)
    else:
        with pytest.raises(LimitError, match="batch_size times seq_len"):
            check_training(LIMITS, config)


def test_a_state_is_bounded_whatever_the_weights() -> None:
    def look_back(context: int, rows: int = 1) -> None:
        check_context(LIMITS, ModelConfig(arch="transformer", context=context), rows)

    look_back(LIMITS.context)
    look_back(64, LIMITS.tokens_a_step // 64)
    with pytest.raises(LimitError, match=r"context \(seq_len, if it is 0\) is 513, more than the 512"):
        look_back(LIMITS.context + 1)
    with pytest.raises(LimitError, match=r"batch_size times context .* is 16,640"):
        look_back(65, 256)
    check_context(LIMITS, ModelConfig(arch="lstm"), 4096)


def test_presets_are_cut_and_the_rest_stays() -> None:
    values = {"hidden_size": 2048, "num_layers": 1, "steps": 8000, "dropout": 0.3, "length": 5000}
    expected = {"hidden_size": 1280, "num_layers": 1, "steps": 2000, "dropout": 0.3, "length": 1000}
    assert fitted(LIMITS, values) == expected
