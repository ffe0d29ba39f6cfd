"""Files of torch.save, checked before torch opens them; nothing in them is run.

Why own code: a pickle is a program. torch.load(weights_only=True) does not run it, but allocates whatever sizes a file
declares, raises a dozen kinds of errors, and has to be loaded first, which takes seconds. So opcodes, names and sizes
are followed here on plain values, within bounds, and torch gets only what has passed.
"""

import io
import math
import re
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from charlm.errors import CheckpointError
from charlm.files import one_line, open_plain
from charlm.formats.detect import END, opcodes, open_zip
from charlm.formats.run_zip import UNREADABLE, overlaps
from charlm.formats.vocabularies import NAMES

MOST_PICKLE = 8 << 20  # bytes of the pickle in a zip, without its tensors
MOST_MEMBERS = 10_000
DEPTH, MOST_DICTS = 3, 1_000  # of the dicts in a file that are searched
MOST_OPCODES = 400_000  # of a pickle; more take longer than a second
MOST_DIMENSIONS = 8
ITEM_SIZES = {
    "torch DoubleStorage": 8, "torch FloatStorage": 4, "torch HalfStorage": 2, "torch BFloat16Storage": 2,
    "torch LongStorage": 8, "torch IntStorage": 4, "torch ShortStorage": 2, "torch CharStorage": 1,
    "torch ByteStorage": 1, "torch BoolStorage": 1,
}  # fmt: skip
ORDERED_DICT, COUNTER = "collections OrderedDict", "collections Counter"
SETS = ("__builtin__ set", "builtins set")
BYTES, SIZE = "_codecs encode", "torch Size"
# What people keep beside weights and torch's own safe loader refuses, by the beginning of its name. None is made here.
KEPT_BESIDE = (
    "numpy dtype", "numpy.core.multiarray scalar", "numpy._core.multiarray scalar", "numpy ndarray",
    "numpy.core.multiarray _reconstruct", "numpy._core.multiarray _reconstruct", "argparse Namespace",
    "collections defaultdict", "pathlib PosixPath", "pathlib WindowsPath", "pathlib._local PosixPath",
    "pathlib._local WindowsPath",
)  # fmt: skip
TENSOR, PARAMETER = "torch._utils _rebuild_tensor_v2", "torch._utils _rebuild_parameter"
QUANTISED = re.compile(r"torch qu?int(?:8|32|4x2)|torch Q\w{1,20}Storage|torch(?:\._utils)? _rebuild_qtensor")
WAY_OUT = "save the weights as torch.save({'state_dict': model.state_dict(), 'chars': chars}, FILE) and import that"
# What opens a file that torch's safe loader refuses, and saves it as one that is taken here; told with its names.
LINES = (
    "import torch; d = torch.load({file!r}, weights_only=False); "
    'torch.save({{"state_dict": {weights}, "chars": {chars}}}, {new!r})'
)
_MARK = object()


@dataclass(frozen=True)
class Name:
    """A function or class that a pickle names; it is never looked up."""

    name: str


@dataclass(frozen=True)
class Storage:
    """Numbers that a pickle refers to: `numel` of `item_size` bytes each, elsewhere in the file under `key`."""

    key: str
    numel: int
    item_size: int

    @property
    def size(self) -> int:
        """In bytes."""
        return self.numel * self.item_size


class Dict(dict[Any, Any]):
    """An OrderedDict of the pickle, which alone may carry attributes."""


class Beside:
    """Stands for an object of another program that is known to be harmless, and not made."""


