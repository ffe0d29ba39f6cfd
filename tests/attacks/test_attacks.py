"""Hostile files are refused whole, in one clear line, by whatever a user would meet them with."""

import json
import pickle
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from charlm.config import CorpusConfig
from charlm.data.corpus import read_corpus_file, table_columns
from charlm.formats.run_zip import read_zip
from charlm.runs.checkpoint import load_training, load_weights
from tests.attacks.make import attacks, real_members, zipped
from tests.fuzz.guard import memory, reset_peak
from tests.fuzz.loop import ROOM, complaint
from tests.fuzz.readers import FOREIGN, Ground

MOST_BYTES = 2 << 20  # as a public Space allows
CHECKPOINTS = (".pt", ".net", ".pkl", ".npy", ".joblib", ".safetensors", ".zip")
# Part of what is said, where another reason would mean that the attack got further than it should.
REASONS = {
    "header-of-10-gb.safetensors": "cut off", "header-of-many-names.safetensors": "bytes long; at most",
    "shape-of-petabytes.safetensors": "damaged", "values-nan.safetensors": "not finite",
    "offsets-overlapping.safetensors": "does not begin where", "offsets-gapped.safetensors": "does not begin where",
    "state-moments-inf.safetensors": "not finite", "state-hidden-of-many-rows.safetensors": "this model needs",
    "zip-link.zip": "a link or a device", "zip-device.zip": "a link or a device",
    "zip-name-parent.zip": "may lead elsewhere", "zip-name-absolute.zip": "may lead elsewhere",
    "zip-name-backslash.zip": "may lead elsewhere", "zip-name-drive.zip": "may lead elsewhere",
    "zip-name-with-nul.zip": "may lead elsewhere", "zip-duplicate.zip": "twice", "zip-encrypted.zip": "is encrypted",
    "zip-lzma.zip": "packed in a way", "zip-bomb-of-zeros.zip": "unpacks to more than",
    "zip-bomb-of-rows.zip": "unpacks to more than", "zip-small-quoted-overlap.zip": "members that overlap",
    "zip-size-lied.zip": "cannot be unpacked", "zip-of-many-members.zip": "lists 2,",
    "zip-pickle-as-weights.zip": "cut off", "zip-name-hidden-code.zip": "no part of a run",
    "run-json-deep.zip": "nested deeper", "run-json-nan.zip": "not a number",
    "run-json-unknown-setting.zip": "unknown setting", "run-json-absurd-model.zip": "this model",
    "tokens-half.zip": "half", "tokens-too-many.zip": "its tokenizer has",
    "words-with-a-regex.zip": "this model", "words-without-unknown.zip": "the first of them <unk>",
    "words-too-long.zip": "words of 1 to 64", "merges-of-nothing.zip": "joins tokens that it does not have",
    "merges-that-grow.zip": "distinct tokens of up to 32 bytes",
    "gzip-bomb.txt.gz": "more than 2,097,152 bytes", "bzip2-bomb.txt.bz2": "more than 2,097,152 bytes",
    "xz-bomb.txt.xz": "more than 2,097,152 bytes",
    "ml5-file-of-the-system.zip": "no name of a file", "ml5-file-above.zip": "no name of a file",
    "ml5-shape-of-petabytes.zip": "bytes long, as its shape", "recurrentjs-of-petabytes.zip": "has not 1099511627776 x",
    "recurrentjs-deep.zip": "nested deeper", "npz-of-petabytes.zip": "cut off", "npz-header-that-runs.zip": "no array",
    "tensorflow-half.zip": "is cut off",
    "docx-bomb.docx": "unpacks to more than", "zip-of-bombs.zip": "more than 2,097,152 bytes",
    "epub-elsewhere.epub": "is damaged", "pdf-encrypted.pdf": "is a PDF", "parquet-of-noise.parquet": "is damaged",
    "gzip-in-gzip.txt.gz": "binary file", "json-deep.json": "nested too deeply", "pickle-renamed.txt": "binary file",
}  # fmt: skip


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    """A store with a real run, in which the attacks are tried."""
    with pytest.MonkeyPatch.context() as patch:
        home = tmp_path_factory.mktemp("attacked")
        patch.setenv("CHARLM_DATA", str(home / "data"))
        yield Ground(home)


