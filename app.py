"""The Space's entry: builds the page and launches it. Host and port come from GRADIO_SERVER_NAME and _PORT."""

import signal
import sys

from charlm.catalog import data_dir
from charlm.jobs import Jobs
from charlm.runs import RunStore
from charlm.serving import Serving
from charlm.ui.demo import Services, build_demo
from charlm.ui.theme import launch_options

TERMINATED = 143  # the exit code after SIGTERM, which ends a Space
# Seconds: the first page comes first, loading torch beside it would slow it down.
WARM_UP_AFTER = 2.0


def main() -> None:
    """Serve until Ctrl-C; a training that is running then can be resumed."""
    store = RunStore()
    jobs = Jobs(store)
    services = Services(store, jobs, Serving(store, jobs.is_training))
    demo = build_demo(services, data_dir())
    demo.launch(prevent_thread_lock=True, **launch_options())
    services.serving.warm_up_later(WARM_UP_AFTER)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(TERMINATED))
    try:
        demo.block_thread()
    finally:
        jobs.close()


if __name__ == "__main__":
    main()
