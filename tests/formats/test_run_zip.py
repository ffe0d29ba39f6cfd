"""What of a run folder leaves the machine, and what of a stranger's zip comes in."""

import json
import math
import shutil
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from charlm.errors import CheckpointError
from charlm.formats.exports import find_format
from charlm.formats.run_zip import MEMBERS, read_zip, write_zip
from charlm.runs.resume import fork
from charlm.runs.run import Run
from charlm.runs.snapshots import snapshot_path
from charlm.runs.store import SHIPPED, RunStore
from charlm.runs.tensor_file import write_tensors
from tests.tiny_runs import assert_same_training, resumed, trained


def test_only_named_members_leave_the_machine(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(SHIPPED / "sherlock-rnn", folder)
    (folder / "snapshots").mkdir(parents=True)
    for name in ("secret.txt", ".lock", "snapshots/1.safetensors"):
        (folder / name).write_text(name)
    (folder / "last.safetensors").symlink_to(tmp_path / "elsewhere")
    find_format("zip").write(Run(folder), tmp_path / "out.zip")
    with zipfile.ZipFile(tmp_path / "out.zip") as archive:
        names = set(archive.namelist())
    known = {"run.json", "tokenizer.json", "metrics.jsonl", "samples.jsonl", "val_blocks.jsonl", "best.safetensors"}
    assert names == {f"run/{name}" for name in (*known, "snapshots/1.safetensors")}


# --- coming in -------------------------------------------------------------------------------------------------------


@pytest.fixture
def run(store: RunStore) -> Run:
    """A trained run that is read anew from its folder."""
    return trained(store, label="mine", record_gradient=True, test_fraction=0.1)[0]


@pytest.fixture
def packed(run: Run, tmp_path: Path) -> Path:
    """The run as a zip."""
    write_zip(run, tmp_path / "mine.zip")
    return tmp_path / "mine.zip"


def contents(path: Path) -> dict[str, bytes]:
    """The members of a zip by their own names."""
    with zipfile.ZipFile(path) as archive:
        return {name.partition("/")[2]: archive.read(name) for name in archive.namelist()}


def repacked(
    path: Path, members: Mapping[str, bytes | None], folder: str = "", method: int = zipfile.ZIP_DEFLATED
) -> Path:
    """A zip like another one, with other members; None takes one out."""
    whole = {**contents(path), **members}
    other = path.with_name("other.zip")
    with zipfile.ZipFile(other, "w", method) as archive:
        for name, data in whole.items():
            if data is not None:
                archive.writestr(folder + name, data)
    return other


def described(path: Path, **changes: Any) -> Path:
    """A zip like another one, whose run.json says something else."""
    info = {**json.loads(contents(path)["run.json"]), **changes}
    return repacked(path, {"run.json": json.dumps(info).encode()})


def refusal(store: RunStore, path: Path, **options: Any) -> str:
    """What is said of a zip; nothing is left of it."""
    before = sorted(store.root.rglob("*"))
    with pytest.raises(CheckpointError) as caught:
        read_zip(store, path, **options)
    assert sorted(store.root.rglob("*")) == before
    assert "\n" not in str(caught.value) and path.name in str(caught.value) and len(str(caught.value)) < 500
    return str(caught.value)


def test_what_leaves_comes_in_as_a_new_run(store: RunStore, run: Run, packed: Path) -> None:
    made = read_zip(store, packed)
    assert made.run_id != run.run_id and {one.run_id for one in store.list()} == {made.run_id, run.run_id}
    assert (made.label, made.status, made.step, made.best_val_loss) == ("mine", "finished", 12, run.best_val_loss)
    assert (made.metrics(), made.samples()) == (run.metrics(), run.samples())
    assert (made.model_config, made.train_config, made.corpus) == (run.model_config, run.train_config, run.corpus)
    assert made.imported["file"] == "mine.zip" and made.imported["run_id"] == run.run_id
    assert made.imported["format"] == "zip" and made.imported["torch"] and run.imported == {}
    assert made.created > run.created == made.imported["created"] and not made.trimmed
    for name in ("best.safetensors", "last.safetensors", "resume.safetensors"):
        assert (made.folder / name).read_bytes() == (run.folder / name).read_bytes()
    assert made.snapshots() == run.snapshots() == [0, 1, 2, 3, 6, 12]
    for step in run.snapshots():
        assert snapshot_path(made.folder, step).read_bytes() == snapshot_path(run.folder, step).read_bytes()


def test_snapshots_come_in_checked(store: RunStore, run: Run, packed: Path, tmp_path: Path) -> None:
    odd = {"snapshots/notes.txt": b"x", "snapshots/007.safetensors": b"x"}
    assert read_zip(store, repacked(packed, odd)).snapshots() == run.snapshots()
    best = contents(packed)["best.safetensors"]
    assert "snapshots" in refusal(store, repacked(packed, {"snapshots/5.safetensors": best[:-8]}))
    assert "at most" in refusal(store, repacked(packed, {"snapshots/5.safetensors": best + bytes(2 << 20)}))
    weights = {name: torch.full_like(tensor, math.nan) for name, tensor in run.load_model().state_dict().items()}
    write_tensors(tmp_path / "x.safetensors", weights, {})
    nan = (tmp_path / "x.safetensors").read_bytes()
    assert "not finite" in refusal(store, repacked(packed, {"snapshots/5.safetensors": nan}))
    many = {f"snapshots/{step}.safetensors": best for step in range(100, 130)}
    assert "24 at most" in refusal(store, repacked(packed, many))


def test_an_imported_run_goes_on_as_the_other_would(store: RunStore, run: Run, packed: Path) -> None:
    made = read_zip(store, packed, label=" with\nanother name ")
    assert made.label == "with another name"
    [here], [there] = resumed(store, made, steps=5), resumed(store, run, steps=5)
    assert_same_training(here, there)
    child, _ = fork(store, store.get(made.run_id), {"steps": 3})
    assert child.ancestry[0]["run_id"] == made.run_id
    child.release()


@pytest.mark.parametrize("folder", ["", "a copy (2)/"])
def test_packed_by_hand_with_what_other_programs_leave(folder: str, store: RunStore, packed: Path) -> None:
    stray = {".DS_Store": b"x", "analysis/1.json": b"{}", ".lock": b""}
    other = repacked(packed, stray, folder)
    with zipfile.ZipFile(other, "a") as archive:
        archive.writestr("__MACOSX/._run.json", b"x")
        archive.mkdir(folder or "analysis")
    made = read_zip(store, other)
    names = {path.name for path in made.folder.iterdir()}
    assert names <= {*MEMBERS, ".lock", ".edit", "snapshots"} and made.load_model()


def test_without_what_resume_needs_it_can_be_compared(store: RunStore, packed: Path) -> None:
    made = read_zip(
        store, repacked(packed, {"resume.safetensors": None, "last.safetensors": None, "samples.jsonl": None})
    )
    assert made.trimmed and made.load_model() and made.samples() == []


@pytest.mark.parametrize(
    ("there", "here"), [("running", "interrupted"), ("queued", "interrupted"), ("failed", "stopped"),
                        ("finished", "finished"), ("hacked", "interrupted"), ([], "interrupted")],
)  # fmt: skip
def test_how_it_ended_there(there: Any, here: str, store: RunStore, packed: Path) -> None:
    made = read_zip(store, described(packed, status=there))
    assert made.status == here and made.left_alone


def test_only_known_fields_and_clean_texts_come_in(store: RunStore, packed: Path) -> None:
    wild = "<b>\u202e\x00\n" * 400
    corpus = {"name": wild, "sha256": "../../etc", "characters": 5, "path": "/etc"}
    parent = {"run_id": wild, "label": wild, "step": -1, "why": "<", "more": 1}
    uttered = {
        "label": wild,
        "message": wild,
        "preset": wild,
        "group": wild,
        "versions": {"torch": wild, "format": "evil"},
    }
    other = {"corpus": corpus, "ancestry": [parent], "run_id": "../x", "secret": 1, "left_alone": False}
    odd = described(packed, num_parameters=5, **uttered, **other)
    made = read_zip(store, odd)
    info = json.loads((made.folder / "run.json").read_text(encoding="utf-8"))
    assert made.num_parameters == made.load_model().num_parameters
    assert info["run_id"] == made.run_id and not {"secret", "mend"} & info.keys()
    assert "path" not in made.corpus and "more" not in made.ancestry[0] and made.imported["format"] == "zip"
    texts = [
        made.label,
        made.message,
        made.preset,
        made.group,
        made.corpus["name"],
        *map(str, made.ancestry[0].values()),
    ]
    texts += [str(value) for value in made.imported.values()]
    assert all(text.isprintable() and len(text) <= 1000 for text in texts)


def test_logs_are_written_anew_row_by_row(store: RunStore, packed: Path) -> None:
    rows = [{"step": 3, "val_loss": 2.0, "more": "<script>"}, {"step": 2}, {"step": 4, "seconds": "x"}, {"step": 5}]
    log = b"\n".join([*(json.dumps(row).encode() for row in rows), b"[1]", b"", b'{"step": 6'])
    made = read_zip(store, repacked(packed, {"metrics.jsonl": log}))
    assert made.metrics() == [{"step": 3, "val_loss": 2.0}, {"step": 5}]


@pytest.mark.parametrize(
    ("members", "said"),
    [({"evil.py": b"1"}, "'evil.py', which is no part of a run"), ({"tokenizer.json": None}, "no tokenizer.json"),
     ({"best.safetensors": None}, "no best.safetensors"), ({"run.json": None}, "no run.json"),
     ({"run.json": b"[]"}, "does not hold an object"), ({"run.json": b"{}"}, "is missing"),
     ({"run.json": b" " * (2 << 20)}, "more than 1,048,576 bytes"), ({"run.json": b"[" * 10_000}, "nested deeper"),
     ({"tokenizer.json": b'{"tokens": ["a", "b"]}'}, "its tokenizer has 2 tokens"),
     ({"tokenizer.json": b" " * 100_000}, "more than it needs"), ({"best.safetensors": b"x" * 90}, "cut off"),
     ({"best.safetensors": b"x" * (2 << 20)}, "its model takes"), ({"resume.safetensors": b"x" * 90}, "cut off"),
     ({"last.safetensors": b""}, "cut off"), ({"metrics.jsonl": b"x" * (2 << 20)}, "a line of more than"),
     ({"metrics.jsonl": b"".join(b'{"step":%d}\n' % step for step in range(100_001))}, "more than 100,000 lines"),
     ({"snapshots/../../x": b""}, "may lead elsewhere"), ({"x/run.json": b"{}"}, "or several")],
)  # fmt: skip
def test_what_is_refused_leaves_nothing(
    members: dict[str, bytes | None], said: str, store: RunStore, packed: Path
) -> None:
    assert said in refusal(store, repacked(packed, members))


@pytest.mark.parametrize(
    ("changes", "said"),
    [({"model": {"hidden_size": 10**6}}, "outside 1 to 4,096"), ({"train": {"steps": "x"}}, "must be a number"),
     ({"corpus_config": 3}, "run's description"), ({"progress": {"step": -1}}, "not a count"),
     ({"model": {"vocab_size": 1_000_000, "hidden_size": 4096, "num_layers": 8}}, "its tokenizer has"),
     ({"corpus": []}, "corpus is no object"), ({"label": 10**30}, "too large")],
)  # fmt: skip
def test_what_a_description_may_not_say(changes: dict[str, Any], said: str, store: RunStore, packed: Path) -> None:
    assert said in refusal(store, described(packed, **changes))


def test_more_than_is_allowed_is_refused_while_it_is_unpacked(store: RunStore, packed: Path) -> None:
    whole = sum(map(len, contents(packed).values()))
    assert read_zip(store, packed, most_bytes=whole)
    assert "unpacks to more than" in refusal(store, packed, most_bytes=whole - 1)


@pytest.mark.parametrize("name", MEMBERS)
def test_any_bit_of_any_member_is_noticed(name: str, store: RunStore, packed: Path) -> None:
    data = bytearray(packed.read_bytes())
    at = data.index(contents(packed)[name]) + 9
    data[at] ^= 1
    packed.write_bytes(data)
    assert "is damaged" in refusal(store, packed)


def test_a_sample_is_no_book(store: RunStore, packed: Path) -> None:
    row = json.dumps({"step": 1, "prompt": "", "text": "x" * 500_000, "html": "<b>"}).encode()
    made = read_zip(store, repacked(packed, {"samples.jsonl": row}))
    assert made.samples() == [{"step": 1, "prompt": "", "text": "x" * 10_000}]


@pytest.mark.parametrize(
    ("row", "kept"),
    [({"losses": [1.5, 2.0], "tokens": [10, 20]}, [(15.0, 10), (40.0, 20)]),
     ({"losses": [1.5], "tokens": [10, 20]}, []),
     ({"losses": [1.5], "tokens": [0.5]}, []),
     ({"losses": ["<b>"], "tokens": [10]}, []),
     ({"losses": "15", "tokens": [1, 2]}, []),
     ({"losses": {"a": 1}, "tokens": [10]}, []),
     ({"losses": [[1.0]], "tokens": [10]}, []),
     ({"tokens": [10]}, [])],
)  # fmt: skip
def test_losses_by_block_are_numbers_or_none_at_all(row: Any, kept: list[Any], store: RunStore, packed: Path) -> None:
    made = read_zip(store, repacked(packed, {"val_blocks.jsonl": json.dumps({"step": 1, **row}).encode()}))
    assert list(made.val_blocks(1)) == kept


def test_an_odd_file_name_is_said_in_one_line(store: RunStore, tmp_path: Path) -> None:
    odd = tmp_path / "a\n\x1bb.zip"
    odd.write_bytes(b"PK")
    with pytest.raises(CheckpointError, match=r"^a b\.zip is no zip"):
        read_zip(store, odd)


@pytest.mark.parametrize("name", ["best.safetensors", "resume.safetensors"])
def test_a_refusal_does_not_name_the_run_that_never_was(name: str, store: RunStore, packed: Path) -> None:
    with zipfile.ZipFile(packed) as archive:
        members = {member: archive.read(member) for member in archive.namelist()}
    with zipfile.ZipFile(packed, "w") as archive:
        for member, data in members.items():
            archive.writestr(member, data[:-1] if member.endswith(name) else data)
    with pytest.raises(CheckpointError, match=f"cannot be imported: {name} cannot be read: "):
        read_zip(store, packed)
