"""Models of torch in the shapes that people save them in, and the characters as people keep them beside."""

import argparse
import json
import subprocess
import sys
from collections import Counter, OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

from charlm.config import SampleConfig
from charlm.errors import CheckpointError
from charlm.formats.imports import import_file
from charlm.generation.generate import generate
from charlm.runs.run import Run
from charlm.runs.store import RunStore
from charlm.tokenizers import CharTokenizer
from tests.formats.models import TOKENS, Foreign

SIZE, WIDTH, HIDDEN = len(TOKENS), 8, 8
IDS = torch.randint(SIZE, (2, 25), generator=torch.Generator().manual_seed(4))
STOI = {token: place for place, token in enumerate(TOKENS)}

Made = tuple[dict[str, Any], torch.Tensor]  # a state_dict, and the logits of IDS


def came_in(store: RunStore, path: Path, value: Any, **options: Any) -> Run:
    torch.save(value, path)
    return import_file(store, path, **options)


def assert_logits(run: Run, expected: torch.Tensor, ids: torch.Tensor = IDS) -> None:
    with torch.no_grad():
        torch.testing.assert_close(run.load_model()(ids)[0], expected, atol=1e-5, rtol=1e-4)


class Net(nn.Module):
    """Parts by name, of which the recurrent ones follow each other."""

    def __init__(self, **parts: nn.Module) -> None:
        super().__init__()
        for name, part in parts.items():
            self.add_module(name, part)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x = ids
        for part in self.children():
            if isinstance(part, nn.RNNBase):
                x = part(x)[0]
            elif isinstance(part, nn.RNNCellBase):
                x = through(part, x)
            elif not isinstance(part, nn.CrossEntropyLoss):
                x = part(x)
        return x


def through(cell: Any, x: torch.Tensor) -> torch.Tensor:
    """(B, T, in) -> (B, T, H), a step at a time."""
    state, out = None, []
    for step in x.unbind(1):
        state = cell(step, state)
        out.append(state[0] if isinstance(state, tuple) else state)
    return torch.stack(out, 1)


def net(*layers: tuple[str, nn.Module], width: int = WIDTH, last: int = HIDDEN, **more: nn.Module) -> Made:
    torch.manual_seed(3)
    model = Net(embedding=nn.Embedding(SIZE, width), **dict(layers), fc=nn.Linear(last, SIZE), **more)
    return dict(model.state_dict()), model(IDS).detach()


def two_modules() -> Made:
    layers = [(f"lstm{number}", nn.LSTM(WIDTH, HIDDEN, batch_first=True)) for number in (1, 2)]
    return net(*layers)


def twelve_modules_in_the_order_of_their_numbers() -> Made:
    """As safetensors keeps them: by name, so that gru10 comes before gru2."""
    state, logits = net(*[(f"gru{number}", nn.GRU(WIDTH, HIDDEN, batch_first=True)) for number in (9, 10)])
    return dict(sorted(state.items())), logits


def modules_of_several_layers_each() -> Made:
    first, second = nn.GRU(6, HIDDEN, 2, batch_first=True), nn.GRU(HIDDEN, HIDDEN, batch_first=True)
    return net(("reader", first), ("writer", second), width=6)


def of_other_widths() -> Made:
    first, second = nn.LSTM(6, 10, batch_first=True), nn.LSTM(10, 7, batch_first=True)
    return net(("lstm1", first), ("lstm2", second), width=6, last=7)


def of_other_widths_gru() -> Made:
    first, second = nn.GRU(6, 5, batch_first=True), nn.GRU(5, 9, batch_first=True)
    return net(("a", first), ("b", second), width=6, last=9)


def named_the_other_way_round() -> Made:
    """Only the shapes tell which comes first."""
    first, second = nn.LSTM(6, 10, batch_first=True), nn.LSTM(10, 7, batch_first=True)
    state, logits = net(("z", first), ("a", second), width=6, last=7)
    return dict(sorted(state.items())), logits


