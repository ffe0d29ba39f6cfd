"""Imports: a run's zip or a checkpoint from elsewhere becomes a run folder like any other."""

import hashlib
import re
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

from charlm.config import CorpusConfig, ModelConfig, TrainConfig
from charlm.data.corpus import Corpus, drop_unknown
from charlm.errors import CharLMError, CheckpointError
from charlm.files import one_line, open_plain, parsed
from charlm.formats.detect import MODELS, Kind, describe_pickle, kind_of
from charlm.formats.run_zip import ZipMembers, read_zip
from charlm.formats.vocabularies import BESIDE, tokenizer_of
from charlm.presets import RunConfig
from charlm.runs.run import MAX_LABEL, Run, clean_label, read_json
from charlm.runs.store import RunStore
from charlm.tokenizers import CharTokenizer, Tokenizer, most_tokenizer_bytes, read_tokenizer

if TYPE_CHECKING:
    from charlm.formats.frameworks.weights import Weights
    from charlm.models import LanguageModel

MOST_BYTES = 256 << 20
# A trained model is trained further, also on another text, with small steps.
FURTHER = TrainConfig(learning_rate=1e-3, steps=1000)
REFUSED: dict[Kind, str] = {
    "torchscript": "a TorchScript program; load it where it was made and save model.state_dict() and the characters",
    "tar": "what torch before 0.1.10 saved, a tar of pickles; open it with torch and save its state_dict again",
    "pickle": "a plain pickle, and opening one can run code; save the weights with torch.save(model.state_dict(), ..)",
    "packed": "an archive; unpack it and import the checkpoint that is inside",
    "gguf": "a pretrained model (GGUF), not trained here; load it beside your own in Compare, under Pretrained model",
    "unknown": "nothing that can be imported: give a run's zip, a state_dict that torch.save wrote, or a file of "
    "another program that the guide to importing lists",
}
MOST_JSON = 64 << 20  # bytes of a model that is JSON
SHARD = re.compile(r"(?P<name>.*)\.data-\d{5}-of-\d{5}")
# What is read by a parser in C, in a process of its own, and not at all for visitors of a public Space.
IN_C = ("hdf5", "keras")


@dataclass(frozen=True)
class Source:
    """What is to be read, and how.

    Attributes:
        path: of the file.
        characters: a file with the model's characters, if one was named.
        nonlinearity: of a plain RNN, where the file does not say.
        trusted: whether pickles and parsers in C may be used: not for visitors of a public Space.
        most_bytes: that a file may have, or unpack to.
        others: files of the same zip that may list the characters.
    """

    path: Path
    characters: Path | None = None
    nonlinearity: str = "tanh"
    trusted: bool = True
    most_bytes: int = MOST_BYTES
    others: tuple[Path, ...] = ()


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
    """A new run made from a file: a run's zip, our safetensors, or layers as torch or another program keeps them.

    Args:
        store: where the run goes.
        path: of the file, which is recognised by its content.
        characters: a file with the model's characters in the order of its ids, where the checkpoint has none.
        nonlinearity: of a plain RNN, tanh or relu, where the file does not say.
        label: of the run; empty: made from the file's name.
        corpus: a text to measure the model on; the run then belongs to it.
        pickles: whether pickles are opened at all, and HDF5. They are never run, but a public server opens none.
        most_bytes: a larger file is refused.
        accept: called before a model is used; raises an error to refuse it.

    Raises:
        CheckpointError: it is nothing that can be imported, damaged, hostile or too large.
        ConfigError: a size beyond what this program trains, or an unknown nonlinearity.
        CorpusError: the text has too few characters that the model knows.
    """
    if shard := SHARD.fullmatch(path.name):  # of a checkpoint of TensorFlow; its index says what is in it
        path = path.with_name(f"{shard['name']}.index")
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
    found = _read(Source(path, characters, nonlinearity, pickles, most_bytes), kind)
    accept(found.model.config)
    return _create_run(store, path, found, label, corpus)


