"""A step of training in JAX, compiled as a whole: see bench/peers.py. Runs in an environment of its own."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from bench.measure import Round, rated

HEADS, DROPOUT, CLIP, RATE, TAPS = 4, 0.3, 5.0, 1e-3, 4
GATES = {"lstm": 4, "gru": 3, "rnn": 1}
Params = dict[str, Any]


def trainer(
    arch: str, vocab_size: int, hidden_size: int, num_layers: int, batch_size: int, seq_len: int, seconds: float
) -> Callable[[], Round]:
    """One jitted function: loss, gradients, clipping, Adam; its buffers are donated."""
    optimizer = optax.chain(optax.clip_by_global_norm(CLIP), optax.adam(RATE))
    params = weights(arch, vocab_size, hidden_size, num_layers)
    forward = recurrent if arch in GATES else transformer if arch == "transformer" else mingru
    state = jnp.zeros((2, num_layers, batch_size, hidden_size))

    @partial(jax.jit, donate_argnums=(0, 1, 2))
    def update(params: Any, opt: Any, state: Any, x: Any, y: Any, key: Any) -> Any:
        def loss_of(params: Any) -> Any:
            logits, end = forward(arch, params, x, state, key)
            return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean(), end

        (loss, end), grads = jax.value_and_grad(loss_of, has_aux=True)(params)
        updates, opt = optimizer.update(grads, opt, params)
        return optax.apply_updates(params, updates), opt, end, loss

    carried, rng, key = [params, optimizer.init(params), state], np.random.default_rng(0), jax.random.key(0)

    def step() -> None:
        nonlocal key
        key, own = jax.random.split(key)
        x, y = rng.integers(0, vocab_size, (2, batch_size, seq_len), np.int32)
        *carried[:], loss = update(*carried, x, y, own)
        loss.block_until_ready()

    return rated(step, batch_size * seq_len, seconds)


def weights(arch: str, vocab: int, size: int, layers: int) -> Params:
    """Random weights of the same shapes as torch's."""
    rng = np.random.default_rng(1)

    def new(*shape: int) -> Any:
        return jnp.asarray(rng.normal(0.0, shape[0] ** -0.5, shape).astype(np.float32))

    params: Params = {"out": new(size, vocab), "out_bias": jnp.zeros(vocab)}
    if arch in GATES:
        wide = GATES[arch] * size
        params["layers"] = [
            {"x": new(size if n else vocab, wide), "h": new(size, wide), "b": jnp.zeros((2, wide))}
            for n in range(layers)
        ]
        return params
    times, into = (4, 3) if arch == "transformer" else (2, 2)
    params |= {"embed": new(vocab, size), "norm": jnp.ones((2, size))}
    params["layers"] = [
        {
            "norm": jnp.ones((2, 2, size)), "in": new(size, into * size), "in_bias": jnp.zeros(into * size),
            "mix": new(size, size), "taps": new(TAPS, size),
            "up": new(size, times * size), "down": new(times * size, size),
        }
        for _ in range(layers)
    ]  # fmt: skip
    return params


def dropped(x: Any, key: Any) -> Any:
    return jnp.where(jax.random.bernoulli(key, 1.0 - DROPOUT, x.shape), x / (1.0 - DROPOUT), 0.0)


def recurrent(arch: str, params: Params, ids: Any, state: Any, key: Any) -> tuple[Any, Any]:
    """An LSTM, a GRU or an RNN: the input of a layer is multiplied at once, only the recurrence is scanned."""
    keys, ends = jax.random.split(key, len(params["layers"])), []
    for number, layer in enumerate(params["layers"]):
        sums = (layer["x"][ids.T] if number == 0 else x @ layer["x"]) + layer["b"][0]  # noqa: F821

        def step(carry: Any, row: Any, layer: Any = layer) -> Any:
            h, c = carry
            past = h @ layer["h"] + layer["b"][1]
            if arch == "lstm":
                i, f, g, o = jnp.split(row + past, 4, axis=-1)
                c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
                h = jax.nn.sigmoid(o) * jnp.tanh(c)
            elif arch == "gru":
                (r, z, n), (pr, pz, pn) = jnp.split(row, 3, axis=-1), jnp.split(past, 3, axis=-1)
                z = jax.nn.sigmoid(z + pz)
                h = (1.0 - z) * jnp.tanh(n + jax.nn.sigmoid(r + pr) * pn) + z * h
            else:
                h = jnp.tanh(row + past)
            return (h, c), h

        end, x = jax.lax.scan(step, (state[0, number], state[1, number]), sums)
        x = dropped(x, keys[number])
        ends.append(jnp.stack(end))
    return x.swapaxes(0, 1) @ params["out"] + params["out_bias"], jnp.stack(ends, axis=1)


def norm(x: Any, affine: Any) -> Any:
    mean, variance = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
    return (x - mean) * jax.lax.rsqrt(variance + 1e-5) * affine[0] + affine[1]


def wider(x: Any, layer: Params, key: Any) -> Any:
    return x + dropped(jax.nn.gelu(norm(x, layer["norm"][1]) @ layer["up"], approximate=False) @ layer["down"], key)


def transformer(arch: str, params: Params, ids: Any, state: Any, key: Any) -> tuple[Any, Any]:
    """Causal attention within the batch's tokens."""
    x, keys = params["embed"][ids], jax.random.split(key, 2 * len(params["layers"]))
    for number, layer in enumerate(params["layers"]):
        qkv = (norm(x, layer["norm"][0]) @ layer["in"]).reshape(*x.shape[:2], 3, HEADS, -1)
        seen = jax.nn.dot_product_attention(qkv[:, :, 0], qkv[:, :, 1], qkv[:, :, 2], is_causal=True)
        x = x + dropped(seen.reshape(x.shape) @ layer["mix"], keys[2 * number])
        x = wider(x, layer, keys[2 * number + 1])
    return norm(x, params["norm"]) @ params["out"] + params["out_bias"], state


def mingru(arch: str, params: Params, ids: Any, state: Any, key: Any) -> tuple[Any, Any]:
    """A short convolution, and the recurrence by an associative scan."""
    x, keys = params["embed"][ids], jax.random.split(key, 2 * len(params["layers"]))
    for number, layer in enumerate(params["layers"]):
        padded = jnp.pad(norm(x, layer["norm"][0]), ((0, 0), (TAPS - 1, 0), (0, 0)))
        mixed = sum(padded[:, tap : tap + x.shape[1]] * layer["taps"][tap] for tap in range(TAPS))
        gate, candidate = jnp.split(mixed @ layer["in"] + layer["in_bias"], 2, axis=-1)
        z = jax.nn.sigmoid(gate)
        value = z * jnp.where(candidate >= 0, candidate + 0.5, jax.nn.sigmoid(candidate))
        _, states = jax.lax.associative_scan(lambda a, b: (a[0] * b[0], b[0] * a[1] + b[1]), (1.0 - z, value), axis=1)
        x = x + dropped(states, keys[2 * number])
        x = wider(x, layer, keys[2 * number + 1])
    return norm(x, params["norm"]) @ params["out"] + params["out_bias"], state
