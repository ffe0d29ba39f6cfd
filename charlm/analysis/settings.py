"""How each measurement is made: its settings, which the command line, the page and the endpoints read from here.

They stand apart from the measurements, which need torch: the page shows its controls before it is loaded.
"""

from dataclasses import dataclass

from charlm.analysis.labels import LABELS
from charlm.architectures import ARCHITECTURES, RACE_ARCHS
from charlm.config import Config, SampleConfig, setting
from charlm.errors import ConfigError

NOW, INITIAL = "now", "initial"  # weights whose gradient is measured, beside the steps of snapshots
ANY = "any"  # of the labels, or of the kinds of units
LARGEST_N = 30  # n-grams of a text have 1 to so many characters
MOST_TEMPERATURES = 8
LEAST_READ = 2000  # tokens that the dynamics are measured over
TASKS = ("copy", "first", "brackets", "parity", "counting")  # of the gym
STATES = ("h", "c", "i", "f", "g", "o", "r", "z", "n", "h~")  # and gates


@dataclass(frozen=True)
class MemorySettings(Config):
    """How effective memory is measured."""

    targets: int = setting(4000, "Tokens of the text whose loss is measured with every context", 64, 100_000, "tokens")
    longest: int = setting(1000, "Contexts grow no longer than this, even if the loss still falls", 8, 1000, "tokens")
    beyond: str = setting(
        "none",
        "Before the context: none (the zero state), the text's own tokens shuffled, or tokens from elsewhere in it",
        choices=("none", "shuffled", "elsewhere"),
    )


@dataclass(frozen=True)
class GradientSettings(Config):
    """How the gradient is measured."""

    positions: int = setting(64, "Places of the text whose loss is differentiated", 2, 4096, "places")
    lags: int = setting(256, "Steps back, from the state that the last step reads", 2, 1024, "tokens")
    warmup: int = setting(144, "Tokens read before the first state", 1, 4096, "tokens")
    at: str = setting(NOW, "Which weights: now, initial, or the step of a kept snapshot", high=12)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.at not in (NOW, INITIAL) and not (self.at.isascii() and self.at.isdigit()):
            raise ConfigError(f"at {self.at!r} is neither {NOW}, {INITIAL} nor the step of a snapshot")


@dataclass(frozen=True)
class SurpriseSettings(Config):
    """How surprise is measured."""

    characters: int = setting(1500, "Characters of the text, from its beginning", 10, 20_000, "characters")


@dataclass(frozen=True)
class NeuronsSettings(Config):
    """Which unit is looked at, and on how much text it is found."""

    label: str = setting(ANY, "What the unit is to follow; any: the first that the text has", choices=(ANY, *LABELS))
    state: str = setting(ANY, "Kind of unit: a state (h, c) or a gate; any: all of them", choices=(ANY, *STATES))
    layer: int = setting(-1, "Layer, from 0 on; -1: all", -1, 7)
    unit: int = setting(-1, "Unit of the layer, from 0 on; -1: the best one", -1, 4095)
    tokens: int = setting(
        8000, "Tokens of text; the first half finds the unit, the second tests it", 416, 40_000, "tokens"
    )
    seed: int = setting(7, "Random seed of the units to compare with and of the texts", 0, 2**31 - 1)


@dataclass(frozen=True)
class DynamicsSettings(Config):
    """How the dynamics are measured."""

    tokens: int = setting(
        8192, "Tokens to read after the warm-up, or what the text has", LEAST_READ, 1_000_000, "tokens"
    )
    warmup: int = setting(144, "Tokens read before, at each of up to 16 places of the text", 1, 4096, "tokens")
    seed: int = setting(7, "Seed of the small changes whose growth is the Lyapunov exponent", 0, 2**31 - 1)