class InertReader:
    """Follows a pickle's opcodes on plain values and refuses whatever a dict of tensors does not need.

    Args:
        name: of the file, for messages.

    Attributes:
        storages: that the pickle refers to, by key.
        beside: the first name of KEPT_BESIDE that it holds; empty: none.
    """

    def __init__(self, name: str) -> None:
        self.name, self.storages = name, dict[str, Storage]()
        self.beside, self._count = "", 0

    def read(self, file: IO[bytes]) -> Any:
        """One pickle from the file's position; tensors are left as None.

        Raises:
            CheckpointError: it names a foreign class or function, is damaged, too long, or declares impossible sizes.
        """
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}
        try:
            for opcode, argument, _ in opcodes(file):
                self._count += 1
                if self._count > MOST_OPCODES:
                    raise CheckpointError(f"{self.name} is no file of weights: it holds far too many values")
                if opcode.name == "STOP":
                    [value] = self._stack
                    return None if value is _MARK else value
                self._follow(opcode.name, argument)
        except (ValueError, IndexError, KeyError, TypeError, UnicodeError, OverflowError, EOFError) as error:
            raise self._damaged(error) from None
        raise self._damaged("it ends too early")

    def _damaged(self, reason: object) -> CheckpointError:
        return CheckpointError(f"{self.name} is damaged, or no file of torch.save: {one_line(str(reason), 80)}")

    def _follow(self, opcode: str, argument: Any) -> None:
        if opcode in VALUES:
            make = VALUES[opcode]
            self._stack.append(make() if make else argument)
        elif opcode in ACTIONS:
            ACTIONS[opcode](self, argument)
        else:
            raise CheckpointError(
                f"{self.name} is refused: its pickle makes objects of other programs (opcode {opcode}), and opening "
                f"such a one can run code; {WAY_OUT}"
            )

    def _name(self, name: str) -> None:
        if name in KEPT_BESIDE:
            self.beside = self.beside or name
        elif QUANTISED.fullmatch(name):
            raise CheckpointError(
                f"{self.name} holds quantised weights ({name.replace(' ', '.')}), which are not imported; save the "
                "state_dict of the model as it was before that"
            )
        elif name not in (*ITEM_SIZES, ORDERED_DICT, COUNTER, *SETS, BYTES, SIZE, TENSOR, PARAMETER):
            shown = one_line(name, 80).replace(" ", ".")
            raise CheckpointError(
                f"{self.name} is refused: it holds an object of another program ({shown}), not "
                f"only weights, and opening such a file can run code; {WAY_OUT}"
            )
        self._stack.append(Name(name))

    def _since_mark(self) -> list[Any]:
        place = len(self._stack) - 1
        while self._stack[place] is not _MARK:
            place -= 1  # below 0 it wraps around, and ends at an IndexError
        items = self._stack[place + 1 :]
        del self._stack[place:]
        return items

    def _tuple(self, size: int) -> None:
        self._stack[len(self._stack) - size :] = [tuple(self._stack[-size:])]

    def _append(self, items: list[Any]) -> None:
        if type(self._stack[-1]) is not list:
            raise ValueError("it appends to what is no list")
        self._stack[-1].extend(items)

    def _set(self, pairs: list[Any]) -> None:
        if not isinstance(self._stack[-1], dict | Beside) or len(pairs) % 2:
            raise ValueError("it sets keys of what is no dict")
        if isinstance(self._stack[-1], Beside):
            return
        for key, value in zip(pairs[::2], pairs[1::2], strict=True):
            if not isinstance(key, str | int | float | Beside):
                raise ValueError("a dict has keys that are neither text nor numbers")
            self._stack[-1][key] = value

    def _pop(self) -> Any:
        if self._stack[-1] is _MARK:
            raise ValueError("a value is missing")
        return self._stack.pop()

    def _reduce(self) -> None:
        arguments, function = self._pop(), self._pop()
        if not isinstance(function, Name) or not isinstance(arguments, tuple):
            raise ValueError("it calls what is no tensor")
        if function == Name(ORDERED_DICT) and arguments == ():
            self._stack.append(Dict())
        elif function == Name(COUNTER) and len(arguments) == 1 and type(arguments[0]) is dict:
            self._stack.append(dict(arguments[0]))
        elif (function.name in SETS and len(arguments) == 1 and type(arguments[0]) is list) or function.name in (
            BYTES,
            SIZE,
        ):
            self._stack.append(None)
        elif function.name in KEPT_BESIDE:
            self._stack.append(Beside())
        elif function == Name(TENSOR) and len(arguments) in (6, 7):
            self._check_tensor(*arguments[:4])
            self._stack.append(None)
        elif function == Name(PARAMETER) and len(arguments) == 3 and arguments[0] is None:
            self._stack.append(None)
        else:
            raise ValueError("it calls what is no tensor")

    def _new_object(self) -> None:
        """An object beside the weights, of a class and the arguments of its __new__."""
        arguments, kind = self._pop(), self._pop()
        if not isinstance(kind, Name) or kind.name not in KEPT_BESIDE or not isinstance(arguments, tuple):
            shown = one_line(getattr(kind, "name", "?"), 80).replace(" ", ".")
            raise ValueError(f"it makes an object ({shown}, opcode NEWOBJ)")
        self._stack.append(Beside())

    def check_beside(self, value: Any) -> None:
        """Refuse a file that holds what torch's safe loader would refuse, with the lines that save it anew.

        Args:
            value: what `read` made of it.

        Raises:
            CheckpointError: it holds such an object.
        """
        if self.beside:
            lines = LINES.format(
                file=self.name, new=f"{self.name.rpartition('.')[0] or self.name}-plain.pt", **_spoken(value)
            )
            raise CheckpointError(
                f"{self.name} holds a {self.beside.replace(' ', '.')} beside its weights, which torch's safe loader "
                f"refuses; if you trust the file, save it anew with these lines of Python and import that: {lines}"
            )

    def _check_tensor(self, storage: Any, offset: Any, size: Any, stride: Any) -> None:
        """Refuse a tensor that reaches beyond its storage, or repeats it."""
        numbers = (offset, *size, *stride)
        if not isinstance(storage, Storage) or len(size) != len(stride) or len(size) > MOST_DIMENSIONS:
            raise ValueError("a tensor has no storage, or no shape")
        if any(type(number) is not int or not 0 <= number < 1 << 40 for number in numbers):
            raise ValueError("a tensor has impossible sizes")
        numel = math.prod(size)
        reach = offset + sum((length - 1) * step for length, step in zip(size, stride, strict=True)) + 1
        if numel and (reach > storage.numel or numel > storage.numel):
            raise ValueError(f"a tensor of {' x '.join(map(str, size))} numbers is larger than what is stored of it")

    def _storage(self) -> None:
        kind, storage_type, key, location, numel, *view = self._pop()
        if kind != "storage" or not isinstance(storage_type, Name) or storage_type.name not in ITEM_SIZES:
            raise ValueError("it refers to what is no storage")
        if any(view) or not isinstance(key, str) or not isinstance(location, str):
            raise ValueError("a storage is a view of another one")
        if type(numel) is not int or not 0 <= numel < 1 << 40:
            raise ValueError("a storage has an impossible size")
        found = Storage(key, numel, ITEM_SIZES[storage_type.name])
        if self.storages.setdefault(key, found) != found:
            raise ValueError("a storage has two sizes")
        self._stack.append(found)

    def _build(self) -> None:
        """Attributes: a state_dict has one, `_metadata`."""
        state, target = self._pop(), self._stack[-1]
        if isinstance(target, Beside):
            return
        if not isinstance(target, Dict) or not isinstance(state, dict) or not state.keys() <= {"_metadata"}:
            raise ValueError("it changes attributes")


