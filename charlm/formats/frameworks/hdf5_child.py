"""Reads an HDF5 file in a process of its own, with limits of memory and time: `python hdf5_child.py FILE OUT BYTES`.

It imports nothing of this program. What is no plain dataset of numbers inside the file (links into other files, virtual
and external data, objects) is left out; the rest goes to OUT, an npz, with the attributes as a JSON text.
"""

import json
import sys
from contextlib import suppress
from typing import Any

SECONDS = 60
MOST_NODES, MOST_ATTRIBUTE = 5_000, 1 << 20
MEMORY = 1 << 30  # bytes beside what the file may unpack to


def limit(most_bytes: int) -> None:
    """Bound this process' memory, time and output, where the system can."""
    with suppress(ImportError, OSError, ValueError):
        import resource

        for kind, value in (
            (resource.RLIMIT_AS, MEMORY + 3 * most_bytes),
            (resource.RLIMIT_CPU, SECONDS),
            (resource.RLIMIT_FSIZE, most_bytes + (8 << 20)),
            (resource.RLIMIT_CORE, 0),
        ):
            resource.setrlimit(kind, (value, value))


def main(path: str, out: str, most: str) -> None:
    """Read FILE, write OUT."""
    import h5py
    import numpy as np

    limit(int(most))
    arrays, attributes, left = {}, {}, int(most)
    with h5py.File(path, "r", locking=False) as file:
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
                raise ValueError(f"it unpacks to more than {int(most):,} bytes")
            arrays[name] = node[()]
    arrays["attributes"] = np.frombuffer(json.dumps(attributes).encode(), np.uint8)
    np.savez(out, **{f"x{place}": array for place, array in enumerate(arrays.values())}, names=np.array(list(arrays)))


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


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except ImportError:
        sys.exit(3)
    except Exception as error:  # h5py raises a dozen kinds
        print(type(error).__name__, error, file=sys.stderr)
        sys.exit(4)
