"""The Space's entry: builds the page and launches it. Host and port come from GRADIO_SERVER_NAME and _PORT."""

import signal
import sys
import time

from charlm.catalog import data_dir, sweep_texts
from charlm.errors import ConfigError
from charlm.jobs import Jobs
from charlm.memory import give_back
from charlm.runs import RunStore
from charlm.serving import Serving
from charlm.ui.demo import Services, build_demo
from charlm.ui.theme import launch_options

# The exit codes after a signal; SIGTERM ends a Space.
EXITS = {signal.SIGTERM: 143, signal.SIGINT: 130}
# Seconds: the first page comes first, loading torch beside it would slow it down.
WARM_UP_AFTER = 2.0
LOOK_EVERY = 0.2  # seconds until a signal is obeyed
GIVE_BACK_EVERY = 30.0  # seconds between two looks for free memory


def main() -> int:
    """Serve until a signal comes; a training that is running then is saved and can be resumed.

    Returns:
        The exit code: 143 after SIGTERM, 130 after Ctrl-C, 2 for a setting that is none.
    """
    store = RunStore()
    try:
        jobs = Jobs(store)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 2
    store.sweep()
    sweep_texts()
    jobs.interrupted()  # what is cut off now was so before this server began
    services = Services(store, jobs, Serving(store, jobs.is_training))
    came: list[int] = []
    for number in EXITS:
        signal.signal(number, lambda number, _: came.append(number))
    demo = build_demo(services, data_dir())
    demo.launch(prevent_thread_lock=True, **launch_options())
    services.serving.warm_up_later(WARM_UP_AFTER)
    given_back = time.monotonic()
    while not came:
        time.sleep(LOOK_EVERY)
        if time.monotonic() - given_back > GIVE_BACK_EVERY:
            give_back()
            given_back = time.monotonic()
    jobs.close()
    return EXITS[signal.Signals(came[0])]


if __name__ == "__main__":
    sys.exit(main())
