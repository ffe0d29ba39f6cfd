"""Lines of plain torch that make an exported model, for each architecture that leaves as a state_dict."""

import io
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path

from charlm.architectures import ARCH_NAMES
from charlm.config import LEVEL_NAMES
from charlm.errors import CheckpointError
from charlm.runs.run import Run

ABOUT = """\
A {name} that reads and writes text. model.pt is its state_dict, model.json says what it is: the sizes, and the tokens
in the order of their ids. Of a model on words or subwords there is also tokenizer.json:
tokenizers.Tokenizer.from_file("tokenizer.json").encode("a text").ids. Run in this folder, these lines make the model;
ids are (batch, time), logits (batch, time, V). What it returns beside the logits goes in with the ids that come next.

import json
import torch
from torch import nn
"""
LOAD = """

about = json.load(open("model.json", encoding="utf-8"))
model = CharModel(**about["model"]).eval()
model.load_state_dict(torch.load("model.pt", weights_only=True))
"""
RECURRENT = """

class CharModel(nn.Module):
    def __init__(self, arch, nonlinearity, vocab_size, embed_dim, hidden_size, num_layers, **rest):
        super().__init__()
        layers = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}[arch]
        bend = {"nonlinearity": nonlinearity} if arch == "rnn" else {}
        self.embed = nn.Embedding(vocab_size, embed_dim) if embed_dim else None
        self.rnn = layers(embed_dim or vocab_size, hidden_size, num_layers, batch_first=True, **bend)
        self.fc = nn.Linear(hidden_size, vocab_size)

    def forward(self, ids, state=None):
        x = nn.functional.one_hot(ids, self.fc.out_features).float() if self.embed is None else self.embed(ids)
        hidden, state = self.rnn(x, state)
        return self.fc(hidden), state
"""
WIDE = """from torch.nn import functional as F


class Wide(nn.Module):
    def __init__(self, size, wider):
        super().__init__()
        self.norm = nn.LayerNorm(size)
        self.up = nn.Linear(size, wider * size, bias=False)
        self.down = nn.Linear(wider * size, size, bias=False)

    def forward(self, x):
        return self.down(F.gelu(self.up(self.norm(x))))
"""
TRANSFORMER = (
    WIDE
    + """

class Block(nn.Module):
    def __init__(self, size, heads, context):
        super().__init__()
        self.heads, self.context = heads, context
        self.norm = nn.LayerNorm(size)
        self.qkv = nn.Linear(size, 3 * size, bias=False)
        self.out = nn.Linear(size, size, bias=False)
        self.wide = Wide(size, 4)

    def forward(self, x):
        (batch, time, size), width = x.shape, x.shape[2] // self.heads
        parts = self.qkv(self.norm(x)).view(batch, time, 3, self.heads, width)
        query, key, value = parts.permute(2, 0, 3, 1, 4)  # (batch, heads, time, width)
        query, key = (turned(F.layer_norm(part, (width,)), self.context) for part in (query, key))
        back = torch.arange(time)[:, None] - torch.arange(time)
        mask = (back >= 0) & (back < self.context)
        seen = F.scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=1.5 / width**0.5)
        x = x + self.out(seen.transpose(1, 2).reshape(batch, time, size))
        return x + self.wide(x)


def turned(x, context):
    pairs = x.shape[-1] // 2
    angles = torch.arange(x.shape[-2])[:, None] * float(context) ** (-torch.arange(pairs) / pairs)
    (left, right), cos, sin = x.split(pairs, dim=-1), angles.cos(), angles.sin()
    return torch.cat((left * cos - right * sin, left * sin + right * cos), dim=-1)


class CharModel(nn.Module):
    def __init__(self, vocab_size, embed_dim, hidden_size, num_layers, context, num_heads, **rest):
        super().__init__()
        width = embed_dim or hidden_size
        self.reach = num_layers * (context - 1)
        self.embed = nn.Embedding(vocab_size, width)
        self.widen = nn.Linear(width, hidden_size, bias=False) if width != hidden_size else nn.Identity()
        self.blocks = nn.ModuleList(Block(hidden_size, num_heads, context) for _ in range(num_layers))
        self.norm = nn.LayerNorm(hidden_size)
        self.fc = nn.Linear(hidden_size, vocab_size)

    def forward(self, ids, state=None):  # the state is the ids that still count
        read = ids if state is None else torch.cat((state, ids), dim=1)
        x = self.widen(self.embed(read))
        for block in self.blocks:
            x = block(x)
        return self.fc(self.norm(x[:, -ids.shape[1] :])), read[:, max(0, read.shape[1] - self.reach) :]
"""
)
MINGRU = (
    WIDE
    + """

class Block(nn.Module):
    def __init__(self, size):
        super().__init__()
        self.norm = nn.LayerNorm(size)
        self.conv = nn.ParameterDict({"weight": torch.empty(4, size)})
        self.gates = nn.Linear(size, 2 * size)
        self.wide = Wide(size, 2)

    def forward(self, x, state, seen):
        time, padded, states = x.shape[1], torch.cat((seen, self.norm(x)), dim=1), []
        mixed = sum(self.conv["weight"][tap] * padded[:, tap : tap + time] for tap in range(4))
        gate, candidate = self.gates(mixed).chunk(2, dim=2)
        candidate = torch.where(candidate >= 0, candidate + 0.5, candidate.sigmoid())
        for new, z in zip(candidate.unbind(1), gate.sigmoid().unbind(1)):
            state = (1 - z) * state + z * new
            states.append(state)
        x = x + torch.stack(states, dim=1)
        return x + self.wide(x), state, padded[:, time:]


class CharModel(nn.Module):
    def __init__(self, vocab_size, embed_dim, hidden_size, num_layers, **rest):
        super().__init__()
        width = embed_dim or hidden_size
        self.embed = nn.Embedding(vocab_size, width)
        self.widen = nn.Linear(width, hidden_size, bias=False) if width != hidden_size else nn.Identity()
        self.blocks = nn.ModuleList(Block(hidden_size) for _ in range(num_layers))
        self.norm = nn.LayerNorm(hidden_size)
        self.fc = nn.Linear(hidden_size, vocab_size)

    def forward(self, ids, state=None):
        x, ends = self.widen(self.embed(ids)), []
        first = [(x.new_zeros(len(x), x.shape[2]), x.new_zeros(len(x), 3, x.shape[2]))] * len(self.blocks)
        for block, before in zip(self.blocks, state or first):
            x, *end = block(x, *before)
            ends.append(end)
        return self.fc(self.norm(x)), ends
"""
)
LINES: Mapping[str, str] = {
    "lstm": RECURRENT, "gru": RECURRENT, "rnn": RECURRENT, "transformer": TRANSFORMER, "mingru": MINGRU,
}  # fmt: skip


