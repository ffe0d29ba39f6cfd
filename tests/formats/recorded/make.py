"""Small models that other programs wrote, with random weights, and the logits that these computed.

`python -m tests.formats.recorded.make FOLDER NAME..` writes them anew, where what made them is installed: keras (with
torch beside it), flax, mlx, tensorflow with tf_keras, or Node with the path of recurrentjs' source in RECURRENTJS.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tests.formats.models import TOKENS

IDS = [[3, 0, 2, 11, 5, 5, 1, 7, 4, 9], [0, 1, 2, 3, 4, 5, 6, 7, 8, 10]]
SIZE, WIDTH, HIDDEN = len(TOKENS), 3, 4
STOI = {token: place for place, token in enumerate(TOKENS)}


def saved(folder: Path, file: str, logits: Any, listed: bool = True) -> None:
    """Note what a model computed, and its characters beside it."""
    values = np.asarray(logits, dtype=np.float64)
    assert np.ptp(values, axis=-1).min() > 0.05, "logits that are nearly the same tell little"
    (folder / "expected.json").write_text(json.dumps({"file": file, "logits": np.round(values, 7).tolist()}))
    if listed:
        (folder / "vocab.json").write_text(json.dumps(STOI))


def randomised(shape: Any, place: int) -> Any:
    """Weights that are large enough to tell one gate from another."""
    return np.random.default_rng(place).normal(0, 0.9, shape).astype(np.float32)


# --- Keras -----------------------------------------------------------------------------------------------------------


def keras(
    *layers: str, file: str, one_hot: bool = False, functional: bool = False, scale: float = 1.0, **options: Any
) -> Callable[[Path], None]:
    """A maker of a Keras model: `layers` are the classes of its recurrent layers."""

    def make(folder: Path) -> None:
        os.environ.setdefault("KERAS_BACKEND", "torch")
        import keras

        parts: list[Any] = [] if one_hot else [keras.layers.Embedding(SIZE, WIDTH, name="zzz")]
        for place, kind in enumerate(layers):
            # Names whose order is not that of the layers: these count for nothing.
            parts.append(getattr(keras.layers, kind)(HIDDEN, return_sequences=True, name=f"l{9 - place}", **options))
            parts.append(keras.layers.Dropout(0.2))
        parts.append(keras.layers.Dense(SIZE, activation="softmax", name="aaa"))
        shape = (None, SIZE) if one_hot else (None,)
        first = keras.Input(shape, dtype="float32" if one_hot else "int32")
        if functional:
            x = first
            for part in parts:
                x = part(x)
            model = keras.Model(first, x)
        else:
            model = keras.Sequential([first, *parts])
        model.set_weights([scale * randomised(weight.shape, place) for place, weight in enumerate(model.get_weights())])
        inputs = np.eye(SIZE, dtype=np.float32)[np.array(IDS)] if one_hot else np.array(IDS)
        logits = np.log(keras.ops.convert_to_numpy(model(inputs)))
        model.save_weights(folder / file) if file.endswith(".weights.h5") else model.save(folder / file)
        saved(folder, file, logits)

    return make


def keras_subclass(folder: Path) -> None:
    """As TensorFlow's tutorial on text generation has it: a class of its own, of which the weights are saved."""
    os.environ.setdefault("KERAS_BACKEND", "torch")
    import keras

    class Own(keras.Model):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.embedding = keras.layers.Embedding(SIZE, WIDTH)
            self.gru = keras.layers.GRU(HIDDEN, return_sequences=True)
            self.dense = keras.layers.Dense(SIZE)

        def call(self, inputs: Any) -> Any:
            return self.dense(self.gru(self.embedding(inputs)))

    model = Own()
    model(np.array(IDS))
    model.set_weights([randomised(weight.shape, place) for place, weight in enumerate(model.get_weights())])
    logits = keras.ops.convert_to_numpy(model(np.array(IDS)))
    model.save_weights(folder / "own.weights.h5")
    saved(folder, "own.weights.h5", logits)


# --- Flax ------------------------------------------------------------------------------------------------------------


