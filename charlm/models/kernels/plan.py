"""How many threads compute, and rows shared out between them."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from typing import Any

import torch


@cache
def all_threads() -> int:
    """What torch would use by itself; asked once, before anything is set."""
    return torch.get_num_threads()


@contextmanager
def team(count: int) -> Iterator[Callable[..., Iterable[Any]]]:
    """A `map` that shares its calls out between `count` threads of one core each."""
    if count == 1:
        yield map
        return
    with ThreadPoolExecutor(count, "rows", torch.set_num_threads, (1,)) as pool:
        yield pool.map
