"""train, race, resume, fork, retry and reproduce: trainings in this process, with progress on stderr.

What needs torch, which takes seconds to load, is imported once settings and texts are known to be good.
"""

import contextlib
import io
import math
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from charlm.analysis.advice import advise, training_of
from charlm.architectures import RACE_ARCHS
from charlm.cli import end, on_signals
from charlm.cli.distributed import check_sharing, processes
from charlm.cli.options import CorpusTokens, Json, RunsDir, RunToken, named_archs, open_corpora, open_corpus, takes
from charlm.cli.report import (
    GatheredProgress,
    Progress,
    note,
    print_comparison,
    print_json,
    print_result,
    print_rows,
    print_table,
    result_of,
)  # fmt: skip
from charlm.config import CorpusConfig, ModelConfig, RaceConfig, TrainConfig
from charlm.data.corpus import Corpus
from charlm.errors import CharLMError, ConfigError, JobError
from charlm.formats.trackers import Tracking, check_tracker
from charlm.presets import FIRST_PRESET, FORKABLE, LIST_PRESET, PRESET_HINTS, RESUMABLE, RunConfig, from_options
from charlm.runs.store import Run, RunStore
from charlm.training.autosize import autosize

if TYPE_CHECKING:
    from charlm.jobs.scheduler import Control
    from charlm.jobs.tutorials import Tutorial

RACERS = ",".join(RACE_ARCHS)
EXPERIMENT = {"seeds": 5, "match": "parameters"}  # settings of an experiment that are not a race's
HINTS = "; ".join(f"{name}: {hint}" for name, hint in PRESET_HINTS.items())
PRESETS = f"{HINTS}. (default: {FIRST_PRESET}; of a list {LIST_PRESET})"
Preset = Annotated[str, typer.Option("--preset", help=PRESETS)]
Archs = Annotated[str, typer.Option("--archs", metavar="A,B,..", help="Architectures that run against each other.")]
SAME_TEXT = "Its text, where that is no longer kept; checked by sha256."
SameText = Annotated[str, typer.Option("--corpus", metavar="CORPUS", help=SAME_TEXT)]
RAY = "HOST:PORT of a Ray cluster, or auto: train on its nodes, each training in one slot."
Ray = Annotated[str, typer.Option("--ray", metavar="ADDRESS", help=RAY)]
TRACKERS = "Send metrics, samples and settings there while it trains."
Track = Annotated[str, typer.Option("--track", metavar="tensorboard|trackio", help=TRACKERS)]
WHOLE = "Go on with all runs of its race that were cut off, as a race."
WholeRace = Annotated[bool, typer.Option("--race", help=WHOLE)]
NEXT_TEXT = "Another text to go on with, beginning from the best weights."
NextText = Annotated[str, typer.Option("--corpus", metavar="CORPUS", help=NEXT_TEXT)]
TUTORIALS = "grimm, anna, wikitext-2 or tiny; empty: say what they are."
Name = Annotated[str, typer.Argument(metavar="NAME", help=TUTORIALS)]
Epochs = Annotated[int, typer.Option("--epochs", help="Fewer epochs than were published. (default: all)")]
Arch = Annotated[str, typer.Option("--arch", help="Only this architecture of the tutorial's. (default: all)")]


@takes(ModelConfig, TrainConfig, CorpusConfig, skip=("counted",))
def train(
    corpus: CorpusTokens, options: dict[str, Any], preset: Preset = "", track: Track = "",
    runs_dir: RunsDir = None, json: Json = False,
) -> int:  # fmt: skip
    """Train one model on a text, or on several joined, and print its result.

    Args:
        options: the settings of ModelConfig, TrainConfig and CorpusConfig that were given, by name.

    Returns:
        The exit code: 0, or 1 if the training failed.
    """
    config = from_options(options, preset)
    return show_end(train_all(corpus, config, [config.model.arch], runs_dir, track=track), json)


@takes(ModelConfig, TrainConfig, CorpusConfig, RaceConfig, skip=("arch", "counted"))
def race(
    corpus: CorpusTokens, options: dict[str, Any], archs: Archs = RACERS, preset: Preset = "",
    ray: Ray = "", track: Track = "", runs_dir: RunsDir = None, json: Json = False,
) -> int:  # fmt: skip
    """Train several architectures on the same batches and print their ranking, or what their seeds show.

    Args:
        options: as for `train`, without the architecture; and those of RaceConfig.
    """
    return race_all(corpus, options, archs, preset, ray, track, runs_dir, json)


