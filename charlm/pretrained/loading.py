"""From a folder, a file or the Hugging Face Hub to a model in memory.

Weights are read from safetensors or GGUF only: a pickle (pytorch_model.bin) can run any code. `trust_remote_code` is
False, and a model that asks for code of its own is refused before anything of it is loaded.
"""

import hashlib
import json
import math
import re
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from charlm.errors import CheckpointError
from charlm.files import one_line
from charlm.pretrained.model import KIND, Pretrained, first_line
from charlm.pretrained.tokenizer import PretrainedTokenizer
from charlm.tokenizers.base import package

SUGGESTED = "HuggingFaceTB/SmolLM2-135M"
HUB = "hf:"  # before owner/name, where a folder could be meant as well
NEEDED = ("transformers", "gguf", "accelerate")
MISSING = "a pretrained model needs {}: pip install -r requirements-pretrained.txt"
REPOSITORY = re.compile(r"[\w.-]{1,96}/[\w.-]{1,96}")
WEIGHTS = "model*.safetensors"  # the names that transformers gives them; some repositories have them twice
DOWNLOADED = ("*.json", WEIGHTS, "tokenizer.model", "*.txt")  # of a repository; no pickles, no code
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
MOST_CONTEXT = 2048  # tokens: what a text in progress keeps in memory grows with it
FLOAT = 4  # bytes
TOLERANCE = 1e-3  # of the range of the logits, between reading at once and in pieces


class Place(NamedTuple):
    """Where a model's files are: its folder, and the name of its GGUF file if it is one."""

    folder: Path
    gguf: str = ""


def is_pretrained(token: str) -> bool:
    """Whether a word of the command line names a pretrained model: hf:owner/name, a .gguf file, or such a folder."""
    path = Path(token)
    if token.startswith(HUB) or path.suffix == ".gguf":
        return True
    return path.is_dir() and not (path / "run.json").exists() and ((path / "config.json").exists() or any(_ggufs(path)))


def load(source: str) -> Pretrained:
    """Load a causal language model.

    Args:
        source: a folder with config.json, tokenizer and safetensors; a .gguf file, or a folder with one; or owner/name
            on the Hugging Face Hub, which is downloaded once, into the Hub's own cache.

    Raises:
        CheckpointError: a package is missing, or there is no such model, or it cannot be used here; says why.
    """
    if lacking := [name for name in NEEDED if find_spec(name) is None]:
        raise CheckpointError(MISSING.format(" and ".join(lacking)))
    package()  # without threads of its own
    place = locate(source)
    config = _config(place)
    _check_memory(place)
    return _opened(source, place, config)


def locate(source: str) -> Place:
    """The files that a source names; those of the Hub are downloaded.

    Raises:
        CheckpointError: there are none, or none that can be read without running code.
    """
    name = source.strip()
    path = Path(name.removeprefix(HUB)).expanduser()
    if not name.startswith(HUB):
        try:
            if path.is_file():
                return _file(path)
            if path.is_dir():
                return _folder(path)
        except OSError as error:
            raise CheckpointError(f"{name[:80]} cannot be read: {error.strerror or error}") from error
    if REPOSITORY.fullmatch(name.removeprefix(HUB)):
        return _folder(_downloaded(name.removeprefix(HUB)))
    raise CheckpointError(
        f"there is no model {name[:80]!r}; name a folder with safetensors, a .gguf file, or a model of the Hugging "
        f"Face Hub as owner/name, such as {SUGGESTED}"
    )


def _file(path: Path) -> Place:
    if path.suffix == ".gguf":
        return Place(path.parent, path.name)
    if path.suffix in PICKLES:
        raise CheckpointError(_pickled(path.name))
    raise CheckpointError(f"{path.name} is no .gguf file; of a model in safetensors name its folder")


