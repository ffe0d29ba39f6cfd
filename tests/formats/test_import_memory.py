"""Coming in takes little more memory than the file is long."""

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from charlm.formats.imports import import_file
from charlm.formats.run_zip import write_zip
from charlm.runs.store import RunStore
from tests.fuzz.guard import memory, reset_peak

TOKENS = [chr(33 + number) for number in range(60)]
FILES = ("zip.pt", "legacy.net", "own.safetensors", "run.zip")


def made(store: RunStore, folder: Path, hidden: int) -> Path:
    """The same model in each of the files that are taken in."""
    folder.mkdir()
    parts = {"lstm": nn.LSTM(len(TOKENS), hidden, 2), "fc": nn.Linear(hidden, len(TOKENS))}
    tensors = {f"{name}.{key}": value for name, part in parts.items() for key, value in part.state_dict().items()}
    notebook = {"n_hidden": hidden, "n_layers": 2, "state_dict": tensors, "tokens": tuple(TOKENS)}
    torch.save(notebook, folder / "zip.pt")
    torch.save(notebook, folder / "legacy.net", _use_new_zipfile_serialization=False)
    run = import_file(store, folder / "zip.pt")
    (folder / "own.safetensors").write_bytes((run.folder / "best.safetensors").read_bytes())
    (folder / "own.json").write_text(json.dumps(TOKENS), encoding="utf-8")
    write_zip(run, folder / "run.zip")
    return folder


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the system does not tell the peak")
def test_a_large_checkpoint_comes_in_within_twice_its_size(store: RunStore, tmp_path: Path) -> None:
    large, small = made(store, tmp_path / "large", 512), made(store, tmp_path / "small", 8)
    for name in FILES:
        import_file(store, small / name)  # loads what is needed
        reset_peak()
        before = memory()[0]
        import_file(store, large / name)
        size = (large / name).stat().st_size
        assert size > 12e6 and memory()[1] - before < 2 * size + (4 << 20), name
