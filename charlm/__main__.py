"""`python -m charlm`, also installed as `charlm`: the command line, and the page as its command `app`."""

import sys

from charlm.cli import app, main


@app.command("app", help="Open the page; host and port come from GRADIO_SERVER_NAME and GRADIO_SERVER_PORT.")
def open_page() -> int:
    from charlm.ui.launch import main as serve  # gradio takes seconds: not before it is needed

    return serve()


if __name__ == "__main__":
    sys.exit(main())
