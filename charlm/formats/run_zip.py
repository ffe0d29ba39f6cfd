"""A run folder as a zip, with its named members only: written, and made into a new run.

Why own checks: zipfile believes what a zip says of itself. Here its end, the names and places of its members and every
unpacked byte are checked against bounds, and the run is written from the values that passed.
"""

import io
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import MappingProxyType
from typing import IO, Any

from charlm.config import Config, CorpusConfig, ModelConfig, TrainConfig
from charlm.errors import CharLMError, CheckpointError
from charlm.files import one_line, open_plain, parsed, write_atomically
from charlm.runs.gradients import COLUMNS as GRADIENT_COLUMNS
from charlm.runs.gradients import FILE as GRADIENTS
from charlm.runs.gradients import MOST as MOST_GRADIENTS
from charlm.runs.gradients import GradientLog
from charlm.runs.history import BLOCK_LOG, BLOCKS, MOST_LINE, TEST_LOG, TEXTS, MetricsLog, parsed_row
from charlm.runs.run import ACTIVE, Run, now
from charlm.runs.schema import MOST_BYTES as MOST_DESCRIPTION
from charlm.runs.schema import tidied
from charlm.runs.snapshots import FOLDER as SNAPSHOTS
from charlm.runs.snapshots import MOST as MOST_SNAPSHOTS
from charlm.runs.snapshots import is_snapshot
from charlm.runs.store import RunStore
from charlm.tokenizers import most_tokenizer_bytes, read_tokenizer
from charlm.training.metrics import MEASURES

MOST_MEMBERS = 500
MOST_DIRECTORY = 1 << 20  # bytes of a zip's list of members
BLOCK = 1 << 16
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
ENCRYPTED = 0x1 | 0x40 | 0x2000  # bits of a member's flags
# The end of a zip without a comment, and what points to a zip64's end.
END, LOCATOR, LOCATOR_SIZE = struct.Struct("<4s4H2LH"), b"PK\x06\x07", 20
LOCAL = struct.Struct("<4s5H3L2H")  # before a member of a zip; its last two numbers are the lengths of name and extras
# What zipfile raises for a damaged zip.
UNREADABLE = (OSError, EOFError, ValueError, NotImplementedError, RuntimeError, zipfile.BadZipFile, zlib.error)


class ZipMembers:
    """The files in a zip, by name.

    The sizes that the zip declares are not believed. Members may not overlap, lie outside, occur twice, be links,
    devices or encrypted, or have names that lead elsewhere.

    Args:
        path: the zip.
        most_bytes: that all members may unpack to.

    Attributes:
        unpacked: bytes so far.
        close: closes the file.

    Raises:
        CheckpointError: it is no such zip.
    """

    def __init__(self, path: Path, most_bytes: int) -> None:
        self.path, self.most_bytes, self.unpacked = path, most_bytes, 0
        self._infos: dict[str, zipfile.ZipInfo] = {}
        with ExitStack() as opened:  # a zip that is refused is closed at once
            try:
                self._file = opened.enter_context(open_plain(path))
                _check_end(self._file)
                self._archive = zipfile.ZipFile(self._file)
            except (OSError, ValueError, NotImplementedError, zipfile.BadZipFile, struct.error) as error:
                why = _brief(error)
                raise self._refusal(f"is no zip that can be read ({why}); take one that this program wrote") from error
            for info in self._archive.infolist():
                self._admit(info)
            self._check_total(sum(info.file_size for info in self._infos.values()))
            if overlaps(self._archive, self._file):
                raise self._refusal("holds members that overlap")
            self.close = opened.pop_all().close

    @property
    def names(self) -> list[str]:
        """All files; folders are none."""
        return [name for name in self._infos if not name.endswith("/")]

    def size(self, name: str) -> int:
        """Bytes that a member unpacks to, as the zip declares."""
        return self._infos[name].file_size

    def blocks(self, name: str, most: int) -> Iterator[bytes]:
        """A member, unpacked block by block and counted.

        Args:
            name: one of `names`.
            most: bytes that this one may have.

        Raises:
            CheckpointError: it is longer, damaged, or all that was unpacked is more than the zip may hold.
        """
        size = 0
        try:
            with self._archive.open(self._infos[name]) as member:
                while block := member.read(BLOCK):
                    size, self.unpacked = size + len(block), self.unpacked + len(block)
                    if size > most:
                        raise self._refusal(f"holds a {name} of more than {most:,} bytes, which is more than it needs")
                    self._check_total(self.unpacked)
                    yield block
        except UNREADABLE as error:
            raise self._refusal(f"is damaged: {name} cannot be unpacked ({_brief(error)})") from error

    def read(self, name: str, most: int) -> bytes:
        """A member in one piece; see `blocks`."""
        return b"".join(self.blocks(name, most))

    def _check_total(self, size: int) -> None:
        if size > self.most_bytes:
            raise self._refusal(f"unpacks to more than {self.most_bytes:,} bytes; take a smaller run")

    def _admit(self, info: zipfile.ZipInfo) -> None:
        """Take a member, or refuse the zip for it."""
        name, kind = info.orig_filename, stat.S_IFMT(info.external_attr >> 16)
        shown = repr(name[:60])
        if name != info.filename or not _is_plain(name.removesuffix("/")):
            raise self._refusal(f"holds {shown}, a name that may lead elsewhere")
        if kind not in (0, stat.S_IFDIR if name.endswith("/") else stat.S_IFREG):
            raise self._refusal(f"holds {shown}, which is a link or a device; only plain files are taken")
        if info.flag_bits & ENCRYPTED:
            raise self._refusal(f"is encrypted ({shown}); pack it without a password")
        if info.compress_type not in METHODS:
            raise self._refusal(f"is packed in a way that is not read here ({shown}); pack it with the usual deflate")
        if name in self._infos:
            raise self._refusal(f"holds {shown} twice")
        if info.header_offset + info.compress_size > self._archive.start_dir:
            raise self._refusal(f"does not hold {shown} whole")
        self._infos[name] = info

    def _refusal(self, reason: str) -> CheckpointError:
        return CheckpointError(f"{one_line(self.path.name, 80)} {reason}")


