"""The loop, for a process of its own: damaged files are read one after the other, watched by the guard.

python -m tests.fuzz.loop --cases 20000 [--seed 1] [--keep FOLDER] [--only "run zip"] [--case 17]
"""

import argparse
import codecs
import contextlib
import encodings
import importlib
import json
import os
import pkgutil
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from random import Random

os.environ.setdefault("OMP_NUM_THREADS", "1")

from charlm.data.decoding import MARKS
from charlm.data.encodings import CODE_PAGES
from charlm.errors import CharLMError
from tests.fuzz.guard import Guard, Hang, Violation, memory, reset_peak
from tests.fuzz.mutations import mutated
from tests.fuzz.readers import READERS, Ground, Reader, canaries
from tests.patience import patience

ROOM = 64 << 20  # beside twice the file
SLOW, HANG = 1.0, 20  # seconds: counted, and not waited for
MOST_SAID = 600  # characters of a refusal
# How texts are written in pickles; reading those loads a module of Python's own.
PICKLED = ("raw_unicode_escape", "unicode_escape")


@dataclass
class Tally:
    """What became of one reader's cases."""

    name: str
    cases: int = 0
    accepted: int = 0
    refused: int = 0
    slow: int = 0
    slowest: float = 0.0
    most_memory: int = 0
    failures: list[str] = field(default_factory=list)


def complaint(error: BaseException) -> str:
    """What is wrong with how a file was refused; empty if it was refused well."""
    if not isinstance(error, CharLMError):
        return "".join(traceback.format_exception(error)[-4:])
    said = str(error)
    if not said or "\n" in said or "Traceback" in said or len(said) >= MOST_SAID:
        return f"not one plain line: {said[:2000]!r}"
    try:
        said.encode()
    except UnicodeEncodeError:
        return f"no text that a page could show: {said!r}"
    return ""


class Loop:
    """Cases that are numbered: the same seed and number make the same file.

    Args:
        home: an empty folder.
        seed: of all random numbers.
        keep: where files that fail are kept; None: nowhere.
    """

    def __init__(self, home: Path, seed: int, keep: Path | None) -> None:
        self.seed, self.keep = seed, keep
        self.ground = Ground(home)
        self.files = {reader.name: dict(reader.files(self.ground)) for reader in READERS}
        self.canary = home / "canary"
        self.pool = [data for files in self.files.values() for data in files.values()] + canaries(self.canary)
        self.guard = Guard(home)
        self.tallies = {reader.name: Tally(reader.name) for reader in READERS}

    def warm_up(self, readers: Sequence[Reader], rounds: int = 40) -> None:
        """Whole files are accepted; they, and some damaged ones, load what readers need."""
        with self.guard.learns():
            for codec in (*CODE_PAGES, *(codec for _, codec, _ in MARKS), *PICKLED):
                codecs.lookup(codec)  # loads its module
            for module in pkgutil.iter_modules(encodings.__path__):  # a page may name any
                with contextlib.suppress(ImportError):  # those of Windows
                    importlib.import_module(f"encodings.{module.name}")
            for reader in readers:
                for name, data in self.files[reader.name].items():
                    reader.read(self.ground, name, data)
            for number in range(-rounds * len(readers), 0):
                name, data = self.file(readers[number % len(readers)], number)
                try:
                    readers[number % len(readers)].read(self.ground, name, data)
                except Exception:  # judged when it is a case
                    continue

    def file(self, reader: Reader, number: int) -> tuple[str, bytes]:
        """The damaged file of a case, and its name."""
        random = Random(f"{self.seed} {reader.name} {number}")
        name, data = random.choice(sorted(self.files[reader.name].items()))
        try:
            return name, mutated(name, data, (random, self.pool))
        except ValueError:  # damaged twice, and the second change found no structure any more
            return name, data[: random.randrange(len(data) + 1)]

    def case(self, reader: Reader, number: int) -> None:
        """Read one damaged file, and judge how that went."""
        name, data = self.file(reader, number)
        tally = self.tallies[reader.name]
        tally.cases += 1
        reset_peak()
        before, began = memory()[0], time.perf_counter()
        wrong = ""
        try:
            with self.guard.watches(patience(HANG)):
                reader.read(self.ground, name, data)
            tally.accepted += 1
        except (Exception, Violation, Hang) as error:
            wrong = complaint(error)
            tally.refused += 1
        seconds, taken = time.perf_counter() - began, memory()[1] - before
        if self.canary.exists():
            wrong += "the canary is dead"
            self.canary.rmdir()
        if taken > 2 * len(data) + ROOM:
            wrong += f"{taken:,} bytes of memory for a file of {len(data):,}"
        tally.slow += seconds > SLOW
        tally.slowest = max(tally.slowest, seconds)
        tally.most_memory = max(tally.most_memory, taken)
        if wrong:
            self._note(tally, number, name, data, wrong)

    def _note(self, tally: Tally, number: int, name: str, data: bytes, wrong: str) -> None:
        tally.failures.append(f"--seed {self.seed} --only {tally.name!r} --case {number}: {name}: {wrong}")
        if self.keep is not None:
            self.keep.mkdir(parents=True, exist_ok=True)
            kept = self.keep / f"{tally.name.replace(' ', '_')}-{self.seed}-{number}-{name[-20:]}"
            kept.write_bytes(data)

    def table(self) -> str:
        """The figures, a line for each reader and one for all."""
        rows = [tally for tally in self.tallies.values() if tally.cases]
        every = Tally("all")
        for row in rows:
            every.cases, every.accepted = every.cases + row.cases, every.accepted + row.accepted
            every.refused, every.slow = every.refused + row.refused, every.slow + row.slow
            every.slowest = max(every.slowest, row.slowest)
            every.most_memory = max(every.most_memory, row.most_memory)
            every.failures += row.failures
        head = (
            f"{'':<16}{'cases':>9}{'accepted':>10}{'refused':>9}{'slowest':>10}{'> 1 s':>7}{'memory':>10}{'failed':>8}"
        )
        lines = [
            f"{row.name:<16}{row.cases:>9,}{row.accepted:>10,}{row.refused:>9,}{row.slowest:>8.2f} s{row.slow:>7,}"
            f"{row.most_memory / 1e6:>7.1f} MB{len(row.failures):>8,}"
            for row in [*rows, every]
        ]
        return "\n".join([head, *lines])


def main() -> None:
    """Run the cases that the command line asks for; the last line is JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=2_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--only", choices=[reader.name for reader in READERS])
    parser.add_argument("--case", type=int, help="this one only; needs --only")
    asked = parser.parse_args()
    warnings.simplefilter("ignore")  # zipfile's, of a member's second copy
    readers = [reader for reader in READERS if asked.only in (None, reader.name)]
    with tempfile.TemporaryDirectory() as home:
        os.environ |= {"CHARLM_RUNS": f"{home}/runs", "CHARLM_DATA": f"{home}/data"}
        loop = Loop(Path(home), asked.seed, asked.keep)
        loop.warm_up(readers)
        numbers = range(asked.cases) if asked.case is None else [asked.case]
        for number in numbers:
            loop.case(readers[number % len(readers)] if asked.case is None else readers[0], number)
        print(loop.table())
        for tally in loop.tallies.values():
            print(*tally.failures[:5], sep="\n", file=sys.stderr)
        print(json.dumps([asdict(tally) for tally in loop.tallies.values() if tally.cases]))
        loop.ground.services.jobs.close(seconds=patience(5))


if __name__ == "__main__":
    main()
