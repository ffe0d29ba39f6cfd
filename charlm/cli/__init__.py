"""The command line: `python -m charlm ...`. A user's mistake is one plain line on stderr and exit code 2."""

import contextlib
import os
import signal
import sys
from collections.abc import Sequence
from typing import Any

import typer

from charlm.cli import bench, exchange, generate, inspect, reproduce, runs, train
from charlm.cli.progress import Terminated, handlers
from charlm.errors import CharLMError

# ClickException, wherever this version of typer keeps its click.
UsageMistake: Any = typer.BadParameter.__mro__[2]

app = typer.Typer(
    name="charlm",
    help="Train small language models and see how LSTM, GRU, RNN, Transformer and minGRU differ.",
    add_completion=False,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
)
for module in (train, generate, exchange, runs, inspect, bench, reproduce):
    module.add_to(app)


def main(args: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        args: the words after the program's name; None takes them from the process.

    Returns:
        The exit code: 0; 2 for a user's mistake; 1 for a failed run; 130 after Ctrl-C; 143 after SIGTERM.
    """
    words = list(sys.argv[1:] if args is None else args) or ["--help"]
    speak_utf8()
    try:
        with handlers({signal.SIGTERM: end}):
            code = invoke(words)
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


def end(*_: object) -> None:
    """What SIGTERM does outside a training."""
    raise Terminated


def invoke(words: list[str]) -> int:
    """Parse the words and call the command; no click machinery around it, so that errors arrive here."""
    command = typer.main.get_command(app)
    try:
        with command.make_context("charlm", words) as context:
            return int(command.invoke(context) or 0)
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


def speak_utf8() -> None:
    """Texts go through pipes as UTF-8 on every system; a console that lacks a character shows a question mark."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure: Any = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(encoding=stream.encoding if stream.isatty() else "utf-8", errors="replace")
