"""Files that a page may download, written straight into gradio's own cache, which it clears by itself."""

import re
import secrets
from pathlib import Path

from charlm.exchange.exports import Format
from charlm.run import Run


def click_js(elem_id: str) -> str:
    """Presses the hidden download button once its file is known, so that one click is enough."""
    return f"() => setTimeout(() => document.getElementById('{elem_id}').click(), 60)"


def served_path(name: str) -> Path:
    """A fresh path in gradio's cache whose last part is `name`, made safe."""
    from gradio.utils import get_upload_folder

    folder = Path(get_upload_folder()) / secrets.token_hex(16)
    folder.mkdir(parents=True)
    return folder / (re.sub(r"[^\w.-]+", "-", name).strip("-.") or "file")


def served_text(name: str, text: str) -> str:
    """Write a text file that the page may download; its path."""
    path = served_path(name)
    path.write_text(text, encoding="utf-8")
    return str(path)


def served_run(run: Run, kind: Format) -> str:
    """A run in one of its formats as a file that the page may download; its path."""
    path = served_path(f"{run.run_id}{kind.suffix}")
    kind.write(run, path)
    return str(path)