def flat(tree: Any, separator: str) -> dict[str, Any]:
    """A tree of parameters as one table."""
    found: dict[str, Any] = {}
    for key, value in tree.items():
        inner = flat(value, separator) if hasattr(value, "items") else {"": getattr(value, "value", value)}
        found |= {separator.join(filter(None, (str(key), name))): part for name, part in inner.items()}
    return found


def written(folder: Path, file: str, table: dict[str, Any]) -> None:
    arrays = {name: np.ascontiguousarray(value) for name, value in table.items()}
    if file.endswith(".npz"):
        np.savez(folder / file, **arrays)
        return
    from safetensors.numpy import save_file

    save_file(arrays, folder / file)


def flax_nnx(cell: str, file: str, layers: int = 1) -> Callable[[Path], None]:
    """A maker of a model of Flax' nnx."""

    def make(folder: Path) -> None:
        import jax.numpy as jnp
        from flax import nnx

        class Own(nnx.Module):
            def __init__(self, rngs: Any) -> None:
                self.embed = nnx.Embed(SIZE, WIDTH, rngs=rngs)
                sizes = [WIDTH, *[HIDDEN] * layers]
                made = [getattr(nnx, cell)(sizes[n], HIDDEN, rngs=rngs) for n in range(layers)]
                self.layers = nnx.List([nnx.RNN(one) for one in made])
                self.out = nnx.Linear(HIDDEN, SIZE, rngs=rngs)

            def __call__(self, ids: Any) -> Any:
                x = self.embed(ids)
                for layer in self.layers:
                    x = layer(x)
                return self.out(x)

        model = Own(nnx.Rngs(0))
        state = nnx.state(model, nnx.Param)
        table = flat(nnx.to_pure_dict(state), ".")
        table = {name: randomised(value.shape, place) for place, (name, value) in enumerate(table.items())}
        nnx.update(model, nnx.from_flat_state({_path(name): nnx.Param(jnp.array(one)) for name, one in table.items()}))
        written(folder, file, table)
        saved(folder, file, model(jnp.array(IDS)))

    return make


def _path(name: str) -> tuple[Any, ...]:
    return tuple(int(part) if part.isdigit() else part for part in name.split("."))


def flax_linen(cell: str, file: str) -> Callable[[Path], None]:
    """A maker of a model of Flax' linen."""

    def make(folder: Path) -> None:
        import flax.linen as nn
        import jax
        import jax.numpy as jnp

        class Own(nn.Module):
            @nn.compact
            def __call__(self, ids: Any) -> Any:
                x = nn.Embed(SIZE, WIDTH)(ids)
                return nn.Dense(SIZE)(nn.RNN(getattr(nn, cell)(HIDDEN))(x))

        ids = jnp.array(IDS)
        table = flat(Own().init(jax.random.key(0), ids), "/")
        table = {name: randomised(value.shape, place) for place, (name, value) in enumerate(table.items())}
        tree: dict[str, Any] = {}
        for name, value in table.items():
            *path, leaf = name.split("/")
            inner = tree
            for part in path:
                inner = inner.setdefault(part, {})
            inner[leaf] = value
        written(folder, file, table)
        saved(folder, file, Own().apply(tree, ids))

    return make


# --- MLX -------------------------------------------------------------------------------------------------------------


def mlx(kind: str, file: str, layers: int = 2) -> Callable[[Path], None]:
    """A maker of a model of MLX, saved by its own save_weights."""

    def make(folder: Path) -> None:
        import mlx.core as mx
        import mlx.nn as nn
        from mlx.utils import tree_flatten

        class Own(nn.Module):  # type: ignore[misc]
            def __init__(self) -> None:
                super().__init__()
                sizes = [WIDTH, *[HIDDEN] * layers]
                self.embedding = nn.Embedding(SIZE, WIDTH)
                self.layers = [getattr(nn, kind)(sizes[n], HIDDEN) for n in range(layers)]
                self.out = nn.Linear(HIDDEN, SIZE)

            def __call__(self, ids: Any) -> Any:
                x = self.embedding(ids)
                for layer in self.layers:
                    found = layer(x)
                    x = found[0] if isinstance(found, tuple) else found
                return self.out(x)

        model = Own()
        names = tree_flatten(model.parameters())
        model.load_weights([(name, mx.array(randomised(part.shape, n))) for n, (name, part) in enumerate(names)])
        logits = np.array(model(mx.array(IDS)))
        model.save_weights(str(folder / file))
        saved(folder, file, logits)

    return make


