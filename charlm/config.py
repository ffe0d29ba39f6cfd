"""The settings of a run: frozen dataclasses whose fields carry default, range, unit and hint.

The command line, the browser and the endpoints all read those from here; nothing else repeats them.
"""

import dataclasses
import difflib
import math
import re
import reprlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Self

from charlm.architectures import (
    ARCH_NAMES,
    ARCHITECTURES,
    ARCHS,
    FEWEST_RATED,
    NARROWEST_RATED,
    RACE_ARCHS,
    RATE_BREVITY,
    RATED_SIZE,
    RATED_STEPS,
    Architecture,
    is_counted,
)
from charlm.errors import ConfigError
from charlm.files import is_text_codec, is_utf8

__all__ = [  # with the names of architectures.py
    "ARCHITECTURES", "ARCHS", "ARCH_NAMES", "LEVELS", "LEVEL_NAMES", "LONGEST_STOP", "RACE_ARCHS", "TOKEN_SETTINGS",
    "Architecture", "Config", "CorpusConfig", "ModelConfig", "RaceConfig", "RunConfig", "SampleConfig", "SearchConfig",
    "TrainConfig", "escape", "escape_lines", "is_counted", "reject_unknown", "setting", "suited_rate", "unescape",
    "unescape_lines",
]  # fmt: skip

LEVEL_NAMES = {"char": "characters", "word": "words", "bpe": "subwords"}  # what the tokens of a level are called
LEVELS = tuple(LEVEL_NAMES)
TOKEN_SETTINGS = ("level", "words", "min_count", "vocab_size")  # which decide what the tokens of a text are
WORD_RULES = ("lower", "cased", "spaces")  # how a text is split into words
LEAST_TEMPERATURE = 0.01  # but for 0
LONGEST_STOP = 80  # characters of a stop string


def setting(
    default: Any,
    hint: str,
    low: float | None = None,
    high: float | None = None,
    unit: str = "",
    *,
    choices: tuple[str, ...] = (),
) -> Any:
    """A dataclass field with what a control needs to know.

    Args:
        default: its value unless given; its type is the setting's type.
        hint: one line for the page, --help and the documentation.
        low, high: the inclusive range of a number; of a text, `high` is the maximum length, of texts their number.
        unit: of a number, in the plural.
        choices: all values that a text may have.
    """
    metadata = {"hint": hint, "low": low, "high": high, "choices": choices, "unit": unit}
    return dataclasses.field(default=default, metadata=metadata)


def _number(name: str, value: Any, kind: type[int] | type[float], low: float | None, high: float | None) -> float:
    """`value` as an int or float in range; sliders and JSON give 3.0 for 3, which is accepted."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ConfigError(f"{name} must be a number, not {reprlib.repr(value)}")
    if isinstance(value, int) and abs(value) > 10**300:
        raise ConfigError(f"{name} is far too large a number")
    if not math.isfinite(value):
        raise ConfigError(f"{name} must be a finite number, not {value!r}")
    if kind is int and value != int(value):
        raise ConfigError(f"{name} must be a whole number, not {value!r}")
    number = kind(value)
    if (low is not None and number < low) or (high is not None and number > high):
        raise ConfigError(f"{name} {number:,} is outside {low:,} to {high:,}")
    return number


def _text(name: str, value: Any, most: float | None, choices: Iterable[str] = ()) -> str:
    """`value` if it is a text that fits UTF-8, of at most so many characters, and one of the choices."""
    if not isinstance(value, str):
        raise ConfigError(f"{name} must be text, not {reprlib.repr(value)}")
    if not is_utf8(value):
        raise ConfigError(f"{name} {reprlib.repr(value)} holds half a character (a lone surrogate); type it again")
    if choices and value not in choices:
        raise ConfigError(f"{name} {value[:80]!r} is not one of: {', '.join(choices)}")
    if most is not None and len(value) > most:
        raise ConfigError(f"{name} has {len(value):,} characters; at most {most} are allowed: {value[:20]!r}...")
    return value


def _texts(name: str, value: Any, most: float) -> tuple[str, ...]:
    """`value` as texts, each once; a single text is one of them."""
    given = (value,) if isinstance(value, str) else value
    if not isinstance(given, list | tuple) or not all(isinstance(text, str) for text in given):
        raise ConfigError(f"{name} must be a text or a list of texts, not {reprlib.repr(value)}")
    texts = tuple(dict.fromkeys(text for text in given if text))
    if len(texts) > most:
        raise ConfigError(f"{name} has {len(texts):,} texts; at most {most} are allowed")
    return tuple(_text(name, text, LONGEST_STOP) for text in texts)


def _checked(field: "dataclasses.Field[Any]", value: Any) -> Any:
    """`value` in the field's own type, or a ConfigError that names the field, the value and the range."""
    name, meta = field.name, field.metadata
    kind: Any = type(field.default)
    if kind is bool:
        if not isinstance(value, bool):
            raise ConfigError(f"{name} must be true or false, not {reprlib.repr(value)}")
        return value
    if kind is str:
        return _text(name, value, meta["high"], meta["choices"])
    if kind is tuple:
        return _texts(name, value, meta["high"])
    return _number(name, value, kind, meta["low"], meta["high"])


