"""Export formats: each has a name, a file suffix, and a function that writes the file."""

import io
import json
import zipfile
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from charlm.architectures import ARCH_NAMES
from charlm.config import LEVEL_NAMES
from charlm.errors import CheckpointError, ConfigError
from charlm.files import file_name
from charlm.formats.html import ARCHS as PAGES
from charlm.formats.html import write_page
from charlm.formats.onnx import STEPS, write_onnx, write_onnx8
from charlm.formats.onnx_mobile import MOBILE_STEPS, write_onnx_mobile
from charlm.formats.run_zip import write_zip
from charlm.formats.trackers import write_events
from charlm.runs.run import Run

README = Path(__file__).with_name("torch_readme.txt")  # a Jinja template, as it holds lines for each architecture
MOST_NAME = 180  # bytes of a file's name before its suffix; a file system takes 255
NETWORKS = ("lstm", "gru", "rnn", "transformer", "mingru")  # that the README has lines for


@dataclass(frozen=True)
class Format:
    """One format that a run can be exported in.

    Attributes:
        name: as it is chosen, on the command line and in the page.
        suffix: of the file, by which formats are told apart.
        about: what it is good for, a short phrase.
        writer: puts the run into a new file; raises CheckpointError if the run has no weights or does not fit.
        archs: networks of which architectures it can hold; None: any run.
    """

    name: str
    suffix: str
    about: str
    writer: Callable[[Run, Path], None]
    archs: Collection[str] | None = None

    def file_name(self, run: Run) -> str:
        """The run's label as a file name, or its id where the label has no letter; two runs may have the same."""
        return f"{file_name(run.label, MOST_NAME) or run.run_id}{self.suffix}"

    def write(self, run: Run, path: Path) -> None:
        """Export a run into a new file.

        Raises:
            CheckpointError: the run has no weights, or this format cannot hold it.
        """
        if self.archs is not None and run.model_config.is_counted:
            raise CheckpointError(f"{run.label} is an n-gram, a table of counts and no network; export it as zip")
        if self.archs is not None and run.arch not in self.archs:
            raise CheckpointError(
                f"{run.label} has the architecture {run.arch}, which this format does not support; export it as zip"
            )
        self.writer(run, path)


def write_torch(run: Run, path: Path) -> None:
    """Put the best weights as model.pt, with model.json, README.txt and for words the tokenizer.json, into a zip.

    Raises:
        CheckpointError: the run has no weights that can be read.
    """
    import torch  # takes seconds: not before it is needed
    from jinja2 import Template

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
    readme = Template(README.read_text(encoding="utf-8"), trim_blocks=True, keep_trailing_newline=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("README.txt", readme.render(arch=run.arch, name=ARCH_NAMES[run.arch]))
        archive.writestr("model.json", json.dumps(about, ensure_ascii=False, indent=1))
        archive.writestr("model.pt", weights.getvalue())
        if run.level != "char":
            archive.writestr("tokenizer.json", tokenizer.to_file())


def write_udacity(run: Run, path: Path) -> None:
    """Put the best weights into a .net, under the notebook's names (`lstm.weight_ih_l0`, `fc.weight`).

    Raises:
        CheckpointError: the run is no LSTM over one-hot characters, or has no weights that can be read.
    """
    import torch  # takes seconds: not before it is needed

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
    weights = run.load_model().state_dict()
    renamed = {name.replace("rnn.", "lstm.", 1): tensor for name, tensor in weights.items()}
    sizes = {"n_hidden": config.hidden_size, "n_layers": config.num_layers}
    torch.save({**sizes, "state_dict": renamed, "tokens": tuple(run.tokenizer().tokens)}, path)


EIGHT_BITS = partial(write_page, bits=8)
FORMATS: Sequence[Format] = (
    Format("zip", ".zip", "the whole run folder, to go on elsewhere", write_zip),
    Format("torch", ".torch.zip", "a state_dict for plain torch, with the lines that load it", write_torch, NETWORKS),
    Format("udacity", ".net", "the dict of Udacity's character-RNN notebooks; LSTM only", write_udacity, NETWORKS),
    Format("onnx", ".onnx", "one step as a graph, for other languages and runtimes", write_onnx, STEPS),
    Format("onnx8", "-8bit.onnx", "the same graph in a quarter of the size, and faster", write_onnx8, STEPS),
    Format("onnx-mobile", "-mobile.onnx", "the same graph for ncnn and TFLite", write_onnx_mobile, MOBILE_STEPS),
    Format("html", ".html", "one page that writes offline, in any browser", write_page, PAGES),
    Format(
        "html8", "-8bit.html", "the same page in half the size, a little less exact", partial(write_page, bits=8), PAGES
    ),
    Format("tensorboard", ".tensorboard.zip", "curves, samples and settings as TensorBoard reads them", write_events),
)


def find_format(name: str) -> Format:
    """The format of this name.

    Raises:
        ConfigError: there is none; names those there are.
    """
    for known in FORMATS:
        if known.name == name:
            return known
    raise ConfigError(f"a run can be exported as {', '.join(known.name for known in FORMATS)}, not {name[:40]!r}")
