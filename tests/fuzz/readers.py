"""Everything that reads what strangers wrote, each with small real files to begin from.

A reader of foreign checkpoints joins with one line in FOREIGN: its name, its files, and what makes a run of one, as in
`Reader("foreign", files_of_others, coming_in(import_file))`.
"""

import bz2
import gzip
import json
import lzma
import pickle
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch

from charlm import files
from charlm.analysis.baselines import Baselines
from charlm.analysis.ppmd import Ppmd
from charlm.cli.runs import facts_of, row_of
from charlm.config import CorpusConfig, ModelConfig
from charlm.data import documents
from charlm.data.corpus import read_corpus, table_columns
from charlm.data.dataset import corpus_cut, dataset_of
from charlm.data.own_texts import OwnTexts, Upload, open_upload, pasted_text
from charlm.data.text_store import recall, remember
from charlm.errors import CheckpointError
from charlm.formats.imports import import_file
from charlm.formats.run_zip import read_zip, write_zip
from charlm.jobs.service import Jobs
from charlm.public.limits import Limits, check_model
from charlm.public.services import Services
from charlm.runs.checkpoint import check_place, load_training, load_weights, weights_about
from charlm.runs.run import Run, read_json
from charlm.runs.store import RunStore
from charlm.serving import Serving
from charlm.tokenizers import fit_tokenizer, most_tokenizer_bytes, read_tokenizer
from charlm.training.train import train
from charlm.ui.compare.ranking import ranking_csv, ranking_table, run_choices
from charlm.ui.compare.view import resting_columns
from charlm.ui.runs.details import details
from charlm.ui.runs.listing import runs_heading, runs_table, trash_html
from charlm.ui.services import Files as Uploads
from charlm.ui.status_bar import status_bar_html
from charlm.ui.train.live import Watch, answer, figure
from charlm.ui.verdict import verdict
from tests.attacks.make import Payload, real_run
from tests.data.sample_documents import documents_of_people, plain_documents, zipped
from tests.fuzz.foreign import checkpoints, read_foreign, torch_saved
from tests.fuzz.frameworks import framework_files, in_home, keras_configs, read_keras_config
from tests.tiny_runs import TEXT, small_corpus, store_in, trained

MOST_BYTES = 2 << 20  # what a text or a zip may unpack to here
ROWS = [{"text": "a fox met a hen", "n": 1}, {"text": "grün, “größer”; ł", "n": None}, {"text": "", "n": [1, {"a": 2}]}]


class Ground:
    """What readers stand on: a trained run in a store of its own, a data folder, and the page's services.

    Args:
        home: an empty folder.
    """

    def __init__(self, home: Path) -> None:
        self.home, self.data_dir = home, home / "data"
        self.store = store_in(home)
        self.run = made = real_run(home)
        self.run.update(status="failed", message="why", mend={"learning_rate": 0.1}, ancestry=[
            {"run_id": made.run_id, "label": "x", "step": 3, "why": "fork"}])  # fmt: skip
        (made.folder / ".lock").touch()
        serving = Serving(self.store)
        serving.baselines._request = lambda *_: None  # type: ignore[method-assign]  # nothing is measured beside the reading
        self.services = Services(self.store, Jobs(self.store), serving, Uploads())
        self.dataset = dataset_of(made.tokenizer(), small_corpus(), made.train_config, made.corpus_config)
        small = {"hidden_size": 4, "num_layers": 1, "steps": 4, "eval_every": 2}
        [self.words] = trained(store_in(home / "words"), "gru", level="word", **small)

    def put(self, name: str, data: bytes) -> Callable[[], None]:
        """Replace a file of the run; the answer puts it back."""
        path = self.run.folder / name
        before = path.read_bytes()
        path.write_bytes(data)
        return lambda: path.write_bytes(before) and None  # type: ignore[func-returns-value]


Files = Mapping[str, bytes]


