"""Checkpoints of other programs become runs that compute what those compute."""

import json
import os
import shutil
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from charlm.config import CorpusConfig
from charlm.data.catalog import load_corpus
from charlm.data.corpus import corpus_from_text, drop_unknown
from charlm.errors import CheckpointError, ConfigError, CorpusError
from charlm.formats.exports import find_format
from charlm.formats.imports import import_file
from charlm.jobs.scheduler import Control, prepare, run_trainers
from charlm.runs.resume import fork
from charlm.runs.run import Run
from charlm.runs.store import RunStore
from charlm.serving import Serving
from tests.formats.models import TOKENS, Foreign, made_run, udacity_file
from tests.tiny_runs import small_corpus

IDS = torch.randint(len(TOKENS), (2, 30), generator=torch.Generator().manual_seed(2))
STACKS: list[tuple[Any, dict[str, Any], str]] = [
    (nn.LSTM, {}, "lstm"), (nn.GRU, {}, "gru"), (nn.RNN, {}, "rnn"), (nn.RNN, {"nonlinearity": "relu"}, "rnn"),
    (nn.GRU, {"num_layers": 1, "bias": False}, "gru"),
]  # fmt: skip
NAMES = [("", "lstm", "fc"), ("encoder", "rnn", "decoder"), ("embedding", "gru", "linear"), ("", "layers.deep", "out")]


def assert_same(run: Run, model: nn.Module) -> None:
    """The run's model gives the foreign one's logits."""
    with torch.no_grad():
        assert torch.allclose(run.load_model()(IDS)[0], model.eval()(IDS), atol=1e-4)


class Holder(nn.Module):
    """A module in a module, so that names have another beginning."""

    def __init__(self, name: str, inner: nn.Module) -> None:
        super().__init__()
        self.add_module(name, inner)


@pytest.mark.parametrize("legacy", [False, True])
def test_the_notebooks_file_is_a_run(legacy: bool, store: RunStore, tmp_path: Path) -> None:
    model = udacity_file(tmp_path / "rnn x.net", legacy=legacy)
    run = import_file(store, tmp_path / "rnn x.net")
    assert_same(run, model)
    assert run.tokenizer().tokens == list(TOKENS), "never sorted"
    assert (run.label, run.arch, run.status, run.best_val_loss) == ("rnn x", "lstm", "finished", None)
    assert run.imported == {"format": "udacity", "file": "rnn x.net", "sha256": run.imported["sha256"]}
    assert run.num_parameters == sum(parameter.numel() for parameter in model.parameters())
    assert [one.run_id for one in store.list()] == [run.run_id]


@pytest.mark.parametrize("wrap", ["", "state_dict", "model_state_dict", "model"])
@pytest.mark.parametrize("names", NAMES, ids=str)
@pytest.mark.parametrize(("layers", "options", "arch"), STACKS)
def test_state_dicts_of_any_names(
    layers: Any, options: dict[str, Any], arch: str, names: tuple[str, str, str], wrap: str, store: RunStore,
    tmp_path: Path,
) -> None:  # fmt: skip
    model = Foreign(layers, (names[0], names[1].replace(".", "_"), names[2]), **options)
    tensors = {name.replace("layers_deep", "layers.deep"): tensor for name, tensor in model.state_dict().items()}
    torch.save({wrap: tensors, "epoch": 3, "loss": 1.5} if wrap else tensors, tmp_path / "model.pth")
    (tmp_path / "model.json").write_text(json.dumps(list(TOKENS)), encoding="utf-8")
    run = import_file(store, tmp_path / "model.pth", nonlinearity=options.get("nonlinearity", "tanh"))
    assert run.arch == arch and run.model_config.embed_dim == (6 if names[0] else 0)
    assert_same(run, model)