@dataclass(frozen=True)
class Config:
    """Base of the config classes: every field is checked when an object is made."""

    def __post_init__(self) -> None:
        for name, field in self.__dataclass_fields__.items():
            value = getattr(self, name)
            if type(value) is not type(field.default) or value != field.default:  # most are as they were set here
                object.__setattr__(self, name, _checked(field, value))

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """The names of the settings, in their order."""
        return tuple(field.name for field in dataclasses.fields(cls))

    @classmethod
    def field(cls, name: str) -> "dataclasses.Field[Any]":
        """The field `name` with its default and metadata (hint, low, high, choices, unit)."""
        return cls.__dataclass_fields__[name]

    @classmethod
    def pick(cls, values: Mapping[str, Any]) -> Self:
        """The settings of this class among `values`; other names are ignored."""
        return cls(**{name: values[name] for name in cls.names() if name in values})

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Settings from a JSON object; unknown names raise ConfigError with the nearest known one."""
        reject_unknown(values, cls.names())
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        """A plain dict, ready for JSON; `from_dict` takes it back."""
        return dataclasses.asdict(self)


def reject_unknown(values: Mapping[str, Any], known: tuple[str, ...]) -> None:
    """Raise ConfigError for the first name in `values` that is not `known`."""
    for name in values:
        if name not in known:
            near = difflib.get_close_matches(str(name)[:60], known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"known are: {', '.join(known)}"
            raise ConfigError(f"unknown setting {str(name)[:60]!r}; {hint}")


@dataclass(frozen=True)
class ModelConfig(Config):
    """The architecture, its size, its regularisation and its tokens."""

    arch: str = setting(
        "lstm", "Gated: LSTM, GRU, minGRU; without gates: RNN; attention: Transformer; counts: n-gram", choices=ARCHS
    )
    nonlinearity: str = setting("tanh", "Nonlinearity of a plain RNN; others ignore it", choices=("tanh", "relu"))
    level: str = setting("char", "A token is a character, a word, or a subword (byte-pair encoding)", choices=LEVELS)
    words: str = setting("lower", "In lower case; with capitals; or split at white space only", choices=WORD_RULES)
    min_count: int = setting(2, "Words that occur less often than this in the training part become <unk>", 1, 1_000_000)
    vocab_size: int = setting(
        0, "Vocabulary limit; 0: none for words; for subwords 256 + one per 500 characters, up to 8,192", 0, 1_000_000
    )
    embed_dim: int = setting(0, "Embedding size; 0: one-hot for recurrent layers, else hidden_size", 0, 4096, "units")
    hidden_size: int = setting(128, "Units in each layer", 1, 4096, "units")
    num_layers: int = setting(2, "Number of stacked layers", 1, 8, "layers")
    dropout: float = setting(0.1, "Share of units dropped in training, against overfitting", 0.0, 0.95)
    output_dropout: float = setting(-1.0, "Dropout before the output layer; -1: the same as dropout", -1.0, 0.95)
    input_dropout: float = setting(0.0, "Dropout on the embedding vectors; needs embed_dim", 0.0, 0.95)
    embed_dropout: float = setting(0.0, "Share of the vocabulary dropped for a whole batch", 0.0, 0.95)
    weight_dropout: float = setting(0.0, "Share of hidden-to-hidden weights dropped (DropConnect)", 0.0, 0.95)
    locked_dropout: bool = setting(False, "Use one dropout mask for all time steps of a sequence")
    tie_weights: bool = setting(False, "Share weights between embedding and output; needs embed_dim = hidden_size")
    context: int = setting(0, "Attention window of a Transformer; 0: as long as seq_len", 0, 4096, "tokens")
    num_heads: int = setting(4, "Attention heads of a Transformer; must divide hidden_size", 1, 64, "heads")
    init: str = setting(
        "tuned", "Initial weights; tuned: orthogonal recurrent ones", choices=("tuned", "torch", "xavier", "notebook")
    )
    order: int = setting(7, "Order n of an n-gram, which sees n - 1 tokens; others ignore it", 1, 12, "tokens")
    counted: int = setting(0, "Tokens an n-gram counts; set by the program", 0, 1_000_000_000, "tokens")

    def __post_init__(self) -> None:
        super().__post_init__()
        arch = ARCHITECTURES[self.arch]
        if self.tie_weights and self.embed_dim != self.hidden_size:
            raise ConfigError(
                f"tie_weights needs embed_dim equal to hidden_size; they are {self.embed_dim} and {self.hidden_size}"
            )
        if -1.0 < self.output_dropout < 0.0:
            raise ConfigError(f"output_dropout {self.output_dropout} is neither from 0 to 0.95 nor -1")
        if self.input_dropout and not self.embed_dim:
            raise ConfigError(
                f"input_dropout {self.input_dropout} acts on embedding vectors, and embed_dim 0 makes none; "
                "set embed_dim, or use embed_dropout, which drops whole tokens"
            )
        if arch.attends and self.hidden_size % (2 * self.num_heads):
            fitting = [str(heads) for heads in range(1, 65) if self.hidden_size % (2 * heads) == 0]
            way_out = f"num_heads may be {', '.join(fitting)}" if fitting else "choose an even hidden_size"
            raise ConfigError(
                f"num_heads {self.num_heads} does not divide hidden_size {self.hidden_size} into heads of an even "
                f"size, as a {arch.name} needs; {way_out}"
            )

    @property
    def dropout_before_output(self) -> float:
        """The dropout before the output layer: `output_dropout`, or `dropout` where that is -1."""
        return self.dropout if self.output_dropout < 0.0 else self.output_dropout

    @property
    def tokenization(self) -> "ModelConfig":
        """Only the settings that decide what the tokens of a text are; the others have their defaults."""
        names = {"char": ("vocab_size",), "word": TOKEN_SETTINGS, "bpe": ("level", "vocab_size")}[self.level]
        return ModelConfig(**{name: getattr(self, name) for name in names})

    @property
    def is_counted(self) -> bool:
        """Whether it is an n-gram, counted in one pass instead of trained."""
        return is_counted(self.arch)

    @property
    def window(self) -> int:
        """How many tokens before the newest one a Transformer attends to."""
        return (self.context or TrainConfig().seq_len) - 1

    @property
    def shape(self) -> str:
        """The size in words: `2 layers of 128`, or `order 7`."""
        if self.is_counted:
            return f"order {self.order}"
        return f"{self.num_layers} layer{'' if self.num_layers == 1 else 's'} of {self.hidden_size}"

    def of_width(self, hidden_size: int) -> Self:
        """These settings with other layers; a tied embedding is as long."""
        embed_dim = hidden_size if self.tie_weights else self.embed_dim
        return dataclasses.replace(self, hidden_size=hidden_size, embed_dim=embed_dim)

    def resolve_for(self, arch: str, vocab_size: int, train_tokens: int, seq_len: int) -> Self:
        """These settings with the sizes that follow from one architecture and a text.

        Args:
            arch: a key of ARCHITECTURES.
            vocab_size: of the text's tokenizer.
            train_tokens: of its training part; an n-gram counts as many, unless `counted` is set.
            seq_len: tokens of a training sequence; a Transformer's context is as long, unless `context` is set.

        Raises:
            ConfigError: no such architecture, or the settings do not fit it.
        """
        resolved = dataclasses.replace(self, arch=arch, vocab_size=vocab_size)
        about = ARCHITECTURES[arch]
        counted = (self.counted or train_tokens) if about.counted else 0
        context = self.context or (seq_len if about.attends else 0)
        return dataclasses.replace(resolved, counted=counted, context=context)


@dataclass(frozen=True)
class TrainConfig(Config):
    """How it is trained. The budget is whichever of epochs, steps and minutes is reached first; 0 sets no limit."""

    seq_len: int = setting(64, "Tokens in a sequence, over which gradients are propagated back", 1, 4096, "tokens")
    batch_size: int = setting(16, "Sequences in a batch, from evenly spaced places of the text", 1, 4096, "rows")
    learning_rate: float = setting(0.0, "Step size; 0: the rate that suits architecture, size and steps", 0.0, 10.0)
    schedule: str = setting(
        "linear", "Learning rate schedule after warm-up", choices=("constant", "linear", "cosine", "plateau")
    )
    warmup_steps: int = setting(50, "Steps in which the learning rate rises from zero", 0, 100_000, "steps")
    epochs: float = setting(0.0, "Passes over the training text; 0: no limit", 0.0, 100_000.0, "epochs")
    steps: int = setting(1200, "Weight updates; 0: no limit", 0, 100_000_000, "steps")
    minutes: float = setting(0.0, "Training time; 0: no limit", 0.0, 100_000.0, "minutes")
    grad_clip: float = setting(1.0, "Maximum L2 norm of the gradient; 0: no limit", 0.0, 1e6)
    weight_decay: float = setting(0.0, "Decoupled weight decay (AdamW)", 0.0, 10.0)
    beta1: float = setting(0.9, "Adam's decay of the mean gradient; 0.8 helps with few steps", 0.0, 0.999)
    beta2: float = setting(0.99, "Adam's decay of the mean squared gradient", 0.5, 0.99999)
    weight_average: float = setting(
        0.0, "Decay of a moving average of the weights, which is validated and saved; 0: none", 0.0, 0.99999
    )
    softmax_samples: int = setting(0, "Sampled softmax: tokens drawn per step; 0: full softmax", 0, 1_000_000, "tokens")
    patience: int = setting(0, "Validations without a lower loss before stopping; 0: never", 0, 100_000, "evaluations")
    eval_every: int = setting(
        0,
        "Steps between validations; 0: about a dozen in all, which take at most a quarter of the time",
        0,
        100_000_000,
        "steps",
    )
    snapshots: int = setting(12, "Weights kept along the way, in 16 bits, to look back at; 0: none", 0, 24, "snapshots")
    record_gradient: bool = setting(False, "Record the gradient through time at each validation")
    seed: int = setting(7, "Random seed; the same seed and settings give the same run", 0, 2**31 - 1)
    random_start: bool = setting(False, "Begin each pass at a place of the text that the seed draws, not at its start")
    device: str = setting(
        "auto",
        "Device; auto: cuda if there is one, else cpu; mps: an Apple GPU, untested",
        choices=("auto", "cpu", "cuda", "mps"),
    )
    precision: str = setting(
        "auto", "Precision of products; auto: bfloat16 where that is fast", choices=("auto", "float32", "bfloat16")
    )
    label: str = setting("", "Name of the run; empty: made from architecture and corpus", high=80)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (self.epochs or self.steps or self.minutes):
            raise ConfigError("epochs, steps and minutes are all 0: give at least one, or training would never end")

    def resolve(self, model: ModelConfig, steps: int | None = None) -> Self:
        """These settings with the learning rate that suits a model and so many steps, if none is set."""
        return self if self.learning_rate else dataclasses.replace(self, learning_rate=suited_rate(model, steps))


def suited_rate(model: ModelConfig, steps: int | None = None) -> float:
    """A good learning rate for an architecture, in two digits: smaller for wide layers, larger for short trainings.

    Args:
        model: its architecture and width.
        steps: of the training; None where nobody knows, as of a training of so many minutes.

    Source: bench/RECIPES.md, "Other architectures and sizes" and "Short trainings".
    """
    about, width = ARCHITECTURES[model.arch], max(model.hidden_size, NARROWEST_RATED)
    rate = about.learning_rate * (RATED_SIZE / width) ** about.rate_power
    brevity = RATED_STEPS / min(max(steps or RATED_STEPS, FEWEST_RATED), RATED_STEPS)
    return float(f"{rate * brevity**RATE_BREVITY:.2g}")


@dataclass(frozen=True)
class SampleConfig(Config):
    """How text is sampled from a model; charlm/generation/sampling.py says in which order the settings act."""

    length: int = setting(500, "Tokens to generate: characters, words or subwords", 1, 100_000, "tokens")
    temperature: float = setting(0.8, "Below 1: more predictable; above 1: more varied; 0: greedy", 0.0, 10.0)
    top_k: int = setting(0, "Sample from this many most likely tokens only; 0: from all", 0, 1_000_000)
    top_p: float = setting(1.0, "Sample from the most likely tokens that together reach this share; 1: all", 0.01, 1.0)
    min_p: float = setting(0.0, "Exclude tokens less likely than this share of the most likely one; 0: none", 0.0, 1.0)
    repetition_penalty: float = setting(1.0, "Above 1: makes the last 64 tokens less likely again; 1: off", 1.0, 5.0)
    greedy: bool = setting(False, "Always take the most likely token")
    beams: int = setting(1, "Beam search: hypotheses kept for the most likely text, nothing is sampled; 1: off", 1, 8)
    stop: tuple[str, ...] = setting((), "Generation ends before the first of these strings", high=8)
    samples: int = setting(1, "Texts generated at once, the second with seed + 1 and so on", 1, 8)
    allow_unk: bool = setting(False, "Let a word-level model generate <unk>")
    seed: int = setting(7, "Random seed; the same seed and settings give the same text", 0, 2**31 - 1)
    duel: bool = setting(False, "Mark where texts part that models of the same tokens draw with the same numbers")

    def __post_init__(self) -> None:
        super().__post_init__()
        if 0.0 < self.temperature < LEAST_TEMPERATURE:
            raise ConfigError(
                f"temperature {self.temperature:g} is below {LEAST_TEMPERATURE}; 0 takes the most likely token"
            )
        if self.temperature == 0.0:
            object.__setattr__(self, "greedy", True)
        if self.samples > 1 and (self.greedy or self.beams > 1):
            how = f"beams {self.beams} give" if self.beams > 1 else "greedy gives"
            raise ConfigError(f"{how} the same text every time, and samples is {self.samples}; ask for 1 sample")

    @property
    def rows(self) -> int:
        """The rows of a batch: texts, or beam hypotheses of one text."""
        return self.samples * self.beams


@dataclass(frozen=True)
class CorpusConfig(Config):
    """How a text is cleaned before training, and what of it is held out."""

    encoding: str = setting("", "Encoding of the file, such as utf-8, cp1250 or gb18030; empty: detected", high=40)
    column: str = setting(
        "", "Column of a table that holds the text, in JSON also data.posts.body; empty: text or the like", high=200
    )
    condition: str = setting(
        "", "Column of a table whose value stands before each text, `value: `, to choose when writing", high=200
    )
    separator: str = setting("blank line", "Separator between the rows of a table", choices=("blank line", "space"))
    items: str = setting(
        "none",
        "A list of items, learned one by one in an order drawn by chance: one a line, between blank lines, one a row",
        choices=("none", "line", "blank", "record"),
    )
    lf: bool = setting(True, "Convert all line endings to LF")
    drop_newlines: bool = setting(False, "Remove line endings")
    nfc: bool = setting(False, "Normalise to Unicode NFC: one code point for e + accent")
    lowercase: bool = setting(False, "Convert to lower case")
    strip_gutenberg: bool = setting(True, "Remove Project Gutenberg's header and footer")
    strip_markup: bool = setting(
        False, "Strip HTML or XML tags, RTF codes, and dates before the lines of a chat or log"
    )
    val_fraction: float = setting(0.1, "Share of the text held out for validation, before the test part", 0.0, 0.9)
    test_fraction: float = setting(0.0, "Share at the end of the text held out for a final test", 0.0, 0.9)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.encoding and not is_text_codec(self.encoding):
            raise ConfigError(
                f"encoding {self.encoding!r} is not known; use a name such as utf-8, cp1250, cp1254 or gb18030"
            )
        if self.val_fraction + self.test_fraction > 0.95:
            raise ConfigError(
                f"val_fraction {self.val_fraction} and test_fraction {self.test_fraction} leave too little "
                "to train on; keep their sum at 0.95 or less"
            )

    @property
    def is_list(self) -> bool:
        """Whether the text is a list of items."""
        return self.items != "none"


@dataclass(frozen=True)
class RaceConfig(Config):
    """How often each architecture of a race is trained, and what is the same for all of them."""

    seeds: int = setting(1, "Trainings of each architecture, with the seed and those after it", 1, 10, "seeds")
    match: str = setting(
        "width", "What has the same size in all: each layer (width), or the model", choices=("width", "parameters")
    )
    budget: str = setting(
        "tokens",
        "What all get as much of as the first: tokens (the same steps), seconds, or flops (multiply-adds)",
        choices=("tokens", "seconds", "flops"),
    )
    early_stop: bool = setting(
        False,
        "End after 30, 50 or 70 % of the seeds if the best is told apart from all others, at an adjusted level; "
        "from 4 seeds on",
    )

    def trainings(self, archs: Iterable[str]) -> int:
        """How many trainings a race of these architectures is; an n-gram has no seeds."""
        return sum(1 if is_counted(arch) else self.seeds for arch in archs)


@dataclass(frozen=True)
class SearchConfig(Config):
    """How long good settings are searched for."""

    minutes: float = setting(
        10.0, "Training time for each architecture; a trial takes a tenth of it", 0.05, 10_000.0, "minutes"
    )


@dataclass(frozen=True)
class RunConfig:
    """All settings of a training.

    Attributes:
        model, train, corpus, race: the checked settings.
        preset: the one they began from.
        given: names of the settings that are not the preset's.
    """

    model: ModelConfig
    train: TrainConfig
    corpus: CorpusConfig
    preset: str = "quick"
    given: frozenset[str] = frozenset()
    race: RaceConfig = RaceConfig()


_ESCAPES = {"\n": r"\n", "\t": r"\t", "\r": r"\r", "\\": r"\\"}
_ESCAPED = {escaped: character for character, escaped in _ESCAPES.items()}


def unescape(line: str) -> str:
    r"""The text that a line written with \n, \t, \r and \\ stands for; other backslashes stay."""
    return re.sub(r"\\[ntr\\]", lambda found: _ESCAPED[found[0]], line)


def escape(text: str) -> str:
    """The line that `unescape` turns into the text."""
    return re.sub(r"[\n\t\r\\]", lambda found: _ESCAPES[found[0]], text)


def unescape_lines(text: str) -> tuple[str, ...]:
    """The texts of all lines that are not empty."""
    return tuple(unescape(line) for line in text.split("\n") if line)


def escape_lines(texts: tuple[str, ...]) -> str:
    """One line for each text."""
    return "\n".join(map(escape, texts))