@takes(ModelConfig, TrainConfig, CorpusConfig, RaceConfig, skip=("arch", "counted"))
def experiment(
    corpus: CorpusTokens, options: dict[str, Any], archs: Archs = RACERS, preset: Preset = "",
    ray: Ray = "", track: Track = "", runs_dir: RunsDir = None, json: Json = False,
) -> int:  # fmt: skip
    """A race of several seeds and equal parameters, unless told otherwise.

    Args:
        options: as for `race`.
    """
    return race_all(corpus, {**EXPERIMENT, **options}, archs, preset, ray, track, runs_dir, json)


def race_all(
    corpus: Sequence[str], options: Mapping[str, Any], archs: str, preset: str, ray: str, track: str,
    runs_dir: Path | None, json: bool,
) -> int:  # fmt: skip
    """Train a race, and print what came of it; returns the exit code. See `race`."""
    chosen = named_archs(archs)
    if not chosen:
        raise ConfigError(f"archs {archs!r} names no architecture; choose among {RACERS}")
    config = from_options(options, preset)
    return show_race(train_all(corpus, config, chosen, runs_dir, ray, track), json)


def show_race(runs: Sequence[Run], json: bool) -> int:
    """Print the ranking of a race, and what may be claimed if it has several seeds; returns the exit code."""
    results = [result_of(run) for run in runs]
    seeds = {run.train_config.seed for run in runs}
    if len(seeds) < 2:
        print_json(results) if json else print_table(ranking(runs))
        return exit_code(runs)
    from charlm.analysis.comparison import compare

    try:
        found = compare([run for run in runs if run.status != "failed"])
    except ConfigError as error:  # a single architecture, or too little was trained
        print_json({"runs": results}) if json else print_table(ranking(runs))
        note(f"{error}")
        return exit_code(runs)
    if json:
        print_json({"runs": results, **found.to_dict()})
    else:
        print_comparison(found)
    return exit_code(runs)


def train_all(
    tokens: Sequence[str], config: RunConfig, archs: Sequence[str], runs_dir: Any, ray: str = "", track: str = ""
) -> list[Run]:  # fmt: skip
    """Read a text and train new runs on it.

    Args:
        tokens: name the text, see `open_corpora`.
        config: settings of all runs; its architecture is replaced by each of `archs`.
        archs: distinct names of architectures.
        runs_dir: folder of the runs; None: the default one.
        ray: address of a cluster to train on; empty: in this process.
        track: a tracker, see charlm/formats/trackers.py; empty: none.

    Returns:
        The runs as they are on disk afterwards.
    """
    if ray:
        from charlm.jobs.cluster import check_cluster

        check_cluster(ray)
    check_tracker(track)
    corpus = open_corpora(tokens, config.corpus)
    config = autosize(config, corpus, archs)
    for arch in archs:
        check_sharing(arch, config.train.batch_size)
    from charlm.analysis.seeds import looks_of
    from charlm.runs.create import create_runs

    looks, store = looks_of(config.race, archs), RunStore(runs_dir)
    runs = create_runs(store, corpus, config, archs, looks=looks)
    train = partial(work, corpus=corpus, ray=ray, track=track)
    return work_by_looks(store, runs, train) if looks else train(runs)


def work_by_looks(store: RunStore, runs: Sequence[Run], train: Callable[[Sequence[Run]], Any]) -> list[Run]:
    """Train an experiment up to its next look, and on, until the best is told apart from all others or all are trained.

    Args:
        store: where they are.
        runs: all of the experiment; those of further seeds are removed when it stops.
        train: trains some to their end.

    Returns:
        The runs that were trained, as they are on disk afterwards.
    """
    from charlm.jobs.looks import by_looks

    open_runs = [run for run in runs if run.status in ("queued", "interrupted")]
    try:
        for part in by_looks(runs, open_runs):
            open_runs = [run for run in open_runs if run not in part]
            train(part)
        for run in open_runs:
            run.hold()
            store.discard(run)
        return [Run(run.folder) for run in runs if run not in open_runs]
    finally:
        for run in open_runs:
            run.release()


