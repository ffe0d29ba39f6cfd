"""`python -m charlm`, also installed as `charlm`: the command line, and the page as its command `app`."""

import sys

from charlm.cli import COMMANDS, main

# Here and not among the others: the command line knows nothing of the page.
COMMANDS["app"] = (
    "charlm.ui.launch.main",
    "Open the page; host and port come from GRADIO_SERVER_NAME and GRADIO_SERVER_PORT.",
)

if __name__ == "__main__":
    sys.exit(main())
