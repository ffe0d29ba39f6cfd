"""Files are replaced whole or not at all."""

import os
from pathlib import Path
from typing import Any, TypedDict

import pytest

from charlm import files
from charlm.errors import CheckpointError
from charlm.files import append, file_name, is_of_type, open_plain, write_atomically
from charlm.runs.checkpoint import load_training, load_weights
from charlm.runs.history import MetricsLog
from tests.faults.disk import Short
from tests.tiny_runs import store_in, trained


def test_a_file_is_replaced_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    for data in (b"one", b"", b"three"):
        write_atomically(path, data)
        assert path.read_bytes() == data
    assert list(tmp_path.iterdir()) == [path]


def test_what_fails_leaves_the_old_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "run.json"
    write_atomically(path, b"old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]


def test_the_old_content_is_kept_under_another_name(tmp_path: Path) -> None:
    path, before = tmp_path / "state", tmp_path / "state.before"
    for data in (b"one", [b"t", b"wo"], b"three"):
        write_atomically(path, data, keep=before)
    assert (path.read_bytes(), before.read_bytes()) == (b"three", b"two") and len(list(tmp_path.iterdir())) == 2


def test_lines_are_added_and_a_torn_one_spoils_no_other(tmp_path: Path) -> None:
    path = tmp_path / "log"
    append(path, b"one\n")
    with path.open("ab") as file:
        file.write(b"tw")  # as a killed process leaves it
    append(path, b"three\n")
    append(path, b"four\n")
    assert path.read_bytes().splitlines() == [b"one", b"tw", b"three", b"four"]


def test_a_line_that_did_not_fit_is_taken_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "log"
    append(path, b"one\n")

    def short(*args: Any, **options: Any) -> Short:
        return Short(open(*args, **options), truncates=True)

    monkeypatch.setattr(files, "open", short, raising=False)
    with pytest.raises(OSError, match="No space left"):
        append(path, b"two two\n")
    assert path.read_bytes() == b"one\n"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names here")
def test_a_pipe_in_the_place_of_a_file_is_refused_at_once(tmp_path: Path) -> None:
    made = trained(store_in(tmp_path), "lstm", hidden_size=4, num_layers=1, steps=6, eval_every=2)[0]
    readings = {
        "best.safetensors": lambda: load_weights(made.folder / "best.safetensors", made.model_config),
        "resume.safetensors": lambda: load_training(made.folder, made.model_config, made.train_config),
        "tokenizer.json": made.tokenizer,
    }
    for name, read in readings.items():
        (made.folder / name).unlink()
        os.mkfifo(made.folder / name)
        with pytest.raises(CheckpointError, match=f"{name} in .* it is not a plain file"):
            read()
    os.mkfifo(tmp_path / "metrics.jsonl")
    assert MetricsLog(tmp_path / "metrics.jsonl").last() is None
    with pytest.raises(OSError, match="not a plain file"):
        open_plain(Path(os.devnull))


class Inner(TypedDict):
    name: str
    pair: tuple[int, float] | None


class Outer(TypedDict):
    rows: list[Inner]
    by_name: dict[str, bool]
    anything: Any


@pytest.mark.parametrize(
    ("change", "fits"),
    [({}, True), ({"more": 1}, True), ({"rows": []}, True), ({"rows": [{"name": "a", "pair": None}]}, True),
     ({"rows": {}}, False), ({"rows": [{"name": "a"}]}, False), ({"rows": [{"name": 1, "pair": None}]}, False),
     ({"rows": [{"name": "a", "pair": [1]}]}, False), ({"rows": [{"name": "a", "pair": [1.5, 2]}]}, False),
     ({"by_name": {"a": 1}}, False), ({"by_name": []}, False), ({"rows": None}, False)],
)  # fmt: skip
def test_the_form_of_a_json_value(change: dict[str, Any], fits: bool) -> None:
    value = {"rows": [{"name": "a", "pair": [1, 2]}], "by_name": {"a": True}, "anything": None}
    assert is_of_type({**value, **change}, Outer) is fits
    assert not is_of_type([value], Outer) and not is_of_type(True, int) and is_of_type(1, float)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("my run", "my-run"),
        ("../../etc/passwd", "etc-passwd"),
        ("-rf", "rf"),
        (".hidden", "hidden"),
        ("a\x00b\nc\u202ed", "a-b-c-d"),
        ('<b>"x":y|z?*</b>', "b-x-y-z-b"),
        ("Война и мир", "Война-и-мир"),
        ("हिन्दी", "हिन्दी"),
        ("cafe\u0301", "café"),
        ("2 x 512, v1.5", "2-x-512-v1.5"),
        ("dots...", "dots"),
        ("CON", "_CON"),
        ("nul.txt", "_nul.txt"),
        ("console", "console"),
        ("\ud800", ""),
        ("/ \\ ..", ""),
        ("", ""),
        ("я" * 80, "я" * 10),
        ("x" * 19 + "--y", "x" * 19),
    ],
    ids=repr,
)
def test_a_label_becomes_a_file_name(text: str, name: str, tmp_path: Path) -> None:
    assert file_name(text, 20) == name
    if name:
        (tmp_path / name).write_text("")
        assert [path.name for path in tmp_path.iterdir()] == [name]