@dataclass(frozen=True)
class Reader:
    """One thing that reads files.

    Attributes:
        name: for the table.
        files: small real ones, by name.
        read: reads one of them, given its name and its content, damaged or not.
    """

    name: str
    files: Callable[[Ground], Files]
    read: Callable[[Ground, str, bytes], Any]


def _of_run(*names: str) -> Callable[[Ground], Files]:
    return lambda ground: {name: (ground.run.folder / name).read_bytes() for name in names}


def _in_run(read: Callable[[Ground], Any]) -> Callable[[Ground, str, bytes], Any]:
    """A reader of the run's folder with the file in its place."""

    def replaced(ground: Ground, name: str, data: bytes) -> None:
        put_back = ground.put(name, data)
        try:
            read(ground)
        finally:
            put_back()

    return replaced


def _weights(ground: Ground) -> None:
    path = ground.run.folder / "best.safetensors"
    json.dumps(weights_about(path))
    model = load_weights(path, ground.run.model_config)
    model(torch.zeros(1, 3, dtype=torch.long))


def _training(ground: Ground) -> None:
    run = ground.run
    model, state = load_training(run.folder, run.model_config, run.train_config)
    cut, _ = corpus_cut(small_corpus(), run.tokenizer(), run.train_config, run.corpus_config)
    check_place(state, cut.batch_size, cut.steps_per_epoch)
    for _ in zip(range(2), train(model, ground.dataset, run.train_config, state), strict=False):
        pass


def show(ground: Ground, store: RunStore, run_id: str) -> None:
    """Everything that lists, describes and draws a run."""
    runs = store.list()
    for drawn in (
        runs_heading(runs, 1),
        runs_table(runs),
        runs_table(runs, "x fork"),
        ranking_table(runs),
        *verdict(runs),
    ):
        drawn.encode()
    ranking_csv(runs).encode(), resting_columns(runs, {}).encode(), trash_html(runs).encode()
    status_bar_html(None, interrupted=runs), run_choices(runs)
    run = store.get(run_id)
    details(run, [run.run_id]).encode()
    json.dumps([facts_of(run), row_of(run), run.metrics(), run.samples(), run.gradients()], allow_nan=False).encode()
    view = Watch(ground.services, fresh=0).look_at([run])
    json.dumps([view.title, view.lead, view.head, view.limits, view.rows, view.body, view.key]).encode()
    for by in ("step", "seconds"):
        json.dumps([figure(view, [run], by, by == "step"), answer(view, {"by": by})]).encode()


def _shown(ground: Ground) -> None:
    show(ground, ground.store, ground.run.run_id)
    ground.store.get(ground.run.run_id).tokenizer()


def _zip_files(ground: Ground) -> Files:
    paths = {run: ground.home / name for run, name in ((ground.run, "run.zip"), (ground.words, "words.zip"))}
    for run, path in paths.items():
        write_zip(run, path)
    return {path.name: path.read_bytes() for path in paths.values()}


# What tokens a tokenizer.json may hold, by its name here.
TOKENS = {
    "lower.json": ModelConfig(level="word"),
    "spaces.json": ModelConfig(level="word", words="spaces", min_count=1),
    "subwords.json": ModelConfig(level="bpe", vocab_size=280),
}


def _token_files(ground: Ground) -> Files:
    text = small_corpus().text
    return {name: fit_tokenizer(text, config, len(text)).to_file() for name, config in TOKENS.items()}


def _tokens(ground: Ground, name: str, data: bytes) -> None:
    """A tokenizer.json of words or subwords, of as many as the model is said to have."""
    text = small_corpus().text
    size = fit_tokenizer(text, TOKENS[name], len(text)).vocab_size
    config = ModelConfig.from_dict({**TOKENS[name].to_dict(), "vocab_size": size})
    path = ground.home / name
    path.write_bytes(data)
    tokenizer = read_tokenizer(read_json(path, most_tokenizer_bytes(size, config.level)), config)
    ids = tokenizer.encode(text)
    assert tokenizer.vocab_size == len(tokenizer.tokens) == size and ids.max() < size
    f"{tokenizer.decode(ids)}{tokenizer.tokens}{tokenizer.unknown(text)}".encode()


