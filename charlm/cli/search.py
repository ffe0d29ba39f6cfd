"""search: find good settings for one or several architectures, and train the winners again."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from charlm.architectures import ARCH_NAMES
from charlm.cli.options import Json, RunsDir, named_archs, open_corpus, takes
from charlm.cli.report import note, print_json, print_table
from charlm.cli.train import Preset, Track, quiet, show_race, stops_between_steps, work
from charlm.config import CorpusConfig, ModelConfig, SearchConfig, TrainConfig
from charlm.errors import ConfigError
from charlm.experiments.tracking import TrialTracking
from charlm.formats.trackers import check_tracker
from charlm.presets import from_options
from charlm.runs.store import RunStore

if TYPE_CHECKING:
    from charlm.experiments.search import Search, Trial

# Of a trial, the search decides how long it is; runs alone are named, kept along the way and looked at.
DECIDED = (
    "arch", "counted", "epochs", "steps", "patience", "eval_every", "label", "snapshots", "record_gradient"
)  # fmt: skip
SHOWN = 5  # trials of each architecture, the best

TEXT = "A file, - for standard input, or a name that `corpora` lists; with --resume only if it is no longer kept."
Text = Annotated[str, typer.Argument(metavar="CORPUS", help=TEXT)]
Archs = Annotated[str, typer.Option("--archs", metavar="A,B,..", help="Architectures; each gets the same minutes.")]
ResumeId = Annotated[str, typer.Option("--resume", metavar="ID", help="Go on with a search that was cut off.")]
CONFIRM = (
    "Train the winners, and the settings they began from, again with 3 fresh seeds, and print what may be claimed."
)
Confirm = Annotated[bool, typer.Option("--confirm", help=CONFIRM)]


@takes(ModelConfig, TrainConfig, CorpusConfig, SearchConfig, skip=DECIDED)
def search(
    options: dict[str, Any], corpus: Text = "", archs: Archs = "lstm", resume: ResumeId = "", confirm: Confirm = False,
    preset: Preset = "", track: Track = "", runs_dir: RunsDir = None, json: Json = False,
) -> int:  # fmt: skip
    """Search for good settings within some minutes, and print them, what they gained and what mattered.

    Args:
        options: the settings that were given, by name; `minutes` is the search's own.

    Returns:
        The exit code: 0, or 1 if a training of `confirm` failed.
    """
    check_tracker(track)
    store = RunStore(runs_dir)
    found, text = reopen(store, resume, corpus, options) if resume else begin(store, corpus, options, archs, preset)
    from charlm.jobs import Control

    control = Control()
    with stops_between_steps(control):
        if not found.is_done:
            note(f"search {found.search_id}: {found.trial_seconds:g} s a trial, {found.minutes:g} min an architecture")
            tracking = TrialTracking(track, found, note)

            def on_trial(arch: str, trial: "Trial") -> None:
                print_trial(found, arch, trial)
                tracking.add(arch, trial)

            with quiet(track):
                found.run(text, lambda: control.interrupted, on_trial)
        if control.interrupted:
            note(f"saved; go on with: python -m charlm search --resume {found.search_id}")
    if confirm:
        return show_race(work(found.confirm(store, text), text, track=track), json)
    if json:
        print_json(found.result())
    else:
        print_search(found)
    return 0


def begin(store: RunStore, token: str, options: dict[str, Any], archs: str, preset: str) -> tuple["Search", Any]:
    """A new search and its text.

    Raises:
        ConfigError, CorpusError: a setting or the text is not usable.
    """
    chosen = named_archs(archs)
    if not token:
        raise ConfigError("name the text to search on, or with --resume the search to go on with")
    minutes = SearchConfig.pick(options).minutes
    config = from_options({name: value for name, value in options.items() if name != "minutes"}, preset)
    corpus = open_corpus(token, config.corpus)
    from charlm.experiments.search import Search  # Optuna and torch take seconds: not before they are needed

    return (made := Search.create(store.root, corpus, config, chosen, minutes)), made.text(corpus)


def reopen(store: RunStore, search_id: str, token: str, options: dict[str, Any]) -> tuple["Search", Any]:
    """A search that was begun, and its text.

    Raises:
        ConfigError: it is to have other settings.
        CheckpointError, CorpusError: there is no such search, or its text is no longer at hand.
    """
    if options:
        given = ", ".join(f"--{name.replace('_', '-')}" for name in options)
        raise ConfigError(f"search {search_id} goes on with its own settings; leave out {given}, or begin a new one")
    from charlm.experiments.search import Search

    found = Search.find(store.root, search_id)
    return found, found.text(open_corpus(token, found.cleaning) if token else None)


def print_trial(search: "Search", arch: str, trial: "Trial") -> None:
    """A line on stderr for a trial that has ended."""
    loss = "no validation" if trial.loss is None else f"validation loss {trial.loss:.3f}"
    left = max(0.0, 60.0 * search.minutes - search.seconds(arch))
    note(
        f"{ARCH_NAMES[arch]} {'base' if trial.is_base else f'trial {trial.number}'}: {loss}, {trial.state}"
        f"{f' ({trial.message})' if trial.message else ''}, {typed(trial.settings)}, {trial.seconds:.0f} s, "
        f"{left:,.0f} s left"
    )


def typed(settings: Mapping[str, Any]) -> str:
    """Settings as one types them, `--hidden-size 192`."""
    words = {name: f"{value:g}" if isinstance(value, float) else value for name, value in settings.items()}
    return " ".join(f"--{name.replace('_', '-')} {word}" for name, word in words.items())


def print_search(found: "Search") -> None:
    """Print the best trials of each architecture, and in sentences what was found and what to do next."""
    from charlm.experiments.trials import settings_of

    for arch in found.archs:
        ranked = sorted(found.trials(arch), key=lambda one: (one.state != "finished", one.loss or 1e9))
        if ranked:
            print(f"{ARCH_NAMES[arch]}")
            print_table([row_of(one) for one in ranked[:SHOWN]])
        if weights := found.importances(arch):
            print(f"what mattered: {', '.join(f'{name} {share:.0%}' for name, share in weights.items())}")
        print()
    for sentence in found.sentences():
        print(sentence)
    for arch in found.archs:
        if winner := found.winner(arch):
            print(f"{ARCH_NAMES[arch]}: --arch {arch} {typed(settings_of(winner))}")
    print(found.confirm_command if found.is_done else f"python -m charlm search --resume {found.search_id}")


def row_of(trial: "Trial") -> dict[str, Any]:
    """A trial as a line of a table; fractions as they are typed."""
    settings = {name: f"{value:g}" if isinstance(value, float) else value for name, value in trial.settings.items()}
    return {
        "trial": "base" if trial.is_base else trial.number, "val_loss": trial.loss, "state": trial.state, **settings,
        "seconds": round(trial.seconds),
    }  # fmt: skip
