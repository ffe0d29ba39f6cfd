"""evaluate and inspect: what is measured of trained models and their texts."""

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any

import typer

from charlm.analysis.settings import SETTINGS, CrossSettings
from charlm.cli.generate import find_model
from charlm.cli.options import Json, ModelToken, RunsDir, RunTokens, open_corpus, takes
from charlm.cli.report import cell, counted, note, print_answer, print_json, print_table
from charlm.config import CorpusConfig
from charlm.errors import CharLMError, ConfigError, MeasurementError
from charlm.pretrained import MAY_KNOW, Pretrained
from charlm.runs.store import Run, RunStore
from charlm.serving import NgramBaselines, Serving
from charlm.serving.compared import Writer
from charlm.serving.measurements import MEASUREMENTS, Measurements, ask, measured_as, module_of
from charlm.serving.texts import part_of, whole_text

OTHER_TEXT = "Another text to score. (default: the run's own)"
OtherText = Annotated[str, typer.Option("--corpus", metavar="CORPUS", help=OTHER_TEXT)]
SPLIT = "Which part. (default: val of the run's text, all of another)"
OF = "Score on what was held out of this run's text for validation."
HeldOutOf = Annotated[str, typer.Option("--held-out-of", metavar="RUN", help=OF)]
FIRST = "Only so many from the beginning of that text. (default: 0, all)"
Characters = Annotated[int, typer.Option("--characters", metavar="N", min=0, help=FIRST)]
Split = Annotated[str, typer.Option("--split", metavar="val|test|all", help=SPLIT)]
TEXT = "A text to measure on. (default: what was held out of the run's own)"
Text = Annotated[str, typer.Option("--text", metavar="CORPUS", help=TEXT)]
MOST_ROWS = 60  # of a table for people


def evaluate(
    run: ModelToken, corpus: OtherText = "", split: Split = "", held_out_of: HeldOutOf = "", characters: Characters = 0,
    runs_dir: RunsDir = None, json: Json = False,
) -> None:  # fmt: skip
    """Print a model's scores on its own or another text.

    Raises:
        ConfigError: a text is named twice, or none where one is needed.
    """
    store = RunStore(runs_dir)
    serving = Serving(store)
    found = find_model(serving, store, run)
    if held_out_of and (corpus or split):
        raise ConfigError("--held-out-of names text and part; leave out --corpus and --split")
    if isinstance(found, Pretrained) or held_out_of or characters:
        origin = store.find(held_out_of) if held_out_of else found
        text = _part(origin, corpus, split, characters)
        scores = _scores(found, text) if isinstance(found, Pretrained) else serving.evaluate(found, text)
    else:
        other = open_corpus(corpus, found.corpus_config) if corpus else None  # cleaned as the run's own text was
        given = (other.text, split, other.held_out) if other else (None, split)
        scores = serving.evaluate(found, *given)
    print_answer(scores, "\n".join(f"{name}: {cell(value)}" for name, value in scores.items()), json)


def _part(origin: Writer, corpus: str, split: str, characters: int) -> str:
    """The beginning of a part of a text: of a corpus, or of a run's own text."""
    if corpus:
        cleaning = CorpusConfig() if isinstance(origin, Pretrained) else origin.corpus_config
        other = open_corpus(corpus, cleaning)
        part = part_of(other.text, split or "all", cleaning, other.held_out)
    elif isinstance(origin, Pretrained):
        raise ConfigError(
            f"{origin.label}, a pretrained model, has no text of its own; name one with --corpus, or a run with "
            "--held-out-of"
        )
    else:
        part = part_of(whole_text(origin), split or "val", origin.corpus_config, origin.held_out)
    return part[: characters or None]


def _scores(model: Pretrained, text: str) -> dict[str, Any]:
    """What a text costs a pretrained model, for people and programs."""
    found = None
    with counted(f"scoring with {model.label}") as tell:
        for progress in model.score(text):
            tell(progress.share)
            found = progress.result or found
    if found is None:
        raise MeasurementError(f"{model.label} read nothing")
    note(f"bits_per_char is an upper bound: one way to write the text in tokens is counted. {MAY_KNOW}.")
    return {**found.to_dict(), "parameters": model.num_parameters}


inspect_app = typer.Typer(no_args_is_help=True)


@inspect_app.command("ladder", help="The n-gram baselines of the runs' texts, and which of them the runs are worth.")
def ladder(runs: RunTokens, runs_dir: RunsDir = None, json: Json = False) -> None:
    """Print the n-gram baselines of some runs."""
    store = RunStore(runs_dir)
    show_baselines([store.find(token) for token in runs], json)


