"""What frameworks other than torch write, damaged: of each a small recorded file."""

import io
import json
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from charlm.errors import CheckpointError
from charlm.formats import torch_files
from charlm.formats.foreign import model_of
from charlm.formats.frameworks import arrays, hdf5, ml5, recurrentjs, tensorflow
from charlm.formats.frameworks.keras import from_config

# Loaded by imports when they are needed; a damaged zip may need any, and loading is no reader's business here.
LOADED = (torch_files, arrays, hdf5, ml5, recurrentjs, tensorflow)
RECORDED = Path(__file__).parents[1] / "formats" / "recorded"
NOT_READ = "expected.json"


def zip_of(folder: Path, **changed: bytes) -> bytes:
    """The files of a recorded model as a zip, some of them others."""
    members = {path.name: path.read_bytes() for path in folder.iterdir() if path.name != NOT_READ} | changed
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in sorted(members.items()):
            archive.writestr(name, data)
    return out.getvalue()


def framework_files() -> Mapping[str, bytes]:
    """Files that need nothing beside them."""
    return {
        "ml5.zip": zip_of(RECORDED / "ml5"), "checkpoint.zip": zip_of(RECORDED / "tensorflow-keras"),
        "flax.zip": zip_of(RECORDED / "flax-lstm"), "arrays.zip": zip_of(RECORDED / "linen-gru"),
        "letters.json": (RECORDED / "recurrentjs-rnn" / "model.json").read_bytes(),
    }  # fmt: skip


def in_home(read: Callable[[Any, str, bytes], Any]) -> Callable[[Any, str, bytes], Any]:
    """A reader whose temporary folders are where files may be written."""

    def tried(ground: Any, name: str, data: bytes) -> None:
        before, tempfile.tempdir = tempfile.tempdir, str(ground.home)
        try:
            read(ground, name, data)
        finally:
            tempfile.tempdir = before

    return tried


def keras_configs() -> Mapping[str, bytes]:
    """Configurations of Keras; HDF5 itself is read in a process of its own."""
    found = {}
    for name in ("keras-lstm", "keras-gru", "keras-rnn"):
        with zipfile.ZipFile(RECORDED / name / "model.keras") as archive:
            found[f"{name}.json"] = archive.read("config.json")
    return found


def read_keras_config(_: Any, name: str, data: bytes) -> None:
    """A model with this configuration and arrays of the usual places."""
    gates = {"keras-lstm": 16, "keras-gru": 12, "keras-rnn": 4}.get(name.removesuffix(".json"), 4)
    kind = {16: "lstm", 12: "gru", 4: "simple_rnn"}[gates]
    arrays = {"layers/embedding/vars/0": torch.ones(12, 3), "layers/dense/vars/0": torch.ones(4, 12)}
    for place, width in enumerate((3 if gates > 4 else 12, 4)):
        cell = f"layers/{kind}_{place}/cell/vars".replace("_0/", "/")
        bias = torch.ones(2, gates) if gates == 12 else torch.ones(gates)
        arrays |= {f"{cell}/0": torch.ones(width, gates), f"{cell}/1": torch.ones(4, gates), f"{cell}/2": bias}
    try:
        weights = from_config(json.loads(data), arrays, {})
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{name} cannot be read: {str(error).splitlines()[0][:200]}") from None
    assert all(np.isfinite(part.numpy()).all() for part in weights.tensors.values())
    model_of(weights.tensors, weights.facts, "tanh", name)
