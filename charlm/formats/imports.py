"""Imports: a run's zip or a checkpoint from elsewhere becomes a run folder like any other."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

from charlm.config import CorpusConfig, ModelConfig, TrainConfig
from charlm.data.corpus import Corpus, drop_unknown
from charlm.errors import CharLMError, CheckpointError
from charlm.files import open_plain
from charlm.formats.detect import Kind, describe_pickle, kind_of
from charlm.formats.run_zip import read_zip
from charlm.formats.vocabularies import tokenizer_of
from charlm.presets import RunConfig
from charlm.runs.run import MAX_LABEL, Run, clean_label, read_json
from charlm.runs.store import RunStore
from charlm.tokenizers import Tokenizer, most_tokenizer_bytes, read_tokenizer

if TYPE_CHECKING:
    from charlm.models import LanguageModel

MOST_BYTES = 256 << 20
# A trained model is trained further, also on another text, with small steps.
FURTHER = TrainConfig(learning_rate=1e-3, steps=1000)
REFUSED: dict[Kind, str] = {
    "torchscript": "a TorchScript program; load it where it was made and save model.state_dict() and the characters",
    "tar": "what torch before 0.1.10 saved, a tar of pickles; open it with torch and save its state_dict again",
    "pickle": "a plain pickle, and opening one can run code; save the weights with torch.save(model.state_dict(), ..)",
    "packed": "an archive; unpack it and import the checkpoint that is inside",
    "unknown": "nothing that can be imported: give a run's zip, a .safetensors of this program, or a state_dict that "
    "torch.save wrote",
}


@dataclass(frozen=True)
class Imported:
    """What was read from a file: a model, its tokenizer, and the format's name."""

    model: "LanguageModel"
    tokenizer: Tokenizer
    format: str


def import_file(
    store: RunStore,
    path: Path,
    *,
    characters: Path | None = None,
    nonlinearity: str = "tanh",
    label: str = "",
    corpus: Corpus | None = None,
    pickles: bool = True,
    most_bytes: int = MOST_BYTES,
    accept: Callable[[ModelConfig], None] = lambda _: None,
) -> Run:
    """A new run made from a file: a run's zip, our safetensors, or what torch.save made of recurrent layers.

    Args:
        store: where the run goes.
        path: of the file, which is recognised by its content.
        characters: a file with the model's characters in the order of its ids, where the checkpoint has none.
        nonlinearity: of a plain RNN, tanh or relu, where the file does not say.
        label: of the run; empty: made from the file's name.
        corpus: a text to measure the model on; the run then belongs to it.
        pickles: whether pickles are opened at all. They are never run, but a public server opens none.
        most_bytes: a larger file is refused.
        accept: called before a model is used; raises an error to refuse it.

    Raises:
        CheckpointError: it is nothing that can be imported, damaged, hostile or too large.
        ConfigError: a size beyond what this program trains, or an unknown nonlinearity.
        CorpusError: the text has too few characters that the model knows.
    """
    name = clean_name(path.name)
    _check_size(path, name, most_bytes)
    kind = kind_of(path)
    if not pickles and (what := describe_pickle(path)):
        raise CheckpointError(
            f"{name} is {what}, and a pickle can run programs when it is opened: none is opened here; import it on "
            "your own machine (python -m charlm import FILE), export the run as zip, and upload that"
        )
    if kind == "run":
        return read_zip(store, path, most_bytes=most_bytes, label=label, accept=accept)
    if kind not in READERS:
        raise CheckpointError(f"{name} is {REFUSED[kind]}")
    ModelConfig(nonlinearity=nonlinearity)  # refused before the file is read
    found = READERS[kind](path, characters, nonlinearity)
    accept(found.model.config)
    return _create_run(store, path, found, label, corpus)


def _check_size(path: Path, name: str, most_bytes: int) -> None:
    """Raise a CheckpointError for what is no file, and what is too large."""
    try:
        size, is_file = path.stat().st_size, path.is_file()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise CheckpointError(f"there is no file {str(path)[:200]!r} that can be read: {reason}") from None
    if not is_file:
        raise CheckpointError(f"{name} is no file; give the zip of a run, or a checkpoint")
    if size > most_bytes:
        raise CheckpointError(f"{name} has {size / 1e6:,.1f} MB; at most {most_bytes / 1e6:,.1f} MB can be imported")