def _folder(folder: Path) -> Place:
    if any(folder.glob(WEIGHTS)):
        return Place(folder)
    ggufs = _ggufs(folder)
    if len(ggufs) == 1:
        return Place(folder, ggufs[0])
    if ggufs:
        raise CheckpointError(f"{folder.name} has {len(ggufs)} .gguf files; name one of them, such as {ggufs[0]}")
    pickled = sorted(path.name for path in folder.iterdir() if path.suffix in PICKLES)
    if pickled:
        raise CheckpointError(_pickled(pickled[0]))
    raise CheckpointError(f"{folder.name} has no weights: neither model.safetensors nor a .gguf file is in it")


def _ggufs(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*.gguf"))


def _pickled(name: str) -> str:
    return (
        f"{name} is a pickle, which can run any code, and is not opened; where you trust it, write safetensors with "
        "transformers: AutoModelForCausalLM.from_pretrained(folder).save_pretrained(folder)"
    )


def _downloaded(name: str) -> Path:
    """The folder of a repository's files in the Hub's cache."""
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, allow_patterns=list(DOWNLOADED)))
    except (OSError, ValueError) as error:  # what the Hub's client raises is one of these
        raise CheckpointError(
            f"{name} could not be downloaded from the Hugging Face Hub ({first_line(error)}); check the name and the "
            "network, or name a folder that has it"
        ) from error


def _config(place: Place) -> Any:
    """transformers' configuration of a model that can be used here."""
    from transformers import AutoConfig

    if not place.gguf:
        _check_config(place.folder)
    try:
        config = AutoConfig.from_pretrained(place.folder, **_how(place))
    except Exception as error:  # what a library of that size raises over a strange file cannot be listed
        raise _unreadable(place, error) from error
    _check_causal(place.folder.name if not place.gguf else place.gguf, config)
    return config


def _check_config(folder: Path) -> None:
    for name in ("config.json", "tokenizer_config.json"):
        path = folder / name
        try:
            # Not by files.read: a tokenizer without a limit says 10^30, which is no number of strict JSON.
            data = json.loads(path.read_bytes()) if path.exists() else {}
        except (OSError, ValueError, RecursionError) as error:
            raise CheckpointError(f"{name} in {folder.name} cannot be read: {error}") from error
        if not isinstance(data, Mapping) or (name == "config.json" and not data):
            raise CheckpointError(f"{folder.name} has no {name} that describes a model")
        if "auto_map" in data:
            raise CheckpointError(f"{folder.name} asks for code of its own (auto_map in {name}), which is never run")


def _check_causal(name: str, config: Any) -> None:
    """Refuse what is made for something else than writing on."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES as CAUSAL

    made_for = list(getattr(config, "architectures", None) or [])
    known = {word for names in CAUSAL.values() for word in ([names] if isinstance(names, str) else names)}
    is_causal = config.model_type in CAUSAL and (not made_for or bool(known & set(made_for)))
    if getattr(config, "is_encoder_decoder", False) or not is_causal:
        what = one_line(made_for[0] if made_for else config.model_type, 60)
        raise CheckpointError(f"{name} is a {what}, no causal language model; choose one whose class is a …ForCausalLM")


def _how(place: Place) -> dict[str, Any]:
    """What every call to transformers is told."""
    told: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    return told | ({"gguf_file": place.gguf} if place.gguf else {})


def _unreadable(place: Place, error: BaseException) -> CheckpointError:
    name = place.gguf or place.folder.name
    return CheckpointError(f"{name} cannot be loaded: {first_line(error)}")


def _check_memory(place: Place) -> None:
    """Refuse a model that this machine's free memory does not hold in float32."""
    try:
        count = _gguf_weights(place) if place.gguf else _safetensors_weights(place.folder)
    except Exception as error:  # two parsers of files that may hold anything
        raise _unreadable(place, error) from error
    need = count * FLOAT * (2 if place.gguf else 1)  # a GGUF file is unpacked beside the model
    free = psutil.virtual_memory().available
    if need > free:
        raise CheckpointError(
            f"{place.gguf or place.folder.name} has {count / 1e9:.1f} billion parameters, which take "
            f"{need / 1e9:.1f} GB of memory; {free / 1e9:.1f} GB are free, so choose a smaller model"
        )


