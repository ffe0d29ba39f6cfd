"""Texts that users uploaded or pasted, kept in the data folder as they came until they are deleted."""

import contextlib
import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from charlm.config import CorpusConfig
from charlm.data.catalog import data_dir
from charlm.data.collection import pack
from charlm.data.corpus import MAX_BYTES, Corpus, corpus_from_text, read_corpus, table_columns
from charlm.errors import CorpusError
from charlm.files import known_fields, one_line, open_plain, read, write_atomically

MOST_FILES = 200
MOST_BYTES = 2_000_000_000
MOST_ABOUT = 1 << 16  # bytes of the .json beside one
MOST_NAME = 120  # characters shown of a name
BEGINS = 40  # characters shown of a pasted text, which has no name
PASTED = "Pasted text"
KEY = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True)
class Upload:
    """A file, or a pasted text as UTF-8, before anything was done to it.

    Attributes:
        name: of the file.
        data: its bytes.
        pasted: whether it was pasted.
        most_bytes: that it may unpack to.
        owner: whose it is on a public Space; empty elsewhere.
        native: whether parsers in C may read it.
    """

    name: str
    data: bytes = field(repr=False)
    pasted: bool = False
    most_bytes: int = MAX_BYTES
    owner: str = ""
    native: bool = True

    @property
    def key(self) -> str:
        """Its fingerprint, name and owner included: what the browser keeps, and the file's name here."""
        owner = f"{self.owner} " if self.owner else ""
        digest = hashlib.sha256(f"{owner}{self.pasted} {self.name}\n".encode("utf-8", "replace"))
        digest.update(self.data)
        return digest.hexdigest()

    def columns(self, encoding: str = "") -> list[str]:
        """The columns to choose from, in a given encoding; none if it is not a table."""
        return [] if self.pasted else table_columns(self.data, self.name, self.most_bytes, encoding, self.native)

    def read(self, config: CorpusConfig) -> Corpus:
        """The text, cleaned as `config` says.

        Raises:
            CorpusError: see `charlm.data.corpus.read_corpus`.
        """
        if self.pasted:
            return replace(corpus_from_text(self.data.decode(), self.name, config), about="Pasted here.")
        return replace(read_corpus(self.data, self.name, config, self.most_bytes, self.native), about="Your own file.")


def uploaded_together(files: Sequence[tuple[str, bytes]], most_bytes: int = MAX_BYTES, native: bool = True) -> Upload:
    """Files that were uploaded together, one or more, as one upload; see `Upload`."""
    name, data = files[0] if len(files) == 1 else pack(files)
    return Upload(name, data, most_bytes=most_bytes, native=native)


def pasted_text(text: str) -> Upload:
    """A pasted text as an upload."""
    return Upload(PASTED, text.encode("utf-8", "replace"), pasted=True)


@dataclass(frozen=True)
class KeptText:
    """What a list of kept texts says of one.

    Attributes:
        key: see `Upload.key`.
        name: of the file, or how a pasted text begins; one line.
        size: in bytes, as it came.
        added: when, an ISO time in UTC.
        owner: see `Upload.owner`.
        damaged: whether its files are not what was written; only what can be seen without reading the text.
    """

    key: str
    name: str
    size: int
    added: str
    owner: str = ""
    damaged: bool = False


