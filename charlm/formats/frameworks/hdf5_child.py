"""What the process does that reads an HDF5 file; see charlm/data/confined.py."""

import io
import json
from typing import Any

MOST_NODES, MOST_ATTRIBUTE = 5_000, 1 << 20


def read(data: bytes, options: dict[str, Any]) -> tuple[bytes, Any]:
    """The numbers in an HDF5 file as an npz, and the texts among its attributes.

    What is no plain dataset of numbers inside the file (links into other files, virtual and external data, objects) is
    left out.

    Args:
        data: of the file.
        options: most_bytes that its arrays may unpack to.

    Raises:
        ValueError: it holds too much.
    """
    try:
        import h5py
    except ImportError:
        return b"", None
    import numpy as np

    arrays: dict[str, Any] = {}
    attributes: dict[str, Any] = {}
    most = left = int(options["most_bytes"])
    with h5py.File(io.BytesIO(data), "r") as file:
        waiting, seen = [("", file)], 0
        while waiting:
            name, node = waiting.pop()
            if name.startswith(("optimizer", "_optimizer")):
                continue
            seen += 1
            if seen > MOST_NODES:
                raise ValueError(f"it holds more than {MOST_NODES:,} objects")
            if found := texts(node.attrs):
                attributes[name] = found
            if isinstance(node, h5py.Group):
                hard = [key for key in node if isinstance(node.get(key, getlink=True), h5py.HardLink)]
                waiting += [(f"{name}/{key}".lstrip("/"), node[key]) for key in hard]
                continue
            if node.dtype.kind not in "fiu" or node.is_virtual or node.external:
                continue
            left -= node.size * node.dtype.itemsize
            if left < 0:
                raise ValueError(f"it unpacks to more than {most:,} bytes")
            arrays[name] = node[()]
    arrays["attributes"] = np.frombuffer(json.dumps(attributes).encode(), np.uint8)
    np.savez(out := io.BytesIO(), **{f"x{place}": one for place, one in enumerate(arrays.values())}, names=[*arrays])
    return out.getvalue(), True


def texts(attributes: Any) -> dict[str, Any]:
    """The attributes that are texts or lists of texts."""
    found = {}
    for key in attributes:
        try:
            value = attributes[key]
        except (OSError, TypeError, ValueError):
            continue
        value = value.tolist() if hasattr(value, "tolist") else value
        value = [plain(one) for one in value] if isinstance(value, list) else plain(value)
        is_text = all(isinstance(one, str) for one in value) if isinstance(value, list) else isinstance(value, str)
        if is_text and len(str(value)) < MOST_ATTRIBUTE:
            found[key] = value
    return found


def plain(value: Any) -> Any:
    """A text, whether it was stored as one or as bytes."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
