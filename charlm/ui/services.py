"""All that a server works with, for one user or for the visitors of a public Space."""

import ctypes
import sys
from typing import Any

from charlm.data.catalog import data_dir, sweep_texts
from charlm.jobs.service import Jobs
from charlm.public import VisitorJobs, VisitorRuns, VisitorServing
from charlm.public.eviction import evict
from charlm.public.identity import asking, visitor_of
from charlm.public.limits import Limits, Visitor, is_public
from charlm.public.quotas import Quotas
from charlm.public.services import Services
from charlm.runs.store import RunStore
from charlm.serving import Serving
from charlm.ui.files import Files, VisitorFiles, cache_folder


def give_back() -> None:
    """Return free memory to the system (glibc's malloc_trim); elsewhere nothing.

    Texts, plots and tensors come and go in dozens of threads, each with a heap of its own: what lies free between them
    grew by half a megabyte a page.
    """
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:  # musl has none
            trim(0)


def who() -> Visitor | None:
    """Whose request is being answered in this thread or task; None outside of one."""
    from gradio.context import LocalContext

    request: Any = LocalContext.request.get(None)
    if request is None:
        return asking.get()
    client = getattr(request, "client", None)
    return visitor_of(request.headers, getattr(client, "host", "") or "")


def owner() -> str:
    """What stands in a new run as its owner."""
    visitor = who()
    return visitor.key if visitor else ""


class AppServices:
    """A server's runs, trainings and models; all belongs to one user.

    Attributes:
        store, jobs, serving: of everybody, for the program itself.
        services: what pages and endpoints get.

    Raises:
        ConfigError: CHARLM_AT_ONCE is no number of trainings.
    """

    def __init__(self) -> None:
        self.store = RunStore()
        self.jobs = Jobs(self.store)
        self.serving = Serving(self.store, self.jobs.is_training)
        self.services = Services(self.store, self.jobs, self.serving, Files())

    def begin(self) -> None:
        """Before the first page: clear what killed servers left, and see what they were at."""
        self.store.sweep()
        sweep_texts()
        self.jobs.interrupted()  # what is cut off now was so before this server began
        self.tidy()

    def tidy(self) -> None:
        """From time to time: give free memory back."""
        give_back()


class PublicAppServices(AppServices):
    """The same for strangers: each meets own and shipped runs only, within the table of limits."""

    def __init__(self, limits: Limits | None = None) -> None:
        limits = limits or Limits()
        self.store = RunStore(owner=owner)
        self.jobs = Jobs(self.store, limits.together_trainings)
        self.serving = Serving(self.store, self.jobs.is_training, limits.ladder_tokens)
        quotas = Quotas(limits)
        runs = VisitorRuns(self.store, who, limits)
        jobs = VisitorJobs(self.jobs, runs, who, quotas)
        serving = VisitorServing(self.serving, who, quotas)
        self.services = Services(runs, jobs, serving, VisitorFiles(who, quotas), who, quotas)
        self._most_bytes = limits.together_disk_bytes

    def tidy(self) -> None:
        """Give free memory back, and let the oldest runs, texts and uploads make room for new ones."""
        super().tidy()
        evict(self.store, data_dir(), cache_folder(), self._most_bytes)


def open_app_services() -> AppServices:
    """The one that CHARLM_PUBLIC and SPACE_ID ask for.

    Raises:
        ConfigError: a variable of the environment holds nothing that makes sense.
    """
    return PublicAppServices() if is_public() else AppServices()