def overlaps(archive: zipfile.ZipFile, file: IO[bytes]) -> bool:
    """Whether members of a zip overlap, or reach into its list of members.

    Args:
        archive: the zip.
        file: that it was opened from.
    """
    end = 0
    for member in sorted(archive.infolist(), key=lambda member: member.header_offset):
        file.seek(member.header_offset)
        head = file.read(LOCAL.size)
        if member.header_offset < end or len(head) < LOCAL.size:
            return True
        end = member.header_offset + LOCAL.size + sum(LOCAL.unpack(head)[-2:]) + member.compress_size
    return end > archive.start_dir


def _is_plain(name: str) -> bool:
    """Whether a name is a relative path of plain parts, on every system."""
    if not name or len(name) > 200 or not name.isprintable() or any(char in name for char in '\\:*?"<>|'):
        return False
    return all(part not in ("", ".", "..") for part in name.split("/"))


def _brief(error: BaseException) -> str:
    return one_line(str(error), 120) or type(error).__name__


def _check_end(file: IO[bytes]) -> None:
    """Raise a ValueError for what is more than a zip, or has a list of members that would fill the memory."""
    size = file.seek(0, io.SEEK_END)
    file.seek(max(0, size - END.size - LOCATOR_SIZE))
    tail = file.read()
    if size < END.size:
        raise ValueError("it is too short")
    mark, *disks, total, directory, offset, comment = END.unpack(tail[-END.size :])
    if mark != b"PK\x05\x06" or comment or tail.startswith(LOCATOR):
        raise ValueError("its end is not that of a plain zip")
    if disks[:2] != [0, 0] or disks[2] != total or offset + directory + END.size != size:
        raise ValueError("its list of members is not where it should be")
    if total > MOST_MEMBERS or directory > MOST_DIRECTORY:
        raise ValueError(f"it lists {total:,} members")


LOGS = {
    "metrics.jsonl": ("step", *MEASURES),
    "samples.jsonl": ("step", *TEXTS),
    BLOCK_LOG: ("step", *BLOCKS),
    TEST_LOG: ("step", *BLOCKS),
    GRADIENTS: GRADIENT_COLUMNS,
}
BEST, LAST, NEWEST = "best.safetensors", "last.safetensors", "resume.safetensors"
WEIGHTS = ".safetensors"
# What a run folder may hold, beside snapshots; nothing else of it is exported or imported.
MEMBERS = ("run.json", "tokenizer.json", *LOGS, BEST, LAST, NEWEST)
FOLDERS = (SNAPSHOTS, "analysis")
# What other programs, and this one, leave in a folder that is packed by hand: skipped, as is what is in FOLDERS, but
# for snapshots.
STRAY = (".DS_Store", "Thumbs.db", "desktop.ini", ".lock", ".edit", "resume.previous.safetensors")
MOST_UNPACKED = 1 << 30
MOST_ROWS = 100_000  # lines of a log; of recorded gradients, MOST_GRADIENTS
MOST_SAMPLE = 10_000  # characters of a sample
# Fields of an uploaded run.json that are kept, once they are tidied.
KEPT = ("label", "note", "preset", "group", "ancestry", "message", "corpus", "progress", "device", "rate_changes")
CONFIGS: Mapping[str, type[Config]] = {"model": ModelConfig, "train": TrainConfig, "corpus_config": CorpusConfig}
ENDINGS = {**dict.fromkeys(ACTIVE, "interrupted"), "failed": "stopped"}  # what a status there means here


