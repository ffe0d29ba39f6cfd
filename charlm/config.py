"""The settings of a run: frozen dataclasses whose fields carry default, range, unit and hint.

The command line, the browser and the endpoints all read those from here; nothing else repeats them.
"""

import dataclasses
import difflib
import math
import re
import reprlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from charlm.architectures import (
    ARCH_NAMES,
    ARCHITECTURES,
    ARCHS,
    NARROWEST_RATED,
    RACE_ARCHS,
    RATED_SIZE,
    Architecture,
    is_counted,
)
from charlm.errors import ConfigError

# The names of architectures.py are importable from here, too.
__all__ = [
    "ARCHITECTURES",
    "ARCHS",
    "ARCH_NAMES",
    "LEVELS",
    "LEVEL_NAMES",
    "LONGEST_STOP",
    "RACE_ARCHS",
    "TOKEN_SETTINGS",
    "Architecture",
    "Config",
    "CorpusConfig",
    "ModelConfig",
    "SampleConfig",
    "TrainConfig",
    "is_counted",
    "reject_unknown",
    "setting",
    "suited_rate",
]

# What a token is, and what the tokens of a level are called.
LEVEL_NAMES = {"char": "characters", "word": "words", "bpe": "subwords"}
LEVELS = tuple(LEVEL_NAMES)
# The settings that decide what a text's tokens are.
TOKEN_SETTINGS = ("level", "words", "min_count", "vocab_size")


def setting(
    default: Any,
    hint: str,
    *,
    low: float | None = None,
    high: float | None = None,
    choices: tuple[str, ...] = (),
    unit: str = "",
) -> Any:
    """A dataclass field with what a control needs to know: hint, inclusive range or choices, unit."""
    metadata = {"hint": hint, "low": low, "high": high, "choices": choices, "unit": unit}
    return dataclasses.field(default=default, metadata=metadata)


def _number(name: str, value: Any, kind: type) -> int | float:
    """`value` as an int or float; sliders and JSON give 3.0 for 3, which is accepted."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ConfigError(f"{name} must be a number, not {reprlib.repr(value)}")
    if isinstance(value, int) and abs(value) > 10**300:
        raise ConfigError(f"{name} is far too large a number")
    if not math.isfinite(value):
        raise ConfigError(f"{name} must be a finite number, not {value!r}")
    if kind is int and value != int(value):
        raise ConfigError(f"{name} must be a whole number, not {value!r}")
    return kind(value)


LONGEST_STOP = 80  # characters of a stop string


def _texts(name: str, value: Any, most: int) -> tuple[str, ...]:
    """`value` as texts, each once; a single text is one of them."""
    given = (value,) if isinstance(value, str) else value
    if not isinstance(given, list | tuple) or not all(isinstance(text, str) for text in given):
        raise ConfigError(f"{name} must be a text or a list of texts, not {reprlib.repr(value)}")
    texts = tuple(dict.fromkeys(text for text in given if text))
    if len(texts) > most:
        raise ConfigError(f"{name} has {len(texts):,} texts; at most {most} are allowed")
    for text in texts:
        if any("\ud800" <= character <= "\udfff" for character in text):
            raise ConfigError(f"{name} {reprlib.repr(text)} holds half a character; type it again")
        if len(text) > LONGEST_STOP:
            raise ConfigError(
                f"{name} {text[:20]!r}... has {len(text):,} characters; at most {LONGEST_STOP} are allowed"
            )
    return texts


def _checked(field: dataclasses.Field, value: Any) -> Any:
    """`value` in the field's own type, or a ConfigError that names the field, the value and the range."""
    name, meta, kind = field.name, field.metadata, type(field.default)
    if kind is bool:
        if not isinstance(value, bool):
            raise ConfigError(f"{name} must be true or false, not {reprlib.repr(value)}")
        return value
    if kind is str:
        if not isinstance(value, str):
            raise ConfigError(f"{name} must be text, not {reprlib.repr(value)}")
        if any("\ud800" <= character <= "\udfff" for character in value):
            raise ConfigError(f"{name} {reprlib.repr(value)} holds half a character; type it again")
        if meta["choices"] and value not in meta["choices"]:
            raise ConfigError(f"{name} {value[:80]!r} is not one of: {', '.join(meta['choices'])}")
        if meta["high"] is not None and len(value) > meta["high"]:
            raise ConfigError(f"{name} has {len(value):,} characters; at most {meta['high']} are allowed")
        return value
    if kind is tuple:
        return _texts(name, value, meta["high"])
    value = _number(name, value, kind)
    low, high = meta["low"], meta["high"]
    if (low is not None and value < low) or (high is not None and value > high):
        raise ConfigError(f"{name} {value:,} is outside {low:,} to {high:,}")
    return value


