"""Free memory goes back to the system."""

import sys

import psutil
import pytest

from charlm.ui.services import give_back


@pytest.mark.skipif(sys.platform != "linux", reason="only glibc is asked")
def test_what_lies_free_between_what_is_used_is_given_back() -> None:
    """Pieces of 100 kB are freed but for every hundredth, so that the heap cannot simply shrink."""
    pieces = [bytes(100_000) for _ in range(2_000)]
    used = psutil.Process().memory_info().rss
    del pieces[1::2], pieces[1::2]
    kept = pieces[::50]
    del pieces
    give_back()
    assert psutil.Process().memory_info().rss < used - 100_000_000 and len(kept) == 10
