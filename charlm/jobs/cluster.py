"""Trainings on the nodes of a Ray cluster: each takes one slot, and its files are gathered here after every save.

A node trains a copy of the run's folder and sends back what has changed. When a node is lost, the run is begun again on
another one, from what was gathered last.
"""

import json
import os
import signal
import socket
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path, PurePosixPath
from typing import Any

from charlm.data.corpus import Corpus
from charlm.errors import CheckpointError, ConfigError, JobError
from charlm.files import write_atomically
from charlm.jobs import Control
from charlm.jobs.scheduler import explain, prepare, slices
from charlm.runs.run import Run

# A node sends its logs about this often, its weights and the state to resume from when they are saved.
NEWS_SECONDS = 2.0
# So often a run loses its node without a step gathered in between, until it counts as failed.
MOST_LOSSES = 3
CONNECT_SECONDS = 5.0
# Of a node's run.json, what the training itself writes; label and note stay what they are here.
TOLD = ("status", "message", "mend", "device")

# Files of a run by their path within its folder.
Files = dict[str, bytes]


def train_on_node(run_id: str, files: Files, corpus: Corpus, resume: bool) -> Iterator[Files]:
    """Train a run in a folder of its own, in this process.

    Args:
        run_id: its name.
        files: of the run so far.
        corpus: its text.
        resume: continue from its saved state.

    Yields:
        The files that have changed, again and again, and at the end.
    """
    with tempfile.TemporaryDirectory(prefix="charlm-") as place:
        os.environ["CHARLM_DATA"] = str(Path(place) / "data")
        folder = Path(place) / run_id
        put_files(folder, files)
        run, seen = Run(folder), dict[str, tuple[int, int]]()
        run.hold()
        changed_files(folder, seen)
        [trainer] = prepare([run], corpus, resume)
        told = time.monotonic()
        for _ in slices([trainer], Control()):
            if time.monotonic() - told > NEWS_SECONDS:
                told = time.monotonic()
                yield changed_files(folder, seen)
        run.release()
        yield changed_files(folder, seen)


def changed_files(folder: Path, seen: dict[str, tuple[int, int]]) -> Files:
    """The files of a run that are new, or have changed since they were seen; run.json, which refers to others, last.

    Args:
        folder: of the run.
        seen: time and size by name, brought up to date.
    """
    changed: Files = {}
    paths = [path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(".")]
    for path in sorted(paths, key=lambda path: (path.name == "run.json", path)):
        name, about = path.relative_to(folder).as_posix(), path.stat()
        if seen.get(name) != (mark := (about.st_mtime_ns, about.st_size)):
            seen[name], changed[name] = mark, path.read_bytes()
    return changed


def put_files(folder: Path, files: Files) -> None:
    """Write files of a run, each as a whole.

    Raises:
        CheckpointError: one would lie elsewhere.
        OSError: they cannot be written.
    """
    for name, content in files.items():
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts:
            raise CheckpointError(f"a node sent a file {name[:80]!r}, which is no file of a run")
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / path, content)


def gather(run: Run, files: Files) -> None:
    """Take over what a node has sent of a run."""
    about = files.pop("run.json", None)
    put_files(run.folder, files)
    if about is not None:
        info = json.loads(about)
        run.update(info["progress"], **{name: info[name] for name in TOLD if name in info})


def check_cluster(address: str) -> None:
    """Refuse an address at which there is no cluster; before anything is made for it.

    Args:
        address: HOST:PORT of its head, or auto: the cluster that this machine is part of.

    Raises:
        ConfigError: this is no address, or the package ray is missing.
        JobError: nothing answers there.
    """
    host, _, port = address.rpartition(":")
    if address != "auto" and not (host and "/" not in host and port.isdecimal() and 0 < int(port) < 65_536):
        raise ConfigError(f"ray {address[:80]!r} is no address; give HOST:PORT of the cluster's head, or auto")
    if find_spec("ray") is None:
        raise ConfigError("--ray needs the package ray: pip install 'charlm-lab[ray]'")
    if address != "auto":
        try:
            socket.create_connection((host, int(port)), CONNECT_SECONDS).close()  # ray would try for minutes
        except OSError as error:
            raise _no_cluster(address, error) from None