@inspect_app.command("cross", help="What the text of each model costs the others, and held-out text each of them.")
@takes(CrossSettings)
def cross(options: dict[str, Any], runs: RunTokens, runs_dir: RunsDir = None, json: Json = False) -> None:
    """Print the cross-perplexity of some runs, in bits per character.

    Args:
        options: the settings of CrossSettings that were given, by name.
    """
    from charlm.analysis.cross import finding, table

    store = RunStore(runs_dir)
    found = list({run.run_id: run for run in map(store.find, runs)}.values())
    given = [run.label for run in found]
    labels = [label if given.count(label) == 1 else run.run_id for label, run in zip(given, found, strict=True)]
    result = None
    with counted("cross-perplexity") as tell:
        for progress in Serving(store).cross(found, options, labels):
            tell(progress.share)
            result = progress.result or result
    if result is None:
        raise MeasurementError("cross-perplexity ended without a result")
    if json:
        print_json(result)
        return
    print(f"{finding(result)}\n")
    print_table(table(result))


def measuring(name: str) -> Callable[..., None]:
    """The command of a measurement: it takes runs, a text, and the measurement's settings."""

    @takes(SETTINGS[name])
    def measure(
        options: dict[str, Any], runs: RunTokens, text: Text = "", runs_dir: RunsDir = None, json: Json = False
    ) -> None:
        store = RunStore(runs_dir)
        found = [store.find(token) for token in runs]
        show_measurement(name, found, open_corpus(text, CorpusConfig()).text if text else None, options, json)

    command: Callable[..., None] = measure
    return command


for _name, _about in MEASUREMENTS.items():
    inspect_app.command(_name, help=_about)(measuring(_name))


def show_measurement(name: str, runs: Sequence[Run], text: str | None, options: Mapping[str, Any], json: bool) -> None:
    """Measure some runs one after the other, and print what was found.

    Args:
        name: of MEASUREMENTS.
        runs: that are measured.
        text: see `charlm.serving.measurements.Question`.
        options: settings of the measurement, by name.
        json: a list with what was found of each run, instead of the sentence and a table.

    Raises:
        CharLMError: nothing was found of any run.
    """
    measurements, module = Measurements(), module_of(name)
    found: list[tuple[Run, dict[str, Any]]] = []
    errors: list[CharLMError] = []
    for run in {run.run_id: run for run in runs}.values():  # each once
        try:
            with counted(f"{name} of {run.label}") as tell:
                found.append((run, measurements.measured(ask(name, run, text, options), tell)))
        except ConfigError:
            raise
        except CharLMError as error:
            errors.append(error)
    if not found:
        raise errors[0]
    for refused in errors:
        note(str(refused))
    if json:
        print_json([{"run_id": run.run_id, **result} for run, result in found])
        return
    given = [run.label for run, _ in found]
    labels = [run.label if given.count(run.label) == 1 else run.run_id for run, _ in found]
    measured = [measured_as(label, *one) for label, one in zip(labels, found, strict=True)]
    print(module.finding(measured))
    for one in measured:
        rows = module.rows(one.result)
        print(f"\n{one.label}")
        print_table(rows[:MOST_ROWS])
        if len(rows) > MOST_ROWS:
            print(f"and {len(rows) - MOST_ROWS:,} more rows, which --json prints")


def show_baselines(runs: Sequence[Run], json: bool) -> None:
    """The n-gram baselines of the runs' texts, and where the runs stand among them; runs of one text share a table."""
    known = NgramBaselines()
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(known.key(run), []).append(run)
    measured = [(group, known.measured(group[0])) for group in groups.values()]
    if json:
        print_json([_facts(run, baselines) for group, baselines in measured for run in group])
        return
    for place, (group, baselines) in enumerate(measured):
        print("\n" * (place > 0) + str(group[0].corpus.get("name", "")))
        print_table(_rows(group, baselines))
        if baselines.ppmd_missing:
            print(f"{baselines.ppmd_missing}.")


def _facts(run: Run, baselines: Any) -> dict[str, Any]:
    """What `--json` prints of a run; `worth` is the order of the n-gram that it keeps up with."""
    return {
        "run_id": run.run_id,
        "label": run.label,
        "arch": run.arch,
        "best_val_loss": run.best_val_loss,
        "worth": None if run.best_val_loss is None else baselines.matched_order(run.best_val_loss),
        "ladder": baselines.to_dict(),
    }


def _rows(runs: Sequence[Run], baselines: Any) -> list[Mapping[str, Any]]:
    """A line for every baseline, the runs among them, from the worst to the best."""
    rows = [("uniform", baselines.uniform, 0), ("xz", baselines.xz, 0)]
    if baselines.ppmd:
        rows += [("ppmd, adapting", baselines.ppmd.adapting, 0), ("ppmd, frozen", baselines.ppmd.frozen, 0)]
    rows += [(f"{order}-gram", loss, 0) for order, loss in enumerate(baselines.orders, 1)]
    scored = [(run.label, run.best_val_loss) for run in runs if run.best_val_loss is not None]
    rows += [(label, loss, baselines.matched_order(loss)) for label, loss in scored]
    return [
        {
            "model": name,
            "nats_per_token": loss,
            "bits_per_char": baselines.bits(loss),
            "worth": f"{order}-gram" if order else "",
        }
        for name, loss, order in sorted(rows, key=lambda row: -row[1])
    ]
