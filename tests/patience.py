"""How long the tests wait for something: every deadline comes from here, and grows with the machine's load.

A deadline tells a hang from work that goes on; it is no bound on speed. On a machine with ten busy processes on two
cores everything takes about five times as long, so that all deadlines are five times as far away.
"""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

LOADAVG = Path("/proc/loadavg")


def busyness() -> float:
    """Processes that want a core, for each core: the mean of the last minute, or at this moment if those are more."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    wanting = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    if LOADAVG.exists():  # "1.76 0.71 0.29 6/229 12382": six run or want to
        wanting = max(wanting, float(LOADAVG.read_text().split()[3].split("/")[0]))
    return wanting / cores


def patience(seconds: float) -> float:
    """So many seconds on a quiet machine, as many more as this one is busier."""
    return seconds * max(1.0, busyness())


def client(address: str) -> Any:
    """gradio's client for an app, as patient as the tests."""
    from gradio_client import Client

    return Client(address, verbose=False, httpx_kwargs={"timeout": patience(60.0)})


def wait_for(condition: Callable[[], Any], what: str = "", seconds: float = 60.0, pause: float = 0.005) -> Any:
    """The first true value of `condition`; fails after so many seconds of a quiet machine. It looks once a `pause`."""
    began = time.monotonic()
    while not (value := condition()):
        if time.monotonic() - began > patience(seconds):
            raise AssertionError(f"waited in vain {what}")
        time.sleep(pause)
    return value
