"""What rounded weights cost: held-out losses of the shipped models as they write, and with weights as in a page.

They write with weights in 16 bits; a page has them in 16 or 8. The page's losses come from itself, which computes in
other ways than torch does and rounds what it multiplies 8-bit weights with to 16 bits; without Chromium these are left
out.
"""

import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench.measure import Row
from bench.start import chromium
from charlm.data.batches import Dataset, validation_rows
from charlm.data.catalog import load_corpus
from charlm.formats.html import Bits, pack, unpack, write_page
from charlm.generation.compiled import can_compile, compile_model
from charlm.models import LanguageModel
from charlm.runs.run import Run
from charlm.runs.store import RunStore
from charlm.tokenizers import IdArray
from charlm.training.evaluate import evaluate

GOALS: dict[Bits, str] = {16: "within 0.001", 8: "within 0.01"}
QUICK = 2_000  # characters
STREAMS = 16  # in which a held-out text is read step by step
SMALL = 100_000  # parameters; the quick bench opens no page of larger models
# The sum of the losses of a row of ids, in the page's own numbers.
LOSSES = """([inputs, targets]) => {
  const state = model.start();
  let sum = 0;
  inputs.forEach((id, place) => {
    const logits = model.step(state, id), most = logits.reduce((one, other) => Math.max(one, other));
    if (targets[place] < 0) return;
    sum += Math.log(logits.reduce((total, one) => total + Math.exp(one - most), 0)) + most - logits[targets[place]];
  });
  return sum;
}"""


def measure(quick: bool = False) -> list[Row]:
    """The validation losses of each shipped model: as it is, as it writes, rounded, and from a page."""
    rows = []
    with chromium() as browser:
        for run in [run for run in RunStore().list() if run.shipped]:
            corpus = load_corpus(str(run.corpus["key"]), run.corpus_config)
            train, held_out = run.train_config, run.corpus_config.val_fraction
            ids = Dataset(run.tokenizer().encode(corpus.text), train.batch_size, train.seq_len, held_out).val_ids
            ids = ids[:QUICK] if quick else ids
            full = evaluate(run.load_model(), ids).nats_per_token
            if can_compile(run.load_model()):
                moved, added = written(run.load_model(), ids)
                rows.append(_row(f"writing, {run.label}", added, "within 0.0005"))
                what = f"largest change of a logit by writing, {run.label}"
                rows.append(Row(what, "nats", [moved], goal="within 0.01", less_is_better=True))
            in_page = browser is not None and (not quick or run.num_parameters < SMALL)
            for bits, goal in GOALS.items():
                added = evaluate(rounded(run.load_model(), bits), ids).nats_per_token - full
                rows.append(_row(f"{bits}-bit weights, {run.label}", added, goal))
                if in_page:
                    added = page_loss(browser, run, bits, ids) - full
                    rows.append(_row(f"a page of {bits}-bit weights, {run.label}", added, goal))
    return rows


@torch.inference_mode()
def written(model: LanguageModel, ids: IdArray) -> tuple[float, float]:
    """How far the loops that write are from the model's forward pass: a logit at most, and the loss, in nats."""
    columns = np.asarray(ids[: len(ids) // STREAMS * STREAMS], np.int64).reshape(STREAMS, -1)
    loops, own = compile_model(model.eval()), model.initial_state(STREAMS)
    state = loops.initial_state(STREAMS)
    moved, losses = 0.0, np.zeros(2)
    for column, following in zip(columns.T, columns.T[1:], strict=False):
        stepped, state = loops.logits(column, state)
        expected, own = model(torch.from_numpy(column[:, None]), own)
        both = torch.stack([expected[:, 0], torch.from_numpy(stepped)]).double()
        moved = max(moved, float((both[0] - both[1]).abs().max()))
        losses -= both.log_softmax(2)[:, np.arange(STREAMS), following].sum(1).numpy()
    return moved, float(losses[1] - losses[0]) / (columns.size - STREAMS)


def _row(of: str, added: float, goal: str) -> Row:
    print(f"  {of}: {added:+.6f}", file=sys.stderr, flush=True)
    return Row(f"held-out loss added by {of}", "nats", [added], goal=goal, less_is_better=True)


def page_loss(browser: Any, run: Run, bits: Bits, ids: IdArray) -> float:
    """The loss of a held-out text by the run's page, in nats a token, in the rows that an evaluation takes."""
    with tempfile.TemporaryDirectory() as folder:
        write_page(run, path := Path(folder) / "page.html", bits)
        page = browser.new_page()
        page.goto(path.as_uri())
        [(inputs, targets)] = validation_rows(ids, len(ids))
        each = zip(inputs.tolist(), targets.tolist(), strict=True)
        total = sum(page.evaluate(LOSSES, list(row)) for row in each)
        page.close()
    return float(total) / (len(ids) - 1)


def rounded(model: LanguageModel, bits: Bits) -> LanguageModel:
    """The model with its weights as they come back from that many bits."""
    weights = {}
    for name, tensor in model.state_dict().items():
        one = pack(name, tensor.numpy(), bits)
        weights[name] = torch.tensor(unpack(one.kind, one.shape, one.data))
    model.load_state_dict(weights)
    return model
