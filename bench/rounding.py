"""What rounded weights cost: held-out losses of the shipped models with weights in 16 and 8 bits, as in a page."""

import sys

import torch

from bench.measure import Row
from charlm.data.catalog import load_corpus
from charlm.data.dataset import Dataset
from charlm.formats.html import Bits, pack, unpack
from charlm.models import LanguageModel
from charlm.runs.store import RunStore
from charlm.training.evaluate import evaluate

GOALS: dict[Bits, str] = {16: "within 0.001", 8: "within 0.01"}
QUICK = 2_000  # characters


def measure(quick: bool = False) -> list[Row]:
    """The validation losses of each shipped model: as it is, and rounded."""
    rows = []
    for run in [run for run in RunStore().list() if run.shipped]:
        corpus = load_corpus(str(run.corpus["key"]), run.corpus_config)
        train, held_out = run.train_config, run.corpus_config.val_fraction
        ids = Dataset(run.tokenizer().encode(corpus.text), train.batch_size, train.seq_len, held_out).val_ids
        ids = ids[:QUICK] if quick else ids
        full = evaluate(run.load_model(), ids).nats_per_token
        for bits, goal in GOALS.items():
            added = evaluate(rounded(run.load_model(), bits), ids).nats_per_token - full
            what = f"held-out loss added by {bits}-bit weights, {run.label}"
            print(f"  {what}: {added:+.6f}", file=sys.stderr, flush=True)
            rows.append(Row(what, "nats", [added], goal=goal, less_is_better=True))
    return rows


def rounded(model: LanguageModel, bits: Bits) -> LanguageModel:
    """The model with its weights as they come back from that many bits."""
    weights = {}
    for name, tensor in model.state_dict().items():
        one = pack(name, tensor.numpy(), bits)
        weights[name] = torch.tensor(unpack(one.kind, one.shape, one.data))
    model.load_state_dict(weights)
    return model