# Opcodes that put a value on the stack: how a new one is made, or None for the opcode's own argument.
VALUES: dict[str, Callable[[], Any] | None] = {
    "NONE": lambda: None, "NEWTRUE": lambda: True, "NEWFALSE": lambda: False, "MARK": lambda: _MARK,
    "EMPTY_DICT": dict, "EMPTY_LIST": list, "EMPTY_TUPLE": tuple,
    **dict.fromkeys(("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE", "SHORT_BINSTRING")),
}  # fmt: skip
ACTIONS: dict[str, Callable[[InertReader, Any], Any]] = {
    "PROTO": lambda reader, argument: None,
    "GLOBAL": lambda reader, argument: reader._name(argument),
    "BINPUT": lambda reader, argument: reader._memo.__setitem__(argument, reader._stack[-1]),
    "LONG_BINPUT": lambda reader, argument: reader._memo.__setitem__(argument, reader._stack[-1]),
    "BINGET": lambda reader, argument: reader._stack.append(reader._memo[argument]),
    "LONG_BINGET": lambda reader, argument: reader._stack.append(reader._memo[argument]),
    "TUPLE": lambda reader, argument: reader._stack.append(tuple(reader._since_mark())),
    "TUPLE1": lambda reader, argument: reader._tuple(1),
    "TUPLE2": lambda reader, argument: reader._tuple(2),
    "TUPLE3": lambda reader, argument: reader._tuple(3),
    "APPEND": lambda reader, argument: reader._append([reader._pop()]),
    "APPENDS": lambda reader, argument: reader._append(reader._since_mark()),
    "SETITEM": lambda reader, argument: reader._set([reader._pop(), reader._pop()][::-1]),
    "SETITEMS": lambda reader, argument: reader._set(reader._since_mark()),
    "REDUCE": lambda reader, argument: reader._reduce(),
    "BINPERSID": lambda reader, argument: reader._storage(),
    "BUILD": lambda reader, argument: reader._build(),
    "NEWOBJ": lambda reader, argument: reader._new_object(),
}


