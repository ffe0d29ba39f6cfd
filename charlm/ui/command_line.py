"""What a form stands for on a command line."""

import shlex
from collections.abc import Collection, Sequence

from charlm.config import Config, escape

PROGRAM = ("python", "-m", "charlm")


def command_line(command: str, words: Sequence[str], options: Sequence[str]) -> str:
    """A command that does what a form says, to be pasted into a shell.

    Args:
        command: `compare`, `race` and so on.
        words: what stands after it.
        options: see `settings`.
    """
    return shlex.join([*PROGRAM, command, *words, *options])


def settings(
    config: Config, usual: Config | None = None, skip: Collection[str] = (), keep: Collection[str] = ()
) -> list[str]:
    """The options for what of a config is not as usual.

    Args:
        config: what the form says.
        usual: what would count without options; None: the defaults.
        skip: fields that are no options.
        keep: fields that are said in any case.
    """
    before, words = (usual or type(config)()).to_dict(), list[str]()
    for name, value in config.to_dict().items():
        flag = f"--{name.replace('_', '-')}"
        if name in skip or (value == before[name] and name not in keep):
            continue
        if isinstance(value, bool):
            words.append(flag if value else flag.replace("--", "--no-", 1))
        elif isinstance(value, list | tuple):
            words += [word for one in value for word in (flag, escape(str(one)))]
        else:
            words += [flag, repr(value) if isinstance(value, float) else str(value)]
    return words
