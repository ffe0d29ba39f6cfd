"""Files of torch.save, opened only after their pickles and sizes were judged without torch; nothing in them is run."""

import io
import math
import zipfile
from pathlib import Path
from typing import IO, Any

from charlm.errors import CheckpointError
from charlm.files import one_line, open_plain
from charlm.formats.detect import END, open_zip
from charlm.formats.pickles import InertReader

MOST_PICKLE = 8 << 20  # bytes of the pickle in a zip, without its tensors
MOST_MEMBERS = 10_000
DEPTH, MOST_DICTS = 3, 1_000  # of the dicts in a file that are looked into


def load_torch(path: Path, legacy: bool = False) -> Any:
    """What torch.save wrote: dicts and lists of tensors (on the CPU), texts and numbers.

    Args:
        path: of the file.
        legacy: it was written before torch 1.6, as pickles one after the other, and not as a zip.

    Raises:
        CheckpointError: it holds anything else, is damaged, or declares more than is in it.
    """
    with open_plain(path) as file:
        (_check_legacy if legacy else _check_zip)(file, path.name)
        file.seek(0)
        return _load(file, path.name)


def _load(file: IO[bytes], name: str) -> Any:
    import torch  # takes seconds: not before the file has passed

    try:
        return torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises a dozen kinds, and none of them may end the program
        said = one_line(str(error), 120)
        raise CheckpointError(f"{name} is damaged, torch cannot open it: {said or type(error).__name__}") from None


def _check_legacy(file: IO[bytes], name: str) -> None:
    """Magic number, protocol, system, the object, the keys of its storages; then the storages themselves."""
    reader = InertReader(name)
    *_, keys = [reader.read(file) for _ in range(5)]
    if not isinstance(keys, list) or sorted(map(str, keys)) != sorted(reader.storages):
        raise CheckpointError(f"{name} is damaged: its list of storages does not fit its tensors")
    start, end = file.tell(), file.seek(0, io.SEEK_END)
    needed = sum(storage.size + 8 for storage in reader.storages.values())
    if needed > end - start:
        raise CheckpointError(f"{name} is cut off: its tensors take {needed:,} bytes, it has {end - start:,}")


def _check_zip(file: IO[bytes], name: str) -> None:
    """Members stored as they are, none over another, and each storage as long as its tensors were told."""
    try:
        with open_zip(file) as archive:
            _check_members(archive, file.seek(0, io.SEEK_END), name)
            [pickle] = [member for member in archive.infolist() if member.filename.endswith("/data.pkl")]
            folder = pickle.filename.removesuffix("data.pkl")
            sizes = {member.filename: member.file_size for member in archive.infolist()}
            reader = InertReader(name)
            reader.read(io.BytesIO(archive.read(pickle)))
    except (zipfile.BadZipFile, OSError, ValueError, EOFError, NotImplementedError, RuntimeError) as error:
        raise CheckpointError(f"{name} is a damaged file of torch.save: {one_line(str(error), 80)}") from None
    for storage in reader.storages.values():
        if sizes.get(f"{folder}data/{storage.key}") != storage.size:
            raise CheckpointError(
                f"{name} is damaged: tensors of {storage.size:,} bytes are named, "
                f"{sizes.get(f'{folder}data/{storage.key}', 0):,} are stored"
            )


def _check_members(archive: zipfile.ZipFile, size: int, name: str) -> None:
    """What torch writes, and nothing that two readers of zips could read in two ways."""
    members = archive.infolist()
    names = {member.filename for member in members}
    if archive.comment or archive.start_dir > size - END:
        raise CheckpointError(f"{name} is no file of torch.save: something follows the archive in it")
    if len(members) > MOST_MEMBERS or len({name.lower() for name in names}) < len(members):  # torch minds no case
        raise CheckpointError(f"{name} is no file of torch.save: too many members, or two of one name")
    if len({member.partition("/")[0] for member in names}) > 1 or not all(map(_is_plain, names)):
        raise CheckpointError(f"{name} is no file of torch.save: its members do not lie in one folder")
    if any(member.compress_type != zipfile.ZIP_STORED or member.flag_bits & 1 for member in members):
        raise CheckpointError(f"{name} is no file of torch.save: its members are compressed; save it anew")
    end = 0
    for member in sorted(members, key=lambda member: member.header_offset):
        if member.header_offset < end or member.file_size != member.compress_size:
            raise CheckpointError(f"{name} is damaged: its members lie over each other")
        end = member.header_offset + member.file_size
    if end > size or sum(member.file_size for member in members if member.filename.endswith(".pkl")) > MOST_PICKLE:
        raise CheckpointError(f"{name} is damaged: its members are larger than they may be")


def _is_plain(name: str) -> bool:
    return name.isascii() and name.isprintable() and "\\" not in name and ".." not in name


def found_tensors(loaded: Any) -> dict[str, Any]:
    """The state_dict in what torch.save wrote: it itself, or one of the dicts it holds; empty without one.

    Of several the largest counts: beside the model's an optimizer's may stand.
    """
    import torch

    own = [
        {key: part for key, part in found.items() if isinstance(key, str) and isinstance(part, torch.Tensor)}
        for found in _dicts(loaded)
    ]
    return max(own, key=lambda tensors: sum(math.prod(part.shape) for part in tensors.values()), default={})


def found_facts(loaded: Any) -> dict[str, Any]:
    """All that is named beside tensors, by name; what stands further out wins. No tensor is kept through it."""
    import torch

    dicts, facts = _dicts(loaded), dict[str, Any]()
    holding = {id(one) for one in dicts if any(isinstance(part, torch.Tensor) for part in one.values())}
    for _ in range(DEPTH):
        holding |= {id(one) for one in dicts if any(id(part) in holding for part in one.values())}
    for found in dicts:
        for key, part in found.items():
            if isinstance(key, str) and not isinstance(part, torch.Tensor) and id(part) not in holding:
                facts.setdefault(key, part)
    return facts


def _dicts(loaded: Any) -> list[dict[Any, Any]]:
    """The dicts in what was loaded, the outermost first, each once: some are made to hold each other for ever."""
    found = {id(loaded): loaded} if isinstance(loaded, dict) else {}
    layer = list(found.values())
    for _ in range(DEPTH - 1):
        layer = [part for one in layer for part in one.values() if isinstance(part, dict) and id(part) not in found]
        layer = list({id(part): part for part in layer}.values())
        found |= {id(part): part for part in layer}
    return list(found.values())[:MOST_DICTS]
