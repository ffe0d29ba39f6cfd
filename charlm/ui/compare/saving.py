"""A comparison to be kept: what was asked, what the models wrote and how they are placed, in three kinds of file."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from itertools import permutations, zip_longest
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from charlm import __version__
from charlm.analysis.duel import Written, duel_sentence, partings
from charlm.analysis.figures import arch_colour
from charlm.architectures import ARCH_NAMES
from charlm.config import LEVEL_NAMES, SampleConfig
from charlm.formats.markdown import fenced, plain
from charlm.pretrained.model import KIND
from charlm.serving import GeneratedText
from charlm.ui import formatting
from charlm.ui.command_line import command_line, settings
from charlm.ui.compare.cross import cells
from charlm.ui.compare.drawing import drawing
from charlm.ui.compare.ranking import kept_step, shape, trained
from charlm.ui.formatting import MISSING, listed
from charlm.ui.html import STATIC
from charlm.ui.verdict import loss_unit, names, verdict

HEAD = ("Model", "Shape", "Val. loss", "Bits/char", "At step", "Trained", "Parameters", "Seed")
POLICY = "default-src 'none'; style-src 'unsafe-inline'"  # the page has no script and asks for nothing
MOST_POINTS = 400  # of a curve
CROSS, WRITTEN_BY = "Cross-perplexity", "Written by"
CROSS_HINT = "Bits per character; bold: the lowest of its row; empty: the reader does not know a part of the text."
PARTS_HERE = "‖"  # in Markdown, where a text of a duel parts
TEMPLATES = Environment(
    loader=FileSystemLoader(STATIC.parent / "templates"), autoescape=True, trim_blocks=True, lstrip_blocks=True,
    keep_trailing_newline=True, undefined=StrictUndefined,
)  # fmt: skip


@dataclass(frozen=True)
class Comparison:
    """Some models side by side, with the texts that stand in their columns.

    Attributes:
        models: runs and pretrained models, in the order of the columns.
        texts: by run id.
        config: how the texts were written; None: they are of the trainings.
        at: when it was saved.
        cross: cross-perplexity, a `charlm.analysis.cross.Cross`; None: it has not been measured.
    """

    models: Sequence[Any]
    texts: Mapping[str, Sequence[GeneratedText]]
    config: SampleConfig | None
    at: datetime
    cross: Any = None

    @cached_property
    def called(self) -> list[str]:
        """What to call each model."""
        return names(self.models)

    @cached_property
    def runs(self) -> list[Any]:
        """Those that were trained here: they alone are ranked and have curves."""
        return [model for model in self.models if model.arch != KIND]

    @property
    def name(self) -> str:
        """A file's name without its ending: the models' labels."""
        labels = [re.sub(r"[^\w.-]+", "-", model.label).strip("-.")[:24] for model in self.models]
        return "-vs-".join(filter(None, labels))[:120] or "comparison"

    @cached_property
    def finding(self) -> tuple[str, str]:
        """Compare's heading and the line under it; of pretrained models alone, who wrote."""
        if not self.runs:
            return f"Written by {listed(self.called)}.", ""
        return verdict(self.runs)

    @property
    def remarks(self) -> list[str]:
        """What is to be said of the pretrained models."""
        return [
            f"{called} is pretrained, and not ranked. {model.note}"
            for model, called in zip(self.models, self.called, strict=True)
            if model.arch == KIND
        ]

    @cached_property
    def duel(self) -> tuple[str, Mapping[str, Sequence[int | None]]]:
        """Where the texts of a duel part, in a sentence and by run id: characters of each text before that place.

        Whether a text had come to its end is not known here: where one is the beginning of another, they have not
        parted yet. Without a duel, or with one text alone, both are empty.
        """
        present = [run for run in self.models if self.texts.get(run.run_id)]
        if self.config is None or not self.config.duel or len(present) < 2:
            return "", {}
        samples = [_written(sample) for sample in zip(*(self.texts[run.run_id] for run in present), strict=False)]
        places = zip(*map(partings, samples), strict=True)
        called = [name for run, name in zip(self.models, self.called, strict=True) if run in present]
        return duel_sentence(called, samples), {run.run_id: found for run, found in zip(present, places, strict=True)}

    def texts_of(self, run_id: str) -> list[tuple[GeneratedText, int | None]]:
        """The texts of a run, each with the characters before the place where it parts; None: it does not."""
        return list(zip_longest(self.texts.get(run_id, ()), self.duel[1].get(run_id, ())))

    @property
    def crossed(self) -> tuple[str, list[str], list[tuple[str, list[dict[str, Any]]]]]:
        """Of cross-perplexity what it shows, the readers, and by source its cells; all empty if it was not measured."""
        if self.cross is None:
            return "", [], []
        from charlm.analysis.cross import finding

        rows = [(row["name"], cells(row, self.cross["readers"])) for row in self.cross["rows"]]
        return finding(self.cross), [f"{name} reads" for name in self.cross["names"]], rows

    @property
    def command(self) -> str:
        """What writes the same texts on a command line; empty where they are of the trainings."""
        first = next((one for texts in self.texts.values() for one in texts), None)
        if self.config is None or first is None:
            return ""
        return compare_command(self.models, first.prompt, self.config)

    @property
    def how(self) -> str:
        """How the texts were written, in a line."""
        if self.config is None:
            return "Written during the trainings, at their last validation."
        given = {**self.config.to_dict(), "stop": list(self.config.stop)}
        return " · ".join(f"{name.replace('_', ' ')} {json.dumps(value)}" for name, value in given.items())

    @cached_property
    def rows(self) -> list[list[str]]:
        """The numbers of each model, under HEAD."""
        rows = []
        for run, called in zip(self.models, self.called, strict=True):
            if run.arch == KIND:
                parameters = formatting.whole(run.num_parameters)
                rows.append([called, shape(run), MISSING, bits_of(run), MISSING, MISSING, parameters, MISSING])
                continue
            loss, (_, seconds) = run.best_val_loss, trained(run)
            measured = [formatting.nats(loss), formatting.bits(run.bits_per_char(loss)), kept_step(run)]
            size = [formatting.duration(seconds), formatting.whole(run.num_parameters)]
            rows.append([called, shape(run), *measured, *size, str(run.train_config.seed)])
        return rows

    @cached_property
    def curves(self) -> list[dict[str, Any]]:
        """Validation losses by step of each run, in `loss_unit`."""
        _, factors = loss_unit(self.runs)
        curves = []
        for run, factor in zip(self.runs, factors, strict=True):
            known = [row for row in run.history().rows if row["val_loss"] is not None]
            known = known[:: 1 + len(known) // MOST_POINTS]
            losses = [round(row["val_loss"] * factor, 6) for row in known]
            curves.append({"steps": [row["step"] for row in known], "losses": losses})
        return curves


def bits_of(model: Any) -> str:
    """Bits per character of a model's column; of a pretrained one an upper bound."""
    found = formatting.bits(model.bits_per_char(model.best_val_loss))
    return f"≤ {found}" if model.arch == KIND and model.scored else found


def _written(texts: Sequence[GeneratedText]) -> list[Written]:
    """Texts of one sample; as ended ones, unless one is but the beginning of another."""
    pairs = permutations((one.text for one in texts), 2)
    is_done = not any(one != other and other.startswith(one) for one, other in pairs)
    return [Written(one.text, is_done) for one in texts]


def compare_command(runs: Sequence[Any], prompt: str, config: SampleConfig) -> str:
    """What writes the same on a command line."""
    begun = ["--prompt", prompt] if prompt else []
    models = [run.source if run.arch == KIND else run.run_id for run in runs]
    return command_line("compare", models, [*begun, *settings(config)])


def _run_facts(run: Any) -> dict[str, Any]:
    """What JSON says of a run alone."""
    loss, (steps, seconds) = run.best_val_loss, trained(run)
    return {
        "tokens": LEVEL_NAMES[run.level], "corpus": run.corpus.get("name"),
        "corpus_sha256": run.corpus.get("sha256"), "best_val_loss": loss, "best_step": run.best_step,
        "bits_per_char": run.bits_per_char(loss), "steps": steps, "seconds": seconds,
        "model": run.model_config.to_dict(), "train": run.train_config.to_dict(),
    }  # fmt: skip


def _pretrained_facts(model: Any) -> dict[str, Any]:
    """What JSON says of a pretrained model alone; its bits per character are None where it was not scored."""
    scored_on = model.scored[0] if model.scored else None
    return {
        "source": model.source, "bits_per_char": model.bits_per_char(), "upper_bound": True, "scored_on": scored_on,
        "note": model.note,
    }  # fmt: skip


def as_json(comparison: Comparison) -> str:
    """All of it for programs."""
    models, duel = [], comparison.duel[0]
    curves = dict(zip([run.run_id for run in comparison.runs], comparison.curves, strict=True))
    for run, called in zip(comparison.models, comparison.called, strict=True):
        texts = [
            {"prompt": one.prompt, "text": one.text, **({"parts_after": place} if duel else {})}
            for one, place in comparison.texts_of(run.run_id)
        ]
        both = {"run_id": run.run_id, "name": called, "label": run.label, "arch": run.arch}
        more = _pretrained_facts(run) if run.arch == KIND else {**_run_facts(run), "curve": curves[run.run_id]}
        models.append({**both, "parameters": run.num_parameters, **more, "texts": texts})
    title, sentence = comparison.finding
    about = {"program": f"CharLM Lab {__version__}", "saved": comparison.at.isoformat(timespec="seconds")}
    how = {"settings": comparison.config.to_dict() if comparison.config else None, "command": comparison.command}
    unit = loss_unit(comparison.runs)[0]
    said = {"finding": title, "explanation": sentence, "unit_of_curves": unit, **({"duel": duel} if duel else {})}
    crossed = {"cross_perplexity": comparison.cross} if comparison.cross else {}
    return json.dumps({**about, **said, **how, "models": models, **crossed}, ensure_ascii=False, indent=1) + "\n"


def as_markdown(comparison: Comparison) -> str:
    """What people read, to be pasted into a note or an issue."""
    title, sentence = comparison.finding
    table = [HEAD, tuple("---" for _ in HEAD), *comparison.rows]
    lines = [f"# {plain(title)}", "", *([plain(sentence), ""] if sentence else [])]
    lines += [f"| {' | '.join(map(_cell, row))} |" for row in table]
    for remark in comparison.remarks:
        lines += ["", plain(remark)]
    for run, called in zip(comparison.models, comparison.called, strict=True):
        for one, place in comparison.texts_of(run.run_id):
            text = one.text if place is None else one.text[:place] + PARTS_HERE + one.text[place:]
            lines += ["", f"## {plain(called)}", "", fenced(one.prompt + text)]
    lines += ["", f"{plain(comparison.duel[0])} {PARTS_HERE} marks the place."] if comparison.duel[0] else []
    lines += ["", plain(comparison.how), *(["", fenced(comparison.command)] if comparison.command else [])]
    found, readers, rows = comparison.crossed
    if found:
        shown = [[name, *(f"**{one['shown']}**" if one["best"] else one["shown"] for one in row)] for name, row in rows]
        head = [WRITTEN_BY, *readers]
        lines += ["", f"## {CROSS}", "", f"{plain(found)} {CROSS_HINT}", ""]
        lines += [f"| {' | '.join(map(_cell, row))} |" for row in (head, ["---"] * len(head))]
        lines += [f"| {' | '.join([plain(name), *costs])} |" for name, *costs in shown]
    return "\n".join([*lines, "", f"CharLM Lab {__version__}, {comparison.at:%d %b %Y, %H:%M} UTC", ""])


def _cell(text: str) -> str:
    return text if text == "---" else plain(text)


def as_html(comparison: Comparison) -> str:
    """One page that needs nothing else: no script, no request."""
    title, sentence = comparison.finding
    archs = [run.arch for run in comparison.runs]
    called = [name for run, name in zip(comparison.models, comparison.called, strict=True) if run.arch != KIND]
    columns = [
        {
            "name": called,
            "colour": arch_colour(run.arch),
            "about": f"Pretrained, {run.size}"
            if run.arch == KIND
            else f"{ARCH_NAMES.get(run.arch, run.arch)} {shape(run)}, on {run.corpus.get('name') or 'a text'}",
            "bits": bits_of(run),
            "texts": comparison.texts_of(run.run_id),
        }
        for run, called in zip(comparison.models, comparison.called, strict=True)
    ]
    return TEMPLATES.get_template("comparison.html").render(
        policy=POLICY, title=title, sentence=sentence, columns=columns, head=HEAD, rows=comparison.rows,
        remarks=comparison.remarks, crossed=comparison.crossed, cross_title=CROSS, cross_hint=CROSS_HINT,
        written_by=WRITTEN_BY,
        how=comparison.how, duel=comparison.duel[0], command=comparison.command, unit=loss_unit(comparison.runs)[0],
        drawing=drawing(comparison.curves, called, archs), version=__version__,
        at=f"{comparison.at:%d %b %Y, %H:%M} UTC",
    )  # fmt: skip


Writer = Callable[[Comparison], str]
KINDS: Mapping[str, tuple[str, Writer]] = {
    "page": ("html", as_html),
    "Markdown": ("md", as_markdown),
    "JSON": ("json", as_json),
}


def comparison_now(
    models: Sequence[Any],
    texts: Mapping[str, Sequence[GeneratedText]],
    config: SampleConfig | None,
    cross: Any = None,
) -> Comparison:
    """A comparison as it stands at this moment."""
    return Comparison(models, texts, config, datetime.now(UTC), cross)
