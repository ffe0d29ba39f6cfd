"""Effective memory of shipped runs by another way: torch's own layers, random places, one context after the other.

    python -m bench.memory_check [RUN ..] [--places N] [--targets N]

Each run (by default the shipped LSTM, GRU and RNN) is measured by charlm/analysis/memory.py, and its weights are put
into plain torch layers that read the last k tokens before N places, drawn at random from the held-out text. Prints
both excesses for each context, and ends with an error where they differ by more than 0.01 nats beyond three standard
errors, as a dozen contexts of each model are compared. The library's measurement is timed: to the first picture and to
the end.
"""

import argparse
import math
import sys
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from charlm.analysis.measurement import Subject
from charlm.analysis.memory import Memory, Settings, measure
from charlm.runs.run import Run
from charlm.runs.store import RunStore
from charlm.serving.measurements import subject_of

RUNS = ("sherlock-lstm", "sherlock-gru", "sherlock-rnn")
LAYERS = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}
ALLOWED, ERRORS = 0.01, 3.0  # nats per token, beyond so many standard errors of the difference
ROWS = 100  # windows read at a time
SEED = 11

Losses = npt.NDArray[np.float64]
Plain = Callable[[Tensor], Tensor]


class Compared(NamedTuple):
    """Both excesses with one context, nats per token, with their standard errors."""

    context: int
    ours: float
    ours_error: float
    plain: float
    plain_error: float

    @property
    def beyond(self) -> float:
        """How much more they differ than by sampling."""
        error = math.hypot(self.ours_error, self.plain_error)
        return max(0.0, abs(self.ours - self.plain) - ERRORS * error)


def plain_model(run: Run) -> Plain:
    """The run's weights in torch's layers: ids (B, k) to logits (B, V) after the last of them."""
    config = run.load_model().config
    weights = {name: value.float() for name, value in load_file(run.folder / "best.safetensors").items()}
    layers = LAYERS[config.arch](config.vocab_size, config.hidden_size, config.num_layers, batch_first=True)
    layers.load_state_dict({name[4:]: value for name, value in weights.items() if name.startswith("rnn.")})

    @torch.no_grad()
    def logits(ids: Tensor) -> Tensor:
        out, _ = layers(F.one_hot(ids, config.vocab_size).float())
        return F.linear(out[:, -1], weights["fc.weight"], weights["fc.bias"])

    return logits


def plain_losses(model: Plain, ids: npt.NDArray[np.int64], places: Sequence[int], context: int) -> Losses:
    """The loss of the token at each place, given the `context` tokens before it, (N,)."""
    losses = []
    for first in range(0, len(places), ROWS):
        some = places[first : first + ROWS]
        windows = torch.from_numpy(np.stack([ids[place - context : place] for place in some]))
        wanted = torch.from_numpy(ids[np.asarray(some)])
        losses.append(F.cross_entropy(model(windows), wanted, reduction="none").double().numpy())
    return np.concatenate(losses)


def compare(model: Plain, subject: Subject, result: Memory, count: int) -> list[Compared]:
    """The excess of every context of a result, beside that at `count` places drawn at random."""
    ids = subject.ids.astype(np.int64)
    random = np.random.default_rng(SEED)
    places = random.choice(np.arange(result["last_context"], len(ids)), count, replace=False).tolist()
    longest = plain_losses(model, ids, places, result["last_context"])
    compared = []
    for row in result["rows"][:-1]:
        difference = plain_losses(model, ids, places, row["context"]) - longest
        error = float(difference.std(ddof=1)) / math.sqrt(count)
        compared.append(Compared(row["context"], row["excess"], row["stderr"] or 0.0, float(difference.mean()), error))
    return compared


def main() -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="*", default=RUNS, metavar="RUN")
    parser.add_argument("--places", type=int, default=4000)
    parser.add_argument("--targets", type=int, default=Settings().targets)
    options = parser.parse_args()
    store, worst = RunStore(), 0.0
    for name in options.runs:
        run = store.get(name)
        subject, began, first = subject_of(run), time.monotonic(), math.nan
        for progress in measure(subject, Settings(targets=options.targets)):
            if progress.result:
                result = progress.result
                first = time.monotonic() - began if math.isnan(first) else first
        seconds = time.monotonic() - began
        print(f"\n{name}: memory {result['memory']}, contexts up to {result['last_context']}, "
              f"first picture after {first:.1f} s, end after {seconds:.0f} s\n")  # fmt: skip
        print("| context | excess | by torch's layers | differ | beyond sampling |\n| -: | -: | -: | -: | -: |")
        for one in compare(plain_model(run), subject, result, options.places):
            print(f"| {one.context} | {one.ours:.4f} ± {one.ours_error:.4f} | {one.plain:.4f} ± {one.plain_error:.4f} "
                  f"| {one.ours - one.plain:+.4f} | {one.beyond:.4f} |", flush=True)  # fmt: skip
            worst = max(worst, one.beyond)
    if worst > ALLOWED:
        sys.exit(f"they differ by {worst:.4f} nats beyond the sampling error; {ALLOWED} are allowed")


if __name__ == "__main__":
    main()
