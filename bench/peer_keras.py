"""A step of training in Keras 3 on JAX: see bench/peers.py. Runs in an environment of its own."""

from collections.abc import Callable

import keras
import numpy as np

from bench.measure import Round, rated

DROPOUT, CLIP, RATE = 0.3, 5.0, 1e-3


def trainer(
    arch: str, vocab_size: int, hidden_size: int, num_layers: int, batch_size: int, seq_len: int, seconds: float
) -> Callable[[], Round]:
    """Keras' own layers, its optimizer and its train_on_batch, which compiles."""
    kind = {"lstm": keras.layers.LSTM, "gru": keras.layers.GRU, "rnn": keras.layers.SimpleRNN}[arch]
    inputs = keras.Input((seq_len, vocab_size), batch_size=batch_size)
    x = inputs
    for _ in range(num_layers):
        x = keras.layers.Dropout(DROPOUT)(kind(hidden_size, return_sequences=True)(x))
    model = keras.Model(inputs, keras.layers.Dense(vocab_size)(x))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(RATE, global_clipnorm=CLIP), loss)
    rng, one_hot = np.random.default_rng(0), np.eye(vocab_size, dtype=np.float32)

    def step() -> None:
        x, y = rng.integers(0, vocab_size, (2, batch_size, seq_len))
        model.train_on_batch(one_hot[x], y)

    return rated(step, batch_size * seq_len, seconds)
