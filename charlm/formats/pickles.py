"""A pickle of tensors read without running it: every opcode, every name and every size is judged beforehand."""

import io
import math
import pickletools
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO, Any, cast

from charlm.errors import CheckpointError
from charlm.files import one_line

# Opcodes of a pickle with tensors, texts and numbers in dicts and lists; a larger one takes longer than a second.
MOST_OPCODES = 400_000
MOST_DIMENSIONS = 8
ITEM_SIZES = {
    "torch DoubleStorage": 8, "torch FloatStorage": 4, "torch HalfStorage": 2, "torch BFloat16Storage": 2,
    "torch LongStorage": 8, "torch IntStorage": 4, "torch ShortStorage": 2, "torch CharStorage": 1,
    "torch ByteStorage": 1, "torch BoolStorage": 1,
}  # fmt: skip
ORDERED_DICT = "collections OrderedDict"
TENSOR, PARAMETER = "torch._utils _rebuild_tensor_v2", "torch._utils _rebuild_parameter"
MEND = "save the weights as torch.save({'state_dict': model.state_dict(), 'chars': chars}, FILE) and import that"
_MARK = object()


@dataclass(frozen=True)
class Name:
    """A function or class that a pickle names; it is never looked up."""

    name: str


@dataclass(frozen=True)
class Storage:
    """Numbers that a pickle refers to: so many of `item_size` bytes, kept elsewhere in the file under `key`."""

    key: str
    numel: int
    item_size: int

    @property
    def size(self) -> int:
        """In bytes."""
        return self.numel * self.item_size


class Dict(dict[Any, Any]):
    """An OrderedDict of the pickle, which alone may carry attributes."""


class Bounded:
    """A pickle's file that sets no memory aside for more than is left of it, however much is asked for.

    Its lines come without backslashes: pickletools would decode them as escapes, and warn of odd ones. Only opcodes
    that are refused anyway have texts in lines.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file, place = file, file.tell()
        self._size = file.seek(0, io.SEEK_END)
        self.tell = file.tell
        file.seek(place)

    def read(self, size: int = -1) -> bytes:
        """As a file's, at most `size` bytes."""
        left = self._size - self._file.tell()
        return self._file.read(left if size < 0 else min(size, left))

    def readline(self) -> bytes:
        """As a file's, with slashes for backslashes."""
        return self._file.readline().replace(b"\\", b"/")


class InertReader:
    """Follows a pickle's opcodes on plain values and refuses whatever a dict of tensors does not need.

    Args:
        name: of the file, for what is said about it.

    Attributes:
        storages: what the pickle refers to, by key.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.storages: dict[str, Storage] = {}
        self._count = 0

    def read(self, file: IO[bytes]) -> Any:
        """One pickle from where the file stands; tensors are left as None.

        Raises:
            CheckpointError: it names a foreign class or function, is damaged, too long, or declares impossible sizes.
        """
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}
        try:
            for opcode, argument, _ in pickletools.genops(cast(IO[bytes], Bounded(file))):
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
                f"such a one can run code; {MEND}"
            )

    def _name(self, name: str) -> None:
        if name not in (*ITEM_SIZES, ORDERED_DICT, TENSOR, PARAMETER):
            shown = one_line(name, 80).replace(" ", ".")
            raise CheckpointError(
                f"{self.name} is refused: it holds an object of another program ({shown}), not "
                f"only weights, and opening such a file can run code; {MEND}"
            )
        self._stack.append(Name(name))

    def _since_mark(self) -> list[Any]:
        place = len(self._stack) - 1
        while self._stack[place] is not _MARK:
            place -= 1  # below 0 it comes around, and ends at an IndexError
        items = self._stack[place + 1 :]
        del self._stack[place:]
        return items

    def _tuple(self, size: int) -> None:
        self._stack[len(self._stack) - size :] = [tuple(self._stack[-size:])]

    def _append(self, items: list[Any]) -> None:
        if type(self._stack[-1]) is not list:
            raise ValueError("something is added to what is no list")
        self._stack[-1].extend(items)

    def _set(self, pairs: list[Any]) -> None:
        if not isinstance(self._stack[-1], dict) or len(pairs) % 2:
            raise ValueError("something is added to what is no dict")
        for key, value in zip(pairs[::2], pairs[1::2], strict=True):
            if not isinstance(key, str | int | float):
                raise ValueError("a dict has keys that are neither text nor numbers")
            self._stack[-1][key] = value

    def _pop(self) -> Any:
        if self._stack[-1] is _MARK:
            raise ValueError("a value is missing")
        return self._stack.pop()

    def _reduce(self) -> None:
        arguments, function = self._pop(), self._pop()
        if function == Name(ORDERED_DICT) and arguments == ():
            self._stack.append(Dict())
        elif function == Name(TENSOR) and len(arguments) in (6, 7):
            self._check_tensor(*arguments[:4])
            self._stack.append(None)
        elif function == Name(PARAMETER) and len(arguments) == 3 and arguments[0] is None:
            self._stack.append(None)
        else:
            raise ValueError("it calls what is no tensor")

    def _check_tensor(self, storage: Any, offset: Any, size: Any, stride: Any) -> None:
        """Refuse a tensor that reaches beyond its storage, or repeats it."""
        numbers = (offset, *size, *stride)
        if not isinstance(storage, Storage) or len(size) != len(stride) or len(size) > MOST_DIMENSIONS:
            raise ValueError("a tensor is none")
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
        if not isinstance(target, Dict) or not isinstance(state, dict) or not state.keys() <= {"_metadata"}:
            raise ValueError("it changes attributes")


# Opcodes that put a value on the stack: how a fresh one is made, or None for the opcode's own argument.
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
}
