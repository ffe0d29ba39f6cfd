"""What a run can leave as: a format has a name, a file suffix, and a function that writes the file."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from charlm.architectures import ARCHS
from charlm.errors import CheckpointError, ConfigError
from charlm.formats.html import ARCHS as PAGES
from charlm.formats.html import write_page
from charlm.formats.onnx import STEPS, write_onnx
from charlm.formats.run_zip import write_zip
from charlm.formats.torch_exports import LINES, write_torch, write_udacity
from charlm.runs.run import Run


@dataclass(frozen=True)
class Format:
    """One way to take a run along.

    Attributes:
        name: as it is chosen, on the command line and in the page.
        suffix: of the file.
        about: for what it is good, a short phrase.
        write: puts the run into a new file; raises CheckpointError if the run has no weights or does not fit.
    """

    name: str
    suffix: str
    about: str
    write: Callable[[Run, Path], None]


def _network(write: Callable[..., None], archs: Collection[str], **options: Any) -> Callable[[Run, Path], None]:
    """`write` with these options, for runs that are networks of these architectures."""

    def write_network(run: Run, path: Path) -> None:
        if run.model_config.is_counted:
            raise CheckpointError(f"{run.label} is an n-gram, a table of counts and no network; export it as zip")
        if run.arch not in archs:
            raise CheckpointError(
                f"{run.label} has the architecture {run.arch}, for which this format has no lines; export it as zip"
            )
        write(run, path, **options)

    return write_network


FORMATS: Sequence[Format] = (
    Format("zip", ".zip", "the whole run folder, to go on elsewhere", write_zip),
    Format(
        "torch", ".torch.zip", "a state_dict for plain torch, with the lines that load it", _network(write_torch, LINES)
    ),
    Format(
        "udacity", ".net", "the dict of Udacity's character-RNN notebooks; LSTM only", _network(write_udacity, ARCHS)
    ),
    Format("onnx", ".onnx", "one step as a graph, for other languages and runtimes", _network(write_onnx, STEPS)),
    Format("html", ".html", "one page that writes offline, in any browser", _network(write_page, PAGES, bits=16)),
    Format(
        "html8", ".html", "the same page in half the size, a little less exact", _network(write_page, PAGES, bits=8)
    ),
)


def find_format(name: str) -> Format:
    """The format of this name.

    Raises:
        ConfigError: there is none; lists those there are.
    """
    for known in FORMATS:
        if known.name == name:
            return known
    raise ConfigError(f"a run can be exported as {', '.join(known.name for known in FORMATS)}, not {name[:40]!r}")