# --- TensorFlow ------------------------------------------------------------------------------------------------------


def char_rnn(js: bool) -> Callable[[Path], None]:
    """A maker of a checkpoint of char-rnn-tensorflow, or of the files that ml5.js makes of one."""

    def make(folder: Path) -> None:
        os.environ["TF_USE_LEGACY_KERAS"] = "1"
        import tensorflow as tf
        from tf_keras.src.layers.rnn import legacy_cells

        one = tf.compat.v1
        with tf.Graph().as_default(), one.Session() as session:
            cells = [legacy_cells.BasicLSTMCell(HIDDEN) for _ in range(2)]
            stack = legacy_cells.MultiRNNCell(cells)
            with one.variable_scope("rnnlm"):
                softmax_w = one.get_variable("softmax_w", [HIDDEN, SIZE])
                softmax_b = one.get_variable("softmax_b", [SIZE])
            embedding = one.get_variable("embedding", [SIZE, HIDDEN])
            inputs = tf.nn.embedding_lookup(embedding, tf.constant(IDS))
            state, outputs = stack.zero_state(len(IDS), tf.float32), []
            with one.variable_scope("rnnlm"):
                for step in range(len(IDS[0])):
                    output, state = stack(inputs[:, step], state)
                    outputs.append(output @ softmax_w + softmax_b)
            variables = one.global_variables()
            for place, variable in enumerate(variables):
                variable.load(randomised(variable.shape.as_list(), place), session)
            logits = session.run(tf.stack(outputs, axis=1))
            if js:
                manifest = {}
                for variable in variables:
                    name = variable.op.name.replace("/", "_")
                    manifest[variable.op.name] = {"filename": name, "shape": variable.shape.as_list()}
                    (folder / name).write_bytes(session.run(variable).tobytes())
                (folder / "manifest.json").write_text(json.dumps(manifest))
            else:
                one.train.Saver(variables).save(
                    session, str(folder / "model.ckpt"), global_step=7, write_meta_graph=False
                )
                import pickle

                (folder / "chars_vocab.pkl").write_bytes(pickle.dumps(TOKENS, 2))
        saved(folder, "manifest.json" if js else "model.ckpt-7.index", logits, listed=js)

    return make


def keras_checkpoint(folder: Path) -> None:
    """What save_weights of Keras 2 wrote, and TensorFlow's tutorial on text generation kept."""
    import tensorflow as tf
    import tf_keras

    layers = tf_keras.layers
    model = tf_keras.Sequential(
        [layers.Embedding(SIZE, WIDTH), layers.GRU(HIDDEN, return_sequences=True), layers.Dense(SIZE)]
    )
    model(tf.constant(IDS))
    model.set_weights([randomised(weight.shape, place) for place, weight in enumerate(model.get_weights())])
    model.save_weights(str(folder / "ckpt_3"))
    saved(folder, "ckpt_3.index", model(tf.constant(IDS)).numpy())


# --- recurrentjs -----------------------------------------------------------------------------------------------------

SCRIPT = """
const fs = require('fs'), vm = require('vm');
vm.runInThisContext(fs.readFileSync(process.argv[1], 'utf8'));
const { generator, sizes, ids, letters } = JSON.parse(process.argv[2]);
const V = letters.length + 1, E = 5, model = generator === 'rnn' ? R.initRNN(E, sizes, V) : R.initLSTM(E, sizes, V);
model.Wil = new R.RandMat(V, E, 0, 0.8);
let seed = 1;
for (const name of Object.keys(model)) for (let i = 0; i < model[name].w.length; i++) {
  seed = (seed * 16807) % 2147483647;
  model[name].w[i] = (seed / 2147483647 - 0.5) * (generator === 'rnn' ? 1.2 : 3);
}
const logits = ids.map((row) => {
  let prev = {};
  return row.map((id) => {
    const G = new R.Graph(false), x = G.rowPluck(model.Wil, id);
    prev = (generator === 'rnn' ? R.forwardRNN : R.forwardLSTM)(G, model, sizes, x, prev);
    return Array.from(prev.o.w);
  });
});
const letterToIndex = {}, indexToLetter = {};
letters.forEach((letter, at) => { letterToIndex[letter] = at + 1; indexToLetter[at + 1] = letter; });
const out = { hidden_sizes: sizes, generator, letter_size: E, model: {}, letterToIndex, indexToLetter, vocab: letters };
for (const name of Object.keys(model)) out.model[name] = model[name].toJSON();
console.log(JSON.stringify({ out, logits }));
"""


