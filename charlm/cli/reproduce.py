"""reproduce: a tutorial's settings trained here, beside what was published."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from charlm.cli.options import Json, RunsDir, open_corpus
from charlm.cli.progress import work
from charlm.cli.report import note, print_json, print_table
from charlm.errors import ConfigError, JobError
from charlm.presets import RunConfig, from_options

if TYPE_CHECKING:
    from charlm.data.corpus import Corpus
    from charlm.jobs.tutorials import Tutorial
    from charlm.runs.store import Run, RunStore

Name = Annotated[str, typer.Argument(metavar="NAME", help="grimm, anna, wikitext-2 or tiny; empty: say what they are.")]
Epochs = Annotated[int, typer.Option("--epochs", help="Fewer epochs than were published. (default: all)")]
Arch = Annotated[str, typer.Option("--arch", help="Only this architecture of the tutorial's. (default: all)")]


def add_to(app: typer.Typer) -> None:
    """Hang the command of this module on the program."""
    app.command("reproduce", help="Train as a tutorial did, and stand beside what it published; goes on where it was.")(
        reproduce
    )


def reproduce(
    name: Name = "", epochs: Epochs = 0, arch: Arch = "", runs_dir: RunsDir = None, json: Json = False
) -> None:
    from charlm.jobs.tutorials import TUTORIALS, comparison, measured
    from charlm.runs.store import RunStore

    if not name:
        known = [{"name": key, "about": one.about, "epochs": one.epochs} for key, one in TUTORIALS.items()]
        print_json(known) if json else print_table(known)
        return
    if name not in TUTORIALS:
        raise ConfigError(f"reproduce knows {', '.join(TUTORIALS)}, not {name[:40]!r}")
    tutorial = TUTORIALS[name]
    if arch and arch not in tutorial.archs:
        raise ConfigError(f"{name} was published of {', '.join(tutorial.archs)}, not of {arch[:40]!r}")
    if epochs < 0 or epochs > tutorial.epochs:
        raise ConfigError(f"epochs {epochs} is not between 1 and the {tutorial.epochs} that were published")
    rows: list[dict[str, Any]] = []
    for one in [arch] if arch else tutorial.archs:
        run = train(RunStore(runs_dir), name, tutorial, one, epochs or tutorial.epochs)
        rows += comparison(tutorial, one, [entry for entry in measured(run) if entry["epoch"] <= (epochs or 10**9)])
    print_json(rows) if json else print_table(rows)


def train(store: "RunStore", name: str, tutorial: "Tutorial", arch: str, epochs: int) -> "Run":
    """The run of a tutorial's model, trained up to so many epochs, measured after each.

    Raises:
        JobError: the training failed.
    """
    from charlm.jobs.tutorials import measure, measured

    config = config_of(name, tutorial, arch)
    known = [run for run in store.list() if run.label == config.train.label and run.preset == config.preset]
    run, corpus = (known[0] if known else None), None
    while run is None or run.status != "finished" or round(run.epoch) < epochs:
        corpus = corpus or tutorial.read(config.corpus, open_corpus)
        run = one_epoch_more(store, run, corpus, config)
        if run.status != "finished":
            raise JobError(f"{run.label} is {run.status}: {run.message}")
        entry = measure(run, corpus, tutorial.way)
        note("  ".join(f"{what} {shown(value)}" for what, value in entry.items()))
    if run.status == "finished" and all(entry["epoch"] != round(run.epoch) for entry in measured(run)):
        measure(run, corpus or tutorial.read(config.corpus, open_corpus), tutorial.way)  # it was cut off before that
    return run


def shown(value: float) -> str:
    """A loss with four decimals, a count as it is."""
    return f"{value:.4f}" if isinstance(value, float) else f"{value}"


def config_of(name: str, tutorial: "Tutorial", arch: str) -> RunConfig:
    """The settings, for one epoch."""
    label = f"reproduce-{name}-{arch}"
    return from_options({**tutorial.options, "arch": arch, "epochs": 1, "label": label}, tutorial.preset)


def one_epoch_more(store: "RunStore", run: "Run | None", corpus: "Corpus", config: RunConfig) -> "Run":
    """Begin, go on with what was broken off, or train another epoch."""
    from dataclasses import replace

    from charlm.data.dataset import corpus_cut, tokenizer_for
    from charlm.runs.create import create_runs, reopen

    if run is not None:
        corpus = reopen(run, {"epochs": 1} if run.status == "finished" else {}, corpus)
        return work([run], corpus, resume=True)[0]
    tokenizer = tokenizer_for(corpus, config.model, config.corpus)
    steps = corpus_cut(corpus, tokenizer, config.train, config.corpus)[0].steps_per_epoch
    config = replace(config, train=replace(config.train, eval_every=steps))
    return work(create_runs(store, corpus, config, [config.model.arch], tokenizer=tokenizer), corpus)[0]
