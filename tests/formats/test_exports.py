"""Exports in other programs' formats compute what the run computes."""

import json
import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from charlm.errors import CheckpointError, ConfigError
from charlm.formats.exports import FORMATS, find_format
from charlm.runs.run import Run
from charlm.runs.store import SHIPPED, RunStore
from tests.formats.models import made_run
from tests.tiny_runs import TEXT

ARCHS: list[dict[str, Any]] = [
    {"arch": "lstm"}, {"arch": "gru"}, {"arch": "rnn"}, {"arch": "rnn", "nonlinearity": "relu"}, {"arch": "mingru"},
    {"arch": "transformer"}, {"arch": "transformer", "context": 9},
    {"arch": "transformer", "context": 1, "num_heads": 2},
]  # fmt: skip
INPUTS: list[dict[str, Any]] = [{}, {"embed_dim": 5}, {"embed_dim": 8, "tie_weights": True}]


def exported(run: Run, name: str, folder: Path) -> Path:
    """The run's file in a format."""
    path = folder / f"out{find_format(name).suffix}"
    find_format(name).write(run, path)
    return path


def our_logits(run: Run, ids: Tensor) -> Tensor:
    with torch.no_grad():
        return run.load_model()(ids)[0]


def some_ids(run: Run, rows: int, length: int) -> Tensor:
    return torch.randint(run.model_config.vocab_size, (rows, length), generator=torch.Generator().manual_seed(1))


def test_every_format_has_a_name_of_its_own() -> None:
    assert {"zip", "torch", "udacity", "onnx"} <= {kind.name for kind in FORMATS}
    assert len({kind.name for kind in FORMATS}) == len(FORMATS)
    with pytest.raises(ConfigError, match=r"can be exported as zip, .*, not 'word'"):
        find_format("word")


@pytest.mark.parametrize("inputs", INPUTS, ids=str)
@pytest.mark.parametrize("arch", ARCHS, ids=str)
def test_the_lines_in_the_readme_make_the_model(
    arch: dict[str, Any], inputs: dict[str, Any], store: RunStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = made_run(store, **arch, **inputs)
    with zipfile.ZipFile(exported(run, "torch", tmp_path)) as archive:
        assert set(archive.namelist()) == {"README.txt", "model.json", "model.pt"}
        archive.extractall(tmp_path / "unpacked")
    monkeypatch.chdir(tmp_path / "unpacked")
    readme = Path("README.txt").read_text(encoding="utf-8")
    names: dict[str, Any] = {}
    exec(readme[readme.index("import json") :], names)
    ids = some_ids(run, 3, 40)
    with torch.no_grad():
        whole, _ = names["model"](ids)
        first, state = names["model"](ids[:, :7])
        second, state = names["model"](ids[:, 7:8], state)
        rest, _ = names["model"](ids[:, 8:], state)
    assert torch.allclose(whole, our_logits(run, ids), atol=1e-4)
    assert torch.allclose(torch.cat([first, second, rest], dim=1), whole, atol=1e-4)
    assert json.loads(Path("model.json").read_text(encoding="utf-8"))["tokens"] == run.tokenizer().tokens


class CharRNN(nn.Module):
    """The notebook's class, written anew from its interface."""

    def __init__(
        self, tokens: tuple[str, ...], n_hidden: int = 256, n_layers: int = 2, drop_prob: float = 0.5, lr: float = 0.001
    ) -> None:
        super().__init__()
        self.chars = tokens
        self.char2int = {character: place for place, character in enumerate(tokens)}
        self.lstm = nn.LSTM(len(tokens), n_hidden, n_layers, dropout=drop_prob, batch_first=True)
        self.dropout = nn.Dropout(drop_prob)
        self.fc = nn.Linear(n_hidden, len(tokens))

    def forward(self, x: Tensor, hidden: Any) -> tuple[Tensor, Any]:
        r_output, hidden = self.lstm(x, hidden)
        out = self.dropout(r_output)
        return self.fc(out.contiguous().view(-1, self.lstm.hidden_size)), hidden


def test_the_notebook_loads_its_own_format(store: RunStore, tmp_path: Path) -> None:
    run = made_run(store, arch="lstm")
    checkpoint = torch.load(exported(run, "udacity", tmp_path), weights_only=True)
    assert list(checkpoint) == ["n_hidden", "n_layers", "state_dict", "tokens"]
    loaded = CharRNN(checkpoint["tokens"], n_hidden=checkpoint["n_hidden"], n_layers=checkpoint["n_layers"])
    loaded.load_state_dict(checkpoint["state_dict"])
    ids = some_ids(run, 1, 50)
    zeros = torch.zeros(checkpoint["n_layers"], 1, checkpoint["n_hidden"])
    with torch.no_grad():
        logits, _ = loaded.eval()(nn.functional.one_hot(ids, len(loaded.chars)).float(), (zeros, zeros))
    assert torch.allclose(logits, our_logits(run, ids)[0], atol=1e-5)
    assert loaded.chars == tuple(run.tokenizer().tokens)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"arch": "gru"}, "has the architecture gru"),
        ({"arch": "transformer"}, "has the architecture transformer"),
        ({"arch": "lstm", "embed_dim": 4}, "an embedding of 4"),
    ],
)
def test_the_notebooks_class_is_an_lstm_over_one_hot_characters(
    settings: dict[str, Any], said: str, store: RunStore, tmp_path: Path
) -> None:
    with pytest.raises(CheckpointError, match=f"{said}.*export it as torch"):
        exported(made_run(store, **settings), "udacity", tmp_path)
    assert not list(tmp_path.glob("out*"))