def cells(kind: Any) -> Made:
    return net(("cell1", kind(6, HIDDEN)), ("cell2", kind(HIDDEN, HIDDEN)), width=6)


def one_cell_without_bias() -> Made:
    return net(("cell", nn.GRUCell(6, HIDDEN, bias=False)), width=6)


def weight_norm(new: bool) -> Made:
    torch.manual_seed(3)
    model = Net(
        embedding=nn.Embedding(SIZE, 6), lstm=nn.LSTM(6, HIDDEN, 2, batch_first=True), fc=nn.Linear(HIDDEN, SIZE)
    )
    normed = parametrizations.weight_norm if new else nn.utils.weight_norm
    for name in ("weight_hh_l0", "weight_hh_l1", "weight_ih_l0"):
        normed(model.lstm, name)  # type: ignore[arg-type]
    normed(model.fc, "weight", dim=None)  # type: ignore[arg-type]
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.7)  # lengths and directions no longer agree by themselves
    return dict(model.state_dict()), model(IDS).detach()


def weight_drop(layout: str) -> Made:
    """AWD-LSTM: the raw weights, and those of which some were dropped."""
    state, logits = net(("rnn", nn.LSTM(6, HIDDEN, batch_first=True)), width=6)
    raw = state.pop("rnn.weight_hh_l0")
    rest = {
        f"rnn.module.{name.removeprefix('rnn.')}": state.pop(name) for name in list(state) if name.startswith("rnn.")
    }
    where = {"outside": "rnn.weight_hh_l0_raw", "inside": "rnn.module.weight_hh_l0_raw"}[layout]
    return {**state, **rest, "rnn.module.weight_hh_l0": torch.zeros_like(raw), where: raw}, logits


def fastai() -> Made:
    """A list of such, and the lookup under two names."""
    state, logits = net(*[(f"rnns_{n}", nn.LSTM(WIDTH, HIDDEN, batch_first=True)) for n in range(3)])
    named = {}
    for name, tensor in state.items():
        if name.startswith("rnns_"):
            place, leaf = name[5], name[7:]
            raw = "weight_hh" in leaf
            named[f"0.rnns.{place}.{f'{leaf}_raw' if raw else f'module.{leaf}'}"] = tensor
        else:
            named[{"embedding.weight": "0.encoder.weight"}.get(name, f"1.{name.replace('fc', 'decoder')}")] = tensor
    return {**named, "0.encoder_dp.emb.weight": named["0.encoder.weight"].clone()}, logits


def tied(kept: str, bias: str) -> Made:
    """One matrix for lookup and output, stored once."""
    torch.manual_seed(3)
    model = Net(encoder=nn.Embedding(SIZE, 6), rnn=nn.GRU(6, 6, batch_first=True), decoder=nn.Linear(6, SIZE))
    model.decoder.weight = model.encoder.weight
    state = dict(model.state_dict())
    matrix, offset = state.pop("encoder.weight"), state.pop("decoder.bias")
    state.pop("decoder.weight")
    return {**state, kept: matrix, bias: offset}, model(IDS).detach()


def by_hand(is_from_left: bool) -> Made:
    """min-char-rnn's arrays, computed as its loop does; or each the other way round, as x @ W takes it."""
    torch.manual_seed(3)
    wxh, whh, why = (0.5 * torch.randn(shape) for shape in ((HIDDEN, SIZE), (HIDDEN, HIDDEN), (SIZE, HIDDEN)))
    bh, by = torch.randn(HIDDEN, 1), torch.randn(SIZE, 1)
    logits = torch.empty(*IDS.shape, SIZE)
    for row, ids in enumerate(IDS.tolist()):
        hidden = torch.zeros(HIDDEN, 1)
        for place, one in enumerate(ids):
            hidden = torch.tanh(wxh[:, one : one + 1] + whh @ hidden + bh)
            logits[row, place] = (why @ hidden + by).ravel()
    if is_from_left:
        wxh, whh, why, bh, by = wxh.T, whh.T, why.T, bh.ravel(), by.ravel()
    return {"Wxh": wxh, "Whh": whh, "Why": why, "bh": bh, "by": by}, logits


