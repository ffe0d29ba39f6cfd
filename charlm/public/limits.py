"""What a visitor of a public Space may use: the one table of limits, and the checks of a request against it."""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from charlm.architectures import ARCH_NAMES
from charlm.config import ModelConfig, RaceConfig, SampleConfig, TrainConfig
from charlm.errors import ConfigError, LimitError

ELSEWHERE = "run CharLM Lab on your own machine, or in a Space of your own with CHARLM_PUBLIC=0"


def is_public() -> bool:
    """Whether strangers share this server: CHARLM_PUBLIC is 1, or SPACE_ID is set and CHARLM_PUBLIC is not 0.

    Raises:
        ConfigError: CHARLM_PUBLIC is neither 0 nor 1.
    """
    given = os.environ.get("CHARLM_PUBLIC") or ("1" if os.environ.get("SPACE_ID") else "0")
    if given not in ("0", "1"):
        raise ConfigError(f"CHARLM_PUBLIC must be 0 or 1, not {given[:20]!r}")
    return given == "1"


def limit(value: float, what: str, unit: str) -> Any:
    """A row of the table.

    Args:
        value: the number.
        what: it bounds.
        unit: of the number.
    """
    return field(default=value, metadata={"what": what, "unit": unit})


@dataclass(frozen=True)
class Limits:
    """The table. What has no `together` in front counts for one visitor."""

    parameters: int = limit(4_000_000, "size of a model", "parameters")
    hidden_size: int = limit(1_280, "units in a layer", "units")
    num_layers: int = limit(4, "layers", "layers")
    vocab_size: int = limit(20_000, "distinct tokens", "tokens")
    order: int = limit(8, "an n-gram's longest entry", "tokens")
    counted: int = limit(2_000_000, "what an n-gram has counted", "tokens")
    ladder_tokens: int = limit(600_000, "what is counted of a text for its n-gram ladder", "tokens")
    context: int = limit(512, "tokens that a Transformer looks back on", "tokens")
    tokens_a_step: int = limit(16_384, "batch_size times seq_len", "tokens")
    steps: int = limit(2_000, "steps of a run", "steps")
    run_minutes: float = limit(5.0, "training time of a run", "minutes")
    day_minutes: float = limit(15.0, "training and scoring within 24 hours", "minutes")
    seeds: int = limit(3, "trainings of an architecture in a race, with a seed each", "seeds")
    runs: int = limit(12, "runs that are kept", "runs")
    texts: int = limit(10, "uploaded and pasted texts that are kept", "texts")
    votes: int = limit(500, "blind votes that are kept", "votes")
    corpus_bytes: int = limit(2_000_000, "a text, as UTF-8", "bytes")
    checkpoint_bytes: int = limit(15_000_000, "a run that is brought along", "bytes")
    length: int = limit(1_000, "a generated text", "tokens")
    prompt: int = limit(2_000, "a prompt", "characters")
    texts_a_minute: int = limit(10, "generations within a minute; each sample and each beam is one", "generations")
    looks_a_minute: int = limit(30, "texts whose next tokens are shown, within a minute", "texts")
    measurements: int = limit(1, "measurements at work, each of up to six models", "measurements")
    measurement_seconds: int = limit(60, "computing for a measurement of one model, which counts as scoring", "seconds")
    uploads_an_hour: int = limit(30, "uploaded files within an hour", "files")
    downloads_an_hour: int = limit(60, "files made for download within an hour", "files")
    starts_an_hour: int = limit(30, "trainings begun within an hour", "trainings")
    waiting_requests: int = limit(32, "requests that are not answered yet", "requests")
    files_a_request: int = limit(4, "files in one upload", "files")
    body_bytes: int = limit(16_000_000, "an upload, all files together", "bytes")
    question_bytes: int = limit(8_000_000, "any other request", "bytes")
    per_address: int = limit(8, "visitors' shares that one internet address has", "shares")
    together_trainings: int = limit(1, "trainings at work", "trainings")
    together_waiting: int = limit(10, "trainings that wait", "trainings")
    together_writing: int = limit(64, "generations at work", "generations")
    together_texts: int = limit(2_000, "uploaded and pasted texts; those not opened for longest make room", "texts")
    together_disk_bytes: int = limit(10_000_000_000, "runs, texts and uploads; the oldest make room", "bytes")

    def rows(self) -> list[dict[str, Any]]:
        """The table for people and programs: name, value, unit, what."""
        return [{"name": row.name, "value": getattr(self, row.name), **row.metadata} for row in fields(self)]


@dataclass(frozen=True)
class Visitor:
    """Who asks.

    Attributes:
        key: stands in the run.json of the visitor's runs; it neither identifies a person nor grants access.
        address: the internet address, "" where it says nothing (this machine itself).
        known: proved by a secret of its own; who has none is not shown what others do from the same address.
    """

    key: str
    address: str = ""
    known: bool = True


def refuse_above(value: float, most: float, said: str, way_out: str) -> None:
    """Refuse a number beyond its limit.

    Args:
        value: what is asked for.
        most: what is allowed.
        said: how the sentence begins, {} for the value: "hidden_size is {}".
        way_out: what would work here.

    Raises:
        LimitError: names the value, the limit and the way out.
    """
    if value > most:
        raise LimitError(
            f"{said.format(f'{value:,}')}, more than the {most:,} of this public Space; {way_out}, or {ELSEWHERE}"
        )