def test_parallel_half_precision_and_an_optimizer_beside_it(store: RunStore, tmp_path: Path) -> None:
    model = Foreign(nn.GRU, ("emb", "rnn", "head"))
    optimizer = torch.optim.Adam(model.parameters())
    model(IDS).sum().backward()
    optimizer.step()
    tensors = {f"module.{name}": tensor.half() for name, tensor in model.state_dict().items()}
    checkpoint = {"optimizer": optimizer.state_dict(), "net": tensors, "args": {"lr": 0.1, "chars": "".join(TOKENS)}}
    torch.save(checkpoint, tmp_path / "best.ckpt")
    assert_same(import_file(store, tmp_path / "best.ckpt"), model.half().float())


def test_tied_weights_stay_one(store: RunStore, tmp_path: Path) -> None:
    model = Foreign(nn.LSTM, ("encoder", "rnn", "decoder"), hidden=6)
    model.decoder.weight = model.encoder.weight  # type: ignore[union-attr]
    torch.save({"model": model.state_dict(), "vocab": TOKENS}, tmp_path / "tied.pt")
    run = import_file(store, tmp_path / "tied.pt")
    assert run.model_config.tie_weights
    assert run.num_parameters == sum(parameter.numel() for parameter in model.parameters())
    assert_same(run, model)


CHARACTERS: dict[str, Any] = {
    "tokens": TOKENS,
    "chars": list(TOKENS),
    "vocab": "".join(TOKENS),
    "itos": dict(enumerate(TOKENS)),
    "int2char": dict(enumerate(TOKENS)),
    "char_to_idx": {token: place for place, token in enumerate(TOKENS)},
    "stoi": {token: place for place, token in reversed(list(enumerate(TOKENS)))},
    "tokenizer": {"level": "char", "tokens": list(TOKENS)},
}


@pytest.mark.parametrize("name", CHARACTERS)
def test_characters_in_the_checkpoint(name: str, store: RunStore, tmp_path: Path) -> None:
    model = Foreign()
    torch.save({"state_dict": model.state_dict(), "config": {name: CHARACTERS[name]}}, tmp_path / "model.pt")
    run = import_file(store, tmp_path / "model.pt")
    assert run.tokenizer().tokens == list(TOKENS)


@pytest.mark.parametrize("name", ["model.pt.json", "model.json", "model.txt", "elsewhere"])
@pytest.mark.parametrize(
    "value", [*CHARACTERS.values(), {"chars": list(TOKENS)}, {"meta": 1, "stoi": CHARACTERS["stoi"]}]
)
def test_characters_beside_the_checkpoint(value: Any, name: str, store: RunStore, tmp_path: Path) -> None:
    torch.save(Foreign().state_dict(), tmp_path / "model.pt")
    written = value if isinstance(value, str) and name != "model.json" else json.dumps(value)
    (tmp_path / name).write_text(written, encoding="utf-8")
    given_file = tmp_path / name if name == "elsewhere" else None
    assert import_file(store, tmp_path / "model.pt", characters=given_file).tokenizer().tokens == list(TOKENS)


def test_an_editors_line_end_is_no_character(store: RunStore, tmp_path: Path) -> None:
    torch.save(Foreign().state_dict(), tmp_path / "model.pt")
    (tmp_path / "model.txt").write_text("".join(TOKENS) + "\n", encoding="utf-8")
    assert import_file(store, tmp_path / "model.pt").tokenizer().tokens == list(TOKENS)


@pytest.mark.parametrize(
    ("characters", "said"),
    [(None, "does not say which characters its 12 ids are.*--characters"), (TOKENS[:-1], "has 11 entries.*knows 12"),
     ((*TOKENS[:-1], "the"), "'the'; only models whose ids are single"), ((*TOKENS[:-1], "t"), "'t' twice"),
     ({token: place + 1 for place, token in enumerate(TOKENS)}, "no list of characters with the ids 0, 1, 2"),
     ((*TOKENS[:-1], "\ud800"), "holds '.ud800'"), ([1, 2], "no list of characters")],
)  # fmt: skip
def test_characters_that_are_none(characters: Any, said: str, store: RunStore, tmp_path: Path) -> None:
    checkpoint = {"state_dict": Foreign().state_dict()} | ({"chars": characters} if characters else {})
    torch.save(checkpoint, tmp_path / "model.pt")
    with pytest.raises(CheckpointError, match=said):
        import_file(store, tmp_path / "model.pt")
    assert store.list() == []


