"""Items that a model of a list writes: distinct ones, and how many of them are new, unique and valid."""

import re
from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass, replace
from typing import Any

from charlm.config import SampleConfig
from charlm.errors import ConfigError, MeasurementError
from charlm.generation import generate_many
from charlm.models import LanguageModel
from charlm.tokenizers import Tokenizer

AT_ONCE = 64  # items written beside each other
TRIES = 20  # items written for each that is wanted, at most
MOST = 10_000  # items wanted
SMILES = "smiles"
Check = Callable[[str], bool]


@dataclass(frozen=True)
class NewItems:
    """What was written.

    Attributes:
        items: distinct, in the order in which they were written.
        written: how many were written in all; those that did not end within the length do not count.
        unfinished: those.
        unique: share of the written ones that were the first of their kind; empty ones are not.
        new: share of the distinct ones that do not occur in the training text; None: it is not at hand.
        valid: share of the distinct ones that pass the check; None: there was none.
    """

    items: list[str]
    written: int
    unfinished: int
    unique: float
    new: float | None
    valid: float | None

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    def sentence(self) -> str:
        """`20 different items of 23 written (87 % unique), 95 % of them new, 100 % valid`."""
        parts = [f"{len(self.items):,} different items of {self.written:,} written ({self.unique:.0%} unique)"]
        parts += [f"{self.new:.0%} of them new"] if self.new is not None else []
        parts += [f"{self.valid:.0%} valid"] if self.valid is not None else []
        return ", ".join(parts) + (f"; {self.unfinished:,} more had no end" if self.unfinished else "")


def checker(wanted: str) -> Check | None:
    """What decides whether an item is valid.

    Args:
        wanted: a regular expression that the whole item has to match; `smiles`, which asks RDKit; empty: nothing.

    Raises:
        ConfigError: it is no regular expression, or RDKit is not installed.
    """
    if not wanted:
        return None
    if wanted == SMILES:
        try:
            from rdkit import Chem, RDLogger
        except ImportError as error:
            raise ConfigError("check smiles needs RDKit: pip install rdkit") from error
        RDLogger.DisableLog("rdApp.*")
        return lambda item: Chem.MolFromSmiles(item) is not None
    try:
        pattern = re.compile(wanted)
    except re.error as error:
        raise ConfigError(f"check {wanted!r} is no regular expression: {error}") from error
    return lambda item: pattern.fullmatch(item) is not None


def write_items(
    model: LanguageModel,
    tokenizer: Tokenizer,
    count: int,
    prompt: str = "",
    config: SampleConfig | None = None,
    known: Collection[str] | None = None,
    check: Check | None = None,
) -> NewItems:
    """Write items until so many are different, or TRIES times as many were written.

    Args:
        model: trained on a list.
        tokenizer: the model's own, which knows the border.
        count: 1 to MOST.
        prompt: what each begins with.
        config: how they are sampled; item i has the seed config.seed + i, and at most config.length tokens.
        known: the items of the training text; None: it is not at hand.
        check: whether an item is valid.

    Raises:
        ConfigError: the count is out of range, or nothing is sampled.
        MeasurementError: the model learned no list, or none of its items ends.
    """
    config = config or SampleConfig()
    if not 1 <= count <= MOST:
        raise ConfigError(f"count must be from 1 to {MOST:,}, not {count:,}")
    if config.greedy or config.beams > 1:
        raise ConfigError("items are drawn by chance; leave out greedy and beams")
    if tokenizer.border is None:
        raise MeasurementError("this model learned a text that goes on, no list; train one with --items")
    border, prompt = tokenizer.tokens[tokenizer.border], tokenizer.spell(prompt)[0]
    config = replace(config, stop=(border,), samples=1)
    found: dict[str, None] = {}
    written = unfinished = 0
    while len(found) < count and written + unfinished < TRIES * count:
        seeded = replace(config, seed=config.seed + written + unfinished)
        texts = generate_many(model, tokenizer, [prompt] * min(AT_ONCE, TRIES * count), seeded)
        for text in texts:
            if len(text) >= config.length:  # it was cut off
                unfinished += 1
                continue
            written += 1
            if prompt + text:
                found[prompt + text] = None
            if len(found) == count:
                break
    if not found:
        raise MeasurementError(
            f"none of {unfinished:,} items ended within {config.length} characters; make length larger"
        )
    items = list(found)
    return NewItems(
        items,
        written,
        unfinished,
        len(items) / written,
        None if known is None else sum(item not in known for item in items) / len(items),
        None if check is None else sum(map(check, items)) / len(items),
    )
