"""A run folder as a zip, with its named members only: written, and made into a new run."""

import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from charlm.bounded_json import one_line, parsed
from charlm.config import CorpusConfig, ModelConfig, TrainConfig
from charlm.errors import CharLMError, CheckpointError
from charlm.exchange.zip_members import ZipMembers
from charlm.files import write_atomically
from charlm.metrics import MEASURES, MOST_LINE, TEXTS, MetricsLog, parsed_row
from charlm.run import ACTIVE, Run, now
from charlm.run_info import MOST_BYTES as MOST_DESCRIPTION
from charlm.run_info import tidied
from charlm.runs import RunStore
from charlm.tokenizer import most_tokenizer_bytes, read_tokenizer

LOGS = {"metrics.jsonl": ("step", *MEASURES), "samples.jsonl": ("step", *TEXTS)}
BEST, LAST, NEWEST = "best.safetensors", "last.safetensors", "resume.safetensors"
# What a run folder may hold; nothing else of it leaves the machine, or comes in.
MEMBERS = ("run.json", "tokenizer.json", *LOGS, BEST, LAST, NEWEST)
FOLDERS = ("snapshots", "analysis")
# What other programs, and this one, leave in a folder that somebody packs by hand: passed over, as are FOLDERS.
STRAY = (".DS_Store", "Thumbs.db", "desktop.ini", ".lock", ".edit", "resume.previous.safetensors")
MOST_UNPACKED = 1 << 30
MOST_ROWS = 100_000  # lines of a log
MOST_SAMPLE = 10_000  # characters of a sample
# What of an uploaded run.json is taken over, once it is tidied.
TAKEN = ("label", "preset", "group", "ancestry", "message", "corpus", "progress", "device")


def members(folder: Path) -> list[Path]:
    """The named members of a run folder that exist, links left out."""
    named = [folder / name for name in MEMBERS]
    named += [path for sub in FOLDERS for path in sorted((folder / sub).glob("*"))]
    return [path for path in named if path.is_file() and not path.is_symlink()]


def write_zip(run: Run, path: Path) -> None:
    """A run folder as a zip. Weights do not shrink, so they are stored."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for member in members(run.folder):
            archive.write(member, f"{run.run_id}/{member.relative_to(run.folder).as_posix()}")


def read_zip(
    store: RunStore,
    path: Path,
    most_bytes: int = MOST_UNPACKED,
    label: str = "",
    accept: Callable[[ModelConfig], None] = lambda _: None,
) -> Run:
    """A new run from what `write_zip` writes, or from a run folder that somebody packed.

    The program names its folder and writes its files anew: run.json from known fields, logs row by row. Weights and
    training state are taken over as they are once they have passed for those of the described model. Members that
    nothing here reads (`STRAY`, `FOLDERS`, `__MACOSX`) are passed over, any other refuses the zip.

    Args:
        store: where it goes.
        path: the zip.
        most_bytes: that it may unpack to.
        label: of the new run; empty: the one it had.
        accept: asked before the model is used; raises what it is refused with.

    Raises:
        CheckpointError: the zip, or a member, is not what it should be; nothing is left of it.
    """
    from charlm.estimate import count_parameters  # torch takes seconds: not before it is needed

    archive = ZipMembers(path, most_bytes)
    try:
        found = _named(archive)
        about, status = _description(archive, found)
        model = ModelConfig.from_dict(about["model"])
        accept(model)
        data = archive.read(found["tokenizer.json"], most_tokenizer_bytes(model.vocab_size, model.level))
        tokenizer = read_tokenizer(_value(data, "tokenizer.json"), model)
        _check_sizes(archive, found, model)
        about["num_parameters"] = count_parameters(model)
        about |= {"trimmed": NEWEST not in found, "label": one_line(label, 80) or about["label"]}
        run = store.create(about, tokenizer)
        try:
            try:
                _fill(run, archive, found)
            except CheckpointError as error:  # whose run is gone before its name is read
                raise CheckpointError(str(error).replace(f" in {run.run_id}", "")) from error
            run.update(status=_ending(status))
        except BaseException:
            store.discard(run)
            raise
        run.release()
        return store.get(run.run_id)
    except (CharLMError, OSError) as error:
        raise CheckpointError(f"{one_line(path.name, 80)} cannot be taken in: {error}") from error
    finally:
        archive.close()


def _named(archive: ZipMembers) -> dict[str, str]:
    """The zip's names of the members that are read, by their own; all in one folder, or in none."""
    names = [name for name in archive.names if not name.startswith("__MACOSX/")]
    folders = {name.rpartition("/")[0] for name in names if name.rpartition("/")[2] == "run.json"}
    if len(folders) != 1:
        raise CheckpointError("it holds no run.json, or several; pack one run folder")
    inside = f"{folders.pop()}/".lstrip("/")
    found: dict[str, str] = {}
    for name in names:
        own = name.removeprefix(inside)
        if own in MEMBERS and name.startswith(inside):
            found[own] = name
        elif own not in STRAY and own.partition("/")[0] not in FOLDERS:
            raise CheckpointError(f"it holds {name[:60]!r}, which is no part of a run; take it out and try again")
    if missing := [name for name in ("tokenizer.json", BEST) if name not in found]:
        raise CheckpointError(f"it has no {missing[0]}, without which a run cannot write")
    return found