def changed(**changes: Any) -> dict[str, Any]:
    """The tensors of a model of somebody's, some of them others; None takes one away."""
    tensors = {**Foreign().state_dict(), **{name.replace("__", "."): value for name, value in changes.items()}}
    return {name: tensor for name, tensor in tensors.items() if tensor is not None}


def two_stacks() -> dict[str, Any]:
    return {**changed(), **{f"other.{name}": tensor for name, tensor in nn.LSTM(3, 4).state_dict().items()}}


def beyond(value: float, kind: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.full((12,), value, dtype=kind)


ODD: list[tuple[Any, str]] = [
    (lambda: Foreign(nn.LSTM, bidirectional=True).state_dict(), "'lstm.weight_ih_l0_reverse' reads the text backwards"),
    (lambda: Foreign(nn.LSTM, proj_size=4).state_dict(), "'lstm.weight_hr_l0' projects"),
    (two_stacks, "it has 2 recurrent layers of torch"),
    (lambda: nn.Linear(3, 4).state_dict(), "it has no recurrent layers of torch"),
    (lambda: changed(norm__weight=torch.ones(8)), "another layer, 'norm.weight'"),
    (lambda: changed(norm__running_mean=torch.ones(8)), "another layer, 'norm.running_mean'"),
    (lambda: changed(deep__weight=torch.ones(8, 8), deep__bias=torch.ones(8)), "beside 12 inputs and 8 hidden units"),
    (lambda: changed(fc__weight=torch.ones(11, 8)), "beside 12 inputs and 8 hidden units it has fc.weight"),
    (lambda: changed(fc__weight=None, fc__bias=None), "no other layer"),
    (lambda: changed(lstm__weight_hh_l0=None), "'weight_hh_l0' must both be there"),
    (lambda: changed(lstm__weight_hh_l0=torch.ones(16, 8)), "16 x 8, no LSTM's"),
    (lambda: changed(lstm__weight_hh_l1=None), "'rnn.weight_hh_l1' is missing"),
    (lambda: changed(lstm__weight_hh_l1=torch.ones(32, 7)), "'lstm.weight_hh_l1' is .32, 7. float32, not .32, 8."),
    (lambda: changed(lstm__weight_hh_l7=torch.ones(32, 8)), "'lstm.weight_hh_l7' has no place in 3 layers"),
    (lambda: {"wte.weight": torch.ones(3, 4), "h.0.attn.c_attn.weight": torch.ones(12, 4)}, "it is a Transformer"),
    (lambda: {"layers.0.2.to_hidden_and_gate.weight": torch.ones(12, 4)}, "it is a minGRU between layers"),
    (lambda: {"start": torch.ones(1, 4), "cell.xh_to_h.weight": torch.ones(4, 8)}, "it has makemore's cells"),
    (lambda: changed(fc__bias=beyond(1, torch.int64)), "int64, not .12,. of floating point"),
]


@pytest.mark.parametrize(("make", "said"), ODD, ids=[said for _, said in ODD])
def test_other_models_are_refused_by_the_name_of_a_tensor(
    make: Any, said: str, store: RunStore, tmp_path: Path
) -> None:
    torch.save({"state_dict": make(), "chars": TOKENS}, tmp_path / "model.pt")
    with pytest.raises(CheckpointError, match=f"model.pt does not fit: .*{said}.*what fits is one nn.LSTM"):
        import_file(store, tmp_path / "model.pt")
    assert store.list() == []


@pytest.mark.parametrize("bias", [beyond(float("nan")), beyond(1e300, torch.float64)])
def test_weights_of_a_training_that_diverged_are_refused(bias: torch.Tensor, store: RunStore, tmp_path: Path) -> None:
    torch.save({"state_dict": changed(fc__bias=bias), "chars": TOKENS}, tmp_path / "model.pt")
    with pytest.raises(CheckpointError, match=r"model\.pt cannot be used: 'fc.bias' holds values that are not finite"):
        import_file(store, tmp_path / "model.pt")
    assert store.list() == []


@pytest.mark.filterwarnings("ignore:.*quantized tensor:UserWarning")
def test_quantised_weights_are_refused(store: RunStore, tmp_path: Path) -> None:
    weights = torch.quantize_per_tensor(torch.ones(2, 3), 0.1, 0, torch.qint8)
    torch.save({"fc._packed_params.dtype": torch.qint8, "fc.weight": weights}, tmp_path / "model.pt")
    with pytest.raises(CheckpointError, match=r"quantised weights \(torch\.qint8\).*as it was before that"):
        import_file(store, tmp_path / "model.pt")


def test_a_model_beyond_what_is_trained_here(store: RunStore, tmp_path: Path) -> None:
    torch.save({"model": Foreign(num_layers=9).state_dict(), "chars": TOKENS}, tmp_path / "deep.pt")
    with pytest.raises(ConfigError, match="num_layers 9 is outside 1 to 8"):
        import_file(store, tmp_path / "deep.pt")
    with pytest.raises(ConfigError, match="nonlinearity"):
        import_file(store, tmp_path / "deep.pt", nonlinearity="sin")


def test_with_a_text_it_is_measured_and_belongs_to_it(store: RunStore, tmp_path: Path) -> None:
    udacity_file(tmp_path / "rnn.net")
    corpus = small_corpus("the hare rests\n" * 40 + "X")
    run = import_file(store, tmp_path / "rnn.net", corpus=corpus, label=" my\nown ")
    assert run.label == "my own" and run.best_val_loss is not None and 2.0 < run.best_val_loss < 3.0
    assert run.corpus["name"] == "pets.txt" and run.corpus["characters"] == 600
    assert "1 of 601 characters left out, which the model does not know: 'X'" in run.message
    with pytest.raises(CorpusError, match=r"too little of pets\.txt remains"):
        import_file(store, tmp_path / "rnn.net", corpus=small_corpus("ЖЗИК " * 200))
    assert len(store.list()) == 1


def test_our_own_weights_come_back(store: RunStore, tmp_path: Path) -> None:
    made = made_run(store, arch="rnn", nonlinearity="relu", embed_dim=4)
    shutil.copy(made.folder / "best.safetensors", tmp_path / "anything.bin")
    with pytest.raises(CheckpointError, match=r"anything\.bin does not say which characters"):
        import_file(store, tmp_path / "anything.bin")
    run = import_file(store, tmp_path / "anything.bin", characters=made.folder / "tokenizer.json")
    assert run.model_config == made.model_config and run.imported["format"] == "safetensors"
    assert torch.equal(run.load_model()(IDS)[0], made.load_model()(IDS)[0])
    assert import_file(store, made.folder / "best.safetensors").tokenizer().tokens == list(TOKENS)


def test_there_and_back(store: RunStore, tmp_path: Path) -> None:
    made = made_run(store)
    find_format("udacity").write(made, tmp_path / "out.net")
    back = import_file(store, tmp_path / "out.net")
    assert torch.equal(back.load_model()(IDS)[0], made.load_model()(IDS)[0])
    assert back.tokenizer().tokens == made.tokenizer().tokens


KEYS = st.sampled_from(["tokens", "chars", "state_dict", "model", "n_hidden", "n_layers", "stoi", "weight"])
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4) | st.just(torch.ones(2, 2))
SHAPES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4), max_leaves=8
)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(shape=SHAPES, legacy=st.booleans())
def test_whatever_torch_saved_is_answered_in_one_sentence(
    shape: Any, legacy: bool, store: RunStore, tmp_path: Path
) -> None:
    torch.save(shape, tmp_path / "odd.pt", _use_new_zipfile_serialization=not legacy)
    with pytest.raises(CheckpointError, match=r"odd\.pt") as refused:
        import_file(store, tmp_path / "odd.pt")
    assert "\n" not in str(refused.value)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(
    tokens=st.lists(st.characters(exclude_categories=["Cs"]), min_size=12, max_size=12, unique=True),
    how=st.integers(0, 3),
)
def test_tokens_of_any_kind_and_order_are_kept(tokens: list[str], how: int, store: RunStore, tmp_path: Path) -> None:
    forms = [tokens, "".join(tokens), dict(enumerate(tokens)), {token: place for place, token in enumerate(tokens)}]
    torch.save(OrderedDict(net=Foreign().state_dict(), vocab=forms[how]), tmp_path / "model.pt")
    assert import_file(store, tmp_path / "model.pt").tokenizer().tokens == tokens


