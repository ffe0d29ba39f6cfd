"""train, race, resume, fork, retry and evaluate."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

from charlm.architectures import RACE_ARCHS
from charlm.cli.options import CorpusToken, Json, RunsDir, RunToken, open_corpus, takes
from charlm.cli.progress import work
from charlm.cli.report import note, print_json, print_result, print_table, ranking, result_of, shown
from charlm.config import CorpusConfig, ModelConfig, TrainConfig
from charlm.errors import ConfigError
from charlm.presets import FORKABLE, PRESET_HINTS, RESUMABLE, RunConfig, from_options

RACERS = ",".join(RACE_ARCHS)
Preset = Annotated[
    str, typer.Option("--preset", help="; ".join(f"{name}: {hint}" for name, hint in PRESET_HINTS.items()) + ".")
]
Archs = Annotated[str, typer.Option("--archs", metavar="A,B,..", help="Architectures that run against each other.")]
OtherText = Annotated[
    str, typer.Option("--corpus", metavar="CORPUS", help="Another text to score. (default: the run's own)")
]
SameText = Annotated[
    str, typer.Option("--corpus", metavar="CORPUS", help="Its text, where that is no longer kept; checked by sha256.")
]
NextText = Annotated[
    str,
    typer.Option("--corpus", metavar="CORPUS", help="Another text to go on with, beginning from the best weights."),
]
Split = Annotated[
    str,
    typer.Option(
        "--split", metavar="val|test|all", help="Which part. (default: val of the run's text, all of another)"
    ),
]


def add_to(app: typer.Typer) -> None:
    """Hang the commands of this module on the program."""
    app.command("train", help="Train one model on a text.")(train)
    app.command("race", help="Train several architectures in turn on the same batches.")(race)
    app.command("resume", help="Train a run on from where it ended; steps, epochs and minutes are what to add.")(resume)
    app.command("fork", help="A new run that goes on from what another one has learned, with other settings.")(fork)
    app.command("retry", help="A failed run's settings once more, with the fix for its failure.")(retry)
    app.command("evaluate", help="Score a run on its held-out text, or on another text.")(evaluate)


@takes(ModelConfig, TrainConfig, CorpusConfig, skip=("counted",))
def train(
    corpus: CorpusToken, options: dict[str, Any], preset: Preset = "quick", runs_dir: RunsDir = None, json: Json = False
) -> int:
    config = from_options(options, preset)
    return show_end(train_all(corpus, config, [config.model.arch], runs_dir), json)


@takes(ModelConfig, TrainConfig, CorpusConfig, skip=("arch", "counted"))
def race(
    corpus: CorpusToken,
    options: dict[str, Any],
    archs: Archs = RACERS,
    preset: Preset = "quick",
    runs_dir: RunsDir = None,
    json: Json = False,
) -> int:
    chosen = [ModelConfig(arch=name.strip()).arch for name in archs.split(",") if name.strip()]
    if not chosen:
        raise ConfigError(f"archs {archs!r} names no architecture; choose among {RACERS}")
    runs = train_all(corpus, from_options(options, preset), chosen, runs_dir)
    if json:
        print_json([result_of(run) for run in runs])
    else:
        print_table(ranking(runs))
    return exit_code(runs)


def train_all(token: str, config: RunConfig, archs: Sequence[str], runs_dir: Any) -> list[Any]:
    """Read the text and train on it in this process, with progress on stderr."""
    corpus = open_corpus(token, config.corpus)
    from charlm.runs.create import create_runs  # only now, when the settings and the text are known to be good
    from charlm.runs.store import RunStore
    from charlm.training.autosize import autosize

    return work(create_runs(RunStore(runs_dir), corpus, autosize(config, corpus, archs), archs), corpus)


@takes(TrainConfig, only=RESUMABLE)
def resume(
    run: RunToken, options: dict[str, Any], corpus: SameText = "", runs_dir: RunsDir = None, json: Json = False
) -> int:
    from charlm.runs.store import RunStore

    TrainConfig.from_dict({**options, "steps": options.get("steps") or 1})  # refused before torch loads
    found = RunStore(runs_dir).find(run)
    given = open_corpus(corpus, found.corpus_config) if corpus else None
    from charlm.runs.create import reopen

    return show_end(work([found], reopen(found, options, given), resume=True), json)


@takes(TrainConfig, only=FORKABLE)
def fork(
    run: RunToken, options: dict[str, Any], corpus: NextText = "", runs_dir: RunsDir = None, json: Json = False
) -> int:
    from charlm.runs.store import RunStore

    TrainConfig.from_dict({**options, "steps": options.get("steps") or 1})
    store = RunStore(runs_dir)
    found = store.find(run)
    given = open_corpus(corpus, found.corpus_config) if corpus else None
    from charlm.runs.fork import fork

    made, text = fork(store, found, options, given)
    for remark in text.repairs if corpus else ():
        note(remark)
    return show_end(work([made], text, resume=True), json)


def retry(run: RunToken, runs_dir: RunsDir = None, json: Json = False) -> int:
    from charlm.runs.store import RunStore

    store = RunStore(runs_dir)
    found = store.find(run)
    from charlm.runs.fork import retry

    made, corpus = retry(store, found)
    note(f"{made.label}: {', '.join(f'{name} {value:g}' for name, value in found.fix.items())}")
    return show_end(work([made], corpus, resume=True), json)


def show_end(runs: Sequence[Any], json: bool) -> int:
    """Print how a training of one run ended; returns the exit code."""
    [run] = runs
    if json:
        print_json(result_of(run))
    else:
        print_result(run)
        for line in next_steps(run):
            note(line)
    return exit_code([run])


def next_steps(run: Any) -> list[str]:
    """What to try next, each with the options that it takes."""
    from charlm.analysis.advice import advise, training_of

    told = advise(training_of(run, run.metrics(), run.status, run.total_steps)) if run.status != "failed" else []
    return [f"{one.said}{f' Try {options}.' if (options := options_of(one.changes)) else ''}" for one in told]


def options_of(changes: Mapping[str, Any]) -> str:
    """`--hidden-size 192`: settings as one types them; what is 0 anyway needs no word."""
    shown = {name: f"{value:g}" if isinstance(value, float) else str(value) for name, value in changes.items() if value}
    return " ".join(f"--{name.replace('_', '-')} {value}" for name, value in shown.items())


def exit_code(runs: Sequence[Any]) -> int:
    """1 if a training failed by itself, with its message on stderr."""
    failed = [run for run in runs if run.status == "failed"]
    for run in failed:
        note(f"charlm: {run.label} failed: {run.message}")
    return 1 if failed else 0


def evaluate(
    run: RunToken,
    corpus: OtherText = "",
    split: Split = "",
    runs_dir: RunsDir = None,
    json: Json = False,
) -> None:
    from charlm.runs.store import RunStore
    from charlm.serving import Serving

    store = RunStore(runs_dir)
    found = store.find(run)
    other = open_corpus(corpus, found.corpus_config) if corpus else None  # cleaned as the run's own text was
    given = (other.text, split, other.held_out) if other else (None, split)
    scores = Serving(store).evaluate(found, *given)
    if json:
        print_json(scores)
    else:
        print("\n".join(f"{name}: {shown(value)}" for name, value in scores.items()))
