"""Does `notebook` follow the Grimm notebook's published curve for the LSTM?

Trains the preset on grimms_fairytales.csv and prints, after each epoch, the validation loss as we measure it (whole
held-out text, dropout off) and as the notebook did (last validation batch only, dropout on).

    python -m bench.notebook_curve --epochs 3 [--arch lstm] [--seed 7]
"""

import argparse
from dataclasses import replace

import torch
import torch.nn.functional as F

from charlm.catalog import load_corpus
from charlm.dataset import Dataset
from charlm.models import LanguageModel, build_model
from charlm.presets import from_options
from charlm.tokenizer import CharTokenizer
from charlm.train import train

# Read off the notebook's printed losses for the LSTM, epochs 1 to 3; and the same model measured our way.
PUBLISHED = {1: 2.80, 2: 2.32, 3: 2.16}
MEASURED_OUR_WAY = {1: 2.75, 2: 2.29, 3: 2.13}


@torch.no_grad()
def last_batch_loss(model: LanguageModel, ids: torch.Tensor, batch_size: int, seq_len: int) -> float:
    """The notebook's validation: batches through the held-out text with dropout on; only the last one's loss counts."""
    batches = (len(ids) - 1) // (batch_size * seq_len)
    used = batches * batch_size * seq_len
    inputs, targets = (part.view(batch_size, -1) for part in (ids[:used], ids[1 : used + 1]))
    state, loss = model.initial_state(batch_size), torch.tensor(0.0)
    for first in range(0, inputs.shape[1], seq_len):
        logits, state = model(inputs[:, first : first + seq_len], state)
        loss = F.cross_entropy(logits.flatten(0, 1), targets[:, first : first + seq_len].reshape(-1))
    return loss.item()


def main() -> None:
    """Train and print a line an epoch."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--arch", default="lstm")
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args()
    config = from_options({"epochs": options.epochs, "arch": options.arch, "seed": options.seed}, "notebook")
    corpus = load_corpus("grimm", config.corpus)
    tokenizer = CharTokenizer.fit(corpus.text)
    dataset = Dataset(tokenizer.encode(corpus.text), config.train.batch_size, config.train.seq_len)
    model = build_model(replace(config.model, vocab_size=tokenizer.vocab_size), config.train.seed)
    val_ids = torch.from_numpy(dataset.val_ids).long()
    print(f"{len(corpus.text):,} characters, {tokenizer.vocab_size} distinct, {dataset.steps_per_epoch} steps an epoch")
    for metrics in train(model, dataset, replace(config.train, eval_every=dataset.steps_per_epoch)):
        if metrics.val_loss is None:
            continue
        epoch = round(metrics.epoch)
        own_way = last_batch_loss(model, val_ids, config.train.batch_size, config.train.seq_len)
        print(
            f"epoch {epoch}: ours {metrics.val_loss:.4f} (wanted {MEASURED_OUR_WAY.get(epoch, '-')}), "
            f"last batch with dropout {own_way:.4f} (published {PUBLISHED.get(epoch, '-')}), {metrics.seconds:.0f} s",
            flush=True,
        )


if __name__ == "__main__":
    main()