@pytest.mark.parametrize("inputs", INPUTS, ids=str)
@pytest.mark.parametrize("arch", ARCHS, ids=str)
def test_onnx_takes_the_same_200_steps(
    arch: dict[str, Any], inputs: dict[str, Any], store: RunStore, tmp_path: Path
) -> None:
    runtime = pytest.importorskip("onnxruntime")
    onnx = pytest.importorskip("onnx")
    run = made_run(store, **arch, **inputs)
    path = exported(run, "onnx", tmp_path)
    onnx.checker.check_model(str(path), full_check=True)
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    assert json.loads(session.get_modelmeta().custom_metadata_map["tokens"]) == run.tokenizer().tokens
    for rows in (1, 3):
        ids = some_ids(run, rows, 200)
        worst = (onnx_logits(session, ids) - our_logits(run, ids)).abs().max().item()
        assert worst < 1e-4


@pytest.mark.parametrize("name", ["small-lstm", "small-gru", "small-rnn", "transformer"])
def test_eight_bits_cost_next_to_nothing(name: str, tmp_path: Path) -> None:
    """On held-out text of the included models, beside the whole weights."""
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    run = Run(SHIPPED / f"sherlock-{name}", shipped=True)
    whole, small = (exported(run, kind, tmp_path) for kind in ("onnx", "onnx8"))
    tokenizer = run.tokenizer()
    ids = torch.from_numpy(tokenizer.encode(TEXT[:600], skip_unknown=True).astype(np.int64))[None]
    losses = []
    for path in (whole, small):
        session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        assert json.loads(session.get_modelmeta().custom_metadata_map["tokens"]) == tokenizer.tokens
        logits = onnx_logits(session, ids[:, :-1])
        losses.append(torch.nn.functional.cross_entropy(logits[0], ids[0, 1:]).item())
    assert abs(losses[1] - losses[0]) < 0.02
    assert small.stat().st_size < 0.3 * whole.stat().st_size


def onnx_logits(session: Any, ids: Tensor) -> Tensor:
    """Logits (B, T, V) of ids (B, T), a step at a time."""
    sizes = {one.name: [len(ids) if size == "B" else size for size in one.shape] for one in session.get_inputs()[1:]}
    whole = {one.name for one in session.get_inputs() if one.type == "tensor(int64)"}
    state = {name: np.zeros(size, np.int64 if name in whole else np.float32) for name, size in sizes.items()}
    steps = []
    for column in ids.t():
        logits, *ends = session.run(None, {"ids": column.numpy(), **state})
        state = dict(zip(sizes, ends, strict=True))
        steps.append(torch.from_numpy(logits))
    return torch.stack(steps, dim=1)


def test_without_onnx_the_export_says_what_to_install(
    store: RunStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(CheckpointError, match="pip install onnx"):
        exported(made_run(store), "onnx", tmp_path)
    assert not (tmp_path / "out.onnx").exists()


def test_files_of_all_formats_are_told_apart_by_their_names() -> None:
    run = SimpleNamespace(label="Мой / run", run_id="gru-20260101-abc")
    names = [kind.file_name(run) for kind in FORMATS]  # type: ignore[arg-type]
    assert names[:2] == ["Мой-run.zip", "Мой-run.torch.zip"] and len(set(names)) == len(FORMATS)
    run.label = "я" * 80  # the longest label, of 160 bytes
    assert all(len(kind.file_name(run).encode()) <= 255 - len(".part") for kind in FORMATS)  # type: ignore[arg-type]
    run.label = "…"
    assert find_format("html8").file_name(run) == "gru-20260101-abc-8bit.html"  # type: ignore[arg-type]