def _ngram_files(ground: Ground) -> Files:
    [run] = trained(store_in(ground.home / "counted"), "ngram", order=3, text=TEXT[:400])
    path = ground.home / "ngram.zip"
    write_zip(run, path)
    return {"ngram.zip": path.read_bytes()}


def _read_ngram(store: RunStore, path: Path) -> Run:
    run = read_zip(store, path, MOST_BYTES, accept=lambda model: check_model(Limits(), model, 0))
    ids = torch.zeros(1, 3, dtype=torch.long)
    run.load_model().loss(ids, ids)
    return run


def _ladders(_: Ground) -> Files:
    ppmd = Ppmd(adapting=1.4, frozen=1.5, rows=2, all_rows=3, megabytes=256)
    known = Baselines(4.0, 3.0, 2.0, orders=(3.5, 2.5, 1.5), tokens_per_char=1.0, whole=True, ppmd=ppmd)
    return {"ladder.json": json.dumps(known.to_dict()).encode()}


def _ladder(ground: Ground, name: str, data: bytes) -> None:
    path = ground.home / name
    path.write_bytes(data)
    try:
        found = Baselines.from_dict(files.read(path, MOST_BYTES))
    except ValueError as error:  # it is measured anew
        raise CheckpointError(str(error)) from error
    json.dumps(found.to_dict(), allow_nan=False)
    assert 0 <= found.matched_order(2.0) <= len(found.orders) and found.bits(found.orders[found.best - 1]) >= 0


def coming_in(read: Callable[[RunStore, Path], Run]) -> Callable[[Ground, str, bytes], Any]:
    """A reader that makes a run of a file: the run works and can be shown, or nothing is left."""

    def tried(ground: Ground, name: str, data: bytes) -> None:
        path, inbox = ground.home / name, store_in(ground.home / "inbox")
        path.write_bytes(data)
        made: Run | None = None
        try:
            made = read(inbox, path)
            made.load_model()
            made.tokenizer()
            show(ground, inbox, made.run_id)
        finally:
            left = [folder.name for folder in inbox.root.glob("*")]
            shutil.rmtree(inbox.root, ignore_errors=True)
            assert left == ([made.run_id] if made else []), f"left over: {left}"

    return tried


def _texts(ground: Ground) -> Files:
    text = "A fox – met a hen, “größer” than ł.\n" * 20
    cells = "\n".join(f'"{row["text"]}",{number}' for number, row in enumerate(ROWS))
    lines = "\n".join(map(json.dumps, ROWS))
    files = {
        "a.txt": text, "b.csv": f"text,n\n{cells}\n", "c.tsv": f"text\tn\n{cells}".replace(",", "\t"),
        "d.json": json.dumps(ROWS), "e.json": json.dumps({"columns": ["text"], "data": [["a b"], ["c"]]}),
        "f.json": json.dumps({"Text": {"0": "a b", "1": "c"}}), "g.jsonl": lines,
    }  # fmt: skip
    encoded = {name: content.encode() for name, content in files.items()}
    pages = {"h.txt": text.encode("utf-16"), "i.txt": text.replace("ł", "l").encode("cp1252")}
    packed = {
        "j.txt.gz": gzip.compress(text.encode()), "k.jsonl.gz": gzip.compress(lines.encode()),
        "l.txt.bz2": bz2.compress(text.encode()), "m.txt.xz": lzma.compress(text.encode()),
    }  # fmt: skip
    return encoded | pages | packed


def _text(ground: Ground, name: str, data: bytes) -> None:
    """A stranger's text; documents are read in this process, as the guard lets nobody start another."""
    with patch.object(documents, "confined", lambda work, data, options, **_: work(data, dict(options))):
        table_columns(data, name, MOST_BYTES, native=False)
        read_corpus(data, name, CorpusConfig(nfc=True), MOST_BYTES, native=False).text.encode()


