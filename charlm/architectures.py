"""The architectures: how each is called and shown, where its class stands, and what suits it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Architecture:
    """How an architecture is called and shown, and what settings must know of it.

    Attributes:
        name: as it is shown.
        colour: everywhere.
        source: where its class stands: "module:Class" in charlm/models.
        learning_rate: that suits layers of RATED_SIZE; see bench/RECIPES.md.
        rate_power: of the width, by which a good learning rate falls.
        dropout: how much it takes of the dropout that suits an LSTM.
        counted: it is counted in one pass over the text, not trained: no batches, no steps to choose, no layers.
        attends: it looks back on `context` tokens, in `num_heads` ways.
    """

    name: str
    colour: str
    source: str
    learning_rate: float = 3.5e-3
    rate_power: float = 0.75
    dropout: float = 0.5
    counted: bool = False
    attends: bool = False


# A new architecture is one line here and one file in charlm/models. Colours are Okabe and Ito's, told apart by
# colour-blind readers.
ARCHITECTURES = {
    "lstm": Architecture("LSTM", "#0072B2", "recurrent:LSTMModel", 1e-2, dropout=1.0),
    "gru": Architecture("GRU", "#009E73", "recurrent:GRUModel", 5e-3, dropout=0.6),
    "rnn": Architecture("RNN", "#D55E00", "recurrent:RNNModel", 2.5e-3),
    "transformer": Architecture("Transformer", "#CC79A7", "transformer:TransformerModel", 1e-3, 1.25, attends=True),
    "mingru": Architecture("minGRU", "#56B4E9", "mingru:MinGRUModel"),
    "ngram": Architecture("n-gram", "#7F7F7F", "ngram:NGramModel", counted=True),
}
ARCHS = tuple(ARCHITECTURES)
ARCH_NAMES = {arch: one.name for arch, one in ARCHITECTURES.items()}
# The width that `Architecture.learning_rate` is for, and the one below which it does not rise any more.
RATED_SIZE, NARROWEST_RATED = 512, 64
# What a race is between unless told otherwise.
RACE_ARCHS = ("lstm", "gru", "rnn")


def is_counted(arch: str) -> bool:
    """Whether an architecture is counted in one pass over a text, not trained."""
    return arch in ARCHITECTURES and ARCHITECTURES[arch].counted
