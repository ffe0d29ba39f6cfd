"""A run for plain torch: a zip with the state_dict, its description, and the few lines that put both together."""

import io
import json
import zipfile
from pathlib import Path

from charlm.config import ARCH_NAMES
from charlm.exchange.torch_lines import readme
from charlm.run import Run


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