def _create_run(store: RunStore, path: Path, found: Imported, label: str, corpus: Corpus | None) -> Run:
    """A run of what was read from `path`."""
    from charlm.runs.checkpoint import save_weights
    from charlm.runs.create import describe

    label = clean_label(label) or clean_label(PurePath(path.name).stem) or f"imported-{found.model.config.arch}"
    origin = {"format": found.format, "file": clean_name(path.name), "sha256": _sha256(path)}
    config = RunConfig(found.model.config, FURTHER, CorpusConfig(), preset="")
    facts = describe(config, found.model.config, label[:MAX_LABEL]) | {"group": "", "ancestry": [], "corpus": {}}
    measured, about = _measured(found, config, corpus) if corpus else ({}, {})
    run = store.create({**facts, "imported": origin, "trimmed": True, **about}, found.tokenizer)
    try:
        about = {"val_loss": measured["val_loss"]} if measured else {}
        save_weights(run.folder / "best.safetensors", found.model, step=0, **about)
        run.update(measured, status="finished")
    except (OSError, CharLMError) as error:
        store.discard(run)
        reason = getattr(error, "strerror", None) or error
        raise CheckpointError(f"{origin['file']} cannot be kept as a run: {reason}") from error
    run.release()
    return store.get(run.run_id)


def _measured(found: Imported, config: RunConfig, corpus: Corpus) -> tuple[dict[str, Any], dict[str, Any]]:
    """The loss on the text's held-out part, and the text as run.json names it."""
    from charlm.data.catalog import data_dir
    from charlm.data.dataset import corpus_cut, dataset_of
    from charlm.data.text_store import remember
    from charlm.runs.create import corpus_facts
    from charlm.training.evaluate import evaluate

    corpus = drop_unknown(corpus, found.tokenizer)
    cut, sizes = corpus_cut(corpus, found.tokenizer, config.train, config.corpus)
    dataset = dataset_of(found.tokenizer, corpus, config.train, config.corpus)
    loss = evaluate(found.model, dataset.val_ids).nats_per_token
    remember(corpus, data_dir())
    message = "; ".join([*corpus.repairs, *(note for note in cut.notes if "validation" in note)])
    about = {"message": message, **corpus_facts(corpus, found.tokenizer, cut, sizes)}
    return {"best_val_loss": loss, "val_loss": loss}, about


def _read_torch(path: Path, characters: Path | None, nonlinearity: str, legacy: bool = False) -> Imported:
    from charlm.formats.torch_files import found_facts, found_tensors, load_torch

    loaded = load_torch(path, legacy)
    from charlm.formats.foreign import model_of  # torch takes seconds: not before the file has passed

    tensors, facts = found_tensors(loaded), found_facts(loaded)
    is_udacity = isinstance(loaded, dict) and loaded.keys() >= {"n_hidden", "n_layers", "state_dict", "tokens"}
    del loaded
    name = clean_name(path.name)
    if not tensors:
        raise CheckpointError(f"{name} holds no tensors; what can be imported is what torch.save made of a state_dict")
    model = model_of(tensors, facts, nonlinearity, name)
    tokenizer = tokenizer_of(facts, path, characters, model.config.vocab_size)
    return Imported(model, tokenizer, "udacity" if is_udacity else "torch")


def _read_safetensors(path: Path, characters: Path | None, nonlinearity: str) -> Imported:
    """Our own weights, whose header says what they are."""
    from charlm.runs.checkpoint import load_weights, weights_about

    config = weights_about(path).get("config")
    if not isinstance(config, dict):
        raise CheckpointError(
            f"{clean_name(path.name)} is a safetensors file that is damaged or was not written by this program; load "
            "it in Python and save it as torch.save({'state_dict': tensors, 'chars': chars}, FILE)"
        )
    model = load_weights(path, ModelConfig.from_dict(config))
    if model.config.level == "char":
        return Imported(model, tokenizer_of({}, path, characters, model.config.vocab_size), "safetensors")
    return Imported(model, _beside(path, characters, model.config), "safetensors")


def _beside(path: Path, given: Path | None, config: ModelConfig) -> Tokenizer:
    """The tokenizer of our own weights on words or subwords, from the tokenizer.json of their run."""
    file = given or path.with_name("tokenizer.json")
    if not file.is_file():
        raise CheckpointError(
            f"{clean_name(path.name)} has {config.vocab_size:,} tokens that its run's tokenizer.json names; put that "
            "beside it, or name it with --characters"
        )
    return read_tokenizer(read_json(file, most_tokenizer_bytes(config.vocab_size, config.level)), config)


READERS: Mapping[Kind, Callable[[Path, Path | None, str], Imported]] = {
    "torch": _read_torch,
    "legacy torch": partial(_read_torch, legacy=True),
    "safetensors": _read_safetensors,
}


def _sha256(path: Path) -> str:
    with open_plain(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def clean_name(name: str) -> str:
    """The last part of a file's name, printable, at most 120 characters."""
    return clean_label(PurePath(name.replace("\\", "/")).name)[:120] or "file"
