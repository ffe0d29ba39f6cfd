"""A run pulled from the Hub, as a stranger's files: known names only, bounded sizes, and the guards of a run's zip."""

import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charlm.errors import CheckpointError, HubError
from charlm.files import one_line
from charlm.formats.detect import MODELS
from charlm.formats.hub.connection import check_name, hub_errors
from charlm.formats.hub.push import WEIGHTS
from charlm.formats.run_zip import BEST, LOGS, read_zip
from charlm.runs.run import Run
from charlm.runs.schema import MOST_BYTES as MOST_DESCRIPTION
from charlm.runs.store import RunStore

if TYPE_CHECKING:
    from huggingface_hub import HfApi

MOST_BYTES = 256 << 20  # of all that is taken
# What is taken, under which name it is kept; nothing else of a repository is asked for.
TAKEN = {"run.json": "run.json", "tokenizer.json": "tokenizer.json", WEIGHTS: BEST, **{name: name for name in LOGS}}
NEEDED = ("run.json", "tokenizer.json", WEIGHTS)
SECONDS = 60.0  # without a byte, after which a connection is given up


def pull(api: "HfApi", store: RunStore, repo: str, revision: str = "", label: str = "") -> tuple[Run, bool]:
    """A run made of a repository that `push` filled; the same commit a second time is the run that is there.

    Args:
        api: see `connect`; public repositories need no token.
        store: where the run goes.
        repo: USER/NAME.
        revision: a branch, tag or commit; empty: the newest.
        label: of the run; empty: the one it had.

    Returns:
        The run, and whether it is new.

    Raises:
        ConfigError: it is no name of a repository.
        HubError: it is not there, holds no run, is too large, or the Hub cannot be reached.
        CheckpointError: what it holds is damaged or hostile.
    """
    check_name(repo)
    with hub_errors(repo):
        info = api.model_info(repo, revision=revision or None, files_metadata=True)
    origin = {"format": "hub", "file": repo, "revision": one_line(info.sha, 64)}
    for run in store.list():
        if origin.items() <= run.imported.items() and label in ("", run.label):
            return run, False
    sizes = _sizes(repo, info)
    with tempfile.TemporaryDirectory(prefix="charlm-") as folder:
        path = Path(folder) / f"{repo.replace('/', '-')}.zip"
        try:
            _pack(api, repo, origin["revision"], sizes, path)
        except zipfile.LargeZipFile:
            raise _too_large(repo) from None
        return read_zip(store, path, MOST_BYTES, label=label, origin=origin), True


def _sizes(repo: str, info: Any) -> Mapping[str, int]:
    """What is taken, and the bytes that the Hub says it has."""
    there = {one.rfilename: int(one.size or 0) for one in info.siblings or ()}
    if missing := [name for name in NEEDED if name not in there]:
        others = [name for name in sorted(there) if name.lower().endswith(MODELS) and not name.endswith(".safetensors")]
        also = f"; {one_line(', '.join(others), 80)} is not opened, as that can run programs" if others else ""
        raise HubError(f"{repo} has no {missing[0]}, so `push` did not fill it, and no run can be made of it{also}")
    sizes = {name: there[name] for name in TAKEN if name in there}
    if sum(sizes.values()) > MOST_BYTES:
        raise _too_large(repo)
    return sizes


def _too_large(repo: str) -> HubError:
    return HubError(f"{repo} has more than {MOST_BYTES:,} bytes, and no run of this program needs so many")


def _pack(api: "HfApi", repo: str, revision: str, sizes: Mapping[str, int], path: Path) -> None:
    """Fetch the files into a run's zip, counting what really arrives."""
    left = MOST_BYTES
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name in sizes:
            with archive.open(TAKEN[name], "w") as member:
                most = min(left, MOST_DESCRIPTION) if name == "run.json" else left
                for block in _blocks(api, repo, revision, name):
                    most, left = most - len(block), left - len(block)
                    if most < 0:
                        raise CheckpointError(f"{repo} holds a {name} that is larger than any run needs")
                    member.write(block)


def _blocks(api: "HfApi", repo: str, revision: str, name: str) -> Iterator[bytes]:
    """A file of a repository, as it arrives."""
    from huggingface_hub import get_session, hf_hub_url
    from huggingface_hub.utils import build_hf_headers, hf_raise_for_status

    url = hf_hub_url(repo, name, revision=revision, endpoint=api.endpoint)
    headers = build_hf_headers(token=api.token)
    with hub_errors(repo), get_session().stream(
        "GET", url, headers=headers, follow_redirects=True, timeout=SECONDS
    ) as response:  # fmt: skip
        hf_raise_for_status(response)
        yield from response.iter_bytes()