def check_model(limits: Limits, model: ModelConfig, parameters: int) -> None:
    """Refuse a model that is too large.

    Args:
        limits: the table.
        model: with the size of its vocabulary.
        parameters: that it has.

    Raises:
        LimitError: see `refuse_above`.
    """
    refuse_above(model.vocab_size, limits.vocab_size, "vocab_size is {}", "choose fewer tokens, or a larger min_count")
    if model.is_counted:
        refuse_above(model.order, limits.order, "order is {}", "choose a lower one")
        refuse_above(model.counted, limits.counted, "the n-gram counts {} tokens", "choose a shorter text")
        return
    refuse_above(model.hidden_size, limits.hidden_size, "hidden_size is {}", "choose a smaller one")
    refuse_above(model.num_layers, limits.num_layers, "num_layers is {}", "choose fewer")
    refuse_above(parameters, limits.parameters, f"the {ARCH_NAMES[model.arch]} has {{}} parameters", "make it smaller")


def check_context(limits: Limits, model: ModelConfig, rows: int = 1) -> None:
    """Refuse a model whose state would take too much memory, whatever the size of its weights.

    Args:
        limits: the table.
        model: may look back on what it has read.
        rows: that are read side by side.

    Raises:
        LimitError: see `refuse_above`.
    """
    said = "context (seq_len, if it is 0) is {}"
    refuse_above(model.context, limits.context, said, "choose a shorter one")
    refuse_above(rows * model.context, limits.tokens_a_step, f"batch_size times {said}", "choose smaller ones")


def check_training(limits: Limits, train: TrainConfig) -> None:
    """Refuse a training whose steps are too many, too long or too wide.

    Raises:
        LimitError: see `refuse_above`.
    """
    tokens = train.batch_size * train.seq_len
    refuse_above(tokens, limits.tokens_a_step, "batch_size times seq_len is {}", "choose smaller ones")
    refuse_above(train.steps, limits.steps, "steps is {}", "choose fewer")
    refuse_above(train.minutes, limits.run_minutes, "minutes is {}", "choose fewer")


def check_race(limits: Limits, race: RaceConfig) -> None:
    """Refuse more trainings of an architecture than a visitor may have, and a race whose length nobody knows.

    Raises:
        LimitError: see `refuse_above`; or it may stop early.
    """
    if race.early_stop:
        raise LimitError(f"this public Space has no early stopping; switch early_stop off, or {ELSEWHERE}")
    refuse_above(race.seeds, limits.seeds, "seeds is {}", "choose fewer")


def check_text_size(limits: Limits, size: int) -> None:
    """Refuse a text of so many bytes that is too large.

    Raises:
        LimitError: see `refuse_above`.
    """
    refuse_above(size, limits.corpus_bytes, "the text has {} bytes", "choose a shorter one")


def check_tokens(limits: Limits, text: str, model: ModelConfig) -> None:
    """Refuse a vocabulary that would take too long to be found in a text.

    Args:
        limits: the table.
        text: to be read.
        model: what a token is, and how many are asked for.

    Raises:
        LimitError: see `refuse_above`.
    """
    refuse_above(model.vocab_size, limits.vocab_size, "vocab_size is {}", "choose fewer tokens")
    if model.level != "char":
        check_text_size(limits, utf8_size(text))


def check_new(limits: Limits, size: int, train: TrainConfig, models: Iterable[tuple[ModelConfig, int]]) -> None:
    """Refuse a training that no visitor may start.

    Args:
        limits: the table.
        size: of the text, in bytes.
        train: how it would be trained.
        models: what would be trained, each with its number of parameters.

    Raises:
        LimitError: names the first limit that is exceeded, and the way out.
    """
    check_text_size(limits, size)
    check_training(limits, train)
    for model, parameters in models:
        check_model(limits, model, parameters)
        check_context(limits, model, train.batch_size)


def utf8_size(text: str) -> int:
    """Bytes of a text as UTF-8."""
    return len(text.encode("utf-8", "replace"))


def check_sampling(limits: Limits, prompt: str, config: SampleConfig) -> None:
    """Refuse a text or a prompt that is too long, or more samples at once than one may have in a minute.

    Args:
        limits: the table.
        prompt: to be continued.
        config: length, samples and beams.

    Raises:
        LimitError: see `refuse_above`.
    """
    refuse_above(config.length, limits.length, "length is {}", "ask for fewer tokens")
    refuse_above(len(prompt), limits.prompt, "the prompt has {} characters", "shorten it")
    refuse_above(config.rows, limits.texts_a_minute, "samples times beams is {}", "ask for fewer")


def fitted(limits: Limits, values: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a preset, cut down to what is allowed here.

    Args:
        limits: the table.
        values: settings by name; of the known ones, those beyond their limit are changed.
    """
    most = {name: getattr(limits, name) for name in ("hidden_size", "num_layers", "order", "steps", "length")}
    if values.get("tie_weights"):
        most["embed_dim"] = limits.hidden_size  # which it is equal to
    return {name: min(value, most[name]) if name in most else value for name, value in values.items()}