def readme(arch: str, name: str) -> str:
    """What stands beside the state_dict of an architecture of LINES, which is called `name`."""
    return ABOUT.format(name=name) + LINES[arch] + LOAD


def write_torch(run: Run, path: Path) -> None:
    """Put the best weights as model.pt, with model.json, README.txt and for words the tokenizer.json, into a zip.

    Raises:
        CheckpointError: the run has no weights that can be read.
    """
    import torch  # takes seconds: not before it is needed

    weights = io.BytesIO()
    torch.save(dict(run.load_model().state_dict()), weights)
    tokenizer = run.tokenizer()
    about = {
        "label": run.label,
        "model": {**run.model_config.to_dict(), "context": run.model_config.window + 1},
        "tokens": tokenizer.tokens,
        "val_loss": run.best_val_loss,
        "corpus": run.corpus.get("name"),
    }
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("README.txt", readme(run.arch, ARCH_NAMES[run.arch]))
        archive.writestr("model.json", json.dumps(about, ensure_ascii=False, indent=1))
        archive.writestr("model.pt", weights.getvalue())
        if run.level != "char":
            archive.writestr("tokenizer.json", tokenizer.to_file())


def write_udacity(run: Run, path: Path) -> None:
    """Put the best weights into a .net, under the notebook's names (`lstm.weight_ih_l0`, `fc.weight`).

    Raises:
        CheckpointError: the run is no LSTM over one-hot characters, or has no weights that can be read.
    """
    config = run.model_config
    if config.level != "char":
        raise CheckpointError(
            f"{run.label} reads {LEVEL_NAMES[config.level]}, and the notebook's class characters; export it as torch"
        )
    if config.arch != "lstm" or config.embed_dim:
        what = f"an embedding of {config.embed_dim}" if config.embed_dim else f"the architecture {config.arch}"
        raise CheckpointError(
            f"{run.label} has {what}, and the notebook's class is an LSTM over one-hot characters; export it as torch"
        )
    import torch  # takes seconds: not before it is needed

    weights = run.load_model().state_dict()
    renamed = {name.replace("rnn.", "lstm.", 1): tensor for name, tensor in weights.items()}
    tokens = tuple(run.tokenizer().tokens)
    torch.save(
        {"n_hidden": config.hidden_size, "n_layers": config.num_layers, "state_dict": renamed, "tokens": tokens}, path
    )
