#!/usr/bin/env bash
# Keras 3.15.1 on JAX 0.10.2: a recurrent layer with stateful=True carries its state only when the model is called; in
# predict(), predict_on_batch(), evaluate() and fit() every batch begins with zeros.
#
# Expected, from the layer's own description: "the last state for each sample at index i in a batch will be used as
# initial state for the sample of index i in the following batch", whichever way the batches come. On PyTorch (2.13.0)
# predict() and predict_on_batch() do so.
# Seen: a text read in three pieces gives the result of the whole one by model(piece), and that of the last piece alone
# by predict(piece), be it three calls or one with three batches. fit() leaves a state of zeros, too, so that truncated
# backpropagation through time trains on pieces without a past. There is no warning.
# For us: our own layers carry the state from batch to batch; models of Keras are imported with their weights only.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check keras==3.15.1 jax==0.10.2
cat >"$work/see.py" <<'END'
import sys

import keras
import numpy as np

PIECES, STEPS, UNITS = 3, 4, 5
text = np.random.default_rng(0).standard_normal((1, PIECES * STEPS, 2)).astype("float32")
pieces = text.reshape(PIECES, 1, STEPS, 2)  # of one sample each
model = keras.Sequential([keras.Input(batch_shape=(1, STEPS, 2)), keras.layers.GRU(UNITS, stateful=True)])
layer = model.layers[0]
plain = keras.layers.GRU(UNITS)
plain.build(text.shape)
plain.set_weights(layer.get_weights())
whole, alone = np.asarray(plain(text)), np.asarray(plain(pieces[-1]))


def seen(read):
    layer.reset_state()
    last = np.asarray(read()[-1]).reshape(1, UNITS)
    return {(True, False): "whole", (False, True): "last piece alone"}[
        np.allclose(last, whole, atol=1e-5), np.allclose(last, alone, atol=1e-5)
    ]


found = {
    "call": seen(lambda: [model(piece) for piece in pieces]),
    "predict": seen(lambda: [model.predict(piece, verbose=0) for piece in pieces]),
    "predict, one call": seen(lambda: model.predict(pieces[:, 0], batch_size=1, verbose=0)),
    "predict_on_batch": seen(lambda: [model.predict_on_batch(piece) for piece in pieces]),
}
model.compile("sgd", "mse")
goal = np.zeros((PIECES, UNITS))
layer.reset_state()
errors = [model.evaluate(pieces[-1], goal[:1], verbose=0) for _ in range(2)]
found["evaluate twice"] = "the same" if errors[0] == errors[1] else "different"
layer.reset_state()
model.fit(pieces[:, 0], goal, batch_size=1, shuffle=False, verbose=0)
found["state after fit"] = float(np.abs(np.asarray(layer.states[0])).max())
print(found)
expected = {
    "call": "whole", "predict": "last piece alone", "predict, one call": "last piece alone",
    "predict_on_batch": "last piece alone", "evaluate twice": "the same", "state after fit": 0.0,
}
sys.exit(found != expected)
END
KERAS_BACKEND=jax "$work/venv/bin/python" "$work/see.py"