# --- real ones -------------------------------------------------------------------------------------------------------


def peer(name: str) -> Path:
    """A checkpoint that somebody published; skips where those are not at hand."""
    path = Path(os.environ.get("CHARLM_PEERS") or "nowhere") / name
    if not path.is_file():
        pytest.skip("CHARLM_PEERS names no folder with it")
    return path


def anna() -> str:
    """The first 20,000 characters of the last tenth of anna.txt; skips without it."""
    path = Path(os.environ.get("CHARLM_CORPORA") or "nowhere") / "anna.txt"
    if not path.is_file():
        pytest.skip("CHARLM_CORPORA names no folder with anna.txt")
    text = path.read_text(encoding="utf-8")
    return text[int(len(text) * 0.9) :][:20_000]


@pytest.mark.parametrize(
    ("name", "loss", "accuracy"),
    [("nlindmark_rnn_20_epoch.net", 1.3352, 0.5895), ("nlindmark_rnn_x_epoch.net", 4.4206, None)],
)
def test_published_models_score_what_they_scored(
    name: str, loss: float, accuracy: float | None, store: RunStore
) -> None:
    run = import_file(store, peer(name))
    ids = torch.from_numpy(run.tokenizer().encode(anna())).long()[None]
    with torch.no_grad():
        logits = run.load_model()(ids[:, :-1])[0][0]
    assert F.cross_entropy(logits, ids[0, 1:]).item() == pytest.approx(loss, abs=5e-5)
    right = (logits.argmax(-1) == ids[0, 1:]).float().mean().item()
    assert accuracy is None or right == pytest.approx(accuracy, abs=5e-5)


