"""All that a server works with, for one user or for the visitors of a public Space.

Files that a page may download, and those that were uploaded, lie in gradio's own cache, which clears itself.
"""

import ctypes
import os
import secrets
import sys
from collections import OrderedDict
from contextlib import suppress
from pathlib import Path
from typing import Any

from charlm.data.catalog import data_dir
from charlm.data.own_texts import OwnTexts
from charlm.data.text_store import sweep_texts
from charlm.errors import ConfigError, CorpusError
from charlm.experiments.searches import Searches
from charlm.files import file_name
from charlm.formats.exports import Format
from charlm.formats.trackers import shown_by, wanted_tracker
from charlm.jobs.service import Jobs
from charlm.public import VisitorJobs, VisitorRuns, VisitorServing, VisitorTexts
from charlm.public.eviction import evict
from charlm.public.identity import asking, visitor_of
from charlm.public.limits import Limits, Visitor, is_public
from charlm.public.quotas import Action, Quotas
from charlm.public.services import Services
from charlm.runs.run import Run
from charlm.runs.store import RunStore
from charlm.serving import Serving

MOST_FILES = 20_000  # whose owner is remembered
MOST_PATH = 4096  # characters
MOST_NAME = 255  # bytes of a file's name
MOST_MEASUREMENTS = 20  # of this machine, until one is made while the program does nothing else


def click_js(elem_id: str) -> str:
    """Presses the hidden download button once its file is known, so that one click is enough."""
    return f"() => setTimeout(() => document.getElementById('{elem_id}').click(), 60)"


def cache_folder() -> Path:
    """Where gradio keeps uploads and downloads."""
    from gradio.utils import get_upload_folder

    return Path(get_upload_folder()).resolve()


def is_path(text: str) -> bool:
    """Whether the file system could have such a path at all."""
    try:
        return b"\0" not in os.fsencode(text) and len(text) <= MOST_PATH
    except UnicodeEncodeError:  # half a surrogate pair, as JSON may have it
        return False


class Files:
    """The way to files in the cache; all belong to one user."""

    def uploaded(self, given: Any) -> Path:
        """The path of a file that came through gradio's own upload; nothing else is ever opened.

        Args:
            given: the path, as a page or a client says it.

        Raises:
            CorpusError: it is none.
        """
        if isinstance(given, str) and given and is_path(given):
            path = Path(given).resolve()
            if path.is_relative_to(cache_folder()) and path.is_file():
                return path
        raise CorpusError("the file is not an upload; send it with gradio_client's handle_file")

    def fresh(self, name: str) -> Path:
        """A new path whose last part is `name`, made safe; each lies in a folder of its own."""
        folder = cache_folder() / secrets.token_hex(16)
        folder.mkdir(parents=True)
        return folder / (file_name(name, MOST_NAME) or "file")

    def text(self, name: str, text: str) -> str:
        """Write a text file that the page may download; its path."""
        path = self.fresh(name)
        path.write_text(text, encoding="utf-8")
        return str(path)

    def received(self, name: str, text: str) -> str:
        """Keep a text that came inside a call as if it had been uploaded; its path."""
        return self.text(name, text)

    def run(self, run: Run, kind: Format) -> str:
        """A run in one of its formats as a file that the page may download; its path."""
        path = self.fresh(kind.file_name(run))
        kind.write(run, path)
        return str(path)