def load_torch(path: Path, legacy: bool = False) -> Any:
    """What torch.save wrote: dicts and lists of tensors (on the CPU), texts and numbers.

    Args:
        path: of the file.
        legacy: whether it was written before torch 1.6: as pickles one after the other, not as a zip.

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
        reason = one_line(str(error), 120) or type(error).__name__
        raise CheckpointError(f"{name} is damaged, torch cannot open it: {reason}") from None


def _check_legacy(file: IO[bytes], name: str) -> None:
    """Magic number, protocol, system, the object, the keys of its storages; then the storages themselves."""
    reader = InertReader(name)
    *_, value, keys = [reader.read(file) for _ in range(5)]
    reader.check_beside(value)
    if not isinstance(keys, list) or sorted(map(str, keys)) != sorted(reader.storages):
        raise CheckpointError(f"{name} is damaged: its list of storages does not fit its tensors")
    start, end = file.tell(), file.seek(0, io.SEEK_END)
    needed = sum(storage.size + 8 for storage in reader.storages.values())
    if needed > end - start:
        raise CheckpointError(f"{name} is cut off: its tensors take {needed:,} bytes, it has {end - start:,}")


def _check_zip(file: IO[bytes], name: str) -> None:
    """Members are stored uncompressed, none overlaps another, and each storage is as long as its tensors say."""
    try:
        with open_zip(file) as archive:
            _check_members(archive, file, name)
            [pickle] = [member for member in archive.infolist() if member.filename.endswith("/data.pkl")]
            folder = pickle.filename.removesuffix("data.pkl")
            sizes = {member.filename: member.file_size for member in archive.infolist()}
            reader = InertReader(name)
            reader.check_beside(reader.read(io.BytesIO(archive.read(pickle))))
    except UNREADABLE as error:
        raise CheckpointError(f"{name} is a damaged file of torch.save: {one_line(str(error), 80)}") from None
    for storage in reader.storages.values():
        if sizes.get(f"{folder}data/{storage.key}") != storage.size:
            raise CheckpointError(
                f"{name} is damaged: tensors of {storage.size:,} bytes are named, "
                f"{sizes.get(f'{folder}data/{storage.key}', 0):,} are stored"
            )


def _check_members(archive: zipfile.ZipFile, file: IO[bytes], name: str) -> None:
    """Allow what torch writes, and nothing that two readers of zips could read in two ways."""
    members = archive.infolist()
    names = {member.filename for member in members}
    if archive.comment or archive.start_dir > file.seek(0, io.SEEK_END) - END:
        raise CheckpointError(f"{name} is no file of torch.save: something follows the archive in it")
    if len(members) > MOST_MEMBERS or len({name.lower() for name in names}) < len(members):  # torch minds no case
        raise CheckpointError(f"{name} is no file of torch.save: too many members, or two of one name")
    if len({member.partition("/")[0] for member in names}) > 1 or not all(map(_is_plain, names)):
        raise CheckpointError(f"{name} is no file of torch.save: its members do not lie in one folder")
    if any(member.compress_type != zipfile.ZIP_STORED or member.flag_bits & 1 for member in members):
        raise CheckpointError(f"{name} is no file of torch.save: its members are compressed; save it again")
    if overlaps(archive, file) or any(member.file_size != member.compress_size for member in members):
        raise CheckpointError(f"{name} is damaged: its members overlap")
    if sum(member.file_size for member in members if member.filename.endswith(".pkl")) > MOST_PICKLE:
        raise CheckpointError(f"{name} is damaged: its members are larger than they may be")


def _is_plain(name: str) -> bool:
    """Whether a member's name is one that every reader of zips takes for the same file."""
    return name.isascii() and name.isprintable() and "\\" not in name and ".." not in name


