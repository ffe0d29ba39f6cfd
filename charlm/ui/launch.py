"""Builds the page and launches it: `charlm app` and app.py. Host and port: GRADIO_SERVER_NAME and _PORT."""

import gc
import os
import signal
import sys
import time
from typing import NoReturn

from charlm.data.catalog import data_dir
from charlm.errors import ConfigError
from charlm.ui.agents import is_wanted
from charlm.ui.app import build_demo, launch_options
from charlm.ui.services import open_app_services

# The exit codes after a signal; SIGTERM ends a Space.
EXITS = {signal.SIGTERM: 143, signal.SIGINT: 130}
# Seconds: the first page comes first, loading torch beside it would slow it down.
WARM_UP_AFTER = 2.0
LOOK_EVERY = 0.2  # seconds until a signal is obeyed
TIDY_EVERY = 30.0  # seconds between two looks for free memory and disk


def main() -> int:
    """Serve until a signal comes; a training that is running then is saved and can be resumed.

    Returns:
        2 for a setting that is none. After a signal the process ends here: with 143 after SIGTERM, 130 after Ctrl-C.
    """
    try:
        agents = is_wanted()
        served = open_app_services()
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 2
    gc.freeze()  # all that is imported stays; to look through it for garbage takes 0.1 s each time
    served.begin()
    came: list[int] = []
    for number in EXITS:
        signal.signal(number, lambda number, _: came.append(number))
    demo = build_demo(served.services, data_dir())
    demo.launch(prevent_thread_lock=True, **launch_options(served.services, agents))
    served.serving.warm_up_later(WARM_UP_AFTER)
    tidied = time.monotonic()
    while not came:
        time.sleep(LOOK_EVERY)
        if time.monotonic() - tidied > TIDY_EVERY:
            served.tidy()
            tidied = time.monotonic()
    if served.searches is not None:
        served.searches.close()
    served.jobs.close()
    end_at_once(EXITS[signal.Signals(came[0])])


def end_at_once(code: int) -> NoReturn:
    """End the process without taking Python down first.

    All is saved by then. Threads that write or load models may be inside torch, whose C++ aborts the process when
    Python ends them there; and to unload torch takes seconds, of which a container has ten.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