def test_a_swedish_model_knows_its_letters(store: RunStore) -> None:
    tokens = import_file(store, peer("nlindmark_rnn_ada.net")).tokenizer().tokens
    assert {*"åäñ"} <= set(tokens) and len(tokens) == 79 and tokens != sorted(tokens)


def test_a_published_module_is_refused(store: RunStore) -> None:
    with pytest.raises(CheckpointError, match=r"model\.CharRNN.*can run code; save the weights as torch\.save"):
        import_file(store, peer("efaythegreat_spro_shakespeare.pt"))


@pytest.mark.slow
def test_a_published_model_is_fine_tuned(store: RunStore) -> None:
    parent, corpus = import_file(store, peer("nlindmark_rnn_20_epoch.net")), load_corpus("sherlock", CorpusConfig())
    corpus = corpus_from_text(corpus.text[:60_000], "part of it", CorpusConfig())
    part = drop_unknown(corpus, parent.tokenizer()).text
    before = Serving(store).evaluate(parent, part[-len(part) // 10 :])["nats_per_token"]
    options = {"steps": 40, "learning_rate": 2e-3, "warmup_steps": 5, "schedule": "constant"}
    run, text = fork(store, parent, options, corpus)
    run_trainers(prepare([run], text, resume=True), Control())
    after = store.get(run.run_id)
    assert after.best_val_loss is not None and after.best_val_loss < before - 0.03
    assert after.tokenizer().tokens == parent.tokenizer().tokens
    assert json.loads((after.folder / "tokenizer.json").read_text(encoding="utf-8"))["tokens"][:3] == ["U", "v", "9"]
