"""The panels of the Understand tab before anything is measured; how their pictures are drawn is in a module each."""

from dataclasses import dataclass

from charlm.analysis import settings
from charlm.config import Config


@dataclass(frozen=True)
class Outline:
    """What the page shows of a panel at once; nothing here loads torch.

    Attributes:
        name: of the measurement: `charlm inspect NAME`, the endpoint, the element ids, the module beside this one.
        title: of the fold.
        question: what it answers, in one line.
        settings: how it is measured.
        controls: those of the settings that the panel offers, by name.
        is_plot: the picture is a plot.
        is_markup: there is text beside or instead of the plot.
        script: a file of static/ that makes the markup live; empty: none.
    """

    name: str
    title: str
    question: str
    settings: type[Config]
    controls: tuple[str, ...]
    is_plot: bool = True
    is_markup: bool = True
    script: str = ""


MEMORY = Outline(
    "memory",
    "Effective memory",
    "How many tokens back does a model make use of? Where its line is flat, more context no longer helps.",
    settings.MemorySettings,
    ("beyond", "targets", "longest"),
)
GRADIENT = Outline(
    "gradient",
    "Gradient through time",
    "How much the loss at one token still depends on the state many tokens before it.",
    settings.GradientSettings,
    ("positions", "lags", "at"),
    is_markup=False,
)
SURPRISE = Outline(
    "surprise",
    "Surprise",
    "Which letters did each model not see coming, and what did it expect instead?",
    settings.SurpriseSettings,
    ("characters",),
    script="understand_text.js",
)
NEURONS = Outline(
    "neurons",
    "Neurons",
    "Is there a unit that follows the quotes, the line, the word, and does the model need it?",
    settings.NeuronsSettings,
    ("label", "state", "layer", "unit"),
    script="understand_text.js",
)
DYNAMICS = Outline(
    "dynamics",
    "Dynamics",
    "How long the units keep what they have read, and whether the state forgets how it began.",
    settings.DynamicsSettings,
    ("tokens",),
)
COPIES = Outline(
    "copies",
    "Memorised or invented",
    "How much of what a model writes stands word for word in the text it learned from?",
    settings.CopiesSettings,
    ("temperatures", "samples", "length", "ngram", "shortest", "seed"),
)
HISTORY = Outline(
    "history",
    "Time machine",
    "What did the model write and know earlier in its training, and what did it learn when?",
    settings.HistorySettings,
    ("prompt", "temperature", "seed", "length"),
    script="understand_history.js",
)
GYM = Outline(
    "gym",
    "Memory gym",
    "Over how long a delay can each architecture learn to remember?",
    settings.GymSettings,
    ("task", "archs", "seeds", "steps", "first_delay", "longest", "init"),
)

FIRST = (MEMORY, GRADIENT)  # the tab's first screen
FOLDED = (SURPRISE, NEURONS, DYNAMICS, COPIES, HISTORY, GYM)
