"""Whether `inspect gradient` is right: the shipped recurrent models beside plain torch layers, at their own positions.

The plain side knows nothing of charlm.analysis: torch.nn.LSTM, GRU and RNN in double precision, one step a call, states
that retain their gradients, and places drawn at random from the held-out text.
"""

import math
import sys
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.measure import Row
from charlm.analysis.gradient import Result, Settings
from charlm.analysis.gradient import measure as measure_ours
from charlm.analysis.measurement import Subject
from charlm.data.batches import Dataset
from charlm.data.catalog import load_corpus
from charlm.models import LanguageModel
from charlm.models.recurrent import RecurrentModel
from charlm.runs.run import Run
from charlm.runs.store import RunStore
from charlm.tokenizers import IdArray

SETTINGS, QUICK = Settings(), Settings(positions=4, lags=12, warmup=20)
SEED, BATCH = 1, 16
ERRORS = 1.96  # standard errors of a difference that are the sampling's
Curves = dict[tuple[str, int], Tensor]  # by state and layer: log10 of the norms, (lags, positions)


def measure(quick: bool = False) -> list[Row]:
    """The largest difference of a mean log10 norm, beyond sampling error, of each shipped recurrent model."""
    settings, rows = QUICK if quick else SETTINGS, []
    for run in [run for run in RunStore().list() if run.shipped]:
        model = run.load_model().eval()
        if isinstance(model, RecurrentModel):
            ids = _held_out(run)
            *_, last = measure_ours(Subject(model, run.tokenizer(), "", ids), settings)
            assert last.result is not None
            plain = plain_curves(model, torch.from_numpy(ids).long(), settings)
            largest, beyond = _differences(last.result, plain, run.label)
            what = f"{run.label}, {settings.positions} positions and {settings.lags} lags"
            rows.append(Row(f"largest difference, {what}", "decades", [largest], less_is_better=True))
            rows.append(Row(f"beyond sampling error, {what}", "decades", [beyond], goal="<= 0.1", less_is_better=True))
    return rows


def plain_curves(model: RecurrentModel, ids: Tensor, settings: Settings) -> Curves:
    """The gradients by states and inputs at random places of a text, from torch's plain layers.

    Args:
        model: gives the weights.
        ids: the text, (N,).
        settings: how many positions, lags, and tokens of warm-up.
    """
    length = settings.warmup + settings.lags + 1
    generator = torch.Generator().manual_seed(SEED)
    starts = torch.randint(len(ids) - length + 1, (settings.positions,), generator=generator)
    found: dict[tuple[str, int], list[Tensor]] = {}
    for some in starts.split(BATCH):
        windows = torch.stack([ids[start : start + length] for start in some])
        for key, norms in _plain_batch(model, windows, settings):
            found.setdefault(key, []).append(norms)
    return {key: torch.cat(parts, dim=1) for key, parts in found.items()}


def _layers(model: LanguageModel) -> list[nn.RNNBase]:
    """Torch's own module for each layer, in double precision."""
    config, weights = model.config, model.state_dict()
    kind = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}[config.arch]
    more = {"nonlinearity": config.nonlinearity} if config.arch == "rnn" else {}
    layers: list[nn.RNNBase] = []
    for number in range(config.num_layers):
        names = {name: f"rnn.{name}_l{number}" for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")}
        layer = kind(weights[names["weight_ih"]].shape[1], config.hidden_size, **more)
        layer.load_state_dict({f"{name}_l0": weights[full] for name, full in names.items()})
        layers.append(layer.double().requires_grad_(False))
    return layers


def _plain_batch(model: LanguageModel, windows: Tensor, settings: Settings) -> Iterator[tuple[tuple[str, int], Tensor]]:
    """The norms of some positions, by state and layer.

    Args:
        model: gives the weights.
        windows: (B, warmup + lags + 1); the last is the target.
        settings: how many lags.
    """
    layers, weights = _layers(model), {name: part.double() for name, part in model.state_dict().items()}
    states: list[object] = [None] * len(layers)
    kept: dict[tuple[str, int], list[Tensor]] = {}
    x = torch.empty(0)
    for step, token in enumerate(windows[:, :-1].t()):
        graph = step >= settings.warmup - 1
        vectors = F.one_hot(token, model.config.vocab_size).double()
        x = (vectors @ weights["embed.weight"] if "embed.weight" in weights else vectors)[None]
        if graph:
            kept.setdefault(("input", 0), []).append(x.requires_grad_())
        with torch.set_grad_enabled(graph):
            for number, layer in enumerate(layers):
                _, end = layer(x, states[number])
                states[number] = end
                named = dict(zip("hc", end, strict=True)) if isinstance(end, tuple) else {"h": end}
                for name, state in named.items():
                    if graph:
                        state.requires_grad_() if state.is_leaf else state.retain_grad()
                        kept.setdefault((name, number), []).append(state)
                x = named["h"]
    logits = F.linear(x[0], weights["fc.weight"], weights["fc.bias"])
    F.cross_entropy(logits, windows[:, -1], reduction="sum").backward()
    for (name, number), parts in kept.items():
        # the input of the last step is lag 0, and so is the state that the last step reads, which is the last but one
        back = parts[::-1][0 if name == "input" else 1 :][: settings.lags]
        grads = [_gradient(part) for part in back]
        if name == "c":  # torch's layer gives h and c side by side: what c does through its own h is added here
            beside = kept["h", number][::-1][1:][: settings.lags]
            grads = [
                grad + _gradient(h) * h / c.tanh() * (1 - c.tanh() ** 2)
                for c, h, grad in zip(back, beside, grads, strict=True)
            ]
        yield (name, number), torch.stack([grad[0].norm(dim=1).log10() for grad in grads]).detach()


def _gradient(part: Tensor) -> Tensor:
    assert part.grad is not None
    return part.grad


def _held_out(run: Run) -> IdArray:
    corpus = load_corpus(str(run.corpus["key"]), run.corpus_config)
    train, share = run.train_config, run.corpus_config.val_fraction
    return Dataset(run.tokenizer().encode(corpus.text), train.batch_size, train.seq_len, share).val_ids


def _differences(ours: Result, plain: Curves, label: str) -> tuple[float, float]:
    """The largest difference of two means, and the largest of what of it is more than sampling error."""
    largest, beyond = 0.0, 0.0
    for (state, layer), norms in plain.items():
        means, errors = norms.mean(1), norms.std(1) / math.sqrt(norms.shape[1])
        for row in ours["rows"]:
            if (row["state"], row["layer"]) != (state, layer):
                continue
            assert row["log10_norm"] is not None and row["stderr"] is not None
            apart = abs(row["log10_norm"] - float(means[row["lag"]]))
            error = ERRORS * math.hypot(row["stderr"], float(errors[row["lag"]]))
            largest, beyond = max(largest, apart), max(beyond, apart - error)
            if row["lag"] in (0, 1, 16, 64, 255):
                shown = f"{row['log10_norm']:.3f} ± {row['stderr']:.3f}, plain {float(means[row['lag']]):.3f}"
                print(f"  {label}, {state} of layer {layer}, lag {row['lag']}: {shown}", file=sys.stderr, flush=True)
    return largest, beyond
