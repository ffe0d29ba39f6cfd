"""The validation of DESIGN.md: the whole text, rows from the zero state, dropout off."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import charlm.data.dataset
from charlm.config import ModelConfig
from charlm.data.batches import validation_rows
from charlm.errors import CorpusError
from charlm.models import build_model
from charlm.training.evaluate import Evaluation, evaluate

V = 7


def text(tokens: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, V, tokens).astype(np.int32)


@pytest.mark.parametrize("tokens", [2, 3, 251, 1003])
def test_it_is_the_mean_over_every_token(tokens: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(charlm.data.batches, "ROW_TOKENS", 300)  # so that this short text has rows
    model = build_model(ModelConfig(vocab_size=V, hidden_size=8, dropout=0.5), 1).train()
    result = evaluate(model, text(tokens))
    assert model.training
    model.eval()
    losses = []
    for inputs, targets in zip(*next(validation_rows(text(tokens), 10**6)), strict=True):
        wanted = torch.from_numpy(targets[targets >= 0]).long()
        with torch.no_grad():
            logits, _ = model(torch.from_numpy(inputs[: len(wanted)]).long()[None])
        losses += F.cross_entropy(logits[0], wanted, reduction="none").tolist()
    assert result.tokens == len(losses) == tokens - 1
    assert result.nats_per_token == pytest.approx(sum(losses) / len(losses), rel=1e-5)


@pytest.mark.parametrize("tokens", [2, 700, 6001, 20_000])
def test_blocks_are_pieces_of_the_text_in_its_order(tokens: int) -> None:
    model = build_model(ModelConfig(vocab_size=V, hidden_size=8), 1).eval()
    one, two = (evaluate(model, text(tokens), threads=threads) for threads in (1, 2))
    assert np.array(one.blocks) == pytest.approx(np.array(two.blocks)), "whoever shares the work"
    sizes = [count for _, count in one.blocks]
    assert sum(sizes) == tokens - 1 and all(size >= 1000 for size in sizes[:-1]) and len(sizes) <= 128
    assert sum(loss for loss, _ in one.blocks) / (tokens - 1) == pytest.approx(one.nats_per_token)
    row = validation_rows(text(tokens), 10**6)
    inputs, targets = (torch.from_numpy(part[:1]) for part in next(row))
    with torch.no_grad():
        losses, _ = model.token_losses(inputs, targets)
    assert one.blocks[0][0] == pytest.approx(losses[: sizes[0]].sum().item(), rel=1e-5)
    assert math.isnan(one.standard_error) == (len(sizes) == 1)


def test_an_ignorant_model_costs_ln_v() -> None:
    model = build_model(ModelConfig(vocab_size=V, hidden_size=4), 1)
    with torch.no_grad():
        model.fc.weight.zero_()
    result = evaluate(model, text(500))
    assert result.nats_per_token == pytest.approx(math.log(V), rel=1e-6)
    assert result.perplexity == pytest.approx(V, rel=1e-5)
    assert result.bits_per_char == pytest.approx(math.log2(V), rel=1e-6)


def test_bits_per_character_count_characters_not_tokens() -> None:
    assert Evaluation(math.log(2), tokens=10, characters=40).bits_per_char == pytest.approx(0.25)
    assert Evaluation(1000.0, 1, 1).perplexity == math.inf


def test_one_token_cannot_be_scored() -> None:
    with pytest.raises(CorpusError, match="at least 2"):
        evaluate(build_model(ModelConfig(vocab_size=V, hidden_size=4)), text(1))


def test_many_tokens_in_bfloat16_cost_the_same_to_0002_nats() -> None:
    many = 1500
    model = build_model(ModelConfig(vocab_size=many, hidden_size=32, embed_dim=16, init="torch"), 1)
    with torch.no_grad():
        model.get_parameter("fc.weight").mul_(20.0)  # some tokens are far likelier than others, as in a trained model
    ids = np.random.default_rng(0).integers(0, many, 4000).astype(np.int32)
    losses = {}
    for dtype in (torch.float32, torch.bfloat16):
        model.precision = dtype
        losses[dtype] = evaluate(model, ids).nats_per_token
    assert losses[torch.float32] != losses[torch.bfloat16]
    assert abs(losses[torch.float32] - losses[torch.bfloat16]) < 0.002
    assert model.eval_precision is None  # what else is computed with the model is as precise as before
