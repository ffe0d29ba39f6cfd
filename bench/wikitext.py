"""WikiText-2 by words: how far our recipe comes within an hour, and a tutorial's settings for as long as one likes.

    python -m bench.wikitext NAME [SETTING=VALUE ..] [--work FOLDER] [--corpus CORPUS]

NAME is one of RECIPES. A line an epoch says minutes by the clock on the wall and the losses; the table at the end has
the perplexities of the benchmark's own validation and test part. All minutes count: validations, samples, saving. A
training in the work folder is resumed, also after Ctrl-C; the table of a finished one is printed again. A setting
after NAME replaces the recipe's, and makes another training. `python -m charlm train` with the options that are printed
first does the same.
"""

import argparse
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.resumable import label_of, logged, markdown, settings_of, train

# The first is the preset; the others are what else was thought of. Each is a preset's name, and what differs from it.
RECIPES: dict[str, tuple[str, dict[str, Any]]] = {
    "words": ("words", {}),
    "wide": ("words", {"hidden_size": 512, "embed_dim": 512, "dropout": 0.4, "output_dropout": 0.5, "epochs": 9}),
    "short-steps": ("words", {"batch_size": 32, "epochs": 11, "learning_rate": 2e-3}),
    "more-drawn": ("words", {"softmax_samples": 8192, "epochs": 10}),
    "all-words": ("words", {"softmax_samples": 0, "epochs": 5}),
    "tutorial": ("wikitext-2", {}),
}
HEAD = ("epoch", "wall minutes", "train loss", "validation perplexity", "test perplexity")


def main(words: Sequence[str] | None = None) -> None:
    """Train or resume, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=RECIPES, metavar="NAME", help=", ".join(RECIPES))
    parser.add_argument("settings", nargs="*", metavar="SETTING=VALUE", help="fields of the config classes")
    parser.add_argument("--work", type=Path, default=Path("checkpoints") / "wikitext", help="where the runs are kept")
    parser.add_argument("--corpus", default="wikitext-2", help="a file or a name of the catalog")
    given = parser.parse_args(words)
    preset, recipe = RECIPES[given.name]
    options = {**recipe, **settings_of(given.settings), "label": label_of(given.name, given.settings)}
    run = train(given.work, given.corpus, preset, options)
    print(table(logged(given.work / f"{run.run_id}.jsonl")))


def cells(entry: Mapping[str, Any]) -> list[str]:
    """An entry for people."""
    perplexities = [
        "-" if entry[name] is None else f"{math.exp(entry[name]):.1f}" for name in ("val_loss", "test_loss")
    ]
    return [f"{entry['epoch']:.2f}", f"{entry['wall_minutes']:.1f}", f"{entry['train_loss']:.3f}", *perplexities]


def table(entries: Sequence[Mapping[str, Any]]) -> str:
    """The entries in Markdown."""
    return markdown(HEAD, map(cells, entries))


if __name__ == "__main__":
    main()