def with_weights_of_the_loss() -> Made:
    loss = nn.CrossEntropyLoss(weight=torch.rand(SIZE))
    return net(("rnn", nn.RNN(6, HIDDEN, batch_first=True)), width=6, crit=loss)


SHAPES: dict[str, Callable[[], Made]] = {
    **{made.__name__: made for made in (
        two_modules, twelve_modules_in_the_order_of_their_numbers, modules_of_several_layers_each, of_other_widths,
        of_other_widths_gru, named_the_other_way_round, one_cell_without_bias, fastai, with_weights_of_the_loss,
    )},
    **{kind.__name__: lambda kind=kind: cells(kind) for kind in (nn.LSTMCell, nn.GRUCell, nn.RNNCell)},
    "weight_norm": lambda: weight_norm(True), "weight_norm before torch 2": lambda: weight_norm(False),
    "weight drop": lambda: weight_drop("outside"), "weight drop inside": lambda: weight_drop("inside"),
    "min-char-rnn": lambda: by_hand(False), "min-char-rnn from left": lambda: by_hand(True),
    "tied": lambda: tied("encoder.weight", "decoder.bias"), "tied bias": lambda: tied("emb.weight", "out_bias"),
    "tied the other way": lambda: tied("decoder.weight", "decoder.bias"),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:.*weight_norm:FutureWarning")
@pytest.mark.parametrize("name", SHAPES)
def test_a_shape_computes_what_its_own_module_did(name: str, store: RunStore, tmp_path: Path) -> None:
    state, logits = SHAPES[name]()
    run = came_in(store, tmp_path / "model.pt", {"state_dict": state, "chars": TOKENS})
    assert_logits(run, logits)
    assert run.model_config.tie_weights is name.startswith("tied")


def test_min_char_rnn_in_numpys_own_file(store: RunStore, tmp_path: Path) -> None:
    state, logits = by_hand(False)
    arrays: dict[str, Any] = {name: part.numpy() for name, part in state.items()}
    np.savez(tmp_path / "model.npz", chars=np.array(TOKENS), **arrays)
    assert_logits(import_file(store, tmp_path / "model.npz"), logits)


def with_another(name: str, layer: nn.Module) -> Made:
    """A stack and another one, of which no torch module could be made."""
    return {
        **net(("a", nn.LSTM(8, 8)))[0],
        **{f"{name}.{leaf}": part for leaf, part in layer.state_dict().items()},
    }, IDS


def of_odd_lengths() -> Made:
    return {**weight_norm(True)[0], "lstm.parametrizations.weight_hh_l0.original0": torch.ones(3, 1)}, IDS


ODD: dict[str, tuple[Callable[[], Made], str]] = {
    "kinds": (lambda: net(("a", nn.LSTM(6, 8)), ("b", nn.GRU(8, 8)), width=6), "do not follow each other"),
    "backwards": (lambda: with_another("backward", nn.LSTM(8, 8)), "'backward' reads the text backwards"),
    "shapes": (lambda: with_another("b", nn.LSTM(3, 4)), "do not follow each other"),
    "length": (of_odd_lengths, "no lengths for"),
}


@pytest.mark.parametrize("name", ODD)
def test_what_forms_no_chain_is_refused(name: str, store: RunStore, tmp_path: Path) -> None:
    make, said = ODD[name]
    with pytest.raises(CheckpointError, match=said):
        came_in(store, tmp_path / "model.pt", {"state_dict": make()[0], "chars": TOKENS})
    assert store.list() == []


# --- characters ------------------------------------------------------------------------------------------------------

VOCABULARIES: dict[str, Any] = {
    "any name": {"my_mapping": STOI},
    "by id": {"lookup_table": dict(enumerate(TOKENS))},
    "a list": {"letters": list(TOKENS)},
    "in a list": {"extra": [7, {"deep": STOI}]},
    "in tuples": {"extra": (1, ("x", (list(TOKENS),)))},
    "pairs": {"mapping": [(token, place) for token, place in STOI.items()]},
    "ordered": {"dictionary": OrderedDict(STOI)},
    "both agree": {"chars": list(TOKENS), "stoi": STOI, "itos": dict(enumerate(TOKENS))},
    "a set beside": {"vocab": set(TOKENS), "char2idx": STOI},
    "counts beside": {"vocab": Counter("".join(TOKENS)), "char2idx": STOI},
}


@pytest.mark.parametrize("name", VOCABULARIES)
def test_a_whole_table_is_taken_under_any_name(name: str, store: RunStore, tmp_path: Path) -> None:
    model = Foreign()
    run = came_in(store, tmp_path / "model.pt", {"net": model.state_dict(), "epoch": 3, **VOCABULARIES[name]})
    assert run.tokenizer().tokens == list(TOKENS)
    assert_logits(run, model(IDS))


def test_a_tuple_of_weights_and_characters(store: RunStore, tmp_path: Path) -> None:
    model = Foreign()
    run = came_in(store, tmp_path / "model.pt", (dict(model.state_dict()), STOI))
    assert run.tokenizer().tokens == list(TOKENS)
    assert_logits(run, model(IDS))


@pytest.mark.parametrize(
    ("kept", "said"),
    [({"vocab": Counter("".join(TOKENS))}, "'vocab' in .* counts characters and does not number them.*--characters"),
     ({"vocab": set(TOKENS)}, "does not say which characters its 12 ids are.*--characters"),
     ({"chars": list(TOKENS), "stoi": {**STOI, "t": 1, "a": 0}}, "'chars' .* says that 't' has the id 0, 'stoi' .* 1;"),
     ({"itos": dict(enumerate(TOKENS)), "chars": sorted(TOKENS)}, "says that .* --characters FILE"),
     ({"chars": list(TOKENS), "stoi": {one: at + 1 for one, at in STOI.items()}}, "'stoi' in .* id 1, 'chars'")],
    ids=["counter", "set", "swapped", "sorted", "from 1"],
)  # fmt: skip
def test_what_gives_no_ids_or_contradicts_itself_is_said(kept: Any, said: str, store: RunStore, tmp_path: Path) -> None:
    model = Foreign()
    with pytest.raises(CheckpointError, match=said):
        came_in(store, tmp_path / "model.pt", {"state_dict": model.state_dict(), **kept})
    assert store.list() == []
    (tmp_path / "list.json").write_text(json.dumps(list(TOKENS)))
    assert import_file(store, tmp_path / "model.pt", characters=tmp_path / "list.json").tokenizer().tokens == list(
        TOKENS
    )


def test_special_tokens_are_known_and_never_written(store: RunStore, tmp_path: Path) -> None:
    vocab = {"<PAD>": 0, "<BOS>": 1, "[EOS]": 2, "a": 3, "b": 4, "\n": 5, "<unk>": 6, "": 7}
    model = spiky(len(vocab), {0: 6.0, 1: 6.0, 6: 6.0, 7: 6.0, 2: 1.0})
    run = came_in(store, tmp_path / "special.pt", {"state_dict": model.state_dict(), "vocab": vocab})
    tokenizer = run.tokenizer()
    assert isinstance(tokenizer, CharTokenizer) and tokenizer.vocab_size == 8
    assert (tokenizer.begin_id, tokenizer.end_id, tokenizer.silent_ids) == (1, 2, (0, 1, 6, 7))
    ids = torch.tensor([[1, 3, 4, 5, 3]])
    assert_logits(run, model(ids), ids)
    for beams in (1, 3):
        config = SampleConfig(length=400, seed=1, temperature=1.0, beams=beams)
        text = "".join(generate(run.load_model(), tokenizer, "ab", config))
        assert set(text) <= set("ab\n") and len(text) < 400, "it ends where the model ends it"
    assert tokenizer.encode("ab\n<PAD>", skip_unknown=True).tolist() == [3, 4, 5]
    assert tokenizer.decode([1, 3, 0, 4, 2]) == "ab"


def spiky(size: int, likely: dict[int, float]) -> Foreign:
    """A model of `size` tokens, some of which it would write far too often."""
    torch.manual_seed(0)
    model = Foreign(nn.GRU, ("embed", "rnn", "fc"))
    model.embed, model.fc = nn.Embedding(size, 6), nn.Linear(8, size)
    with torch.no_grad():
        for token, logit in likely.items():
            model.fc.bias[token] = logit
    return model


def test_ids_from_one_have_padding_as_their_zero(store: RunStore, tmp_path: Path) -> None:
    table = {token: place + 1 for token, place in STOI.items()}
    model = spiky(SIZE + 1, {0: 9.0})
    run = came_in(store, tmp_path / "padded.pt", {"model": model.state_dict(), "char2idx": table})
    tokenizer = run.tokenizer()
    assert tokenizer.tokens == ["<PAD>", *TOKENS] and tokenizer.encode("that").tolist() == [1, 4, 2, 1]
    ids = IDS + 1
    assert_logits(run, model(ids), ids)
    text = "".join(generate(run.load_model(), tokenizer, "the", SampleConfig(length=300)))
    assert len(text) == 300 and set(text) <= set(TOKENS)


# --- what torch's safe loader refuses --------------------------------------------------------------------------------

REFUSED: dict[str, dict[str, Any]] = {
    "a numpy float": {"chars": list(TOKENS), "best_loss": np.float64(1.25)},
    "numpy ids": {"stoi": {token: np.int64(place) for token, place in STOI.items()}},
    "numpy keys": {"int2char": {np.int64(place): token for place, token in enumerate(TOKENS)}},
    "an array": {"chars": list(TOKENS), "losses": np.arange(3.0)},
    "Lightning's Namespace": {
        "chars": "".join(TOKENS),
        "hyper_parameters": {"args": argparse.Namespace(lr=1e-3, deep={"a": 1})},
    },
}


@pytest.mark.slow
@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("name", REFUSED)
def test_the_lines_that_are_told_save_it_anew(name: str, legacy: bool, store: RunStore, tmp_path: Path) -> None:
    model = Foreign()
    checkpoint = {"epoch": 1, "state_dict": model.state_dict(), **REFUSED[name]}
    torch.save(checkpoint, tmp_path / "best.ckpt", _use_new_zipfile_serialization=not legacy)
    with pytest.raises(CheckpointError, match=r"holds a .* which torch's safe loader refuses; if you trust") as refused:
        import_file(store, tmp_path / "best.ckpt")
    lines = str(refused.value).partition("import that: ")[2]
    subprocess.run([sys.executable, "-c", lines.replace("; ", "\n")], cwd=tmp_path, check=True, timeout=120)
    run = import_file(store, tmp_path / "best-plain.pt")
    assert run.tokenizer().tokens == list(TOKENS)
    assert_logits(run, model(IDS))


def test_counters_sets_and_sizes_are_read_as_torchs_safe_loader_does(store: RunStore, tmp_path: Path) -> None:
    beside = {"counts": Counter("abba"), "seen": {1, 2}, "shape": torch.Size([1, 2]), "raw": b"abc", "chars": TOKENS}
    for legacy in (False, True):
        model = Foreign()
        checkpoint = {"state_dict": model.state_dict(), **beside}
        torch.save(checkpoint, tmp_path / "m.pt", _use_new_zipfile_serialization=not legacy)
        assert_logits(import_file(store, tmp_path / "m.pt"), model(IDS))