class VisitorFiles(Files):
    """The same where strangers share the server: each has only files of their own.

    Args:
        who: asks at every call.
        quotas: count the downloads.
    """

    def __init__(self, who: Any, quotas: Quotas) -> None:
        self._who, self._quotas = who, quotas
        self._owners: OrderedDict[str, set[str]] = OrderedDict()  # visitors' keys by path

    def own(self, path: str, visitor: Visitor) -> None:
        """The file is this visitor's, too; the same content may have been uploaded by others."""
        self._owners.setdefault(str(Path(path).resolve()), set()).add(visitor.key)
        while len(self._owners) > MOST_FILES:
            self._owners.popitem(last=False)

    def is_own(self, path: str, visitor: Visitor | None) -> bool:
        """Whether it is a file of this visitor."""
        if visitor is None or not is_path(path):
            return False
        return visitor.key in self._owners.get(str(Path(path).resolve()), ())

    def delete_all(self, visitor: Visitor) -> None:
        """Remove the files of this visitor that nobody else has."""
        for path, owners in list(self._owners.items()):
            owners.discard(visitor.key)
            if not owners:
                self._owners.pop(path, None)
                with suppress(OSError):  # the cache has cleared itself, or will
                    Path(path).unlink(missing_ok=True)

    def uploaded(self, given: Any) -> Path:
        """As for one user, and it is the visitor's own."""
        path = super().uploaded(given)
        if not self.is_own(str(path), self._who()):
            raise CorpusError("the file is no upload of yours; upload it here first")
        return path

    def fresh(self, name: str) -> Path:
        """As for one user, for the visitor to download.

        Raises:
            LimitError: so many were made within the hour.
        """
        return self._made("download", name)

    def received(self, name: str, text: str) -> str:
        """As for one user, counted as an upload.

        Raises:
            LimitError: so many came within the hour.
        """
        path = self._made("upload", name)
        path.write_text(text, encoding="utf-8")
        return str(path)

    def _made(self, action: Action, name: str) -> Path:
        """A new path of the visitor who asks, counted as such an action."""
        if (visitor := self._who()) is not None:
            self._quotas.take(action, visitor)
        path = super().fresh(name)
        if visitor is not None:
            self.own(str(path), visitor)
        return path


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
        store, jobs, serving: those of all users, for the program itself.
        services: what pages and endpoints get.

    Raises:
        ConfigError: CHARLM_AT_ONCE is no number of trainings, or CHARLM_TRACK is no tracker that can be used.
    """

    def __init__(self) -> None:
        self.store = RunStore()
        track = wanted_tracker()
        tracked = f"Trainings go to {track}, too. To see them: {shown_by(track, self.store.root)}" if track else ""
        self.jobs = Jobs(self.store, track=track)
        self.searches: Searches | None = Searches(self.store.root, self.jobs.is_training, track)
        self.serving = Serving(self.store, self._is_training)
        access, lent = (self.store, self.jobs, self.serving, Files()), self.jobs.lent
        self.services = Services(*access, searches=self.searches, track=track, tracked=tracked, lent=lent)
        self._measurements = MOST_MEASUREMENTS

    def _is_training(self) -> bool:
        """Whether a training or a search takes its share of the machine just now."""
        return self.jobs.is_training() or (self.searches is not None and self.searches.is_running)

    def begin(self) -> None:
        """Before the first page: clear what killed servers left, and see what they were at."""
        self.store.sweep()
        sweep_texts()
        self.jobs.interrupted()  # what is cut off now was so before this server began
        self.tidy()

    def tidy(self) -> None:
        """From time to time: give free memory back, and measure again what was measured beside other work."""
        give_back()
        if self._measurements and "torch" in sys.modules and not (self.jobs.queue() or self._is_training()):
            from charlm.training.machine import measure_again, speed

            self._measurements = 0 if speed().quiet or measure_again().quiet else self._measurements - 1


class PublicAppServices(AppServices):
    """The same for strangers: each meets own and shipped runs only, within the table of limits."""

    def __init__(self, limits: Limits | None = None) -> None:
        if os.environ.get("CHARLM_TRACK"):
            raise ConfigError(
                "CHARLM_TRACK sends trainings to a tracker on this machine, which no visitor of a public Space sees; "
                "unset it, or set CHARLM_PUBLIC=0 for an app of your own"
            )
        limits = limits or Limits()
        self.searches = None
        self.store = RunStore(owner=owner)
        self.jobs = Jobs(self.store, limits.together_trainings)
        self.serving = Serving(self.store, self.jobs.is_training, limits.ladder_tokens)
        quotas = Quotas(limits)
        runs = VisitorRuns(self.store, who, limits)
        jobs = VisitorJobs(self.jobs, runs, who, quotas)
        serving = VisitorServing(self.serving, who, quotas)
        texts = VisitorTexts(OwnTexts(), who, limits)
        files, lent = VisitorFiles(who, quotas), self.jobs.lent
        self.services = Services(runs, jobs, serving, files, who, quotas, texts, lent=lent)
        self._measurements = MOST_MEASUREMENTS
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