def _value(data: bytes, name: str) -> dict[str, Any]:
    """The object in a JSON member."""
    try:
        value = parsed(data, len(data))
    except ValueError as error:
        raise CheckpointError(f"its {name} cannot be read: {error}") from error
    if not isinstance(value, dict):
        raise CheckpointError(f"its {name} does not hold an object")
    return value


def _description(archive: ZipMembers, found: Mapping[str, str]) -> tuple[dict[str, Any], str]:
    """What the new run.json will hold (known fields, checked settings, where it comes from), and its status there."""
    said = _value(archive.read(found["run.json"], MOST_DESCRIPTION), "run.json")
    try:
        info = tidied(said)
        configs = {
            "model": ModelConfig.from_dict(said["model"]).to_dict(),
            "train": TrainConfig.from_dict(said["train"]).to_dict(),
            "corpus_config": CorpusConfig.from_dict(said["corpus_config"]).to_dict(),
        }
    except (KeyError, TypeError, ValueError) as error:
        reason = f"{error} is missing" if isinstance(error, KeyError) else error
        raise CheckpointError(f"its run.json is not a run's description: {reason}") from error
    told = info.get("versions", {}) | {"run_id": one_line(said.get("run_id"), 130), "created": info.get("created", "")}
    origin = told | {"format": "zip", "file": one_line(archive.path.name, 100), "at": now()}
    taken = {name: info[name] for name in TAKEN if name in info} | configs
    return taken | {"imported": origin, "left_alone": True}, info["status"]


def _ending(status: str) -> str:
    """What a status there means here."""
    return "interrupted" if status in ACTIVE else "stopped" if status == "failed" else status


def _check_sizes(archive: ZipMembers, found: Mapping[str, str], model: ModelConfig) -> None:
    """Refuse weights that are longer than the model's before they are unpacked."""
    from charlm.checkpoint import most_weights_bytes  # torch takes seconds: not before it is needed

    for name in (BEST, LAST):
        size, most = archive.size(found[name]) if name in found else 0, most_weights_bytes(model)
        if size > most:
            raise CheckpointError(f"its {name} is {size:,} bytes long, its model takes {most:,} at most")


def _fill(run: Run, archive: ZipMembers, found: Mapping[str, str]) -> None:
    """Write the members into the new folder, each checked as it would be when it is used."""
    from charlm.checkpoint import load_training, load_weights, most_training_bytes, most_weights_bytes

    model, train = run.model_config, run.train_config
    for name in (BEST, LAST):
        if name in found:
            write_atomically(run.folder / name, archive.blocks(found[name], most_weights_bytes(model)))
            load_weights(run.folder / name, model)
    if NEWEST in found:
        write_atomically(run.folder / NEWEST, archive.blocks(found[NEWEST], most_training_bytes(model, train)))
        load_training(run.folder, model, train)
    for name, columns in LOGS.items():
        if name in found:
            MetricsLog(run.folder / name).write(_rows(archive.blocks(found[name], archive.most_bytes), name, columns))


def _rows(blocks: Iterable[bytes], name: str, columns: Iterable[str]) -> Iterator[dict[str, Any]]:
    """The rows of an uploaded log: known columns, steps that grow."""
    newest = -1
    for place, line in enumerate(_lines(blocks, name)):
        if place > MOST_ROWS:
            raise CheckpointError(f"its {name} has more than {MOST_ROWS:,} lines")
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
