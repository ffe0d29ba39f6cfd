"""What other programs write, damaged: opened as on one's own machine, and refused as on a public Space."""

import io
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from charlm.errors import CharLMError
from charlm.formats.detect import is_pickle
from charlm.formats.imports import import_file
from charlm.models import build_model
from charlm.runs.store import RunStore
from tests.tiny_runs import store_in

CHARACTERS = "\n abcdefgh"
FACTS = {"n_hidden": 4, "n_layers": 2, "tokens": tuple(CHARACTERS)}


def checkpoints(run: Any) -> Mapping[str, bytes]:
    """Small real files of every kind that is imported."""
    with torch.device("cpu"):
        lstm = torch.nn.LSTM(len(CHARACTERS), 4, 2)
        gru = torch.nn.GRU(3, 4)
    out = torch.nn.Linear(4, len(CHARACTERS))
    udacity = {f"lstm.{name}": tensor for name, tensor in lstm.state_dict().items()}
    plain = {"embed.weight": torch.zeros(len(CHARACTERS), 3)}
    plain |= {f"gru.{name}": tensor for name, tensor in gru.state_dict().items()}
    heads = {f"fc.{name}": tensor for name, tensor in out.state_dict().items()}
    notebook = {**FACTS, "state_dict": udacity | heads}
    listed = {"model_state_dict": plain | heads, "char2idx": {one: at for at, one in enumerate(CHARACTERS)}}
    return {
        "udacity.net": saved(notebook, new=True), "udacity-legacy.net": saved(notebook, new=False),
        "plain.pt": saved(listed, new=True), "plain-legacy.pth": saved(listed, new=False),
        "own.safetensors": (run.folder / "best.safetensors").read_bytes(),
        "characters.json": json.dumps(list(CHARACTERS)).encode(), "characters.txt": CHARACTERS.encode(),
    }  # fmt: skip


def torch_saved(run: Any) -> Mapping[str, bytes]:
    """Those of `checkpoints` that need nothing beside them."""
    return {name: data for name, data in checkpoints(run).items() if name.endswith((".net", ".pt", ".pth"))}


def saved(value: Any, new: bool) -> bytes:
    """What torch.save makes of it: a zip, or what it wrote before version 1.6."""
    file = io.BytesIO()
    torch.save(value, file, _use_new_zipfile_serialization=new)
    return file.getvalue()


def read_foreign(home: Path, run: Any, name: str, data: bytes) -> None:
    """Import a file on one's own machine and on a public Space; nothing is left of what is refused."""
    inbox = store_in(home / "foreign")
    try:
        _refused_in_public(inbox, home / name, data)
        _imported(inbox, home, run, name, data)
    finally:
        shutil.rmtree(inbox.root, ignore_errors=True)


def _refused_in_public(inbox: RunStore, path: Path, data: bytes) -> None:
    path.write_bytes(data)
    try:
        made = import_file(inbox, path, pickles=False)
    except CharLMError:
        assert not inbox.list()
        return
    assert not is_pickle(data), "a pickle came in"
    inbox.delete(made)


def _imported(inbox: RunStore, home: Path, run: Any, name: str, data: bytes) -> None:
    """The file as a checkpoint; a list of characters beside a good one; our own file needs a list, too."""
    listed = None
    path = home / name
    path.write_bytes(data)
    if name.startswith("characters"):
        listed, path = path, home / "beside.pt"
        good = {f"rnn.{key}": value for key, value in torch.nn.RNN(len(CHARACTERS), 4).state_dict().items()}
        good |= {f"fc.{key}": value for key, value in torch.nn.Linear(4, len(CHARACTERS)).state_dict().items()}
        path.write_bytes(saved(good, new=True))
    elif name.startswith("own"):
        listed = home / "own.json"
        listed.write_text(json.dumps(run.tokenizer().tokens))
    made = import_file(inbox, path, characters=listed)
    model, tokenizer = made.load_model(), made.tokenizer()
    assert build_model(made.model_config).config == model.config and tokenizer.vocab_size == model.config.vocab_size
    model(torch.zeros(1, 3, dtype=torch.long))