def _safetensors_weights(folder: Path) -> int:
    from safetensors import safe_open

    count = 0
    for path in folder.glob(WEIGHTS):
        with safe_open(path, "numpy") as tensors:
            count += sum(math.prod(tensors.get_slice(name).get_shape()) for name in tensors.keys())  # noqa: SIM118
    return count


def _gguf_weights(place: Place) -> int:
    from gguf import GGUFReader

    return int(sum(tensor.n_elements for tensor in GGUFReader(place.folder / place.gguf).tensors))


def _opened(source: str, place: Place, config: Any) -> Pretrained:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging as told

    told.set_verbosity_error()
    told.disable_progress_bar()
    try:
        engine = AutoTokenizer.from_pretrained(place.folder, **_how(place))
        network, about = AutoModelForCausalLM.from_pretrained(
            place.folder, dtype=torch.float32, use_safetensors=True, output_loading_info=True, **_how(place)
        )
    except Exception as error:  # see _config
        raise _unreadable(place, error) from error
    name = place.gguf.removesuffix(".gguf") or Path(source.strip().removeprefix(HUB)).expanduser().resolve().name
    if missing := sorted(about["missing_keys"]):
        raise CheckpointError(f"{name} lacks {len(missing)} of its weights, such as {missing[0]}; get all of its files")
    tokenizer = _tokenizer(name, engine, network.config)
    network.eval().requires_grad_(False)
    _check_reads(name, network, tokenizer)
    text = network.config.get_text_config()
    context = getattr(text, "max_position_embeddings", None) or MOST_CONTEXT
    return Pretrained(
        run_id=f"{KIND}-{hashlib.sha256(source.strip().encode()).hexdigest()[:12]}",
        label=one_line(name, 60), source=source.strip(), network=network, tokenizer=tokenizer,
        context=min(int(context), MOST_CONTEXT), shape=f"{text.num_hidden_layers} × {text.hidden_size}",
        num_parameters=sum(one.numel() for one in network.parameters()),
    )  # fmt: skip


def _tokenizer(name: str, engine: Any, config: Any) -> PretrainedTokenizer:
    if not engine.is_fast:
        raise CheckpointError(f"{name} has no tokenizer.json; write one with AutoTokenizer.save_pretrained")
    begin = next((one for one in (engine.bos_token_id, engine.eos_token_id) if one is not None), None)
    vocab_size = config.get_text_config().vocab_size
    if begin is None:
        raise CheckpointError(f"{name} has no token that begins a text (BOS, or EOS), so its first token has no cost")
    if len(engine) > vocab_size:
        raise CheckpointError(f"the tokenizer of {name} has {len(engine):,} tokens, its model {vocab_size:,}")
    return PretrainedTokenizer(engine, begin, engine.eos_token_id, vocab_size)


def _check_reads(name: str, network: Any, tokenizer: PretrainedTokenizer) -> None:
    """Refuse a model whose logits depend on what comes after, or on reading in pieces; both would make scores wrong."""
    import torch

    from charlm.pretrained.decoder import Reader

    ids = [tokenizer.begin, *(place % tokenizer.vocab_size for place in (3, 11, 7, 5))]
    try:
        whole, reader = Reader(network).read(ids, len(ids)), Reader(network)
        pieces = torch.cat([reader.read(ids[:2], 2), reader.read(ids[2:], len(ids) - 2)])
    except Exception as error:  # see _config
        raise CheckpointError(f"{name} cannot be read with: {first_line(error)}") from error
    if not torch.isfinite(whole).all():
        raise CheckpointError(f"the numbers of {name} are not finite; its weights are damaged")
    if (whole - pieces).abs().max() > TOLERANCE * (whole.max() - whole.min()):
        raise CheckpointError(
            f"{name} predicts otherwise when it has seen what comes after, or reads a text in pieces; it is no causal "
            "language model that can be used here"
        )
