"""What of a run folder leaves the machine."""

import shutil
import zipfile
from pathlib import Path

from charlm.exchange.exports import find_format
from charlm.run import Run
from charlm.runs import SHIPPED


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
    known = {"run.json", "tokenizer.json", "metrics.jsonl", "samples.jsonl", "best.safetensors"}
    assert names == {f"run/{name}" for name in (*known, "snapshots/1.safetensors")}