def _read(source: Source, kind: Kind) -> Imported:
    """The model in a file of a kind that has a reader."""
    if kind in IN_C and not source.trusted:
        raise CheckpointError(
            f"{clean_name(source.path.name)} is a file of HDF5, whose parser is not run on strangers' files here; "
            "import it on your own machine (python -m charlm import FILE), export the run as zip, and upload that"
        )
    return READERS[kind](source)


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


def _read_torch(source: Source, legacy: bool = False) -> Imported:
    from charlm.formats.torch_files import found_facts, found_tensors, load_torch

    loaded = load_torch(source.path, legacy)
    from charlm.formats.foreign import model_of  # torch takes seconds: not before the file has passed

    tensors, facts = found_tensors(loaded), found_facts(loaded)
    is_udacity = isinstance(loaded, dict) and loaded.keys() >= {"n_hidden", "n_layers", "state_dict", "tokens"}
    del loaded
    name = clean_name(source.path.name)
    if not tensors:
        raise CheckpointError(f"{name} holds no tensors; what can be imported is what torch.save made of a state_dict")
    model = model_of(tensors, facts, source.nonlinearity, name)
    tokenizer = tokenizer_of(facts, source.path, source.characters, model.config.vocab_size, source.others)
    return Imported(model, tokenizer, "udacity" if is_udacity else "torch")


def _read_safetensors(source: Source) -> Imported:
    """Our own weights, whose header says what they are, or those of another program."""
    from charlm.runs.checkpoint import load_weights, weights_about

    path = source.path
    config = weights_about(path).get("config")
    if not isinstance(config, dict):
        from charlm.formats.frameworks.arrays import read_safetensors

        return _assembled(source, read_safetensors(path), "safetensors of another program")
    model = load_weights(path, ModelConfig.from_dict(config))
    if model.config.level == "char":
        return Imported(model, tokenizer_of({}, path, source.characters, model.config.vocab_size), "safetensors")
    return Imported(model, _beside(path, source.characters, model.config), "safetensors")


def _assembled(source: Source, weights: "Weights", format: str) -> Imported:
    """A model of what a reader found, and its characters."""
    from charlm.formats.foreign import model_of
    from charlm.formats.frameworks.weights import MASKED

    name = clean_name(source.path.name)
    if not weights.tensors:
        raise CheckpointError(f"{name} holds no weights")
    facts, given = weights.facts, source.characters
    model = model_of(weights.tensors, facts, source.nonlinearity, name)
    vocab_size = model.config.vocab_size
    if weights.vocabulary is not None and given is None:
        tokenizer = CharTokenizer(*weights.vocabulary)
    else:
        tokenizer = tokenizer_of(facts, source.path, given, vocab_size, source.others)
    if tokenizer.vocab_size != vocab_size:
        raise CheckpointError(f"{name} names {tokenizer.vocab_size} characters, its model knows {vocab_size}")
    if facts.get(MASKED) and 0 not in tokenizer.silent_ids:
        raise CheckpointError(
            f"the embedding of {name} has mask_zero, so that its layers pass over {tokenizer.tokens[0]!r}, the "
            "character with id 0, which no model here does; number the characters from 1, and train it again"
        )
    return Imported(model, tokenizer, format)


def _read_npz(source: Source) -> Imported:
    from charlm.formats.frameworks.arrays import read_npz

    return _assembled(source, read_npz(source.path, source.most_bytes), "npz")


def _read_keras(source: Source) -> Imported:
    from charlm.formats.frameworks.hdf5 import read_keras_zip

    return _assembled(source, read_keras_zip(source.path, source.most_bytes), "keras")


def _read_hdf5(source: Source) -> Imported:
    from charlm.formats.frameworks.hdf5 import read_h5

    return _assembled(source, read_h5(source.path, source.most_bytes), "keras")


def _read_tensorflow(source: Source) -> Imported:
    from charlm.formats.frameworks.tensorflow import read_tensorflow

    return _assembled(source, read_tensorflow(source.path, source.trusted), "tensorflow")


