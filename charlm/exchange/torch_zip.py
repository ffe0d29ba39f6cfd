"""A run for plain torch: a zip with the state_dict, its description, and the few lines that put both together."""

import io
import json
import zipfile
from pathlib import Path

from charlm.run import Run

README = """\
A recurrent language model. model.pt is its state_dict, model.json says what it is: the sizes, and the tokens in the
order of their ids. Of a model on words or subwords there is also tokenizer.json: tokenizers.Tokenizer.from_file
("tokenizer.json").encode("a text").ids. Run in this folder, these lines make the model; ids are (batch, time), logits
(batch, time, V).

import json
import torch
from torch import nn


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


about = json.load(open("model.json", encoding="utf-8"))
model = CharModel(**about["model"]).eval()
model.load_state_dict(torch.load("model.pt", weights_only=True))
"""


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
        "model": run.model_config.to_dict(),
        "tokens": tokenizer.tokens,
        "val_loss": run.best_val_loss,
        "corpus": run.corpus.get("name"),
    }
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("README.txt", README)
        archive.writestr("model.json", json.dumps(about, ensure_ascii=False, indent=1))
        archive.writestr("model.pt", weights.getvalue())
        if run.level != "char":
            archive.writestr("tokenizer.json", tokenizer.to_file())
