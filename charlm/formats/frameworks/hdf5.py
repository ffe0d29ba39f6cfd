"""HDF5 files, as Keras writes them, read by h5py in a child process: a C parser of strangers' files is not trusted."""

import json
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from charlm.data.confined import MEMORY, ConfinedError, confined
from charlm.errors import CheckpointError
from charlm.files import one_line
from charlm.formats.frameworks import hdf5_child
from charlm.formats.frameworks.arrays import read_arrays
from charlm.formats.frameworks.keras import from_config, from_paths
from charlm.formats.frameworks.weights import Weights
from charlm.formats.run_zip import ZipMembers

CONFIG, WEIGHTS = "config.json", "model.weights.h5"  # in a .keras file
MOST_CONFIG = 4 << 20
NO_H5PY = (
    "Keras models are read with h5py, which is not installed: pip install h5py, or pip install 'charlm-lab[keras]'"
)


class Hdf5(NamedTuple):
    """The numbers in an HDF5 file by path, and the texts among the attributes of each object."""

    arrays: dict[str, Tensor]
    attributes: dict[str, dict[str, Any]]


def read_hdf5(path: Path, most_bytes: int) -> Hdf5:
    """What an HDF5 file holds.

    Args:
        path: of the file.
        most_bytes: that its arrays may unpack to.

    Raises:
        CheckpointError: h5py is missing, or the file is damaged, too large, or takes too long.
    """
    try:
        arrays, is_read = confined(
            hdf5_child.read, path.read_bytes(), {"most_bytes": most_bytes},
            memory=MEMORY + 3 * most_bytes, most_answer=most_bytes + (8 << 20),
        )  # fmt: skip
    except ConfinedError as error:
        raise CheckpointError(f"{path.name} is no HDF5 file that can be read: {error}") from None
    if not is_read:
        raise CheckpointError(NO_H5PY)
    with tempfile.TemporaryDirectory(prefix="charlm-") as folder:
        out = Path(folder) / "read.npz"
        out.write_bytes(arrays)
        held = read_arrays(out, 2 * most_bytes + (8 << 20))
    names = held.pop("names")
    found = {name: held[f"x{place}"] for place, name in enumerate(names)}
    attributes = json.loads(bytes(found.pop("attributes").tolist()))
    return Hdf5(found, attributes)


def read_keras_zip(path: Path, most_bytes: int) -> Weights:
    """A .keras file: its configuration, and its weights in HDF5.

    Raises:
        CheckpointError: it is damaged, or its layers have no place here.
    """
    archive = ZipMembers(path, most_bytes)
    try:
        config = _json(archive.read(CONFIG, MOST_CONFIG), path)
        with tempfile.TemporaryDirectory(prefix="charlm-") as folder:
            weights = Path(folder) / path.with_suffix(".h5").name
            with weights.open("wb") as file:
                file.writelines(archive.blocks(WEIGHTS, most_bytes))
            held = read_hdf5(weights, most_bytes)
    finally:
        archive.close()
    try:
        return from_config(config, held.arrays, {})
    except ValueError as error:
        raise CheckpointError(f"{path.name} cannot be imported: {one_line(str(error), 300)}") from None


def read_h5(path: Path, most_bytes: int) -> Weights:
    """An .h5 file with its configuration among its attributes, or weights alone.

    Raises:
        CheckpointError: it is damaged, or its layers have no place here.
    """
    held = read_hdf5(path, most_bytes)
    try:
        text = held.attributes.get("", {}).get("model_config")
        root = "model_weights" if text else ""
        if isinstance(text, str):
            return from_config(_json(text.encode(), path), held.arrays, _paths(held, root))
        arrays = {name: array for name, array in held.arrays.items() if not name.startswith("optimizer")}
        return Weights(from_paths(arrays))
    except ValueError as error:
        raise CheckpointError(f"{path.name} cannot be imported: {one_line(str(error), 300)}") from None


def _paths(held: Hdf5, root: str) -> dict[str, list[str]]:
    """The paths of each layer's arrays, in its own order, as the attributes name them."""
    layers = held.attributes.get(root, {}).get("layer_names", [])
    found = {}
    for layer in layers if isinstance(layers, list) else []:
        group = f"{root}/{layer}".lstrip("/")
        names = held.attributes.get(group, {}).get("weight_names", [])
        found[layer] = [f"{group}/{name}" for name in names] if isinstance(names, list) else []
    return found


def _json(data: bytes, path: Path) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        raise CheckpointError(f"{path.name} has a damaged configuration") from None
