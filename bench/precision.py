"""What bfloat16 products cost: validation losses of paired trainings, the same seeds and batches, against float32.

Works on any processor; one without bfloat16 instructions computes the products slowly, rounded in the same way.
"""

import sys
from dataclasses import replace

from bench.measure import Row
from charlm.config import CorpusConfig, ModelConfig, TrainConfig
from charlm.data.batches import Dataset
from charlm.data.catalog import DEFAULT_KEY, load_corpus
from charlm.models import build_model
from charlm.tokenizers import CharTokenizer
from charlm.training.train import train

SEEDS = (1, 2, 3)
MODEL = ModelConfig(hidden_size=64, dropout=0.1)
TRAIN = TrainConfig(steps=400, eval_every=400)


def measure(quick: bool = False) -> list[Row]:
    """The last validation loss of each architecture and seed in both formats."""
    text = load_corpus(DEFAULT_KEY, CorpusConfig()).text[: 3_000 if quick else None]
    tokenizer = CharTokenizer.fit(text)
    sizes = {"hidden_size": 8} if quick else {}
    model = replace(MODEL, vocab_size=tokenizer.vocab_size, **sizes)
    budget = replace(TRAIN, steps=3) if quick else TRAIN
    dataset = Dataset(tokenizer.encode(text), budget.batch_size, budget.seq_len)
    rows = []
    for arch in ("lstm",) if quick else ("lstm", "gru", "rnn"):
        losses: dict[str, list[float]] = {"float32": [], "bfloat16": []}
        for seed in SEEDS[: 1 if quick else None]:
            for precision, found in losses.items():
                config = replace(budget, precision=precision)
                *_, last = train(build_model(replace(model, arch=arch), seed), dataset, config)
                found.append(last.val_loss or float("nan"))
                print(f"  {arch}, seed {seed}, {precision}: {found[-1]:.4f}", file=sys.stderr, flush=True)
        what = f"validation loss in bfloat16 (usual: float32), {arch}, 2x{model.hidden_size}, {budget.steps} steps"
        goal = "mean within 0.01 nats"
        rows.append(Row(what, "nats", losses["bfloat16"], losses["float32"], goal, less_is_better=True))
    return rows
