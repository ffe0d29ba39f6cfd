"""A tokenizer.json that anyone may have written."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from charlm.config import ModelConfig
from charlm.errors import CheckpointError
from charlm.tokenizers import Tokenizer, fit_tokenizer, most_tokenizer_bytes, read_tokenizer

STORY = 'the king was old, the king\'s daughter was "not"; \\ 12 kings, 12 daughters. Zoë 王王王\n' * 5
CONFIGS = {
    "char": ModelConfig(),
    "lower": ModelConfig(level="word"),
    "spaces": ModelConfig(level="word", words="spaces", min_count=1),
    "bpe": ModelConfig(level="bpe", vocab_size=300),
}


def made(name: str) -> tuple[Tokenizer, ModelConfig]:
    tokenizer = fit_tokenizer(STORY, CONFIGS[name], len(STORY))
    values = CONFIGS[name].to_dict() | {"vocab_size": tokenizer.vocab_size}
    return tokenizer, ModelConfig.from_dict(values)


@pytest.mark.parametrize("name", CONFIGS)
def test_a_file_brings_back_its_tokenizer(name: str) -> None:
    tokenizer, config = made(name)
    data = tokenizer.to_file()
    assert len(data) <= most_tokenizer_bytes(config.vocab_size, config.level)
    back = read_tokenizer(json.loads(data), config)
    assert type(back) is type(tokenizer) and back.tokens == tokenizer.tokens and back.to_file() == data
    assert back.encode(STORY).tolist() == tokenizer.encode(STORY).tolist()


def test_the_longest_words_and_subwords_fit_a_file() -> None:
    worst = "".join("\1\2" + "\\" * 60 + f"{number:02} " for number in range(99))
    for config in (ModelConfig(level="word", words="spaces", min_count=1), ModelConfig(level="bpe", vocab_size=4000)):
        tokenizer = fit_tokenizer(worst * 2, config, 2 * len(worst))
        assert len(tokenizer.to_file()) <= most_tokenizer_bytes(tokenizer.vocab_size, config.level)


@pytest.mark.parametrize("name", CONFIGS)
def test_another_models_vocabulary_is_refused(name: str) -> None:
    tokenizer, config = made(name)
    values = config.to_dict() | {"vocab_size": config.vocab_size + 1}
    with pytest.raises(CheckpointError, match=f"its tokenizer has {config.vocab_size} tokens, its model"):
        read_tokenizer(json.loads(tokenizer.to_file()), ModelConfig.from_dict(values))


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("other", CONFIGS)
def test_another_level_is_refused(name: str, other: str) -> None:
    (tokenizer, config), (_, wrong) = made(name), made(other)
    if config.level == wrong.level:
        return
    with pytest.raises(CheckpointError, match="json does not hold"):
        read_tokenizer(json.loads(tokenizer.to_file()), wrong)


def damage(change: Callable[[dict[str, Any]], object]) -> Callable[[dict[str, Any]], dict[str, Any]]:
    def damaged(model: dict[str, Any]) -> dict[str, Any]:
        change(model)
        return model

    return damaged


DAMAGES = {
    "no vocabulary": damage(lambda model: model.pop("vocab")),
    "a list": damage(lambda model: model.update(vocab=list(model["vocab"]))),
    "a hole": damage(lambda model: model["vocab"].update(x=10**6)),
    "twice the same id": damage(lambda model: model["vocab"].update(x=3)),
    "no number": damage(lambda model: model["vocab"].update(x="3")),
    "a truth value": damage(lambda model: model["vocab"].update({next(iter(model["vocab"])): False})),
    "half a character": damage(lambda model: model["vocab"].update({"\ud800": len(model["vocab"])})),
    "a long token": damage(lambda model: model["vocab"].update({"x" * 65: len(model["vocab"])})),
    "another type": damage(lambda model: model.update(type="Unigram")),
    "no type": damage(lambda model: model.pop("type")),
}


@pytest.mark.parametrize("name", ["lower", "spaces", "bpe"])
@pytest.mark.parametrize("kind", DAMAGES)
def test_a_damaged_vocabulary_is_refused(name: str, kind: str) -> None:
    tokenizer, config = made(name)
    data = json.loads(tokenizer.to_file())
    DAMAGES[kind](data["model"])
    with pytest.raises(CheckpointError):
        read_tokenizer(data, config)
    for odd in ([], {}, {"model": []}, {"model": None}, None, 3):
        with pytest.raises(CheckpointError):
            read_tokenizer(odd, config)


@pytest.mark.parametrize(
    "merges",
    [None, {}, [["a"]], [["a", "b", "c"]], [["a", 1]], ["a b"], [["a", "b"]], [["Ġ", "Ġ" * 40]], [["a", "\ud800"]]],
)
def test_damaged_merges_are_refused(merges: Any) -> None:
    tokenizer, config = made("bpe")
    data = json.loads(tokenizer.to_file())
    data["model"]["merges"] = merges
    with pytest.raises(CheckpointError):
        read_tokenizer(data, config)


@pytest.mark.parametrize("name", ["lower", "bpe"])
def test_of_what_a_stranger_wrote_only_the_vocabulary_counts(name: str) -> None:
    tokenizer, config = made(name)
    data = json.loads(tokenizer.to_file())
    data |= {
        "normalizer": {"type": "Replace", "pattern": {"Regex": "(a+)+$"}, "content": "b" * 1000},
        "pre_tokenizer": {"type": "Split", "pattern": {"Regex": "("}, "behavior": "Isolated", "invert": False},
        "added_tokens": [{"id": 0, "content": "king", "special": True}],
        "truncation": {"max_length": 1},
    }
    data["model"] |= {"unk_token": "king", "dropout": 0.9, "continuing_subword_prefix": "##"}
    assert read_tokenizer(data, config).to_file() == tokenizer.to_file()
