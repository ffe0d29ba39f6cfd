"""Several files as one: of a folder, of a zip, or uploaded together; their order and what is left out are said."""

import io
import os
import re
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from charlm.errors import CorpusError
from charlm.files import one_line

MOST_FILES = 10_000
MOST_NOTES = 8  # remarks on single files that are said
NAMED = 6  # files that are named
LONGEST_REMARK = 160
_EPOCH = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True)
class Source:
    """A file of several.

    Attributes:
        path: inside the folder or the zip, with slashes.
        size: in bytes, as the folder or the zip says.
        read: its bytes, at most so many.
    """

    path: str
    size: int
    read: Callable[[int], bytes]


def natural(path: str) -> list[tuple[list[tuple[int, str]], str]]:
    """A key that puts paths in the order of people: by folder, chapter 2 before chapter 10, whatever the case."""
    return [(_pieces(part), part) for part in path.split("/")]


def _pieces(part: str) -> list[tuple[int, str]]:
    """The numbers and words of a name."""
    pieces = re.split(r"(\d+)", part)
    return [(int(one), "") if one.isdecimal() and len(one) < 4000 else (-1, one.casefold()) for one in pieces]


def folder_sources(folder: Path) -> list[Source]:
    """The files of a folder and of those in it, in natural order; hidden ones and links are no part of it.

    Raises:
        CorpusError: it cannot be read, or has too many.
    """
    found: list[Source] = []
    try:
        for place, folders, names in os.walk(folder, onerror=_raise):
            folders[:] = sorted(name for name in folders if not name.startswith((".", "__")))
            for name in names:
                path = Path(place) / name
                if not name.startswith(".") and path.is_file() and not path.is_symlink():
                    inside = path.relative_to(folder).as_posix()
                    found.append(Source(inside, path.stat().st_size, _reader(path)))
            if len(found) > MOST_FILES:
                raise CorpusError(f"{folder} has more than {MOST_FILES:,} files; use a part of it")
    except OSError as error:
        raise CorpusError(f"{error.filename or folder} cannot be read: {error.strerror or error}") from error
    return sorted(found, key=lambda one: natural(one.path))


def _raise(error: OSError) -> None:
    raise error


def _reader(path: Path) -> Callable[[int], bytes]:
    def read(most: int) -> bytes:
        with path.open("rb") as file:
            return file.read(most)

    return read


def zip_sources(data: bytes, name: str) -> list[Source]:
    """The files in a zip, in natural order; hidden ones are no part of it.

    Raises:
        CorpusError: it is damaged, protected by a password, has too many files, or is a run or weights.
    """
    try:
        archive = zipfile.ZipFile(io.BytesIO(data))
        members = [one for one in archive.infolist() if not one.is_dir() and not _is_hidden(one.filename)]
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise CorpusError(f"{name} is a damaged zip ({one_line(str(error), 80)}); pack it again") from error
    if len(members) > MOST_FILES:
        raise CorpusError(f"{name} has more than {MOST_FILES:,} files; use a part of it")
    if any(one.flag_bits & 1 for one in members):
        raise CorpusError(f"{name} is protected by a password; unpack it yourself and use the texts")
    if any(one.filename.endswith("data.pkl") for one in members):
        raise CorpusError(f"{name} is a file of weights, not a text; use the text that the model was trained on")
    if "run.json" in [one.filename for one in members]:
        raise CorpusError(f"{name} is an exported run, not a text; import it instead")

    def reader(member: zipfile.ZipInfo) -> Callable[[int], bytes]:
        def read(most: int) -> bytes:
            try:
                with archive.open(member) as file:
                    return file.read(most)
            except (zipfile.BadZipFile, OSError, EOFError, ValueError, NotImplementedError, zlib.error) as error:
                raise CorpusError(f"it is damaged ({one_line(str(error), 80)})") from error

        return read

    sources = [Source(one.filename.replace("\\", "/").lstrip("/"), one.file_size, reader(one)) for one in members]
    return sorted(sources, key=lambda one: natural(one.path))


def _is_hidden(path: str) -> bool:
    return any(part.startswith((".", "__MACOSX")) for part in path.replace("\\", "/").split("/") if part)


def pack(files: Sequence[tuple[str, bytes]]) -> tuple[str, bytes]:
    """Files that were uploaded together as one: a name, and a zip, the same for the same files in any order.

    Args:
        files: their names and contents.
    """
    content = io.BytesIO()
    used: set[str] = set()
    ordered = sorted(files, key=lambda one: (natural(one[0]), one[1]))
    with zipfile.ZipFile(content, "w") as archive:
        for name, data in ordered:
            stem, dot, suffix = name.rpartition(".")
            number = 2
            while name in used:
                name, number = f"{stem}_{number}{dot}{suffix}", number + 1
            used.add(name)
            archive.writestr(zipfile.ZipInfo(name, _EPOCH), data)
    return f"{ordered[0][0]} and {len(files) - 1:,} more.zip", content.getvalue()


def joined(texts: Iterable[str]) -> str:
    """Texts with a blank line between them."""
    return "\n\n".join(text.strip("\r\n") for text in texts) + "\n"


def order_note(paths: Sequence[str], order: str) -> str:
    """`3 files joined by a blank line, in natural order of their paths: a.txt, b.txt, c.txt`."""
    return f"{len(paths):,} files joined by a blank line, in {order}: {named(paths)}"


def named(paths: Sequence[str]) -> str:
    """The first of some paths, and how many more."""
    shown = ", ".join(one_line(path, 60) for path in paths[:NAMED])
    return f"{shown} and {len(paths) - NAMED:,} more" if len(paths) > NAMED else shown


def remarks(notes: Sequence[tuple[str, str]]) -> Iterator[str]:
    """What is to be said of single files, given their paths and a short sentence each."""
    for path, note in notes[:MOST_NOTES]:
        yield f"{one_line(path, 60)}: {one_line(note, LONGEST_REMARK)}"
    if len(notes) > MOST_NOTES:
        yield f"{len(notes) - MOST_NOTES:,} more remarks on single files"
