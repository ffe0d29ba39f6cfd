"""How far each architecture goes: the best validation loss after so many minutes, all with as many parameters.

    python -m bench.how_far CORPUS ARCH MINUTES [SETTING=VALUE ..] [--parameters 3400000] [--work FOLDER]
    python -m bench.how_far table | picture [--work FOLDER]

CORPUS is a file or a name of the catalog. The minutes are the training's own, its validations (one a pass) counted.
What was begun in the work folder goes on there, and what has come to its end is not trained again. `table` and
`picture`, an SVG per corpus beside the runs, show what is there; cells that were not run are not in it.
"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.resumable import label_of, markdown, settings_of, train
from charlm.cli.texts import open_corpus
from charlm.config import ARCH_NAMES, ARCHITECTURES
from charlm.encoding import corpus_cut, tokenizer_for
from charlm.estimate import size_for
from charlm.presets import from_options
from charlm.runs import Run, RunStore

PARAMETERS = 3_400_000  # an LSTM of 2 x 512
SHARED: dict[str, Any] = {"batch_size": 16, "seq_len": 64, "dropout": 0.4, "weight_decay": 0.1}
RECIPES: dict[str, dict[str, Any]] = {
    "rnn": {"dropout": 0.2},
    "transformer": {"num_layers": 4, "num_heads": 4, "context": 128, "dropout": 0.2},
    "mingru": {"dropout": 0.2},
}
# As the Grimm notebook cleans its table, so that its figures stand beside ours.
CLEANING: dict[str, dict[str, Any]] = {"grimm": {"drop_newlines": True, "separator": "space"}}
HEAD = ("corpus", "architecture", "minutes", "best loss", "after passes", "parameters", "settings")


def main(words: Sequence[str] | None = None) -> None:
    """Train, or show."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", metavar="CORPUS", help="a file or a name of the catalog; or table, picture")
    parser.add_argument("arch", nargs="?", default="lstm", metavar="ARCH")
    parser.add_argument("minutes", nargs="?", type=float, default=10.0, metavar="MINUTES")
    parser.add_argument("settings", nargs="*", metavar="SETTING=VALUE", help="fields of the config classes")
    parser.add_argument("--parameters", type=int, default=PARAMETERS)
    parser.add_argument("--work", type=Path, default=Path("checkpoints") / "how-far")
    given = parser.parse_args(words)
    if given.corpus == "picture":
        draw(given.work)
    elif given.corpus != "table":
        label = label_of(f"{Path(given.corpus).stem}-{given.arch}-{given.minutes:g}", given.settings)
        options = {"minutes": given.minutes, **settings_of(given.settings), "label": label}
        train(given.work, given.corpus, "quality", recipe(given.corpus, given.arch, options, given.parameters))
    print(table(given.work))


def recipe(corpus: str, arch: str, options: Mapping[str, Any], parameters: int) -> dict[str, Any]:
    """An architecture's settings with `options` over them, its width as so many parameters want it."""
    chosen = {"arch": arch, **SHARED, **RECIPES.get(arch, {}), **CLEANING.get(corpus, {}), **options}
    if "hidden_size" in chosen:
        return chosen
    config = from_options(chosen, "quality")
    text = open_corpus(corpus, config.corpus)
    tokenizer = tokenizer_for(text, config.model, config.corpus)
    cut = corpus_cut(text, tokenizer, config.train, config.corpus)[0]
    model = config.model.sized(arch, tokenizer.vocab_size, cut.train, cut.seq_len)
    return {**chosen, "hidden_size": size_for(model, parameters)}


def finished(work: Path) -> list[Run]:
    """The runs that have come to their end, by corpus, minutes and loss."""
    runs = [run for run in RunStore(work).list() if run.status == "finished" and not run.shipped]
    return sorted(runs, key=lambda run: (run.corpus["name"], run.train_config.minutes, run.best_val_loss or 0.0))


def table(work: Path) -> str:
    """A line a run, in Markdown."""
    rows = []
    for run in finished(work):
        model, config = run.model_config, run.train_config
        passes = next((row["epoch"] for row in run.metrics() if row["step"] == run.best_step), 0.0)
        settings = f"{model.num_layers} x {model.hidden_size}, dropout {model.dropout:g}, rate {config.learning_rate:g}"
        figures = [f"{config.minutes:g}", f"{run.best_val_loss:.4f}", f"{passes:.1f}", f"{run.num_parameters:,}"]
        rows.append([run.corpus["name"], ARCH_NAMES[run.arch], *figures, settings])
    return markdown(HEAD, rows)


def draw(work: Path) -> None:
    """A picture for each corpus: validation losses by minutes, a line a run, as long as it was given."""
    from matplotlib import pyplot

    pyplot.rcParams["svg.fonttype"] = "none"  # text stays text
    runs = finished(work)
    for name in sorted({run.corpus["name"] for run in runs}):
        figure, axes = pyplot.subplots(figsize=(7, 4), layout="constrained")
        for run in [run for run in runs if run.corpus["name"] == name]:
            rows = [row for row in run.metrics() if row.get("val_loss") is not None]
            label = f"{ARCH_NAMES[run.arch]}, {run.train_config.minutes:g} min: {run.best_val_loss:.3f}"
            minutes, losses = [row["seconds"] / 60 for row in rows], [row["val_loss"] for row in rows]
            axes.plot(minutes, losses, marker=".", color=ARCHITECTURES[run.arch].colour, label=label)
        lowest = min(run.best_val_loss for run in runs if run.corpus["name"] == name)
        axes.set(title=name, xlabel="own minutes", ylabel="validation loss, nats per character")
        axes.set_ylim(lowest - 0.03, lowest + 0.6)
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.2)
        axes.legend(frameon=False)
        path = work / f"{name.lower().replace(' ', '-')}.svg"
        figure.savefig(path, metadata={"Date": None})
        print(path)


if __name__ == "__main__":
    main()
