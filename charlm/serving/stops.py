"""How a page ends the texts that are being written for it."""

import threading
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager

from charlm.serving.batcher import GeneratedText


class Stops:
    """Lets Stop end what is written for its page, and for no other.

    Gradio's own way, `cancels`, ends the stream from outside: the page may wait forever for the end of it
    (https://github.com/gradio-app/gradio/issues/10342), and loses what was written since the last piece. Here the
    stream looks whether it is to stop, and ends by itself.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._begun: dict[str, list[threading.Event]] = {}  # by page

    @contextmanager
    def begun(self, page: str) -> Iterator[threading.Event]:
        """What is set when the page wants no more.

        Args:
            page: its session hash; empty: nothing can stop it.
        """
        event = threading.Event()
        with self._lock:
            self._begun.setdefault(page, []).append(event)
        try:
            yield event
        finally:
            with self._lock:
                self._begun[page].remove(event)
                if not self._begun[page]:
                    del self._begun[page]

    def stop(self, page: str) -> None:
        """End all that is written for a page.

        Args:
            page: its session hash.
        """
        with self._lock:
            for event in self._begun.get(page, ()) if page else ():
                event.set()


def until(
    stopped: threading.Event, drafts: Iterator[Mapping[str, GeneratedText]]
) -> Iterator[Mapping[str, GeneratedText]]:
    """Drafts until they are to stop; then their models stop too, as they do when nobody reads on.

    Args:
        stopped: looked at after each draft.
        drafts: closed at the end.
    """
    try:
        for draft in drafts:
            yield draft
            if stopped.is_set():
                return
    finally:
        if isinstance(drafts, Generator):
            drafts.close()
