"""The command line: `python -m charlm ...`. A user's mistake is one plain line on stderr and exit code 2."""

import contextlib
import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from charlm.cli.distributed import is_one_of_several, run_together
from charlm.errors import CharLMError

# ClickException, wherever this version of typer keeps its click.
UsageMistake: Any = typer.BadParameter.__mro__[2]

# Each command's module (here, unless it is a whole name) and function, and its line in the help. A module is imported
# when one of its commands is called.
COMMANDS = {
    "train": ("train.train", "Train one model on a text."),
    "race": ("train.race", "Train several architectures in turn on the same batches."),
    "experiment": ("train.experiment", "A race of equal parameters and five seeds: is the difference luck?"),
    "search": ("search.search", "Find good settings: short trials within some minutes for each architecture."),
    "resume": ("train.resume", "Train a run on from where it ended; steps, epochs and minutes are what to add."),
    "fork": ("train.fork", "A new run that goes on from what another one has learned, with other settings."),
    "retry": ("train.retry", "A failed run's settings once more, with the fix for its failure."),
    "rate": ("runs.rate", "Change the learning rate of a run while it trains, here or in another process."),
    "evaluate": ("inspect.evaluate", "Score a run on its held-out text, or on another text."),
    "generate": (
        "generate.generate",
        "Write on from a prompt; prints prompt and text, nothing else; several samples with a line between them.",
    ),
    "items": ("items.items", "Different items by a model of a list, and how many are new, unique and valid."),
    "compare": ("generate.compare", "The same prompt to several runs."),
    "import": ("exchange.import_run", "Make a run of a file: a run's zip, or weights that another program saved."),
    "export": ("exchange.export", "Write a run as a zip, for plain torch, for a notebook, as ONNX or as a page."),
    "push": ("hub.push", "Put a run on the Hugging Face Hub: a model repository, a Space, or a page as a Space."),
    "pull": ("hub.pull", "Make a run of a model repository that `push` filled, and print its id."),
    "corpora": ("runs.corpora", "The texts that can be picked by name."),
    "inspect": (
        "inspect.inspect_app",
        "Measure why runs differ: memory, gradients, surprise, neurons, and which n-gram they are worth.",
    ),
    "votes": ("votes.votes", "What blind votes say of the models: shares, strengths and their intervals."),
    "gym": ("gym.gym", "Let architectures learn a synthetic memory task over growing delays."),
    "bench": (
        "bench.bench",
        "Measure ours beside the usual code; `device` tells how this machine trains, `machine` how fast.",
    ),
    "reproduce": (
        "train.reproduce",
        "Train as a tutorial did, and stand beside what it published; goes on where it was.",
    ),
    "runs": ("runs.runs_app", "List, show, rename, trim, delete and restore runs."),
}


class LazyGroup(TyperGroup):
    """Lists its commands from their names and help alone, and imports the one that is called."""

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        name, _, rest = super().resolve_command(ctx, args)
        return name, load_command(name) if name else None, rest


def load_command(name: str) -> TyperCommand | TyperGroup:
    """Import a command of COMMANDS and make click's command of it."""
    (module, _, attribute), help_line = COMMANDS[name][0].rpartition("."), COMMANDS[name][1]
    loaded = getattr(import_module(module if "." in module else f"charlm.cli.{module}"), attribute)
    if isinstance(loaded, typer.Typer):
        return typer.main.get_group(loaded)
    app = typer.Typer(add_completion=False)
    app.command(name, help=help_line)(loaded)
    return typer.main.get_command(app)  # type: ignore[return-value]  # typer's name for both


def main(args: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        args: the words after the program's name; None takes them from the process.

    Returns:
        The exit code: 0; 2 for a user's mistake; 1 for a failed run; 130 after Ctrl-C; 143 after SIGTERM.
    """
    words = list(sys.argv[1:] if args is None else args) or ["--help"]
    use_utf8()
    try:
        with on_signals([signal.SIGTERM], end):
            code = run_together(words, invoke) if is_one_of_several() else invoke(words)
            sys.stdout.flush()
            return code
    except UsageMistake as mistake:
        return refuse(mistake.format_message())
    except BrokenPipeError:
        return leave_closed_pipe()
    except CharLMError as error:
        return refuse(str(error))
    except OSError as error:
        return refuse(f"{error.filename}: {error.strerror}" if error.filename else str(error))
    except Terminated:
        return 143
    except (KeyboardInterrupt, typer.Abort):
        return 130


class Terminated(KeyboardInterrupt):
    """SIGTERM came: end as after Ctrl-C, with the weights trained so far saved."""


def end(number: int, *_: object) -> None:
    """What Ctrl-C and SIGTERM do outside a training."""
    raise Terminated if number == signal.SIGTERM else KeyboardInterrupt


@contextlib.contextmanager
def on_signals(numbers: Iterable[signal.Signals], handler: Callable[..., None]) -> Iterator[None]:
    """Handle signals for a while; outside the main thread, which alone may have handlers, not at all."""
    before: dict[signal.Signals, Any] = {}
    with contextlib.suppress(ValueError):
        for number in numbers:
            before[number] = signal.signal(number, handler)
    try:
        yield
    finally:
        for number, former in before.items():
            signal.signal(number, former)


def invoke(words: list[str]) -> int:
    """Parse the words and call the command; no click machinery around it, so that errors arrive here."""
    listed: Any = {name: TyperCommand(name, help=line) for name, (_, line) in COMMANDS.items()}
    about = "Train small language models and see how LSTM, GRU, RNN, Transformer and minGRU differ."
    program = LazyGroup(name="charlm", help=about, commands=listed, no_args_is_help=True)
    try:
        with program.make_context("charlm", words) as context:
            return int(program.invoke(context) or 0)
    except typer.Exit as leaving:
        return leaving.exit_code


def refuse(message: str) -> int:
    """Say what was wrong in one line, whatever the message holds."""
    print("charlm:", " ".join(message.split()), file=sys.stderr)
    return 2


def leave_closed_pipe() -> int:
    """The reader (`| head`) left: end quietly, also when Python flushes at exit."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 141


def use_utf8() -> None:
    """Texts go through pipes as UTF-8 on every system; a console that lacks a character shows a question mark."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure: Any = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(encoding=stream.encoding if stream.isatty() else "utf-8", errors="replace")
