"""The n-gram as a model: probabilities as logits, the loss without them, carried state, and what a file may hold."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

from charlm.config import ModelConfig
from charlm.errors import CheckpointError
from charlm.models import build_model
from charlm.models.ngram import NGramModel, slice_ends
from charlm.runs.checkpoint import load_weights, save_weights
from charlm.runs.tensor_file import write_tensors

TEXT = np.array([3, 1, 4, 1, 5, 2, 6, 5, 3, 5] * 12 + [0, 1, 2], np.uint8)
CONFIG = ModelConfig(arch="ngram", vocab_size=7, order=4, counted=len(TEXT))


def model_of(config: ModelConfig = CONFIG, text: np.ndarray = TEXT) -> NGramModel:
    model = build_model(config)
    assert isinstance(model, NGramModel)
    model.count(text)
    return model


def ids(rows: int = 3, steps: int = 11) -> torch.Tensor:
    return torch.randint(7, (rows, steps), generator=torch.Generator().manual_seed(5))


def test_logits_are_logarithms_of_probabilities() -> None:
    logits, _ = model_of()(ids())
    assert logits.shape == (3, 11, 7)
    torch.testing.assert_close(logits.exp().sum(dim=2), torch.ones(3, 11))


@pytest.mark.parametrize("order", [1, 2, 4, 12])
def test_the_loss_is_that_of_the_logits(order: int) -> None:
    model = model_of(replace(CONFIG, order=order))
    targets = ids(3, 12)[:, 1:].clone()
    targets[2, 5:] = -1
    logits, state = model(ids())
    loss, after = model.loss(ids(), targets)
    expected = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=-1, reduction="sum")
    torch.testing.assert_close(loss, expected, rtol=1e-4, atol=1e-4)
    assert torch.equal(state[0], after[0]) and state[0].shape == (1, 3, order - 1)


def test_many_places_are_worked_on_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    model = model_of()
    whole, _ = model(ids())
    monkeypatch.setattr("charlm.models.ngram.BLOCK", 10)
    assert torch.equal(model(ids())[0], whole)


def test_state_carries_over_and_rows_do_not_touch() -> None:
    model, text = model_of(), ids()
    whole, end = model(text)
    first, state = model(text[:, :4])
    second, carried = model(text[:, 4:], state)
    assert torch.equal(torch.cat([first, second], dim=1), whole) and torch.equal(carried[0], end[0])
    assert torch.equal(model(text[1:2])[0], whole[1:2])
    assert torch.equal(model(text, model.initial_state(3))[0], whole)


def test_counting_in_pieces_is_counting_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("charlm.models.ngram.READ", 7)
    pieces = model_of(CONFIG, TEXT[:50])
    pieces.count(TEXT[50:51])
    pieces.count(TEXT[51:])
    assert torch.equal(pieces(ids())[0], model_of()(ids())[0])


def test_a_slice_costs_what_the_model_before_it_says() -> None:
    model = model_of(CONFIG, TEXT[:60])
    text = torch.from_numpy(TEXT[:90].astype(np.int64))[None]
    _, state = model(text[:, :59])
    loss, _ = model.loss(text[:, 59:-1], text[:, 60:], state)
    assert model.count(TEXT[60:90]) == pytest.approx(loss.item() / 30, rel=1e-5)
    assert build_model(CONFIG).count(TEXT[:9]) == pytest.approx(np.log(7))  # nothing is known yet


def test_room_to_count_more() -> None:
    model = model_of()
    model.grow(5)
    assert model.config.counted == model.num_parameters == len(TEXT) + 5
    model.count(np.array([1, 2, 3, 4, 5]))
    assert torch.equal(model(ids())[0], model_of(model.config, np.append(TEXT, [1, 2, 3, 4, 5]))(ids())[0])


@pytest.mark.parametrize(("vocab_size", "kind"), [(7, torch.uint8), (300, torch.uint16), (70_000, torch.int32)])
def test_a_file_holds_one_small_number_a_token(vocab_size: int, kind: torch.dtype, tmp_path: Path) -> None:
    config = replace(CONFIG, vocab_size=vocab_size, counted=len(TEXT) + 9)
    model = model_of(config)
    model.count(np.array([vocab_size - 1]))
    save_weights(tmp_path / "best.safetensors", model)
    tensors = load_file(tmp_path / "best.safetensors")
    assert {name: (one.dtype, one.numel()) for name, one in tensors.items()} == {
        "ids": (kind, len(TEXT) + 9), "seen": (torch.int64, 1)
    }  # fmt: skip
    loaded = load_weights(tmp_path / "best.safetensors", config)
    assert torch.equal(loaded(ids())[0], model(ids())[0])


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"seen": torch.tensor(len(TEXT) + 1)}, "it claims to have counted 124 of 123 tokens"),
        ({"seen": torch.tensor(-1)}, "it claims to have counted -1 of 123 tokens"),
        ({"ids": torch.full((len(TEXT),), 7, dtype=torch.uint8)}, "not among its 7"),
        ({"ids": torch.zeros(3, dtype=torch.uint8)}, "ids is U8"),
    ],
)
def test_a_strangers_file_is_looked_at(changes: dict[str, torch.Tensor], said: str, tmp_path: Path) -> None:
    write_tensors(tmp_path / "best.safetensors", model_of().state_dict() | changes, {})
    with pytest.raises(CheckpointError, match=said):
        load_weights(tmp_path / "best.safetensors", CONFIG)


@pytest.mark.parametrize("steps", [1, 5, 12, 13, 493])
def test_slices_take_all_steps(steps: int) -> None:
    ends = slice_ends(steps)
    assert ends[-1] == steps and len(ends) == min(12, steps) and ends == sorted(set(ends)) and ends[0] > 0