@pytest.fixture(scope="module")
def hostile(ground: Ground) -> dict[str, Path]:
    """The attacks as files, by name."""
    folder = ground.home / "hostile"
    folder.mkdir()
    made = attacks(ground.run, ground.home / "canary")
    for name, data in made.items():
        (folder / name).write_bytes(data)
    return {name: folder / name for name in made}


def meet(ground: Ground, path: Path) -> list[BaseException | None]:
    """What everyone says who would meet such a file; None from who takes it."""
    run, data = ground.run, path.read_bytes()
    foreign = FOREIGN if path.suffix in CHECKPOINTS else ()
    readers: list[Callable[[], Any]] = [partial(reader.read, ground, path.name, data) for reader in foreign]
    if path.suffix == ".zip":
        readers.append(lambda: read_zip(ground.store, path, MOST_BYTES))
    elif path.name.startswith("state-"):
        readers.append(lambda: load_training(run.folder, run.model_config, run.train_config))
    elif path.suffix == ".safetensors":
        readers.append(lambda: load_weights(path, run.model_config))
    readers.append(lambda: read_corpus_file(path, CorpusConfig(), MOST_BYTES))
    put_back = ground.put("resume.safetensors", data) if path.name.startswith("state-") else lambda: None
    try:
        return [_answer(reader) for reader in readers]
    finally:
        put_back()


def _answer(reader: Callable[[], Any]) -> BaseException | None:
    try:
        reader()
    except BaseException as error:
        return error
    return None


def test_every_one_is_refused_whole(ground: Ground, hostile: dict[str, Path]) -> None:
    assert len(hostile) >= 100 and REASONS.keys() <= hostile.keys()
    before = {path: path.read_bytes() for path in ground.store.root.rglob("*") if path.is_file()}
    wrong = []
    for name, path in hostile.items():
        reset_peak()
        began = memory()[0]
        answers = meet(ground, path)
        if memory()[1] - began > 2 * path.stat().st_size + ROOM:
            wrong.append(f"{name}: {memory()[1] - began:,} bytes of memory")
        faults = ["it was taken" if said is None else complaint(said) for said in answers]
        if not any(REASONS.get(name, "") in str(said) for said in answers):
            faults.append(f"for other reasons: {'; '.join(map(str, answers))}")
        wrong += [f"{name}: {fault}" for fault in faults if fault]
    assert wrong == []
    assert not (ground.home / "canary").exists()
    assert {path: path.read_bytes() for path in ground.store.root.rglob("*") if path.is_file()} == before


def test_the_attacks_are_real(ground: Ground, hostile: dict[str, Path]) -> None:
    """Pickles do what they say, the bomb unpacks, and what they were made from is taken."""
    for name in ("pickle-protocol-0.pkl", "pickle-protocol-5.pkl", "pickle-renamed.safetensors"):
        pickle.loads(hostile[name].read_bytes())
        (ground.home / "canary").rmdir()
    with zipfile.ZipFile(hostile["zip-small-quoted-overlap.zip"]) as archive:
        assert sum(info.file_size for info in archive.infolist()) > 4_000
    whole = ground.home / "whole.zip"
    whole.write_bytes(zipped(real_members(ground.run)))
    made = read_zip(ground.store, whole, MOST_BYTES)
    assert made.load_model() and json.loads((made.folder / "run.json").read_text(encoding="utf-8"))
    ground.store.delete(made)
    assert table_columns(hostile["gzip-bomb.txt.gz"].read_bytes(), "a.csv.gz", MOST_BYTES) == []