@dataclass(frozen=True)
class Config:
    """Base of the config classes: every field is checked when an object is made."""

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            object.__setattr__(self, field.name, _checked(field, getattr(self, field.name)))

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """The names of the settings, in their order."""
        return tuple(field.name for field in dataclasses.fields(cls))

    @classmethod
    def field(cls, name: str) -> dataclasses.Field:
        """The field `name` with its default and metadata (hint, low, high, choices, unit)."""
        return cls.__dataclass_fields__[name]

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
    """What is trained. Sizes are counts of units."""

    arch: str = setting(
        "lstm",
        "Gates keep memory (LSTM, GRU, minGRU), or none (RNN); a Transformer looks back; an n-gram is counted",
        choices=ARCHS,
    )
    nonlinearity: str = setting("tanh", "What bends a plain RNN's sum; others ignore it", choices=("tanh", "relu"))
    level: str = setting(
        "char", "What one token is: a character, a word, or a subword (byte-pair encoding)", choices=LEVELS
    )
    words: str = setting(
        "lower",
        "Words in small letters and signs apart; with their capitals; or just what stands between blanks",
        choices=("lower", "cased", "spaces"),
    )
    min_count: int = setting(
        2, "Words that occur less often in the training part are all one token, <unk>", low=1, high=1_000_000
    )
    vocab_size: int = setting(
        0,
        "Most distinct tokens; 0: all there are, of subwords 256 and one for each 500 characters, up to 8,192",
        low=0,
        high=1_000_000,
    )
    embed_dim: int = setting(
        0,
        "Length of a token's vector; 0: each token looks up its own input weights, or a vector as wide as the layers",
        low=0,
        high=4096,
        unit="units",
    )
    hidden_size: int = setting(128, "Units in each layer", low=1, high=4096, unit="units")
    num_layers: int = setting(2, "Layers on top of each other", low=1, high=8, unit="layers")
    dropout: float = setting(
        0.1, "Share of units silenced while training, against learning by heart", low=0.0, high=0.95
    )
    output_dropout: float = setting(-1.0, "The same before the output alone; -1: as dropout", low=-1.0, high=0.95)
    input_dropout: float = setting(0.0, "The same on the tokens' vectors; needs embed_dim", low=0.0, high=0.95)
    embed_dropout: float = setting(
        0.0, "Share of all tokens that one batch does not see, wherever they stand", low=0.0, high=0.95
    )
    weight_dropout: float = setting(
        0.0,
        "Share of the weights between a recurrent layer's steps left out of one batch (DropConnect)",
        low=0.0,
        high=0.95,
    )
    locked_dropout: bool = setting(False, "Dropout silences the same units at all steps of a sequence")
    tie_weights: bool = setting(False, "Output weights are the embedding's; needs embed_dim = hidden_size")
    context: int = setting(
        0, "Tokens a Transformer looks back on; 0: as many as seq_len", low=0, high=4096, unit="tokens"
    )
    num_heads: int = setting(
        4, "Ways in which a Transformer's layer looks back; must divide hidden_size", low=1, high=64, unit="heads"
    )
    init: str = setting(
        "tuned",
        "First weights: tuned (orthogonal memory, open forget gate), torch's own, xavier's, or the notebook's",
        choices=("tuned", "torch", "xavier", "notebook"),
    )

    order: int = setting(
        7,
        "Longest entry of an n-gram, which looks back one less; others ignore it",
        low=1,
        high=12,
        unit="tokens",
    )
    counted: int = setting(0, "Tokens an n-gram counts; set by the program", low=0, high=1_000_000_000, unit="tokens")

    def __post_init__(self) -> None:
        super().__post_init__()
        arch = ARCHITECTURES[self.arch]
        if self.tie_weights and self.embed_dim != self.hidden_size:
            raise ConfigError(
                f"tie_weights needs embed_dim equal to hidden_size; they are {self.embed_dim} and {self.hidden_size}"
            )
        if -1.0 < self.output_dropout < 0.0:
            raise ConfigError(f"output_dropout {self.output_dropout} is neither a share from 0 to 0.95 nor -1")
        if self.input_dropout and not self.embed_dim:
            raise ConfigError(
                f"input_dropout {self.input_dropout} silences numbers of vectors, and embed_dim 0 makes none; "
                "give an embed_dim, or use embed_dropout, which silences whole tokens"
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
        """What `output_dropout` stands for."""
        return self.dropout if self.output_dropout < 0.0 else self.output_dropout

    @property
    def tokenization(self) -> "ModelConfig":
        """Only what decides what a text's tokens are; all else is the default."""
        telling = {"char": ("vocab_size",), "word": TOKEN_SETTINGS, "bpe": ("level", "vocab_size")}[self.level]
        return ModelConfig(**{name: getattr(self, name) for name in telling})

    @property
    def is_counted(self) -> bool:
        """Whether it is counted in one pass, not trained."""
        return is_counted(self.arch)

    @property
    def window(self) -> int:
        """Tokens before the newest that a Transformer looks back on."""
        return (self.context or TrainConfig().seq_len) - 1

    @property
    def shape(self) -> str:
        """`2 layers of 128`, or what its size is in other words."""
        if self.is_counted:
            return f"order {self.order}"
        return f"{self.num_layers} layer{'' if self.num_layers == 1 else 's'} of {self.hidden_size}"

    def resolve_for(self, arch: str, vocab_size: int, train_tokens: int, seq_len: int) -> Self:
        """These settings for one architecture and a text.

        Args:
            arch: lstm, gru and so on.
            vocab_size: of the text.
            train_tokens: of its training part, which an n-gram counts; it may have been told to count more.
            seq_len: tokens it is trained on at a time, and so many a Transformer looks back on if nothing else is said.
        """
        resolve_for = dataclasses.replace(self, arch=arch, vocab_size=vocab_size)  # refuses what is none
        about = ARCHITECTURES[arch]
        counted = (self.counted or train_tokens) if about.counted else 0
        context = self.context or (seq_len if about.attends else 0)
        return dataclasses.replace(resolve_for, counted=counted, context=context)


@dataclass(frozen=True)
class TrainConfig(Config):
    """How it is trained. The budget is whichever of epochs, steps and minutes is reached first; 0 sets no limit."""

    seq_len: int = setting(64, "Tokens read before the weights are mended", low=1, high=4096, unit="tokens")
    batch_size: int = setting(16, "Places in the text read side by side", low=1, high=4096, unit="rows")
    learning_rate: float = setting(
        0.0, "How far one step moves the weights; 0: what suits the architecture and its size", low=0.0, high=10.0
    )
    schedule: str = setting(
        "linear",
        "How the learning rate falls after warm-up: not at all, straight to zero, along a cosine, on a plateau",
        choices=("constant", "linear", "cosine", "plateau"),
    )
    warmup_steps: int = setting(
        50, "Steps in which the learning rate rises from zero", low=0, high=100_000, unit="steps"
    )
    epochs: float = setting(0.0, "Passes over the training text; 0: no limit", low=0.0, high=100_000.0, unit="epochs")
    steps: int = setting(1200, "Updates of the weights; 0: no limit", low=0, high=100_000_000, unit="steps")
    minutes: float = setting(0.0, "Training time; 0: no limit", low=0.0, high=100_000.0, unit="minutes")
    grad_clip: float = setting(1.0, "Longest gradient allowed, as an L2 norm; 0: no limit", low=0.0, high=1e6)
    weight_decay: float = setting(0.0, "Pull of the weights towards zero (AdamW)", low=0.0, high=10.0)
    beta1: float = setting(0.9, "How long Adam remembers gradients; 0.8 helps where steps are few", low=0.0, high=0.999)
    beta2: float = setting(0.99, "How long Adam remembers the size of gradients", low=0.5, high=0.99999)
    weight_average: float = setting(
        0.0,
        "Share a step keeps of a running average of the weights, which is what is judged and kept; 0: none",
        low=0.0,
        high=0.99999,
    )
    softmax_samples: int = setting(
        0,
        "Tokens that a step's targets are told from, drawn by their frequency; 0: all, as in every validation",
        low=0,
        high=1_000_000,
        unit="tokens",
    )
    patience: int = setting(
        0,
        "Evaluations without a better validation loss before stopping; 0: never",
        low=0,
        high=100_000,
        unit="evaluations",
    )
    eval_every: int = setting(
        0, "Steps between validations; 0: chosen by itself", low=0, high=100_000_000, unit="steps"
    )
    seed: int = setting(7, "Same seed and settings, same run", low=0, high=2**31 - 1)
    device: str = setting(
        "auto", "Where it computes; auto takes the GPU if there is one", choices=("auto", "cpu", "cuda")
    )
    precision: str = setting(
        "auto",
        "Number format of the products; auto takes bfloat16 where the processor is fast at it",
        choices=("auto", "float32", "bfloat16"),
    )
    label: str = setting("", "The run's name; empty: made from architecture and corpus", high=80)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (self.epochs or self.steps or self.minutes):
            raise ConfigError("epochs, steps and minutes are all 0: give at least one, or training would never end")

    def resolve(self, model: ModelConfig) -> Self:
        """These settings with the learning rate that suits a model, if none is set."""
        return self if self.learning_rate else dataclasses.replace(self, learning_rate=suited_rate(model))


def suited_rate(model: ModelConfig) -> float:
    """A good learning rate for an architecture, smaller for wide layers, in two digits."""
    about, width = ARCHITECTURES[model.arch], max(model.hidden_size, NARROWEST_RATED)
    rate = about.learning_rate * (RATED_SIZE / width) ** about.rate_power
    return float(f"{rate:.2g}")


@dataclass(frozen=True)
class SampleConfig(Config):
    """How text is drawn from a model; sample.probabilities says in which order the settings act."""

    length: int = setting(500, "Tokens to write; a token is a character, unless a model reads words or pieces",
                          low=1, high=100_000, unit="tokens")  # fmt: skip
    temperature: float = setting(0.8, "Below 1: safer choices; above 1: wilder ones", low=0.01, high=10.0)
    top_k: int = setting(0, "Draw among this many likeliest tokens only; 0: among all", low=0, high=1_000_000)
    top_p: float = setting(1.0, "Draw among the likeliest that together reach this share; 1: all", low=0.01, high=1.0)
    min_p: float = setting(
        0.0, "Leave out tokens with less than this share of the likeliest one's chance; 0: none", low=0.0, high=1.0
    )
    repetition_penalty: float = setting(
        1.0, "Above 1: less inclined to say again what stands in the last 64 tokens; 1: off", low=1.0, high=5.0
    )
    greedy: bool = setting(False, "Always take the likeliest token")
    beams: int = setting(
        1, "Beam search: the likeliest text found with so many kept at once; nothing is drawn. 1: off", low=1, high=8
    )
    stop: tuple[str, ...] = setting((), "The text ends before the first of these that it would write", high=8)
    samples: int = setting(1, "Texts written at once, the second with seed + 1 and so on", low=1, high=8)
    allow_unk: bool = setting(False, "Let a model of words write its sign for a word it does not know")
    seed: int = setting(7, "Same seed and settings, same text", low=0, high=2**31 - 1)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.samples > 1 and (self.greedy or self.beams > 1):
            how = f"beams {self.beams} write" if self.beams > 1 else "greedy writes"
            raise ConfigError(f"{how} the same text every time, and samples is {self.samples}; ask for 1 sample")

    @property
    def rows(self) -> int:
        """Texts, or hypotheses of one, that a model has to compute."""
        return self.samples * self.beams


@dataclass(frozen=True)
class CorpusConfig(Config):
    """How a text is cleaned before training, and what of it is held out."""

    column: str = setting("", "Column of a table to read; empty: text or Text", high=200)
    separator: str = setting("blank line", "What stands between the rows of a table", choices=("blank line", "space"))
    lf: bool = setting(True, "Make all line ends LF")
    drop_newlines: bool = setting(False, "Take the line ends out")
    nfc: bool = setting(False, "Unicode NFC: one code for e + accent")
    lowercase: bool = setting(False, "Turn capitals into small letters")
    strip_gutenberg: bool = setting(True, "Take Project Gutenberg's header and footer off")
    val_fraction: float = setting(
        0.1, "Share of the text held out for validation, before the test tail", low=0.0, high=0.9
    )
    test_fraction: float = setting(0.0, "Share at the very end kept for a final test", low=0.0, high=0.9)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.val_fraction + self.test_fraction > 0.95:
            raise ConfigError(
                f"val_fraction {self.val_fraction} and test_fraction {self.test_fraction} leave too little "
                "to train on; keep their sum at 0.95 or less"
            )


SIGNS = {"n": "\n", "t": "\t", "r": "\r", "\\": "\\"}
LETTERS = {character: letter for letter, character in SIGNS.items()}


def unescape(line: str) -> str:
    """The text that a typed line stands for; a backslash before anything else is itself."""
    return re.sub(r"\\([ntr\\])", lambda found: SIGNS[found[1]], line)


def escape(text: str) -> str:
    """A line that stands for the text."""
    return re.sub(r"[\n\t\r\\]", lambda found: "\\" + LETTERS[found[0]], text)


def unescape_lines(text: str) -> tuple[str, ...]:
    """One text for each line that is not empty."""
    return tuple(unescape(line) for line in text.split("\n") if line)


def escape_lines(texts: tuple[str, ...]) -> str:
    """One line for each text."""
    return "\n".join(map(escape, texts))