def members(folder: Path) -> list[Path]:
    """The members of a run folder that are exported: those with known names, without links."""
    named = [folder / name for name in MEMBERS]
    named += [path for sub in FOLDERS for path in sorted((folder / sub).glob("*"))]
    return [path for path in named if path.is_file() and not path.is_symlink()]


def write_zip(run: Run, path: Path) -> None:
    """Export a run folder as a zip. Weights do not shrink, so they are stored."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for member in members(run.folder):
            archive.write(member, f"{run.run_id}/{member.relative_to(run.folder).as_posix()}")


def read_zip(
    store: RunStore,
    path: Path,
    most_bytes: int = MOST_UNPACKED,
    label: str = "",
    accept: Callable[[ModelConfig], None] = lambda _: None,
    origin: Mapping[str, str] = MappingProxyType({}),
) -> Run:
    """A new run from what `write_zip` writes, or from a run folder packed by hand.

    The program names its folder and writes its files itself: run.json from known fields, logs row by row. Weights,
    snapshots of them and training state are copied once they have passed as those of the described model. Members that
    nothing here reads (`STRAY`, what else is in `FOLDERS`, `__MACOSX`) are skipped; any other is a reason to refuse
    the zip.

    Args:
        store: where the run goes.
        path: of the zip.
        most_bytes: that it may unpack to.
        label: of the new run; empty: the one it had.
        accept: called before the model is used; raises an error to refuse it.
        origin: what the run says of where it came from, in place of the zip's name.

    Raises:
        CheckpointError: the zip, or a member, is not what it should be; nothing is left of it.
    """
    from charlm.training.estimate import count_parameters  # torch takes seconds: not before it is needed

    archive = ZipMembers(path, most_bytes)
    try:
        found = _named(archive)
        about, status = _description(archive, found, origin)
        model = ModelConfig.from_dict(about["model"])
        accept(model)
        data = archive.read(found["tokenizer.json"], most_tokenizer_bytes(model.vocab_size, model.level))
        tokenizer = read_tokenizer(_object(data, "tokenizer.json"), model)
        _check_sizes(archive, found, model)
        about["num_parameters"] = count_parameters(model)
        about |= {"trimmed": NEWEST not in found, "label": one_line(label, 80) or about["label"]}
        run = store.create(about, tokenizer)
        try:
            _fill(run, archive, found)
            run.update(status=ENDINGS.get(status, status))
        except BaseException as error:
            store.discard(run)
            if isinstance(error, CheckpointError):  # its run is gone before the name of that is read
                raise CheckpointError(str(error).replace(f" in {run.run_id}", "")) from error
            raise
        run.release()
        return store.get(run.run_id)
    except (CharLMError, OSError) as error:
        raise CheckpointError(f"{one_line(path.name, 80)} cannot be imported: {error}") from error
    finally:
        archive.close()


def _named(archive: ZipMembers) -> dict[str, str]:
    """The names of the members that are read, by what a run calls them; all are in one folder, or in none."""
    names = [name for name in archive.names if not name.startswith("__MACOSX/")]
    folders = {name.rpartition("/")[0] for name in names if name.rpartition("/")[2] == "run.json"}
    if len(folders) != 1:
        raise CheckpointError("it holds no run.json, or several; pack one run folder")
    inside = f"{folders.pop()}/".lstrip("/")
    found: dict[str, str] = {}
    for name in names:
        own = name.removeprefix(inside)
        if (own in MEMBERS or is_snapshot(own)) and name.startswith(inside):
            found[own] = name
        elif own not in STRAY and own.partition("/")[0] not in FOLDERS:
            raise CheckpointError(f"it holds {name[:60]!r}, which is no part of a run; take it out and try again")
    if (count := sum(map(is_snapshot, found))) > MOST_SNAPSHOTS:
        raise CheckpointError(f"it has {count:,} snapshots, a run has {MOST_SNAPSHOTS} at most; take some out")
    if missing := [name for name in ("tokenizer.json", BEST) if name not in found]:
        raise CheckpointError(f"it has no {missing[0]}, without which a run cannot write")
    return found


def _object(data: bytes, name: str) -> dict[str, Any]:
    """The object in a JSON member."""
    try:
        value = parsed(data, len(data))
    except ValueError as error:
        raise CheckpointError(f"its {name} cannot be read: {error}") from error
    if not isinstance(value, dict):
        raise CheckpointError(f"its {name} does not hold an object")
    return value


def _description(
    archive: ZipMembers, found: Mapping[str, str], origin: Mapping[str, str]
) -> tuple[dict[str, Any], str]:
    """What the new run.json will hold (known fields, checked settings, origin), and the status in the uploaded one."""
    raw = _object(archive.read(found["run.json"], MOST_DESCRIPTION), "run.json")
    try:
        info = tidied(raw)
        configs = {name: config.from_dict(raw[name]).to_dict() for name, config in CONFIGS.items()}
    except (KeyError, TypeError, ValueError) as error:
        reason = f"{error} is missing" if isinstance(error, KeyError) else error
        raise CheckpointError(f"its run.json is not a run's description: {reason}") from error
    there = {"run_id": one_line(raw.get("run_id"), 130), "created": info.get("created", "")}
    here = {"format": "zip", "file": one_line(archive.path.name, 100), "at": now(), **origin}
    kept = {name: info[name] for name in KEPT if name in info} | configs
    return kept | {"imported": info.get("versions", {}) | there | here, "left_alone": True}, info["status"]


def _check_sizes(archive: ZipMembers, found: Mapping[str, str], model: ModelConfig) -> None:
    """Refuse weights that are longer than the model's before they are unpacked."""
    from charlm.runs.checkpoint import most_weights_bytes  # torch takes seconds: not before it is needed

    most = most_weights_bytes(model)
    for name in found:
        if name.endswith(WEIGHTS) and name != NEWEST and (size := archive.size(found[name])) > most:
            raise CheckpointError(f"its {name} is {size:,} bytes long, its model takes {most:,} at most")


