"""Cross-perplexity: what the text of each model costs the others, and what held-out text costs each.

Every model writes some texts from the zero state, at temperature 1 and without filters, so that a text is drawn from
the model's own distribution. Every model reads all of them, and as many passages of the same length of held-out text,
each from the zero state after the id that stands for an empty prompt. What is written costs its writer the entropy of
its distribution on average, and no reader less (Gibbs' inequality); how much more it costs a reader is the
Kullback-Leibler divergence between the two.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypedDict

import numpy as np
import torch

from charlm.analysis.measurement import Progress, listed
from charlm.analysis.settings import CrossSettings
from charlm.config import SampleConfig
from charlm.errors import MeasurementError
from charlm.files import csv_text
from charlm.generation import generate_many
from charlm.generation.streams import first_id
from charlm.tokenizers import Tokenizer

if TYPE_CHECKING:
    from charlm.models import LanguageModel

Settings = CrossSettings

VERSION = 1  # of the numbers: those kept of another one are measured again
AT_ONCE = 4  # texts written between two looks at whether to go on
READ = 250  # tokens of each text read at a time
PER_TOKEN = 4  # characters that a word or subword is taken to have, with its space
LINE = 400  # a passage begins with the line that begins within so many characters


class Participant(NamedTuple):
    """A model that writes and reads.

    Attributes:
        run_id: of its run.
        name: what to call it.
        model: in evaluation mode.
        tokenizer: its own.
    """

    run_id: str
    name: str
    model: "LanguageModel"
    tokenizer: Tokenizer


class Row(TypedDict):
    """What the texts of one source cost every reader.

    Attributes:
        writer: the run that wrote them; empty: they are held-out text.
        name: what to call the source.
        texts: how many there are.
        characters: of all of them.
        bits: per character, for each reader; None: it does not know a character or a word of them.
    """

    writer: str
    name: str
    texts: int
    characters: int
    bits: list[float | None]


class Cross(TypedDict):
    """The matrix.

    Attributes:
        readers: run ids, in the order of the columns.
        names: of the readers.
        rows: of each reader as a writer, in the same order, then of held-out text.
    """

    readers: list[str]
    names: list[str]
    rows: list[Row]


def measure(
    models: Sequence[Participant], held_out: Mapping[str, str], settings: Settings
) -> Iterator[Progress[Cross]]:
    """Have every model write, and every model read.

    Args:
        models: at least one.
        held_out: held-out texts by what to call them; may be empty.
        settings: how many texts, and how long.

    Yields:
        The share of the work that is done; the matrix with the last one.

    Raises:
        MeasurementError: a model wrote nothing, or its numbers grew beyond all bounds.
    """
    if lists := [one.name for one in models if one.tokenizer.border is not None]:
        raise MeasurementError(
            f"{lists[0]} learned a list, each item from nothing, and reads no text that goes on; leave it out"
        )
    batches = -(-settings.samples // AT_ONCE)
    work = len(models) * batches + len(models) * (len(models) + len(held_out))
    done, sources = 0, list[tuple[str, str, list[str]]]()
    for one in models:
        texts: list[str] = []
        for first in range(0, settings.samples, AT_ONCE):
            texts += written(one, settings, first, min(AT_ONCE, settings.samples - first))
            done += 1
            yield Progress(done / work)
        if not any(texts):
            raise MeasurementError(f"{one.name} wrote nothing that could be read; give it more than {settings.length}")
        sources.append((one.run_id, one.name, texts))
    sources += [("", name, passages(text, settings.samples, settings.length)) for name, text in held_out.items()]
    rows: list[Row] = []
    for writer, name, texts in sources:
        bits: list[float | None] = []
        for one in models:
            cost = bits_per_character(one, texts)
            bits.append(None if cost is None else round(cost, 4))
            done += 1
            if done < work:
                yield Progress(done / work)
        rows.append(Row(writer=writer, name=name, texts=len(texts), characters=sum(map(len, texts)), bits=bits))
    readers, names = [one.run_id for one in models], [one.name for one in models]
    yield Progress(1.0, Cross(readers=readers, names=names, rows=rows))


def written(one: Participant, settings: Settings, first: int, count: int) -> list[str]:
    """Some of a model's texts, drawn from its own distribution.

    Args:
        one: the model.
        settings: length and seed.
        first: which text is the first of them, from 0 on; its seed follows from that.
        count: how many.
    """
    tokens = settings.length if one.tokenizer.level == "char" else math.ceil(settings.length / PER_TOKEN)
    config = SampleConfig(length=tokens, temperature=1.0, seed=settings.seed + first)
    return generate_many(one.model, one.tokenizer, [""] * count, config)


def passages(text: str, count: int, length: int) -> list[str]:
    """Pieces of a text, evenly spaced, each from the beginning of a line where one is near; fewer of a short text."""
    count = max(1, min(count, len(text) // length))
    starts = [round(place * (len(text) - length) / max(1, count - 1)) for place in range(count)]
    lines = [text.find("\n", start, start + LINE) + 1 if start > 0 else 0 for start in starts]
    begun = [line if line and line + length <= len(text) else start for start, line in zip(starts, lines, strict=True)]
    return [text[max(0, start) : max(0, start) + length] for start in begun]


@torch.no_grad()
def bits_per_character(one: Participant, texts: Sequence[str]) -> float | None:
    """What texts cost a model, each from the zero state; None: it does not know a part of them, or they are empty.

    Raises:
        MeasurementError: the model's numbers are not finite.
    """
    characters = sum(map(len, texts))
    if not characters or any(one.tokenizer.unknown(text) for text in texts):
        return None
    ids = [np.array([first_id(one.tokenizer), *one.tokenizer.encode(text)], np.int64) for text in texts]
    longest = max(map(len, ids))
    inputs, targets = np.zeros((len(ids), longest - 1), np.int64), np.full((len(ids), longest - 1), -1)
    for row, read in enumerate(ids):
        inputs[row, : len(read) - 1], targets[row, : len(read) - 1] = read[:-1], read[1:]
    nats, state, device = 0.0, None, one.model.device
    for start in range(0, longest - 1, READ):
        part = slice(start, start + READ)
        given, wanted = (torch.from_numpy(block[:, part].copy()).to(device) for block in (inputs, targets))
        losses, state = one.model.row_losses(given, wanted, state)
        nats += float(losses.sum())
    if not math.isfinite(nats):
        raise MeasurementError(f"{one.name} gives no finite numbers: its training diverged; choose another model")
    return nats / characters / math.log(2)


def finding(found: Cross) -> str:
    """Whose text each model finds cheapest, and what held-out text costs, in a sentence or two."""
    names, size = found["names"], len(found["names"])
    costs = [[row["bits"][reader] for row in found["rows"][:size]] for reader in range(size)]  # (readers, writers)
    told, all_own = [], True
    for reader, column in enumerate(costs):
        known = {writer: cost for writer, cost in enumerate(column) if cost is not None}
        own, others = known.get(reader), {writer: cost for writer, cost in known.items() if writer != reader}
        if own is None or not others:
            continue
        best = min(others, key=lambda writer: others[writer])
        if own < others[best]:
            told.append(f"{names[reader]} pays {own:.2f} for its own and {others[best]:.2f} or more for another's")
        else:
            all_own = False
            told.append(f"{names[reader]} pays {own:.2f} for its own and {others[best]:.2f} for that of {names[best]}")
    if told:
        who = "Every" if all_own else "Not every"
        said = f"{who} model finds its own text cheapest, in bits per character: {'; '.join(told)}."
    else:
        own_costs = [(name, column[place]) for place, (name, column) in enumerate(zip(names, costs, strict=True))]
        known_costs = [f"{name} {cost:.2f}" for name, cost in own_costs if cost is not None]
        said = f"Its own text costs {listed(known_costs)} bits per character." if known_costs else ""
    held = [f"{name} {cost:.2f}" for name, cost in zip(names, _held_out(found), strict=True) if cost is not None]
    return " ".join(filter(None, [said, f"Held-out text costs {listed(held)}." if held else ""]))


def _held_out(found: Cross) -> list[float | None]:
    """What the first held-out text costs each reader."""
    rows = [row for row in found["rows"] if not row["writer"]]
    return rows[0]["bits"] if rows else [None] * len(found["names"])


def best_readers(row: Row) -> set[int]:
    """The columns of a row with its lowest number, as it is shown; none where fewer than two are known."""
    known = {place: round(cost, 2) for place, cost in enumerate(row["bits"]) if cost is not None}
    return {place for place, cost in known.items() if cost == min(known.values())} if len(known) > 1 else set()


def cross_csv(found: Cross) -> str:
    """The matrix as CSV: a row for each source, its texts and characters, and bits per character for each reader."""
    head = ["written_by", "run_id", "texts", "characters", *found["names"]]
    rows = ([row["name"], row["writer"], row["texts"], row["characters"], *row["bits"]] for row in found["rows"])
    return csv_text([head, *rows])


def table(found: Cross) -> list[dict[str, Any]]:
    """One row a source: `text`, and bits per character under the name of each reader."""
    return [{"text": row["name"], **dict(zip(found["names"], row["bits"], strict=True))} for row in found["rows"]]
