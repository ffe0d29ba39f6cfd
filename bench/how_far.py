"""How far each architecture goes: the best validation loss after so many minutes, all with as many parameters.

    python -m bench.how_far CORPUS ARCH MINUTES [SETTING=VALUE ..] [--parameters 3400000] [--work FOLDER]
    python -m bench.how_far table | picture [--work FOLDER]

A training is `python -m charlm train`; what was broken off goes on. `minutes` are its own, validations counted; the
clock's, with start, samples and saving, are printed at the end. `table` and `picture` show what is in the work folder.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.wikitext import label_of, settings_of

PARAMETERS = 3_400_000  # an LSTM of 2 x 512
HEAD = ("corpus", "arch", "parameters", "minutes", "best loss", "at epoch", "settings")


def main(words: Sequence[str] | None = None) -> None:
    """Train, or show."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", help="a file or a name of the catalog; or table, picture")
    parser.add_argument("arch", nargs="?", default="lstm")
    parser.add_argument("minutes", nargs="?", type=float, default=10.0)
    parser.add_argument("settings", nargs="*", metavar="SETTING=VALUE", help="fields of the config classes")
    parser.add_argument("--parameters", type=int, default=PARAMETERS)
    parser.add_argument("--work", type=Path, default=Path("checkpoints") / "how-far")
    given = parser.parse_args(words)
    if given.corpus == "picture":
        draw(given.work)
    elif given.corpus != "table":
        label = label_of(f"{given.corpus}-{given.arch}-{given.minutes:g}", given.settings)
        options = {"minutes": given.minutes, **settings_of(given.settings), "label": Path(label).name}
        train(given.work, given.corpus, given.arch, options, given.parameters)
    print(table(given.work))


def train(work: Path, corpus: str, arch: str, options: Mapping[str, Any], parameters: int) -> None:
    """The run of this label: found, gone on with, or trained, in a process of its own."""
    from charlm.runs import RunStore

    known = [run for run in RunStore(work).list() if run.label == options["label"] and not run.shipped]
    if known and known[0].status == "finished":
        return
    words = ["resume", known[0].run_id] if known else ["train", corpus, *flags(corpus, arch, options, parameters)]
    subprocess.run([sys.executable, "-m", "charlm", *words, "--runs-dir", str(work)], check=True)


def flags(corpus: str, arch: str, options: Mapping[str, Any], parameters: int) -> list[str]:
    """The options of the command line, the width among them that makes so many parameters."""
    from charlm.cli.texts import open_corpus
    from charlm.encoding import tokenizer_for
    from charlm.estimate import size_for
    from charlm.presets import from_options

    config = from_options({"arch": arch, **options})
    text = open_corpus(corpus, config.corpus)
    vocab_size = tokenizer_for(text, config.model, config.corpus).vocab_size
    size = size_for(config.model.sized(arch, vocab_size, 1, config.train.seq_len), parameters)
    words = []
    for name, value in {"arch": arch, "hidden_size": size, **options}.items():
        flag = name.replace("_", "-")
        words += [f"--{flag}" if value else f"--no-{flag}"] if isinstance(value, bool) else [f"--{flag}", str(value)]
    return words


def finished(work: Path) -> list[Any]:
    """The runs that have come to their end, by corpus, minutes and architecture."""
    from charlm.runs import RunStore

    runs = [run for run in RunStore(work).list() if run.status == "finished" and not run.shipped]
    return sorted(runs, key=lambda run: (run.corpus["name"], run.train_config.minutes, run.best_val_loss or 0.0))


def table(work: Path) -> str:
    """A line a run, in Markdown."""
    rows = [list(HEAD), ["---"] * len(HEAD)]
    for run in finished(work):
        model, config, best = run.model_config, run.train_config, run.best_step
        epoch = next((row["epoch"] for row in run.metrics() if row["step"] == best), 0.0)
        settings = f"{model.num_layers} x {model.hidden_size}, dropout {model.dropout:g}, rate {config.learning_rate:g}"
        figures = [f"{run.num_parameters:,}", f"{config.minutes:g}", f"{run.best_val_loss:.4f}", f"{epoch:.1f}"]
        rows.append([run.corpus["name"], run.arch, *figures, settings])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def draw(work: Path) -> None:
    """The curves of each corpus and budget as JSON beside the runs: minutes and validation losses."""
    curves = {}
    for run in finished(work):
        rows = [row for row in run.metrics() if row.get("val_loss") is not None]
        points = [(round(row["seconds"] / 60, 2), round(row["val_loss"], 4)) for row in rows]
        curves[run.label] = {"arch": run.arch, "corpus": run.corpus["name"], "points": points}
    (work / "curves.json").write_text(json.dumps(curves) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