class OwnTexts:
    """All that were kept, as `uploads/<key>.bin` and a .json with the name.

    Args:
        data: the data folder; None: that of CHARLM_DATA, whenever it is asked for.

    Attributes:
        most_files: that may be kept.
        most_bytes: that they may have together.
    """

    most_files = MOST_FILES
    most_bytes = MOST_BYTES

    def __init__(self, data: Path | None = None) -> None:
        self._data = data

    @property
    def folder(self) -> Path:
        """Where they are kept."""
        return (self._data or data_dir()) / "uploads"

    def list(self) -> list[KeptText]:
        """All of them, the newest first; a damaged one is among them, so that it can be deleted."""
        return sorted(self._found(), key=lambda one: (one.added, one.key), reverse=True)

    def keep(self, upload: Upload) -> str:
        """Keep a text; its key.

        Raises:
            CorpusError: as many are kept as may be, or the folder cannot be written.
        """
        kept = {one.key: one.size for one in self.list()}
        if upload.key not in kept:
            if len(kept) >= self.most_files:
                raise CorpusError(f"as many texts are kept as may be, {len(kept):,}; delete some under Your texts")
            if (total := sum(kept.values())) + len(upload.data) > self.most_bytes:
                raise CorpusError(
                    f"the texts kept take {total:,} bytes, and with {len(upload.data):,} more they would exceed "
                    f"{self.most_bytes:,}; delete some under Your texts"
                )
        return self.write(upload)

    def write(self, upload: Upload) -> str:
        """Keep a text, however many there are; its key.

        Raises:
            CorpusError: the folder cannot be written.
        """
        key = upload.key
        name = upload.name.encode("utf-8", "replace").decode()  # a file's name may hold what is no character
        about = {"name": name, "pasted": upload.pasted} | ({"owner": upload.owner} if upload.owner else {})
        path = self.folder / f"{key}.bin"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            if open_upload(key, self.folder.parent) is None:  # else its date stays
                write_atomically(path, upload.data)
            write_atomically(path.with_suffix(".json"), json.dumps(about).encode())
        except OSError as error:
            raise CorpusError(f"the text cannot be kept in {self.folder}: {error.strerror or error}") from error
        return key

    def delete(self, key: str) -> None:
        """Delete a text; one that is gone already is no error.

        Raises:
            CorpusError: it cannot be deleted.
        """
        if not is_key(key):
            return
        try:
            for ending in (".json", ".bin"):
                (self.folder / f"{key}{ending}").unlink(missing_ok=True)
        except OSError as error:
            raise CorpusError(f"the text in {self.folder} cannot be deleted: {error.strerror or error}") from error

    def make_room(self, among: Iterable[KeptText], most: int) -> None:
        """Delete those of some texts that were not opened for longest, until there are at most so many."""

        def opened(one: KeptText) -> float:
            try:
                return (self.folder / f"{one.key}.json").stat().st_mtime
            except OSError:
                return 0.0

        for one in sorted(among, key=opened, reverse=True)[max(0, most) :]:
            with contextlib.suppress(CorpusError):
                self.delete(one.key)

    def _found(self) -> Iterator[KeptText]:
        try:
            keys = {path.stem for path in self.folder.iterdir() if is_key(path.stem)}
        except OSError:
            return
        for key in keys:
            path = self.folder / f"{key}.bin"
            try:
                state = path.stat()
                about = _about(path)
                name = one_line(about["name"], MOST_NAME)
                if about["pasted"] is True:
                    name = _beginning(path)
                yield KeptText(key, name or "no name", state.st_size, _utc(state.st_mtime), _owner(about))
            except (OSError, ValueError, KeyError):
                yield _damaged(key, path)


def open_upload(key: str, data_dir: Path) -> Upload | None:
    """What was kept under `key`; None if nothing was, or no longer, or if it was changed since."""
    if not is_key(key):
        return None
    path = data_dir / "uploads" / f"{key}.bin"
    try:
        about = _about(path)
        with contextlib.suppress(OSError):  # a folder that can only be read
            path.with_suffix(".json").touch()
        with open_plain(path) as file:
            data = file.read(MAX_BYTES + 1)  # none is larger
        owner = _owner(about)
        upload = Upload(str(about["name"]), data, about["pasted"] is True, owner=owner, native=not owner)
    except (OSError, ValueError, KeyError):
        return None
    return upload if upload.key == key else None


def is_there(key: str, data_dir: Path) -> bool:
    """Whether something is kept under `key`, which may be damaged."""
    return is_key(key) and (data_dir / "uploads" / f"{key}.bin").is_file()


def is_key(key: object) -> bool:
    """Whether it has the form of a key: only that may become a file name."""
    return isinstance(key, str) and KEY.fullmatch(key) is not None


def _about(path: Path) -> dict[str, object]:
    return known_fields(read(path.with_suffix(".json"), MOST_ABOUT), ("name", "pasted", "owner"))


def _owner(about: dict[str, object]) -> str:
    return one_line(about.get("owner"), MOST_NAME)


def _beginning(path: Path) -> str:
    """`Pasted: It was a dark and…`."""
    with open_plain(path) as file:
        begins = one_line(file.read(16 * BEGINS).decode("utf-8", "ignore"), 4 * BEGINS)
    shown = begins[:BEGINS].rstrip()
    return f"Pasted: {shown}{'…' if len(begins) > len(shown) else ''}"


def _damaged(key: str, path: Path) -> KeptText:
    """One without a .json that can be read, or without its text."""
    size, changed = 0, 0.0
    for one in (path, path.with_suffix(".json")):
        with contextlib.suppress(OSError):
            state = one.stat()
            size, changed = size + state.st_size, max(changed, state.st_mtime)
    return KeptText(key, f"damaged: uploads/{key[:8]}…", size, _utc(changed), damaged=True)


def _utc(seconds: float) -> str:
    try:
        return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
    except (OverflowError, ValueError, OSError):  # a file's time may be anything
        return datetime.fromtimestamp(0, UTC).isoformat(timespec="seconds")
