"""The registry of architectures: names, colours, classes, and the settings that suit each."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Architecture:
    """An architecture as the program knows it.

    Attributes:
        name: as it is shown.
        colour: of its curves and labels, in hexadecimal.
        source: its class, as "module:Class" in charlm/models.
        learning_rate: the rate that suits layers of RATED_SIZE; see bench/RECIPES.md.
        rate_power: a good learning rate falls with this power of the width.
        dropout: the factor by which its dropout differs from what suits an LSTM.
        counted: whether it is counted in one pass instead of trained: no batches, no steps, no layers.
        attends: whether it has attention, over `context` tokens and with `num_heads` heads.
    """

    name: str
    colour: str
    source: str
    learning_rate: float = 3.5e-3
    rate_power: float = 0.75
    dropout: float = 0.5
    counted: bool = False
    attends: bool = False


# A new architecture is one line here and one file in charlm/models. The colours are Okabe and Ito's, which colour-blind
# readers can distinguish.
ARCHITECTURES = {
    "lstm": Architecture("LSTM", "#0072B2", "recurrent:LSTMModel", 1e-2, dropout=1.0),
    "gru": Architecture("GRU", "#009E73", "recurrent:GRUModel", 5e-3, dropout=0.6),
    "rnn": Architecture("RNN", "#D55E00", "recurrent:RNNModel", 2.5e-3),
    "transformer": Architecture("Transformer", "#CC79A7", "transformer:TransformerModel", 1e-3, 1.25, attends=True),
    "mingru": Architecture("minGRU", "#56B4E9", "mingru:MinGRUModel"),
    "ngram": Architecture("n-gram", "#7F7F7F", "ngram:NGramModel", counted=True),
}
ARCHS = tuple(ARCHITECTURES)
ARCH_NAMES = {arch: architecture.name for arch, architecture in ARCHITECTURES.items()}
# The width that `Architecture.learning_rate` is for, and the one below which it rises no further.
RATED_SIZE, NARROWEST_RATED = 512, 64
# A training of fewer steps than RATED_STEPS takes a rate larger by this power of how much shorter it is, down to
# FEWEST_RATED steps.
RATED_STEPS, FEWEST_RATED, RATE_BREVITY = 800, 50, 0.25
RACE_ARCHS = ("lstm", "gru", "rnn")  # the default of a race


def is_counted(arch: str) -> bool:
    """Whether an architecture is counted in one pass over a text instead of trained."""
    return arch in ARCHITECTURES and ARCHITECTURES[arch].counted
