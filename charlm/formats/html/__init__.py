"""A run as one HTML file that generates text offline, in any browser; the page's parts are the files beside this one.

Why no template engine: the bytes stay those of earlier versions, whose escapes are the standard library's.
"""

import base64
import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any, Literal

import numpy as np

from charlm.analysis.figures import arch_colour
from charlm.architectures import ARCH_NAMES, ARCHITECTURES
from charlm.config import LEVEL_NAMES, SampleConfig
from charlm.errors import CheckpointError
from charlm.runs.run import Run
from charlm.tokenizers import BPETokenizer, Tokenizer, WordTokenizer
from charlm.tokenizers.characters import called, visible, visible_line
from charlm.tokenizers.subwords import byte_signs

Array = np.ndarray[Any, np.dtype[np.float32]]
Bits = Literal[8, 16]
LARGEST_HALF = float(np.finfo(np.float16).max)
LARGEST_BYTE = 127
SOURCE = Path(__file__).parent
SCRIPTS = ("numbers.js", "kernels.js", "tokenizers.js", "model.js", "blocks.js", "writer.js", "page.js")
ARCHS = ("lstm", "gru", "rnn", "transformer", "mingru")  # that the scripts can compute
PLACE = re.compile(r"\{\{(\w+)\}\}")
# The browser runs this page's script and nothing else; no request leaves the page. 'wasm-unsafe-eval' lets the script
# have WebAssembly compiled, which can do nothing but compute; text still never becomes a program.
POLICY = (
    "default-src 'none'; script-src '{script}' 'wasm-unsafe-eval'; style-src '{style}'; "
    "base-uri 'none'; form-action 'none'"
)
SETTINGS = ("length", "temperature", "top_k", "seed")  # that the page lets one change


@dataclass(frozen=True)
class Packed:
    """One tensor as bytes, little-endian, row after row.

    Attributes:
        name: torch's own.
        shape: rows and columns, or the length of a vector.
        kind: f4 (32-bit floats), f2 (16-bit floats), or i1 (a 32-bit float for each row, then 8-bit whole numbers to
            be multiplied by their row's).
        data: the bytes.
    """

    name: str
    shape: tuple[int, ...]
    kind: str
    data: bytes = field(repr=False)


def pack(name: str, values: Array, bits: Bits) -> Packed:
    """A tensor in about `bits` bits a number. Vectors, the biases, are few and stay as they are.

    Args:
        name: torch's own.
        values: a matrix or vector.
        bits: of a number.

    Raises:
        CheckpointError: a number is too large for 16 bits.
    """
    if values.ndim == 1:
        return Packed(name, values.shape, "f4", values.astype("<f4").tobytes())
    if bits == 8:
        return Packed(name, values.shape, "i1", _bytes_of_rows(values))
    largest = float(np.abs(values).max())
    if largest > LARGEST_HALF:
        raise CheckpointError(
            f"{name} reaches {largest:,.0f}, and 16-bit numbers end at {LARGEST_HALF:,.0f}; "
            "take 8-bit ones, which have a scale for each row"
        )
    return Packed(name, values.shape, "f2", values.astype("<f2").tobytes())


def _bytes_of_rows(values: Array) -> bytes:
    """The scale of each row, its largest number by 127, and the numbers as multiples of it."""
    scales = (np.abs(values).max(axis=1, keepdims=True) / LARGEST_BYTE).astype("<f4")
    scales[scales < np.finfo(np.float32).tiny] = 1.0  # a row of zeros
    multiples = np.clip(np.rint(values / scales), -LARGEST_BYTE, LARGEST_BYTE).astype("i1")
    return bytes(scales.tobytes() + multiples.tobytes())


def unpack(kind: str, shape: tuple[int, ...], data: bytes) -> Array:
    """The numbers that a reader of packed bytes computes with.

    Args:
        kind, shape, data: as of `Packed`.
    """
    if kind != "i1":
        return np.frombuffer(data, dtype=f"<{kind}").astype(np.float32).reshape(shape)
    scales = np.frombuffer(data, dtype="<f4", count=shape[0])
    multiples = np.frombuffer(data, dtype="i1", offset=scales.nbytes).reshape(shape)
    return np.asarray(multiples * scales[:, None], np.float32)


