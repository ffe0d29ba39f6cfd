"""What CORPUS means on the command line."""

import sys
from pathlib import Path

from charlm.config import CorpusConfig
from charlm.corpus import Corpus, read_corpus, read_corpus_file
from charlm.errors import CorpusError


def open_corpus(token: str, config: CorpusConfig) -> Corpus:
    """The text that CORPUS names: `-` for standard input, a file, or an entry of the catalog.

    Raises:
        CorpusError: nothing of that name, or no readable text in it.
    """
    from charlm import catalog

    path = Path(token)
    if token == "-":
        return read_corpus(sys.stdin.buffer.read(), "standard input", config)
    if path.exists() or path.suffix or len(path.parts) > 1:
        return read_corpus_file(path, config)
    try:
        entry = catalog.find_entry(token)
    except CorpusError as error:
        raise CorpusError(f"there is no file {token!r}, and {error}") from None
    return catalog.load_corpus(entry.key, config)