@dataclass(frozen=True)
class CopiesSettings(Config):
    """What is compared with the training text, and how."""

    source: str = setting("generated", "What the model writes, or a text of your own", choices=("generated", "pasted"))
    temperatures: str = setting("0.5, 0.8, 1.0", "Temperatures to write at, separated by commas", high=80)
    samples: int = setting(4, "Texts written at each temperature, the second with seed + 1 and so on", 1, 16, "texts")
    length: int = setting(1000, "Length of each of them", 50, 10_000, "characters")
    ngram: int = setting(8, "Characters of the n-grams that the finding is about", 1, LARGEST_N, "characters")
    shortest: int = setting(20, "Length from which on a copy is marked", 2, 1000, "characters")
    seed: int = setting(7, "Random seed of the first text", 0, 2**31 - 100)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.numbers()

    def numbers(self) -> list[float]:
        """The temperatures, ascending.

        Raises:
            ConfigError: they are none, too many, or out of range.
        """
        words = [word.strip() for word in self.temperatures.split(",") if word.strip()]
        try:
            found = sorted({SampleConfig(temperature=float(word)).temperature for word in words})
        except ValueError:
            raise ConfigError(f"temperatures {self.temperatures!r} are no numbers separated by commas") from None
        if not 1 <= len(found) <= MOST_TEMPERATURES:
            raise ConfigError(f"temperatures has {len(found)} numbers; give 1 to {MOST_TEMPERATURES}, as in 0.5, 1.0")
        return found


@dataclass(frozen=True)
class HistorySettings(Config):
    """How the history of a training is looked at."""

    prompt: str = setting(
        "The ", "What each text begins with; what the model does not know of it is left out", high=200
    )
    length: int = setting(200, "Tokens written at each step", 1, 1_000, "tokens")
    temperature: float = setting(0.8, "Of the texts; below 1: more predictable", 0.01, 10.0)
    seed: int = setting(7, "Of the texts, the same at each step", 0, 2**31 - 1)
    characters: int = setting(8_000, "Characters of held-out text that are measured", 100, 20_000, "characters")
    shown: int = setting(300, "Tokens of it whose bits are kept one by one", 1, 1_000, "tokens")


@dataclass(frozen=True)
class CrossSettings(Config):
    """How many texts every model writes and reads, and how long they are."""

    samples: int = setting(20, "Texts that each model writes, and passages of held-out text", 20, 64, "texts")
    length: int = setting(300, "Length of each of them", 50, 1000, "characters")
    seed: int = setting(7, "Random seed of the first text, the second with seed + 1 and so on", 0, 2**31 - 100)


@dataclass(frozen=True)
class GymSettings(Config):
    """What is learned, by which architectures, and how long."""

    task: str = setting("copy", "What is to be learned", choices=TASKS)
    archs: tuple[str, ...] = setting(RACE_ARCHS, "Of nearly equal parameter counts", high=6, unit="architectures")
    seeds: int = setting(3, "Trainings of each architecture, with other weights and sequences", 1, 10, "trainings")
    steps: int = setting(1000, "Steps of a training that does not solve all delays before", 1, 100_000, "steps")
    first_delay: int = setting(1, "Delay that a training begins with", 1, 512)
    longest: int = setting(128, "Longest delay; the grid doubles from the first one up to it", 1, 512)
    parameters: int = setting(10_000, "Parameters of each model, about", 1000, 1_000_000, "parameters")
    learning_rate: float = setting(0.005, "Largest step size of Adam", 1e-5, 0.1)
    init: str = setting("tuned", "Initial weights of recurrent layers", choices=("tuned", "torch", "xavier"))
    seed: int = setting(7, "Random seed of the first training", 0, 2**31 - 100)

    def __post_init__(self) -> None:
        super().__post_init__()
        for arch in self.archs:
            if arch not in ARCHITECTURES or ARCHITECTURES[arch].counted:
                known = ", ".join(name for name, about in ARCHITECTURES.items() if not about.counted)
                raise ConfigError(f"archs names {arch[:40]!r}; those that learn by gradient are: {known}")
        if not self.archs:
            raise ConfigError("archs names no architecture; give one or more, as in lstm, rnn")
        if self.first_delay > self.longest:
            raise ConfigError(f"first_delay {self.first_delay} is larger than longest, {self.longest}")

    @property
    def delays(self) -> list[int]:
        """The grid: `first_delay`, twice that and so on, and `longest`."""
        grid = [self.first_delay]
        while grid[-1] < self.longest:
            grid.append(min(2 * grid[-1], self.longest))
        return grid


# By the name of the measurement.
SETTINGS: dict[str, type[Config]] = {
    "memory": MemorySettings,
    "gradient": GradientSettings,
    "surprise": SurpriseSettings,
    "neurons": NeuronsSettings,
    "dynamics": DynamicsSettings,
    "copies": CopiesSettings,
    "history": HistorySettings,
    "cross": CrossSettings,
    "gym": GymSettings,
}