def write_page(run: Run, path: Path, bits: Bits = 16) -> None:
    """Write the page of a run's best weights.

    Args:
        run: any that has weights.
        path: the new file.
        bits: of a weight; 8 halves the file, at the price of a little accuracy.

    Raises:
        CheckpointError: the run has no weights, or they are too large for 16 bits.
    """
    model = run.load_model()
    twice = {"fc.weight"} if run.model_config.tie_weights else set()  # it is embed.weight then
    weights = [pack(name, tensor.numpy(), bits) for name, tensor in model.state_dict().items() if name not in twice]
    style = _source("page.css") + f":root {{ --c: {arch_colour(run.arch)}; }}\n"
    script = "".join(map(_source, SCRIPTS))
    parts = {
        "policy": escape(POLICY.format(script=_digest(script), style=_digest(style))),
        "style": style,
        "script": script,
        "run": script_json(_described(run, weights)),
        "kernels": base64.b64encode((SOURCE / "kernels.wasm").read_bytes()).decode(),
        "weights": base64.b64encode(b"".join(one.data for one in weights)).decode(),
        "bits": str(bits),
        **_texts(run, model.num_parameters),
    }
    page = PLACE.sub(lambda place: parts[place[1]], _source("page.html"))
    path.write_bytes(page.encode("utf-8", "replace"))


def _source(name: str) -> str:
    return (SOURCE / name).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    """How a Content-Security-Policy names the text of a script or style."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def script_json(value: Any) -> str:
    """JSON that can stand in a script element: nothing in it ends the element, opens a comment, or is no ASCII."""
    text = json.dumps(value, ensure_ascii=True, separators=(",", ":"))
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _described(run: Run, weights: Sequence[Packed]) -> dict[str, Any]:
    """What the script needs to know of the model."""
    from charlm.generation.streams import first_id  # loads torch: not before it is needed
    from charlm.models.transformer import SHARPNESS, speeds_of

    model, tokenizer = run.model_config, run.tokenizer()
    signs = enumerate((token, _sign(token)) for token in tokenizer.tokens)
    silent = [*tokenizer.silent_ids, *(one for one in (tokenizer.end_id, tokenizer.unk_id) if one is not None)]
    attention = {
        "num_heads": model.num_heads, "context": model.window + 1, "speeds": speeds_of(model), "sharpness": SHARPNESS,
    } if ARCHITECTURES[model.arch].attends else {}  # fmt: skip
    return {
        "arch": model.arch,
        "nonlinearity": model.nonlinearity,
        "hidden_size": model.hidden_size,
        "num_layers": model.num_layers,
        **attention,
        "tokens": tokenizer.tokens,
        "signs": {place: [sign, called(token)] for place, (token, sign) in signs if sign != token},
        "first": first_id(tokenizer),
        **({} if tokenizer.border is None else {"border": tokenizer.border}),
        "begins": tokenizer.border is not None or tokenizer.begin_id is not None,
        "silent": silent,
        "level": tokenizer.level,
        "units": LEVEL_NAMES[tokenizer.level],
        **_rules(tokenizer),
        "tensors": [{"name": one.name, "shape": one.shape, "kind": one.kind} for one in weights],
    }


def _rules(tokenizer: Tokenizer) -> dict[str, Any]:
    """What the script needs to split a text, beside the tokens."""
    if isinstance(tokenizer, WordTokenizer):
        return {"rule": tokenizer.rule}
    if isinstance(tokenizer, BPETokenizer):
        ids = {token: place for place, token in enumerate(tokenizer.written)}
        return {"bytes": list(byte_signs().values()), "merges": [(ids[a], ids[b]) for a, b in tokenizer.merges]}
    return {}


def _sign(token: str) -> str:
    """A token as something visible."""
    if len(token) == 1:
        return visible(token)
    shown = token.replace(" ", "␣")
    return shown if shown.isprintable() else visible_line(token, "␣")


def _texts(run: Run, num_parameters: int) -> dict[str, str]:
    """What people read, as HTML."""
    model, corpus = run.model_config, str(run.corpus.get("name") or "")
    arch = ARCH_NAMES.get(run.arch, run.arch) + (f" ({model.nonlinearity})" if run.arch == "rnn" else "")
    layers = "1 layer" if model.num_layers == 1 else f"{model.num_layers} layers"
    source = f" Learned from {corpus}." if corpus else ""
    loss = run.bits_per_char(run.best_val_loss)
    settings = {name: SampleConfig.field(name) for name in SETTINGS}
    return {
        "label": escape(run.label),
        "about": escape(f"{arch}, {layers} of {model.hidden_size}, {num_parameters:,} parameters.{source}"),
        "figure": "" if loss is None else f'<p class="figure"><b>{loss:.2f}</b> bits/char</p>',
        "arch": escape(arch),
        "parameters": f"{num_parameters:,}",
        "prompt": escape(str((run.sample() or {}).get("prompt", ""))),
        "level": run.level,
        "unit": LEVEL_NAMES[run.level][:-1],
        "vocab_size": str(model.vocab_size),
        **{name: str(field.default) for name, field in settings.items()},
        **{f"{name}_hint": escape(field.metadata["hint"]) for name, field in settings.items()},
    }
