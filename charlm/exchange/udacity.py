"""A run as the dict that the character-RNN notebooks of Udacity's deep learning course save and load."""

from pathlib import Path

from charlm.config import LEVEL_NAMES
from charlm.errors import CheckpointError
from charlm.run import Run


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
