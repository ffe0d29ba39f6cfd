"""What tests of the exported page share: runs with random weights, and a page taken apart again."""

import base64
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import torch

from charlm.config import ModelConfig
from charlm.formats.html import unpack
from charlm.models import LanguageModel, build_model
from charlm.runs.checkpoint import save_weights
from charlm.runs.run import Run
from charlm.runs.store import RunStore
from charlm.tokenizers import CharTokenizer, Tokenizer
from tests.tiny_runs import settings, small_corpus, store_in

ODD_TOKENS = ["\0", "\n", " ", "<", "e", "n", "\u2028", "́", "ب", "日", "𝒳", "🦊"]


def random_run(folder: Path, tokens: list[str], label: str = "random", **model: Any) -> Run:
    """A run that was never trained: first weights, a little spread out so that characters differ."""
    return run_with(folder, CharTokenizer(tokens), label, **model)


def run_with(folder: Path, tokenizer: Tokenizer, label: str = "random", **model: Any) -> Run:
    """The same with any tokenizer."""
    config = ModelConfig(vocab_size=tokenizer.vocab_size, level=tokenizer.level, init="torch", **model)
    run = _described(store_in(folder), config, tokenizer, label)
    net = build_model(config, seed=3)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.mul_(2.0)
    save_weights(run.folder / "best.safetensors", net)
    run.release()
    return run


def _described(store: RunStore, config: ModelConfig, tokenizer: Tokenizer, label: str) -> Run:
    made, corpus = settings(), small_corpus()
    info = {
        "label": label, "model": config.to_dict(), "train": made.train.to_dict(),
        "corpus_config": made.corpus.to_dict(), "corpus": {"name": corpus.name, "sha256": corpus.sha256},
    }  # fmt: skip
    return store.create(info, tokenizer)


def described(page: str) -> dict[str, Any]:
    """The JSON of a page."""
    return json.loads(re.search(r'<script type="application/json" id="run">(.*?)</script>', page, re.S)[1])  # type: ignore[index]


def weights_of(page: str) -> dict[str, torch.Tensor]:
    """The weights that a page computes with, by torch's names."""
    data = base64.b64decode(re.search(r'id="weights">([^<]*)<', page)[1])  # type: ignore[index]
    found, at = {}, 0
    for one in described(page)["tensors"]:
        shape = tuple(one["shape"])
        size = {"f4": 4, "f2": 2, "i1": 1}[one["kind"]] * int(np.prod(shape)) + (one["kind"] == "i1") * 4 * shape[0]
        found[one["name"]] = torch.tensor(unpack(one["kind"], shape, data[at : at + size]))
        at += size
    assert at == len(data)
    return found


def rounded_model(run: Run, page: str) -> LanguageModel:
    """The run's model with the weights of its page."""
    weights = weights_of(page)
    model = build_model(run.model_config)
    model.load_state_dict({**weights, "fc.weight": weights.get("fc.weight", weights.get("embed.weight"))})
    return model.requires_grad_(False).eval()


def logits_of(model: LanguageModel, run: Run, text: str) -> np.ndarray[Any, Any]:
    """torch's logits after every character of `text`, (N, V)."""
    ids = torch.from_numpy(run.tokenizer().encode(text).astype(np.int64))[None]
    return model(ids)[0][0].numpy()