def recurrentjs(generator: str, sizes: list[int]) -> Callable[[Path], None]:
    """A maker of what recurrentjs' demo saves; ids are one more than elsewhere."""

    def make(folder: Path) -> None:
        ids = [[one + 1 for one in row] for row in IDS]
        about = json.dumps({"generator": generator, "sizes": sizes, "ids": ids, "letters": TOKENS})
        command = ["node", "-e", SCRIPT, os.environ["RECURRENTJS"], about]
        said = json.loads(subprocess.run(command, capture_output=True, check=True, text=True).stdout)
        (folder / "model.json").write_text(json.dumps(said["out"]))
        saved(folder, "model.json", said["logits"], listed=False)

    return make


# By name what makes each, and the packages that it takes.
MAKERS: dict[str, tuple[Callable[[Path], None], tuple[str, ...]]] = {
    "keras-lstm": (keras("LSTM", "LSTM", file="model.keras"), ("keras", "h5py")),
    "keras-gru": (keras("GRU", file="model.keras", functional=True), ("keras", "h5py")),
    "keras-rnn": (
        keras("SimpleRNN", "SimpleRNN", file="model.keras", one_hot=True, scale=0.3, activation="relu"),
        ("keras", "h5py"),
    ),
    "keras-h5": (keras("LSTM", file="model.h5", one_hot=True), ("keras", "h5py")),
    "keras-h5-gru": (keras("GRU", "GRU", file="model.h5", use_bias=False), ("keras", "h5py")),
    "keras-h5-functional": (keras("LSTM", "LSTM", file="model.h5", functional=True), ("keras", "h5py")),
    "keras-weights": (keras("GRU", "GRU", file="model.weights.h5"), ("keras", "h5py")),
    "keras-subclass": (keras_subclass, ("keras", "h5py")),
    "flax-lstm": (flax_nnx("LSTMCell", "model.safetensors", layers=2), ("flax",)),
    "flax-optimized-lstm": (flax_nnx("OptimizedLSTMCell", "model.npz"), ("flax",)),
    "flax-gru": (flax_nnx("GRUCell", "model.safetensors", layers=2), ("flax",)),
    "flax-rnn": (flax_nnx("SimpleCell", "model.npz"), ("flax",)),
    "linen-lstm": (flax_linen("OptimizedLSTMCell", "model.safetensors"), ("flax",)),
    "linen-gru": (flax_linen("GRUCell", "model.npz"), ("flax",)),
    "linen-rnn": (flax_linen("SimpleCell", "model.safetensors"), ("flax",)),
    "mlx-lstm": (mlx("LSTM", "model.safetensors"), ("mlx",)),
    "mlx-gru": (mlx("GRU", "model.npz"), ("mlx",)),
    "mlx-rnn": (mlx("RNN", "model.safetensors"), ("mlx",)),
    "tensorflow": (char_rnn(js=False), ("tensorflow", "tf_keras")),
    "tensorflow-keras": (keras_checkpoint, ("tensorflow", "tf_keras")),
    "ml5": (char_rnn(js=True), ("tensorflow", "tf_keras")),
    "recurrentjs-lstm": (recurrentjs("lstm", [4, 3]), ()),
    "recurrentjs-rnn": (recurrentjs("rnn", [4]), ()),
}  # fmt: skip


def main() -> None:
    """Write the named ones."""
    for name in sys.argv[2:]:
        folder = Path(sys.argv[1]) / name
        folder.mkdir(parents=True, exist_ok=True)
        MAKERS[name][0](folder)


if __name__ == "__main__":
    main()