def found_tensors(loaded: Any) -> dict[str, Any]:
    """The state_dict in what torch.save wrote: it itself, or one of the dicts it holds; empty without one.

    Of several the largest is taken: an optimizer's may stand beside the model's.
    """
    import torch

    own = [
        {key: part for key, part in found.items() if isinstance(key, str) and isinstance(part, torch.Tensor)}
        for found in _dicts(loaded)
    ]
    return max(own, key=lambda tensors: sum(math.prod(part.shape) for part in tensors.values()), default={})


def found_facts(loaded: Any) -> dict[str, Any]:
    """Everything beside the tensors, by name; the outer dict wins. No tensor is kept alive through it."""
    import torch

    dicts, facts = _dicts(loaded), dict[str, Any]()
    holding = {id(one) for one in dicts if any(isinstance(part, torch.Tensor) for part in one.values())}
    for _ in range(DEPTH):
        holding |= {id(one) for one in dicts if any(id(part) in holding for part in one.values())}
    for found in dicts:
        for key, part in found.items():
            if isinstance(key, str) and not isinstance(part, torch.Tensor) and id(part) not in holding:
                facts.setdefault(key, part)
    for place, part in enumerate(loaded if isinstance(loaded, list | tuple) else ()):
        if isinstance(part, dict | list | tuple) and id(part) not in holding:
            facts.setdefault(f"[{place}]", part)
    return facts


def _dicts(loaded: Any) -> list[dict[Any, Any]]:
    """The dicts in what was loaded, the outermost first, each once: a file may make them hold each other in a ring."""
    holders = (dict, list, tuple)
    found = {id(loaded): loaded} if isinstance(loaded, holders) else {}
    layer = list(found.values())
    for _ in range(DEPTH - 1):
        layer = [part for one in layer for part in _parts(one) if isinstance(part, holders) and id(part) not in found]
        layer = list({id(part): part for part in layer}.values())
        found |= {id(part): part for part in layer}
    return [one for one in found.values() if isinstance(one, dict)][:MOST_DICTS]


def _parts(holder: Any) -> Iterable[Any]:
    return holder.values() if isinstance(holder, dict) else holder


def _spoken(value: Any) -> dict[str, str]:
    """How LINES names the weights and the characters of a file, as far as its outermost dict tells."""
    keys = [key for key in value if isinstance(key, str)] if isinstance(value, dict) else []
    weights = next((f"d[{key!r}]" for key in keys if isinstance(value[key], dict) and _is_state(value[key])), "d")
    plain = {
        "".join(filter(str.isalnum, key.lower())): key
        for key in keys
        if isinstance(value[key], list | tuple | dict | str)
    }
    named = next((plain[name] for name in NAMES if name in plain), "")
    if not named:
        return {"weights": weights, "chars": "CHARACTERS_IN_THE_ORDER_OF_THEIR_IDS"}
    table, held = f"d[{named!r}]", value[named]
    if not isinstance(held, dict):
        return {"weights": weights, "chars": f"list({table})"}
    is_by_id = all(not isinstance(key, str) for key in held)
    chars = f"[{table}[i] for i in range(len({table}))]" if is_by_id else f"sorted({table}, key={table}.get)"
    return {"weights": weights, "chars": chars}


def _is_state(part: dict[Any, Any]) -> bool:
    """Whether a dict is a state_dict: here all of its tensors are None."""
    return bool(part) and all(isinstance(key, str) and "." in key and held is None for key, held in part.items())