def _no_cluster(address: str, error: Exception) -> JobError:
    reason = str(error).strip().partition("\n")[0][:200]
    return JobError(
        f"there is no Ray cluster at {address} ({reason}); start one with `ray start --head`, and run this within it"
    )


@contextmanager
def connected(address: str) -> Iterator[Any]:
    """The package ray, connected to a cluster.

    Args:
        address: see `check_cluster`.

    Raises:
        ConfigError, JobError: see `check_cluster`; or this machine is not part of the cluster.
    """
    check_cluster(address)
    handler = signal.getsignal(signal.SIGTERM)
    import ray

    try:
        ray.init(address=address, logging_level="ERROR", log_to_driver=False)
    except (OSError, RuntimeError, ValueError) as error:
        raise _no_cluster(address, error) from None
    with suppress(ValueError):  # outside the main thread, where ray sets none
        signal.signal(signal.SIGTERM, handler)
    try:
        yield ray
    finally:
        ray.shutdown()


def train_on_cluster(
    runs: Sequence[Run],
    corpus: Corpus,
    address: str,
    control: Control,
    resume: bool = False,
    say: Callable[[str], None] = lambda line: None,
) -> None:
    """Train runs to their end on the nodes of a cluster, as many at a time as it has slots.

    Args:
        runs: held by this process.
        corpus: their text.
        address: of the cluster, see `connected`.
        control: looked at about once a second; when interrupted, each run keeps what was gathered last.
        resume: continue from their saved states.
        say: told when a node is lost; and, with an empty line, whenever something was gathered.

    Raises:
        ConfigError, JobError: see `connected`; or no node has a slot.
        CheckpointError, OSError: what was gathered cannot be written.
    """
    with connected(address) as ray:
        slot = _slot(ray.cluster_resources(), runs, address)
        remote = ray.remote(train_on_node).options(num_returns="streaming", max_retries=0, **slot)
        text = ray.put(corpus)
        losses = {run.run_id: 0 for run in runs}

        def begin(run: Run, resume: bool) -> Any:
            return remote.remote(run.run_id, changed_files(run.folder, {}), text, resume)

        streams = {begin(run, resume): run for run in runs}
        while streams and not control.interrupted:
            ready, _ = ray.wait([*streams], num_returns=1, timeout=1.0)
            for stream in ready:
                run, before = streams.pop(stream), 0
                try:
                    before = run.step
                    gather(run, ray.get(next(stream)))
                    losses[run.run_id] = 0 if run.step > before else losses[run.run_id]
                    streams[stream] = run
                    say("")
                except StopIteration:
                    run.release()
                except ray.exceptions.RayTaskError as error:  # the training's own
                    reason = explain(error.cause, run.train_config.batch_size)
                    run.update(status="failed", message=str(reason))
                    run.release()
                except ray.exceptions.RayError as error:
                    losses[run.run_id] += 1
                    if losses[run.run_id] > MOST_LOSSES:
                        run.update(status="failed", message=_lost_for_good(error))
                        run.release()
                        continue
                    say(f"{run.label}: its node was lost; begun again elsewhere from its last save")
                    streams[begin(run, True)] = run
        for stream in streams:
            ray.cancel(stream, force=True)


def _slot(resources: dict[str, float], runs: Sequence[Run], address: str) -> dict[str, int]:
    """What one training takes: a processor, and a GPU where the cluster has any and the settings do not forbid it."""
    if not resources.get("CPU"):
        raise JobError(f"the Ray cluster at {address} has no processor to train on; add a node with `ray start`")
    on_gpu = resources.get("GPU", 0) >= 1 and any(run.train_config.device in ("auto", "cuda") for run in runs)
    return {"num_cpus": 1, "num_gpus": int(on_gpu)}


def _lost_for_good(error: Exception) -> str:
    reason = str(error).strip().partition("\n")[0][:200]
    return (
        f"its node was lost {MOST_LOSSES + 1} times without a step in between ({reason}); perhaps it needs more memory "
        "than a node has: choose a smaller batch_size, or resume it here"
    )