def _fill(run: Run, archive: ZipMembers, found: Mapping[str, str]) -> None:
    """Write the members into the new folder, each checked as it would be when it is used."""
    from charlm.runs.checkpoint import load_training, load_weights, most_training_bytes, most_weights_bytes

    model, train = run.model_config, run.train_config
    for name in sorted(found):
        if name.endswith(WEIGHTS) and name != NEWEST:
            (run.folder / name).parent.mkdir(exist_ok=True)
            write_atomically(run.folder / name, archive.blocks(found[name], most_weights_bytes(model)))
            load_weights(run.folder / name, model)
    if NEWEST in found:
        write_atomically(run.folder / NEWEST, archive.blocks(found[NEWEST], most_training_bytes(model, train)))
        load_training(run.folder, model, train)
    for name, columns in LOGS.items():
        if name in found:
            log = GradientLog if name == GRADIENTS else MetricsLog
            log(run.folder / name).write(_rows(archive.blocks(found[name], archive.most_bytes), name, columns))


def _rows(blocks: Iterable[bytes], name: str, columns: Iterable[str]) -> Iterator[dict[str, Any]]:
    """The rows of an uploaded log: known columns, steps that grow."""
    newest, most = -1, MOST_GRADIENTS if name == GRADIENTS else MOST_ROWS
    for place, line in enumerate(_lines(blocks, name)):
        if place > most:
            raise CheckpointError(f"its {name} has more than {most:,} lines")
        row = parsed_row(line)
        if row is not None and row["step"] > newest:
            newest = row["step"]
            kept = {column: row[column] for column in columns if column in row}
            yield kept | {text: kept[text][:MOST_SAMPLE] for text in TEXTS if text in kept}


def _lines(blocks: Iterable[bytes], name: str) -> Iterator[bytes]:
    rest = b""
    for block in blocks:
        *lines, rest = (rest + block).split(b"\n")
        if len(rest) > MOST_LINE:
            raise CheckpointError(f"its {name} has a line of more than {MOST_LINE:,} bytes")
        yield from lines
    yield rest
