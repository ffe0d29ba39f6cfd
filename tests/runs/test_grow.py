"""A fork on another text takes in its new characters: what was learned stays as it was, under the same ids."""

from typing import Any

import numpy as np
import pytest
import torch

from charlm.errors import ConfigError
from charlm.jobs.scheduler import Control, prepare, run_trainers
from charlm.models import LanguageModel
from charlm.runs.checkpoint import load_training
from charlm.runs.resume import fork
from charlm.runs.store import RunStore
from charlm.tokenizers import CharTokenizer
from tests.tiny_runs import small_corpus, trained

pytestmark = pytest.mark.usefixtures("single_steps")

OTHER = "the cät sits on the möt → žat " * 60
KINDS: list[tuple[str, dict[str, Any]]] = [
    ("lstm", {}), ("gru", {"embed_dim": 0}), ("rnn", {"embed_dim": 8, "hidden_size": 8, "tie_weights": True}),
    ("transformer", {}), ("mingru", {}),
]  # fmt: skip


def logits(model: LanguageModel, ids: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return model.eval()(ids)[0]


@pytest.mark.parametrize(("arch", "settings"), KINDS)
def test_what_it_knew_it_still_computes(arch: str, settings: dict[str, Any], store: RunStore) -> None:
    [parent] = trained(store, arch, **settings)
    old, corpus = parent.tokenizer(), small_corpus(OTHER, "other.txt")
    new = sorted(set(OTHER) - set(old.tokens))
    assert len(new) >= 4
    run, text = fork(store, parent, {"grow": True, "steps": 4, "label": "larger"}, corpus)
    assert text.text == OTHER and run.tokenizer().tokens == [*old.tokens, *new]
    assert run.model_config.vocab_size == old.vocab_size + len(new)
    model, _ = load_training(run.folder, run.model_config, run.train_config)
    ids = torch.from_numpy(np.random.default_rng(1).integers(0, old.vocab_size, (2, 20)))
    known = slice(old.vocab_size)
    assert torch.allclose(logits(model, ids)[..., known], logits(parent.load_model(), ids), atol=1e-6)
    run_trainers(prepare([run], text, resume=True), Control())
    after = store.get(run.run_id)
    assert after.status == "finished" and after.best_val_loss is not None and after.label == "larger"
    assert after.load_model().config.tie_weights == parent.model_config.tie_weights
    assert parent.load_model().config.vocab_size == old.vocab_size


def test_without_growing_they_are_left_out_as_before(store: RunStore) -> None:
    [parent] = trained(store, "gru")
    run, text = fork(store, parent, {"steps": 4}, small_corpus(OTHER, "other.txt"))
    assert run.model_config.vocab_size == parent.model_config.vocab_size and len(text.text) < len(OTHER)
    same, _ = fork(store, parent, {"steps": 4, "grow": True}, small_corpus("the rat sat " * 60, "known.txt"))
    assert same.tokenizer().tokens == parent.tokenizer().tokens


def test_what_cannot_grow_is_said(store: RunStore) -> None:
    [parent] = trained(store, "gru")
    with pytest.raises(ConfigError, match="can grow only on another text; name one"):
        fork(store, parent, {"grow": True})
    with pytest.raises(ConfigError, match="grow must be true or false, not 'yes'"):
        fork(store, parent, {"grow": "yes"}, small_corpus(OTHER, "other.txt"))
    [counted] = trained(store, "ngram")
    with pytest.raises(ConfigError, match="is an n-gram, whose counts cannot take in new characters"):
        fork(store, counted, {"grow": True}, small_corpus(OTHER, "other.txt"))


def test_special_tokens_stay_what_they_are() -> None:
    tokenizer = CharTokenizer(["<PAD>", "b", "<EOS>", "a"], end=2)
    larger = tokenizer.grown(["z", "c"])
    assert larger.tokens == ["<PAD>", "b", "<EOS>", "a", "c", "z"] and larger.end_id == 2 and larger.silent_ids == (0,)
    assert CharTokenizer.from_dict({"tokens": larger.tokens, "end": 2}).silent_ids == (0,)