def ranking(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """A line for each run, best validation loss first."""
    ordered = sorted(runs, key=lambda run: math.inf if run.best_val_loss is None else run.best_val_loss)
    return [
        {
            "place": place,
            "run": run.run_id,
            "label": run.label,
            "best_val_loss": run.best_val_loss,
            "bits_per_char": run.bits_per_char(run.best_val_loss),
            "best_step": run.best_step,
            "seconds": round(run.seconds, 1),
            "chars_per_second": round(run.chars_per_second),
        }
        for place, run in enumerate(ordered, 1)
    ]


@takes(TrainConfig, only=RESUMABLE)
def resume(
    run: RunToken, options: dict[str, Any], corpus: SameText = "", whole: WholeRace = False, ray: Ray = "",
    track: Track = "", runs_dir: RunsDir = None, json: Json = False,
) -> int:  # fmt: skip
    """Continue the training of a run and print its result.

    Args:
        options: the settings of RESUMABLE that were given, by name.
    """
    if ray:
        from charlm.jobs.cluster import check_cluster

        check_cluster(ray)
    check_tracker(track)
    store = RunStore(runs_dir)
    found, given = find_run(store, run, options, corpus)
    if whole and found.group and not processes():
        return resume_race(store, found, options, given, ray, track, json)
    from charlm.runs.resume import reopen

    return show_end(work([found], reopen(found, options, given), True, ray, track), json)


def resume_race(
    store: RunStore, run: Run, options: Mapping[str, Any], given: Corpus | None, ray: str, track: str, json: bool
) -> int:
    """Continue the runs of a race that were cut off; without any, all that can take the options. Prints the ranking.

    Args:
        store: where they are.
        run: one of them.
        options: settings of RESUMABLE.
        given: their text, if it was named.
        ray: address of a cluster to train on; empty: in this process.
        track: a tracker; empty: none.

    Raises:
        CharLMError: why one of them cannot be continued; then none is.
    """
    from charlm.runs.resume import reopen_all

    everyone = sorted((one for one in store.list() if one.group == run.group), key=lambda one: one.run_id)
    networks = [one for one in everyone if not one.model_config.is_counted]
    cut_off = [one for one in everyone if one.status == "interrupted"]
    chosen = cut_off or networks
    if run.looks and cut_off:

        def go_on(part: Sequence[Run]) -> list[Run]:
            return work(part, reopen_all(part, options, given), True, ray, track)

        return show_race(work_by_looks(store, everyone, go_on), json)
    corpus = reopen_all(chosen, options, given)
    done = {one.run_id: one for one in work(chosen, corpus, True, ray, track)}
    return show_race([done.get(one.run_id, one) for one in everyone], json)


GROW = "Learn the characters of CORPUS that the run does not know, too; else they are left out."
Grow = Annotated[bool, typer.Option("--grow", help=GROW)]


@takes(TrainConfig, only=FORKABLE)
def fork(
    run: RunToken, options: dict[str, Any], corpus: NextText = "", grow: Grow = False, track: Track = "",
    runs_dir: RunsDir = None, json: Json = False,
) -> int:  # fmt: skip
    """Train a new run that starts from the best weights of another one, and print its result.

    Args:
        options: the settings of FORKABLE that were given, by name.
    """
    check_tracker(track)
    store = RunStore(runs_dir)
    found, given = find_run(store, run, options, corpus)
    from charlm.runs.resume import fork

    made, text = fork(store, found, {**options, **({"grow": True} if grow else {})}, given)
    for remark in text.repairs if corpus else ():
        note(remark)
    return show_end(work([made], text, resume=True, track=track), json)


def find_run(store: RunStore, token: str, options: Mapping[str, Any], corpus: str) -> tuple[Run, Corpus | None]:
    """Check the options for a run that is continued or forked, and find it.

    Args:
        store: where it is.
        token: names the run, see `RunStore.find`.
        options: settings of TrainConfig by name.
        corpus: names the text given for it, see `open_corpus`; empty: none.

    Returns:
        The run, and the text that was given for it.

    Raises:
        ConfigError, CheckpointError, CorpusError: an option, the run or the text is not usable.
    """
    TrainConfig.from_dict({**options, "steps": options.get("steps") or 1})
    found = store.find(token)
    check_sharing(found.arch, found.train_config.batch_size)
    return found, open_corpus(corpus, found.corpus_config) if corpus else None


def retry(run: RunToken, track: Track = "", runs_dir: RunsDir = None, json: Json = False) -> int:
    """Train a new run with a failed one's settings and the fix for its failure, and print its result."""
    check_tracker(track)
    store = RunStore(runs_dir)
    found = store.find(run)
    from charlm.runs.resume import retry

    made, corpus = retry(store, found)
    note(f"{made.label}: {', '.join(f'{name} {value:g}' for name, value in found.fix.items())}")
    return show_end(work([made], corpus, resume=True, track=track), json)


def show_end(runs: Sequence[Run], json: bool) -> int:
    """Print how a training of one run ended; returns the exit code."""
    [run] = runs
    if json:
        print_json(result_of(run))
    else:
        print_result(run)
        for line in next_steps(run):
            note(line)
    return exit_code([run])


def next_steps(run: Run) -> list[str]:
    """What to try next, each with the options that it takes."""
    if run.status == "failed":
        return []
    advice = advise(training_of(run, run.metrics(), run.status, run.total_steps))
    return [f"{one.text}{f' Try {options}.' if (options := options_of(one.changes)) else ''}" for one in advice]


def options_of(changes: Mapping[str, Any]) -> str:
    """Settings as one types them, `--hidden-size 192`; those of 0 are left out."""
    shown = {name: f"{value:g}" if isinstance(value, float) else str(value) for name, value in changes.items() if value}
    return " ".join(f"--{name.replace('_', '-')} {value}" for name, value in shown.items())


def exit_code(runs: Sequence[Run]) -> int:
    """1 if a training failed by itself, with its message on stderr."""
    failed = [run for run in runs if run.status == "failed"]
    for run in failed:
        note(f"charlm: {run.label} failed: {run.message}")
    return 1 if failed else 0


def work(runs: Sequence[Run], corpus: Corpus, resume: bool = False, ray: str = "", track: str = "") -> list[Run]:
    """Train the runs to their end, with progress on stderr.

    Args:
        runs: held by this process, as `create_runs` and `reopen` leave them.
        corpus: their text.
        resume: continue from their checkpoints.
        ray: address of a cluster to train on; empty: in this process.
        track: a tracker, see charlm/formats/trackers.py; empty: none.

    Returns:
        The runs as they are on disk afterwards.

    Raises:
        KeyboardInterrupt, Terminated: a signal came; everything is saved.
    """
    from charlm.jobs.scheduler import Control, prepare, run_trainers

    control = Control()
    remarks = () if resume else [*corpus.repairs, *([runs[0].message] if runs[0].message else [])]
    tracking = Tracking(track, runs, note)
    with stops_between_steps(control), released(runs), quiet(track), contextlib.closing(tracking):
        if ray:
            from charlm.jobs.cluster import train_on_cluster

            gathered = GatheredProgress(runs)

            def on_gathered(line: str) -> None:
                gathered.show(line)
                tracking.follow()

            train_on_cluster(runs, corpus, ray, control, resume, on_gathered)
            return [Run(run.folder) for run in runs]
        trainers = prepare(runs, corpus, resume, processes())
        with contextlib.closing(Progress(trainers, remarks)) as progress:

            def on_slice() -> None:
                progress.show()
                tracking.follow()

            run_trainers(trainers, control, on_slice)
    return [Run(run.folder) for run in runs]


def quiet(track: str) -> contextlib.AbstractContextManager[Any]:
    """Keep what a tracker prints from standard output, which is for results."""
    return contextlib.redirect_stdout(io.StringIO()) if track else contextlib.nullcontext()


@contextlib.contextmanager
def released(runs: Sequence[Run]) -> Iterator[None]:
    """Whatever happens, no run stays marked as being trained."""
    try:
        yield
    except (CharLMError, OSError) as error:
        for run in runs:
            run.update(status="failed", message=str(error))
        raise
    finally:
        for run in runs:
            run.release()


@contextlib.contextmanager
def stops_between_steps(control: "Control") -> Iterator[None]:
    """Ctrl-C and SIGTERM end the training after its present step; a second one ends the program at once."""
    came: list[int] = []

    def stop(number: int, *_: object) -> None:
        if came:
            end(number)
        came.append(number)
        control.interrupted = True

    with on_signals([signal.SIGINT, signal.SIGTERM], stop):
        yield
    if came:
        end(came[0])


def reproduce(
    name: Name = "", epochs: Epochs = 0, arch: Arch = "", track: Track = "", runs_dir: RunsDir = None,
    json: Json = False,
) -> None:  # fmt: skip
    """Train as a tutorial did, or continue that, and print the losses beside those it published."""
    from charlm.jobs.tutorials import TUTORIALS, comparison, measured

    if not name:
        print_rows([{"name": key, "about": one.about, "epochs": one.epochs} for key, one in TUTORIALS.items()], json)
        return
    if name not in TUTORIALS:
        raise ConfigError(f"reproduce knows {', '.join(TUTORIALS)}, not {name[:40]!r}")
    tutorial = TUTORIALS[name]
    if arch and arch not in tutorial.archs:
        raise ConfigError(f"{name} was published of {', '.join(tutorial.archs)}, not of {arch[:40]!r}")
    if epochs < 0 or epochs > tutorial.epochs:
        raise ConfigError(f"epochs {epochs} is not between 1 and the {tutorial.epochs} that were published")
    check_tracker(track)
    rows: list[dict[str, Any]] = []
    for one in [arch] if arch else tutorial.archs:
        settings = {**tutorial.options, "arch": one, "epochs": 1, "label": f"reproduce-{name}-{one}"}
        config = from_options(settings, tutorial.preset)
        run = train_epochs(RunStore(runs_dir), tutorial, config, epochs or tutorial.epochs, track)
        rows += comparison(tutorial, one, [entry for entry in measured(run) if entry["epoch"] <= (epochs or 10**9)])
    print_rows(rows, json)


def train_epochs(store: RunStore, tutorial: "Tutorial", config: RunConfig, epochs: int, track: str = "") -> Run:
    """The run of a tutorial's model, trained up to so many epochs, measured after each.

    Args:
        store: has the run if it was started before; otherwise it is created there.
        tutorial: has the text, and says how its losses were measured.
        config: the settings, for one epoch.
        epochs: in all.
        track: a tracker; empty: none.

    Raises:
        JobError: the training failed.
    """
    from charlm.jobs.tutorials import measure, measured

    known = [run for run in store.list() if run.label == config.train.label and run.preset == config.preset]
    run, corpus = (known[0] if known else None), None
    while run is None or run.status != "finished" or round(run.epoch) < epochs:
        corpus = corpus or tutorial.read(config.corpus, open_corpus)
        run = train_epoch(store, run, corpus, config, track)
        if run.status != "finished":
            raise JobError(f"{run.label} is {run.status}: {run.message}")
        entry = measure(run, corpus, tutorial.way)
        shown = {key: f"{value:.4f}" if isinstance(value, float) else f"{value}" for key, value in entry.items()}
        note("  ".join(f"{key} {value}" for key, value in shown.items()))
    if run.status == "finished" and all(entry["epoch"] != round(run.epoch) for entry in measured(run)):
        measure(run, corpus or tutorial.read(config.corpus, open_corpus), tutorial.way)  # it was cut off before that
    return run


def train_epoch(store: RunStore, run: Run | None, corpus: Corpus, config: RunConfig, track: str = "") -> Run:
    """Train a tutorial's model for its first or another epoch, or finish one that was interrupted.

    Args:
        store: where a new run goes.
        run: to be continued; None: a new one.
        corpus: its text.
        config: settings of a new run.
        track: a tracker; empty: none.

    Returns:
        The run as it is on disk afterwards.
    """
    from charlm.data.dataset import corpus_cut, tokenizer_for
    from charlm.runs.create import create_runs
    from charlm.runs.resume import reopen

    if run is not None:
        corpus = reopen(run, {"epochs": 1} if run.status == "finished" else {}, corpus)
        return work([run], corpus, resume=True, track=track)[0]
    tokenizer = tokenizer_for(corpus, config.model, config.corpus)
    steps = corpus_cut(corpus, tokenizer, config.train, config.corpus)[0].steps_per_epoch
    config = replace(config, train=replace(config.train, eval_every=steps))
    return work(create_runs(store, corpus, config, [config.model.arch], tokenizer=tokenizer), corpus, track=track)[0]