def _documents(ground: Ground) -> Files:
    tale = json.dumps({"name": "x", "posts": [{"body": "a fox met"}, {"body": [{"type": "b", "text": "ł"}, " hen"]}]})
    return {
        **plain_documents(), **documents_of_people(), "a.fasta": b">a b\nMKV\nLA\n", "b.smi": b"CC(=O)O acid\n" * 9,
        "h.zip": zipped({"a.txt": b"a fox", "b/c.csv": b"text\na hen\nb\n", "d.json": tale.encode()}),
        "i.json": tale.encode(), "j.txt": "Łódź\n".encode("cp1250") * 9 + "Wąż\n".encode() * 9,
    }  # fmt: skip


def _uploads(ground: Ground) -> Files:
    texts = OwnTexts(ground.data_dir)
    keys = [texts.keep(upload) for upload in (pasted_text("a b"), Upload("a.csv", b"text\na b\n"))]
    return {f"{key}.json": (ground.data_dir / "uploads" / f"{key}.json").read_bytes() for key in keys}


def _upload(ground: Ground, name: str, data: bytes) -> None:
    (ground.data_dir / "uploads" / name).write_bytes(data)
    assert all(one.name.isprintable() for one in OwnTexts(ground.data_dir).list())
    upload = open_upload(name.removesuffix(".json"), ground.data_dir)
    if upload:
        upload.read(CorpusConfig())


def _remembered(ground: Ground) -> Files:
    remember(small_corpus(), ground.data_dir)
    path = ground.data_dir / "texts" / f"{small_corpus().sha256}.json"
    return {path.name: path.read_bytes()}


def _recalled(ground: Ground, name: str, data: bytes) -> None:
    (ground.data_dir / "texts" / name).write_bytes(data)
    corpus = recall(name.removesuffix(".json"), ground.data_dir)
    assert corpus is not None and corpus.name.isprintable()
    f"{corpus.name}{corpus.about}{corpus.key}{corpus.repairs}".encode()


FOREIGN: Sequence[Reader] = (
    Reader(
        "foreign",
        lambda ground: checkpoints(ground.run),
        lambda ground, name, data: read_foreign(ground.home, ground.run, name, data),
    ),
    Reader("foreign run", lambda ground: torch_saved(ground.run), coming_in(import_file)),
    Reader("frameworks", lambda _: framework_files(), in_home(coming_in(import_file))),
    Reader("keras config", lambda _: keras_configs(), read_keras_config),
)
READERS: Sequence[Reader] = (
    Reader("weights", _of_run("best.safetensors"), _in_run(_weights)),
    Reader("training state", _of_run("resume.safetensors"), _in_run(_training)),
    Reader("run.json", _of_run("run.json"), _in_run(_shown)),
    Reader("tokenizer.json", _of_run("tokenizer.json"), _in_run(lambda ground: ground.run.tokenizer())),
    Reader("words and subwords", _token_files, _tokens),
    Reader("logs", _of_run("metrics.jsonl", "samples.jsonl", "gradient.jsonl"), _in_run(_shown)),
    Reader("run zip", _zip_files, coming_in(lambda store, path: read_zip(store, path, MOST_BYTES))),
    Reader("n-gram zip", _ngram_files, coming_in(_read_ngram)),
    Reader("ladder", _ladders, _ladder),
    Reader("corpus", _texts, _text),
    Reader("documents", _documents, _text),
    Reader("upload's json", _uploads, _upload),
    Reader("text's json", _remembered, _recalled),
    *FOREIGN,
)


def canaries(canary: Path) -> list[bytes]:
    """Pickles that make the folder `canary` where they are loaded."""
    return [pickle.dumps(Payload(canary), protocol) for protocol in range(6)]