def _read_json(source: Source) -> Imported:
    """A model that is JSON, or a manifest of one."""
    from charlm.formats.frameworks.ml5 import is_ml5, read_ml5
    from charlm.formats.frameworks.recurrentjs import is_recurrentjs, read_recurrentjs

    try:
        with open_plain(source.path) as file:
            value = parsed(file.read(MOST_JSON + 1), MOST_JSON)
    except ValueError as error:
        raise CheckpointError(
            f"{clean_name(source.path.name)} is no JSON of a model: {one_line(str(error), 120)}"
        ) from None
    if is_recurrentjs(value):
        return _assembled(source, read_recurrentjs(source.path, value), "recurrentjs")
    if is_ml5(value):
        return _assembled(source, read_ml5(source.path, value), "ml5.js")
    raise CheckpointError(f"{clean_name(source.path.name)} is {REFUSED['unknown']}")


def _lists(path: Path) -> bool:
    """Whether a JSON file is named as a list of characters."""
    return path.stem.lower() in BESIDE


def _read_folder(source: Source) -> Imported:
    """A zip of a model's files: one of weights, and what belongs to it."""
    name, archive = clean_name(source.path.name), ZipMembers(source.path, source.most_bytes)
    with tempfile.TemporaryDirectory(prefix="charlm-") as folder:
        try:
            inside = [one for one in archive.names if not one.startswith("__MACOSX/") and "/." not in f"/{one}"]
            for one in inside:
                path = Path(folder) / one
                path.parent.mkdir(parents=True, exist_ok=True)
                with path.open("xb") as file:
                    file.writelines(archive.blocks(one, source.most_bytes))
        except OSError as error:
            raise CheckpointError(f"{name} cannot be unpacked: {error.strerror or error}") from None
        finally:
            archive.close()
        models = [one for one in inside if one.lower().endswith(MODELS)]
        models = models or [one for one in inside if one.lower().endswith(".json") and not _lists(Path(folder) / one)]
        models = [one for one in models if one.endswith(".index")][-1:] or models  # of several, the last checkpoint
        if len(models) != 1:
            raise CheckpointError(f"{name} holds {len(models)} files of weights ({', '.join(models)[:120]}); pack one")
        path = Path(folder) / models[0]
        kind = kind_of(path)
        if kind not in READERS or kind == "folder":
            raise CheckpointError(
                f"{name} holds {models[0]}, which is {REFUSED.get(kind, 'a zip itself; unpack it first')}"
            )
        lists = (Path(folder) / one for one in inside if one.lower().endswith((".json", ".txt")) and one != models[0])
        return _read(replace(source, path=path, others=tuple(lists)), kind)


def _beside(path: Path, given: Path | None, config: ModelConfig) -> Tokenizer:
    """The tokenizer of our own weights on words or subwords, from the tokenizer.json of their run."""
    file = given or path.with_name("tokenizer.json")
    if not file.is_file():
        raise CheckpointError(
            f"{clean_name(path.name)} has {config.vocab_size:,} tokens that its run's tokenizer.json names; put that "
            "beside it, or name it with --characters"
        )
    return read_tokenizer(read_json(file, most_tokenizer_bytes(config.vocab_size, config.level)), config)


READERS: Mapping[Kind, Callable[[Source], Imported]] = {
    "torch": _read_torch,
    "legacy torch": lambda source: _read_torch(source, legacy=True),
    "safetensors": _read_safetensors,
    "npz": _read_npz,
    "keras": _read_keras,
    "hdf5": _read_hdf5,
    "tensorflow": _read_tensorflow,
    "json": _read_json,
    "folder": _read_folder,
}


def _sha256(path: Path) -> str:
    with open_plain(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def clean_name(name: str) -> str:
    """The last part of a file's name, printable, at most 120 characters."""
    return clean_label(PurePath(name.replace("\\", "/")).name)[:120] or "file"
