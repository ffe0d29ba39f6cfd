"""What the architectures are, in two sentences and a drawing each; what decides how good they get; the words used."""

from charlm.architectures import ARCH_NAMES, ARCHS
from charlm.ui.html import render

TITLE = "What these models are, and why the recipe matters more than the architecture"
# Their drawings are in templates/primer.html.
MODELS = {
    "lstm": "Carries two memories from one character to the next: a cell, and an output made of it. Gates decide what "
    "of the cell is kept, what is written to it and what is read, so it can hold something for dozens of "
    "characters.",
    "gru": "Carries one memory. One gate decides how much of it is kept as it is, another how much of it counts for "
    "what is new: a quarter fewer weights than an LSTM of the same width.",
    "rnn": "Carries one memory, which is computed anew at every character from the last one and what is read. "
    "Nothing protects what it holds.",
    "transformer": "Carries no memory. At every character it looks back at all of the last ones, weighs them by how "
    "well they fit (attention), and mixes what they hold.",
    "mingru": "A GRU whose gates see what is read and not the memory, so that a whole sequence is computed at once in "
    "training. It stands in blocks like a Transformer's.",
    "ngram": "Counts what followed the last n − 1 characters in the text, and knows nothing else. It is no network, "
    "and what every network should beat.",
}
FINDING = (
    "The recipe (initial weights, learning rate, steps, dropout, width) moves the loss more than the architecture "
    "does. One pass over Sherlock Holmes with the same LSTM: 1.397 nats per character with the usual initial "
    "weights, 1.295 with better ones, 0.10 less. Eight passes with equally many parameters: the LSTM is 0.05 "
    "ahead of the GRU and 0.08 ahead of the RNN, where the Grimm notebook found 0.54."
)
WORDS = {
    "Batch": "The pieces of text that one step learns from: 16 × 64 is 16 rows of 64 characters each.",
    "Step": "One update of the weights, from one batch.",
    "2 × 512": "Two layers of 512 units each.",
    "Held-out text": "The end of the text, which no step learns from; losses are measured there.",
    "Nat, bit": "Units of surprise: a bit is the answer to one yes-or-no question, a nat is 1.44 bits.",
    "Seed": "Where random numbers begin: the same seed gives the same initial weights, or the same text.",
    "Grad. norm": "How long the gradient of a step was; it is cut at the gradient clip.",
    "PPMd, xz": "File compressors; what one needs for each character is a loss that takes no training. PPMd, of about "
    "2001, is the better one.",
    "Ring": "In a plot, the validation whose weights are kept.",
    "Bold": "In a plot, losses on held-out text. In a table, the best by more than chance.",
    "Wavy": "Under a word: it does not occur in the corpus.",
}


def primer() -> str:
    """The fold's content."""
    models = [(arch, ARCH_NAMES[arch], MODELS[arch]) for arch in ARCHS if arch in MODELS]
    return render("primer", finding=FINDING, models=models, words=WORDS)
