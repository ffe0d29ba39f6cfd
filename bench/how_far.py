"""How far each architecture goes: the best validation loss after so many minutes, all with as many parameters.

    python -m bench.how_far CORPUS ARCH MINUTES [SETTING=VALUE ..] [--work FOLDER]
    python -m bench.how_far table | picture

CORPUS is a file or a name of the catalog. `parameters=7600000` is a setting, too: it decides the width. The minutes
are the training's own, its validations (one a pass) counted. A training in the work folder is resumed, and a finished
one not trained again. Losses and curves are kept in bench/curves/how-far.jsonl (`--cells`); `table`
and `picture`, an SVG per corpus beside it, show what stands there. Cells that were not run are not in it.
"""

import argparse
import json
import re
from collections.abc import Mapping, Sequence
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

from bench.resumable import label_of, logged, markdown, settings_of, train
from charlm.architectures import ARCH_NAMES, ARCHITECTURES
from charlm.cli.options import open_corpus
from charlm.data.dataset import corpus_cut, tokenizer_for
from charlm.presets import from_options
from charlm.runs.store import Run
from charlm.training.estimate import size_for

PARAMETERS = 3_400_000  # an LSTM of 2 x 512
SHARED: dict[str, Any] = {"batch_size": 16, "seq_len": 64, "dropout": 0.4, "weight_decay": 0.1}
RECIPES: dict[str, dict[str, Any]] = {
    "gru": {"dropout": 0.25, "weight_decay": 0.5, "learning_rate": 0.0036},
    "rnn": {"dropout": 0.2},
    "transformer": {"num_layers": 4, "num_heads": 4, "context": 128, "dropout": 0.15},
    "mingru": {"dropout": 0.2},
}
# As the Grimm notebook cleans its table, so that its figures stand beside ours.
CLEANING: dict[str, dict[str, Any]] = {"grimm": {"drop_newlines": True, "separator": "space"}}
CELLS = Path(__file__).parent / "curves" / "how-far.jsonl"
TOLD = {
    "dropout": "dropout", "DropConnect": "weight_dropout", "rate": "learning_rate", "decay": "weight_decay",
    "passes": "epochs",
}  # fmt: skip
HEAD = ("corpus", "architecture", "minutes", "best loss", "after passes", "parameters", "settings")


def main(words: Sequence[str] | None = None) -> None:
    """Train, or show."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", metavar="CORPUS", help="a file or a name of the catalog; or table, picture")
    parser.add_argument("arch", nargs="?", default="lstm", metavar="ARCH")
    parser.add_argument("minutes", nargs="?", type=float, default=10.0, metavar="MINUTES")
    parser.add_argument("settings", nargs="*", metavar="SETTING=VALUE", help="fields of configs, or parameters")
    parser.add_argument("--work", type=Path, default=Path("checkpoints") / "how-far")
    parser.add_argument("--cells", type=Path, default=CELLS)
    given = parser.parse_args(words)
    if given.corpus == "picture":
        draw(given.cells)
    elif given.corpus != "table":
        label = label_of(f"{Path(given.corpus).stem}-{given.arch}-{given.minutes:g}", given.settings)
        options = {"minutes": given.minutes, **settings_of(given.settings), "label": label}
        chosen = recipe(given.corpus, given.arch, options)
        keep(cell(train(given.work, given.corpus, "quality", chosen)), given.cells)
    print(table(given.cells))


def recipe(corpus: str, arch: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """An architecture's settings with `options` over them, its width as so many parameters want it."""
    chosen = {"arch": arch, **SHARED, **RECIPES.get(arch, {}), **CLEANING.get(corpus, {}), **options}
    parameters = chosen.pop("parameters", PARAMETERS)
    if "hidden_size" in chosen:
        return chosen
    config = from_options(chosen, "quality")
    text = open_corpus(corpus, config.corpus)
    tokenizer = tokenizer_for(text, config.model, config.corpus)
    cut = corpus_cut(text, tokenizer, config.train, config.corpus)[0]
    model = config.model.resolve_for(arch, tokenizer.vocab_size, cut.train, cut.seq_len)
    return {**chosen, "hidden_size": size_for(model, parameters)}


def cell(run: Run) -> dict[str, Any]:
    """What is kept of a finished run: `curve` holds own minutes, passes, training and validation loss of each."""
    model, config = run.model_config, run.train_config
    rows = [row for row in run.metrics() if row.get("val_loss") is not None]
    shape = {"layers": model.num_layers, "width": model.hidden_size, "parameters": run.num_parameters}
    settings = model.to_dict() | config.to_dict()
    curve = [[row["seconds"] / 60, row["epoch"], row["train_loss"], row["val_loss"]] for row in rows]
    return {
        "corpus": run.corpus["name"],
        "arch": run.arch,
        "minutes": config.minutes,
        "label": run.label,
        **shape,
        "batch": f"{config.batch_size} x {config.seq_len}",
        **{name: settings[name] for name in TOLD.values()},
        "loss": run.best_val_loss,
        "curve": [[round(figure, 4) for figure in point] for point in curve],
    }


def keep(new: Mapping[str, Any], path: Path) -> None:
    """Put a cell to those that are kept, in place of one of the same settings."""
    name = itemgetter("corpus", "label", "parameters")
    rest = [one for one in logged(path) if name(one) != name(new)]
    cells = sorted([*rest, new], key=itemgetter("corpus", "minutes", "loss"))
    path.write_text("".join(json.dumps(one) + "\n" for one in cells), encoding="utf-8")


def table(path: Path) -> str:
    """A line a cell, in Markdown."""
    rows = []
    for one in logged(path):
        passes = min(one["curve"], key=itemgetter(3))[1]
        figures = [f"{one['minutes']:g}", f"{one['loss']:.4f}", f"{passes:.1f}", f"{one['parameters']:,}"]
        recipe = [f"{name} {one[key]:g}" for name, key in TOLD.items() if one[key]]
        settings = ", ".join([f"{one['layers']} x {one['width']}", one["batch"], *recipe])
        rows.append([one["corpus"], ARCH_NAMES[one["arch"]], *figures, settings])
    return markdown(HEAD, rows)


def draw(path: Path) -> None:
    """A picture for each corpus: validation losses by minutes, a line a cell, as long as it was given."""
    from matplotlib import pyplot

    pyplot.rcParams["svg.fonttype"] = "none"  # text stays text
    pyplot.rcParams["svg.hashsalt"] = "how-far"
    for name, group in groupby(logged(path), key=itemgetter("corpus")):
        cells = list(group)
        longest, lowest = max(one["minutes"] for one in cells), min(one["loss"] for one in cells)
        figure, axes = pyplot.subplots(figsize=(7, 4), layout="constrained")
        for one in cells:
            minutes, _, _, losses = zip(*one["curve"], strict=True)
            label = f"{ARCH_NAMES[one['arch']]}, {one['minutes']:g} min: {one['loss']:.3f}"
            line = {"color": ARCHITECTURES[one["arch"]].colour, "linestyle": "-" if one["minutes"] == longest else "--"}
            axes.plot(minutes, losses, marker=".", label=label, **line)
        axes.set(title=name, xlabel="own minutes", ylabel="validation loss, nats per character")
        axes.set_ylim(lowest - 0.03, lowest + 0.4)
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.2)
        axes.legend(frameon=False)
        picture = path.parent / f"how-far-{'-'.join(re.findall('[a-z0-9]+', name.lower()))}.svg"
        figure.savefig(picture, metadata={"Date": None})
        pyplot.close(figure)
        print(picture)


if __name__ == "__main__":
    main()
