"""Runs and foreign files that tests of imports and exports make: tiny, untrained, with odd orders of characters."""

from pathlib import Path
from typing import Any

import torch
from torch import nn

from charlm.config import CorpusConfig, ModelConfig, TrainConfig
from charlm.models import build_model
from charlm.presets import RunConfig
from charlm.runs.checkpoint import save_weights
from charlm.runs.create import describe
from charlm.runs.run import Run
from charlm.runs.store import RunStore
from charlm.tokenizers import CharTokenizer

# In no order: whoever sorts them mixes up the ids.
TOKENS = ("t", "a", " ", "h", "\n", "e", "ñ", "o", "Z", "”", "r", "s")


def made_run(store: RunStore, **settings: Any) -> Run:
    """A finished run with the weights a model begins with."""
    model = ModelConfig(**{"vocab_size": len(TOKENS), "hidden_size": 8, "num_layers": 2, "init": "torch", **settings})
    config = RunConfig(model, TrainConfig(), CorpusConfig())
    run = store.create({**describe(config, model, f"made-{model.arch}"), "corpus": {}}, CharTokenizer(TOKENS))
    save_weights(run.folder / "best.safetensors", build_model(model, seed=3), step=1)
    run.update({"best_val_loss": 2.5}, status="finished")
    run.release()
    return store.get(run.run_id)


class Foreign(nn.Module):
    """Somebody's character model, with layers of any names.

    Args:
        layers: nn.LSTM, nn.GRU or nn.RNN.
        named: the names of embedding (none if empty), recurrent layers and output.
        options: for the recurrent layers.
    """

    def __init__(
        self, layers: Any = nn.LSTM, named: tuple[str, str, str] = ("", "lstm", "fc"), hidden: int = 8, **options: Any
    ) -> None:
        super().__init__()
        torch.manual_seed(5)
        self.named = named
        embed, rnn, out = named
        width = 6 if embed else len(TOKENS)
        if embed:
            self.add_module(embed, nn.Embedding(len(TOKENS), width))
        self.add_module(rnn, layers(width, hidden, **{"num_layers": 2, "batch_first": True, **options}))
        self.add_module(out, nn.Linear(hidden, len(TOKENS)))

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        embed, rnn, out = self.named
        x = getattr(self, embed)(ids) if embed else nn.functional.one_hot(ids, len(TOKENS)).float()
        return getattr(self, out)(getattr(self, rnn)(x)[0])


def udacity_file(path: Path, tokens: Any = TOKENS, legacy: bool = False, **changes: Any) -> Foreign:
    """A file as the notebook saves it, and the model in it."""
    model = Foreign()
    checkpoint = {"n_hidden": 8, "n_layers": 2, "state_dict": model.state_dict(), "tokens": tokens, **changes}
    torch.save(checkpoint, path, _use_new_zipfile_serialization=not legacy)
    return model
