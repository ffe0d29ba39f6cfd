"""Compile what models train and write with before anybody waits for it.

Machine code is kept on disk, so that this happens once a machine. It takes a core for most of a minute and would hold
Python's lock for long, so that it runs in a process of its own, which gives way to all others.
"""

import os
import subprocess
import sys
import time
from pathlib import Path

from charlm.architectures import ARCHS, is_counted

# Files in the folder of the machine code: nothing is left to compile; somebody has begun to, and is given so many
# seconds before another tries.
DONE, BEGUN, SECONDS = "all", "begun", 600.0
MANY, FEW = 16, 2  # rows of a batch: few are computed in one loop of their own
MANY_TOKENS = 1200  # distinct ones, from which a loss is computed in pieces


def main() -> None:
    """Compile everything, what most people use first."""
    os.nice(19)
    for arch in ARCHS:
        if not is_counted(arch):
            train_and_write(arch)
    from charlm.training.device import matrix_instructions

    for arch in ARCHS:
        if not is_counted(arch):
            train_and_write(arch, batch_size=FEW)
            if matrix_instructions():
                train_and_write(arch, precision="bfloat16")
    train_and_write("lstm", vocab_size=MANY_TOKENS)
    folder = _folder()
    if folder is not None:
        (folder / DONE).touch()


def train_and_write(arch: str, batch_size: int = MANY, precision: str = "float32", vocab_size: int = 64) -> None:
    """Two steps of a tiny model, a validation, and a few tokens."""
    import numpy as np

    from charlm.config import ModelConfig, SampleConfig, TrainConfig
    from charlm.data.batches import Dataset
    from charlm.generation import generate
    from charlm.models import build_model
    from charlm.tokenizers import CharTokenizer
    from charlm.training.train import train

    tokenizer = CharTokenizer("".join(map(chr, range(0x4E00, 0x4E00 + vocab_size))))
    ids = np.arange(40 * batch_size * 8) % vocab_size
    dataset = Dataset(ids, batch_size=batch_size, seq_len=8)
    model = build_model(
        ModelConfig(arch=arch, vocab_size=vocab_size, hidden_size=16, num_layers=1, context=8, dropout=0.1)
    )
    for _ in train(model, dataset, TrainConfig(steps=2, precision=precision)):
        pass
    for _ in generate(model, tokenizer, "", SampleConfig(length=2)):
        pass


def start() -> subprocess.Popen[bytes] | None:
    """Begin in a process of its own; None where it is done or begun, nothing is compiled, or it could not be kept."""
    folder = _folder()
    if folder is None or (folder / DONE).exists():
        return None
    begun = folder / BEGUN
    try:
        if time.time() - begun.stat().st_mtime < SECONDS:
            return None
    except OSError:
        pass
    begun.touch()
    root = Path(__file__).resolve().parents[2]
    path = os.pathsep.join([str(root), *filter(None, [os.environ.get("PYTHONPATH")])])
    return subprocess.Popen(
        [sys.executable, "-c", f"from {__name__} import main; main()"],
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def _folder() -> Path | None:
    """Where machine code is kept; None where it is not."""
    from charlm.models.kernels.jit import code_folder

    return code_folder()
