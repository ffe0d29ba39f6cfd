"""One forking process for all tests of a session."""

from collections.abc import Iterator

import pytest

from tests.faults.zygote import Zygote


@pytest.fixture(scope="session")
def zygote(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Zygote]:
    """Starts in some seconds, then a worker costs next to nothing."""
    started = Zygote(tmp_path_factory.mktemp("zygote"))
    yield started
    started.close()
