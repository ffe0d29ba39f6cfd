"""Find good settings: each architecture gets the same minutes of short trainings, and Optuna proposes what to try.

A search is a folder, `searches/ID` beside the runs: search.json says what is searched, Optuna's journal.log has the
trials. Whatever ends the process, the search goes on from there with the remaining seconds.
"""

import json
import logging
import math
import secrets
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import optuna
from filelock import FileLock, Timeout
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
from optuna.pruners import MedianPruner
from optuna.samplers import TPESampler
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from charlm.architectures import ARCH_NAMES
from charlm.config import CorpusConfig, ModelConfig, RaceConfig, RunConfig, SearchConfig, TrainConfig
from charlm.data.batches import Dataset
from charlm.data.catalog import data_dir
from charlm.data.corpus import Corpus
from charlm.data.dataset import corpus_cut, dataset_of, tokenizer_for
from charlm.data.text_store import recall, remember
from charlm.errors import CharLMError, CheckpointError, ConfigError, CorpusError, Halted, JobError
from charlm.experiments.trials import (
    SEARCHED,
    WHOLE_TIME,
    begin,
    looks,
    ready_for,
    settings_of,
    space_of,
    warm_up,
    with_settings,
)
from charlm.files import finite, known_fields, one_line, read, write_atomically
from charlm.runs.create import create_runs, with_test_part
from charlm.runs.run import Run
from charlm.runs.store import RUN_ID, RunStore
from charlm.training.autosize import autosize
from charlm.training.device import device_for
from charlm.training.estimate import check_memory
from charlm.training.racers import Racer

FOLDER = "searches"  # beside the runs
SHARES = 10  # trials that run to their end within an architecture's minutes
STARTUP = 4  # trials with the base and settings drawn at random, before any is proposed from what came of others
WHOLE = 0.9  # a trial begins if so much of its time is left
MOST_TRIALS = 200  # of an architecture, however soon they end
FEWEST = 6  # finished trials from which on importances are told
FRESH_SEEDS = 3  # of a winner that is trained again
MOST_BYTES = 1 << 20  # of search.json
FIELDS = (
    "format", "created", "name", "sha256", "held_out", "preset", "given", "archs", "minutes", "seed", "base", "corpus"
)  # fmt: skip
FORMAT = 1

optuna.logging.set_verbosity(logging.WARNING)


@dataclass(frozen=True)
class Trial:
    """One short training.

    Attributes:
        number: from 0.
        settings: of SEARCHED, by name, as they were used.
        loss: the lowest of its validations, in nats per token; None before the first.
        state: running, finished, pruned (ended early, as hopeless), diverged, or failed (cut off).
        seconds: that it has trained, validation included.
        is_base: whether it has the settings that the search began from.
        message: why it diverged.
        losses: its looks, each the per cent of its time and the lowest loss so far.
    """

    number: int
    settings: Mapping[str, Any]
    loss: float | None
    state: str
    seconds: float
    is_base: bool
    message: str
    losses: Sequence[tuple[int, float]] = ()


class Search:
    """A search in its folder.

    Args:
        folder: made by `create`.

    Attributes:
        archs: that are searched for, in the order given.
        minutes: of training for each of them.
        bases: by architecture, the settings that it begins from; `train.minutes` is what one trial takes.

    Raises:
        CheckpointError: there is none, or it is damaged.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            about = known_fields(read(folder / "search.json", MOST_BYTES), FIELDS)
            if about["format"] != FORMAT:
                raise ValueError(f"its format is {one_line(str(about['format']), 20)}, and {FORMAT} is known here")
            self.archs: tuple[str, ...] = tuple(ModelConfig(arch=arch).arch for arch in about["archs"])
            self.minutes = SearchConfig(about["minutes"]).minutes
            self.name, self.sha256 = one_line(about["name"], 400), str(about["sha256"])
            self.preset, self.given = one_line(about["preset"], 80), frozenset(map(str, about["given"]))
            self.seed = TrainConfig(seed=about["seed"]).seed
            self.cleaning = CorpusConfig.from_dict(about["corpus"])
            self.held_out = tuple(about["held_out"]) if about["held_out"] else None
            self.bases = {arch: _read_base(about["base"][arch]) for arch in self.archs}
        except FileNotFoundError:
            raise CheckpointError(f"there is no search {folder.name[:80]!r}") from None
        except (OSError, LookupError, TypeError, ValueError, ConfigError) as error:
            raise CheckpointError(f"search.json of search {folder.name} cannot be read: {error}") from error

    @classmethod
    def create(cls, root: Path, corpus: Corpus, config: RunConfig, archs: Sequence[str], minutes: float) -> "Search":
        """Make the folder of a search.

        Args:
            root: of the runs.
            corpus: the text; it is remembered. Unless it says otherwise, a test part is left out of it, for those
                trainings that settle what is better.
            config: what the search begins from, with sizes of its preset that fit the text; its budget is ignored.
            archs: distinct networks.
            minutes: of training for each.

        Raises:
            ConfigError, CorpusError: a setting, the text or the memory does not allow it.
            CheckpointError: the folder cannot be written.
        """
        minutes = SearchConfig(minutes).minutes
        if not archs or len(set(archs)) < len(archs):
            raise ConfigError(f"choose one or more different architectures, not {', '.join(archs) or 'none'}")
        if counted := [arch for arch in archs if ModelConfig(arch=arch).is_counted]:
            raise ConfigError(
                f"an n-gram is counted, not trained: there is nothing to search for; leave {counted[0]} out"
            )
        device_for(config.train.device)
        config = with_test_part(config, corpus)
        tokenizer = tokenizer_for(corpus, config.model, config.corpus)
        bases = dict[str, Racer]()
        for arch in archs:
            sized = autosize(config, corpus, [arch])
            cut, _ = corpus_cut(corpus, tokenizer, sized.train, sized.corpus)
            model = replace(sized.model, arch=arch)
            budget = replace(sized.train, minutes=minutes / SHARES, steps=0, epochs=0.0, patience=0, label="")
            bases[arch] = Racer(model, budget.resolve(model)).fitted(cut)
            check_memory(model.resolve_for(arch, tokenizer.vocab_size, cut.train, cut.seq_len), bases[arch].train)
        remember(corpus, data_dir())
        folder = root / FOLDER / f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(3)}"
        about = {
            "format": FORMAT, "created": datetime.now(UTC).isoformat(timespec="seconds"), "name": corpus.name,
            "sha256": corpus.sha256, "held_out": list(corpus.held_out) if corpus.held_out else None,
            "preset": config.preset, "given": sorted(config.given), "archs": list(archs), "minutes": minutes,
            "seed": config.train.seed, "corpus": config.corpus.to_dict(),
            "base": {arch: {"model": one.model.to_dict(), "train": one.train.to_dict()} for arch, one in bases.items()},
        }  # fmt: skip
        try:
            folder.mkdir(parents=True)
            write_atomically(folder / "search.json", json.dumps(about, indent=1, ensure_ascii=False).encode())
        except OSError as error:
            raise CheckpointError(
                f"a search cannot be made in {root}: {error.strerror or error}; name another folder in CHARLM_RUNS, or "
                "make room"
            ) from error
        return cls(folder)

    @classmethod
    def find(cls, root: Path, search_id: str) -> "Search":
        """The search with this id.

        Raises:
            CheckpointError: there is none, or it is damaged.
        """
        if not RUN_ID.fullmatch(search_id) or not (root / FOLDER / search_id / "search.json").is_file():
            known = ", ".join(one.search_id for one in cls.all(root)[:5])
            raise CheckpointError(
                f"there is no search {search_id[:80]!r}; {f'there are {known}' if known else 'none yet'}"
            )
        return cls(root / FOLDER / search_id)

    @classmethod
    def all(cls, root: Path) -> list["Search"]:
        """All searches, newest first; what is none is passed over."""
        found = []
        for path in sorted((root / FOLDER).glob("*/search.json"), reverse=True):
            with suppress(CheckpointError):
                found.append(cls(path.parent))
        return found

    @property
    def search_id(self) -> str:
        """The folder's name."""
        return self.folder.name

    @property
    def trial_seconds(self) -> float:
        """What one trial takes, unless it ends early."""
        return 60.0 * self.minutes / SHARES

    def text(self, given: Corpus | None = None) -> Corpus:
        """The text that is searched for, to its last character.

        Args:
            given: to be used if it is that text; None: the one that was kept.

        Raises:
            CorpusError: it is no longer at hand, or another one.
        """
        corpus = given or recall(self.sha256, data_dir())
        if corpus is None or corpus.sha256 != self.sha256:
            what = f"{given.name} is not it" if given else "it is no longer kept here"
            raise CorpusError(
                f"search {self.search_id} is about {self.name}, sha256 {self.sha256[:12]}.., and {what}; name that "
                "very text, or begin a new search"
            )
        return replace(corpus, held_out=self.held_out)

    @cached_property
    def _studies(self) -> dict[str, Study]:
        """Optuna's studies by architecture, as far as they have begun; reading them writes nothing."""
        path = str(self.folder / "journal.log")
        pruner = MedianPruner(n_startup_trials=STARTUP)
        try:
            storage = JournalStorage(JournalFileBackend(path, JournalFileOpenLock(path)))
            begun = [one.study_name for one in storage.get_all_studies() if one.study_name in self.archs]
            return {arch: optuna.load_study(storage=storage, study_name=arch, pruner=pruner) for arch in begun}
        except Exception as error:  # a damaged journal may raise anything
            raise CheckpointError(
                f"journal.log of search {self.search_id} cannot be read ({type(error).__name__}); begin a new one"
            ) from error

    def _begin_studies(self) -> None:
        """Begin those that are missing, and read all of them again: another process may have gone on."""
        path = str(self.folder / "journal.log")
        mend_journal(self.folder / "journal.log")
        self.__dict__.pop("_studies", None)
        for arch in [arch for arch in self.archs if arch not in self._studies]:
            storage = JournalStorage(JournalFileBackend(path, JournalFileOpenLock(path)))
            optuna.create_study(storage=storage, study_name=arch)
        self.__dict__.pop("_studies", None)

    def trials(self, arch: str) -> list[Trial]:
        """The trials of an architecture in their order, but for one whose settings are just being proposed."""
        base = self.bases[arch]
        found = self._studies[arch].get_trials(deepcopy=False) if arch in self._studies else []
        return [_trial_of(one, base) for one in found if len(one.params) == len(SEARCHED)]

    def best(self, arch: str) -> Trial | None:
        """The finished trial with the lowest loss; None before there is one."""
        done = [trial for trial in self.trials(arch) if trial.state == "finished" and trial.loss is not None]
        return min(done, key=lambda trial: trial.loss or 0.0, default=None)

    def winner(self, arch: str) -> Racer | None:
        """What the best trial was trained with; None before there is one."""
        best = self.best(arch)
        return with_settings(self.bases[arch], best.settings) if best else None

    def seconds(self, arch: str) -> float:
        """What the trials of an architecture have taken."""
        return sum(trial.seconds for trial in self.trials(arch))

    def is_over(self, arch: str) -> bool:
        """Whether the remaining time is too little for another trial."""
        left = 60.0 * self.minutes - self.seconds(arch)
        return left < WHOLE * self.trial_seconds or len(self.trials(arch)) >= MOST_TRIALS

    @property
    def is_done(self) -> bool:
        """Whether every architecture has had its minutes."""
        return all(map(self.is_over, self.archs))

    def importances(self, arch: str) -> dict[str, float]:
        """How much each setting decides, largest first, together 1; empty with fewer than FEWEST finished trials.

        PED-ANOVA (Watanabe et al. 2023), which needs no further package.
        """
        finished = [trial for trial in self.trials(arch) if trial.state == "finished"]
        if len(finished) < FEWEST:
            return {}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that several settings are equally important
            return get_param_importances(self._studies[arch], evaluator=PedAnovaImportanceEvaluator())

    def run(
        self,
        corpus: Corpus,
        halted: Callable[[], bool] = lambda: False,
        on_trial: Callable[[str, Trial], None] = lambda arch, trial: None,
        rest: Callable[[], None] = lambda: None,
    ) -> None:
        """Try settings until every architecture has had its minutes, the one that had least first.

        Args:
            corpus: from `text`.
            halted: asked at every step: whether to end; the trial at work then counts as failed.
            on_trial: called with every trial that has ended.
            rest: called before every step; it may wait, which costs the trial nothing.

        Raises:
            JobError: another process has it at work.
            CharLMError: the base settings of an architecture do not work here.
        """
        with self._held():
            first = self.bases[self.archs[0]]
            tokenizer = tokenizer_for(corpus, first.model, self.cleaning)
            dataset = dataset_of(tokenizer, corpus, first.train, self.cleaning)
            dataset.test_ids = dataset.test_ids[:0]  # nothing is chosen on it
            warmed = set[str]()
            while (waiting := [arch for arch in self.archs if not self.is_over(arch)]) and not halted():
                arch = min(waiting, key=self.seconds)
                base = self.bases[arch]
                if arch not in warmed:
                    warm_up(*ready_for(base, tokenizer.vocab_size, dataset))
                    warmed.add(arch)
                number = self._try(arch, tokenizer.vocab_size, dataset, halted, rest)
                on_trial(arch, next(trial for trial in self.trials(arch) if trial.number == number))

    @contextmanager
    def _held(self) -> Iterator[None]:
        """The search as this process's own, tidied of what a killed one left."""
        try:
            with FileLock(self.folder / ".lock", thread_local=False).acquire(blocking=False):
                (self.folder / "journal.log.lock").unlink(missing_ok=True)
                self._begin_studies()
                for study in self._studies.values():
                    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
                        study.tell(trial.number, state=TrialState.FAIL)
                yield
        except Timeout:
            raise JobError(f"search {self.search_id} is at work already; stop it there first") from None

    def _try(
        self, arch: str, vocab_size: int, dataset: Dataset, halted: Callable[[], bool], rest: Callable[[], None]
    ) -> int:
        """One trial, from its proposal to its end; returns its number."""
        study, base = self._studies[arch], self.bases[arch]
        known = self.trials(arch)
        has_base = any(trial.is_base and trial.state != "failed" for trial in known)
        if not has_base and not study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
            study.enqueue_trial(settings_of(base))
        # A seed for each trial, so that a search that goes on proposes what it would have proposed.
        study.sampler = TPESampler(n_startup_trials=STARTUP, seed=(self.seed + len(known)) % 2**32)
        trial = study.ask(space_of(base, dataset.with_batches(base.train.batch_size, base.train.seq_len)))
        racer = with_settings(base, trial.params)
        model = train_state = None
        result, loss = TrialState.FAIL, math.inf
        try:
            ready, batches = ready_for(racer, vocab_size, dataset)
            model, train_state = begin(ready, batches)
            for percent, loss in looks(model, train_state, batches, ready.train, halted, rest):
                trial.set_user_attr("seconds", train_state.seconds)
                trial.report(loss, percent)
                if percent < WHOLE_TIME and racer != base and trial.should_prune():
                    result = TrialState.PRUNED
                    break
            else:
                result = TrialState.COMPLETE
        except Halted:
            pass
        except (CharLMError, MemoryError) as error:
            if racer == base:
                study.tell(trial, state=TrialState.FAIL)
                raise
            result = TrialState.PRUNED  # for Optuna, worse than whatever was validated
            trial.set_user_attr("message", one_line(str(error), 400) or "out of memory")
        if train_state is not None:
            trial.set_user_attr("seconds", train_state.seconds)
        study.tell(trial, loss if result is TrialState.COMPLETE else None, state=result)
        return int(trial.number)

    def result(self) -> dict[str, Any]:
        """As JSON: `search`, `text`, `minutes`, `trial_seconds`, `done`, `sentences`, `confirm`, and `archs`.

        Of each architecture: `base` and `best` settings, `base_loss`, `best_loss` and `gain` in nats per token,
        `importances`, `seconds`, and its `trials` in their order.
        """
        found = {
            "search": self.search_id, "text": self.name, "minutes": self.minutes, "trial_seconds": self.trial_seconds,
            "done": self.is_done, "archs": [self._result_of(arch) for arch in self.archs],
            "sentences": self.sentences(), "confirm": self.confirm_command,
        }  # fmt: skip
        return dict(finite(found))

    def _result_of(self, arch: str) -> dict[str, Any]:
        best, base = self.best(arch), self.base_loss(arch)
        winner = self.winner(arch)
        return {
            "arch": arch, "base": settings_of(self.bases[arch]), "base_loss": base,
            "best": settings_of(winner) if winner else None, "best_trial": best.number if best else None,
            "best_loss": best.loss if best else None,
            "gain": base - best.loss if best and best.loss is not None and base is not None else None,
            "importances": self.importances(arch), "seconds": round(self.seconds(arch), 1),
            "trials": [asdict(trial) for trial in self.trials(arch)],
        }  # fmt: skip

    def base_loss(self, arch: str) -> float | None:
        """The loss of the settings that the search began from; None before they were trained to their end."""
        done = [trial.loss for trial in self.trials(arch) if trial.is_base and trial.state == "finished"]
        return done[0] if done else None

    @property
    def confirm_command(self) -> str:
        """What trains the winners again, with fresh seeds."""
        return f"python -m charlm search --resume {self.search_id} --confirm"

    def sentences(self) -> list[str]:
        """What was found, what was gained over the base, and what that does not show yet."""
        found = {arch: best for arch in self.archs if (best := self.best(arch))}
        if not found:
            return ["No trial has been trained to its end yet."]
        ranked = sorted(found, key=lambda arch: found[arch].loss or 0.0)
        losses = ", ".join(f"{ARCH_NAMES[arch]} {found[arch].loss:.3f}" for arch in ranked)
        how = "Each tuned" if len(self.archs) > 1 else "Tuned"
        part = "" if self.is_done else "part of "
        said = [f"{how} for {part}{self.minutes:g} minutes: {losses} nats per token."]
        said += [self._gain(arch, found[arch]) for arch in ranked]
        return [
            *said,
            f"These losses chose the settings, with one seed and {self.trial_seconds:g} seconds a trial: train the "
            "winners again with fresh seeds before anything is claimed.",
        ]  # fmt: skip

    def _gain(self, arch: str, best: Trial) -> str:
        """How the best trial compares to the settings that the search began from."""
        trials, base = self.trials(arch), self.base_loss(arch)
        early = sum(trial.state == "pruned" for trial in trials)
        counted = f"{len(trials)} trial{'s' * (len(trials) != 1)}{f', {early} of them ended early' if early else ''}"
        if best.is_base or base is None or best.loss is None:
            return f"{ARCH_NAMES[arch]}: nothing better was found than the settings it began from ({counted})."
        return f"{ARCH_NAMES[arch]}: {base - best.loss:.3f} below the settings it began from ({base:.3f}; {counted})."

    def confirm(self, store: RunStore, corpus: Corpus, seeds: int = FRESH_SEEDS) -> list[Run]:
        """New runs of the winners, and of the settings they are to beat, with seeds that no trial had.

        Args:
            store: where they go; they are held by this process.
            corpus: from `text`.
            seeds: of each.

        Raises:
            ConfigError: an architecture has no finished trial yet, or the memory does not allow it.
            CheckpointError: they cannot be written.
        """
        missing = [ARCH_NAMES[arch] for arch in self.archs if self.best(arch) is None]
        if missing:
            raise ConfigError(
                f"{missing[0]} has no trial that was trained to its end; go on with --resume {self.search_id} first"
            )
        fresh = self.seed + 1 if self.seed + seeds < 2**31 else 0
        runs: list[Run] = []
        try:
            for arch in self.archs:
                base, winner = self.bases[arch], self.winner(arch) or self.bases[arch]
                for name, (model, train) in {"tuned": winner, **({} if winner == base else {"base": base})}.items():
                    train = replace(train, seed=fresh, label=name)
                    config = RunConfig(
                        model,
                        train,
                        self.cleaning,
                        self.preset,
                        self.given | {"test_fraction"},
                        RaceConfig(seeds=seeds),
                    )
                    runs += create_runs(store, corpus, config, [arch])
        except CharLMError:
            for run in runs:  # all of them or none
                store.discard(run)
            raise
        return runs


def mend_journal(path: Path) -> None:
    """Remove a line that a killed process left half written: Optuna would lose what is appended to it."""
    with suppress(FileNotFoundError):
        content = path.read_bytes()
        if content and not content.endswith(b"\n"):
            write_atomically(path, content[: content.rfind(b"\n") + 1])


STATES = {
    TrialState.RUNNING: "running", TrialState.COMPLETE: "finished", TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed", TrialState.WAITING: "waiting",
}  # fmt: skip


def _trial_of(found: FrozenTrial, base: Racer) -> Trial:
    losses = [(at, loss) for at, loss in sorted(found.intermediate_values.items()) if math.isfinite(loss)]
    message = str(found.user_attrs.get("message", ""))
    return Trial(
        number=found.number,
        settings=settings_of(with_settings(base, found.params)),
        loss=min((loss for _, loss in losses), default=None),
        state="diverged" if message else STATES[found.state],
        seconds=float(found.user_attrs.get("seconds", 0.0)),
        is_base=found.params == settings_of(base),
        message=message,
        losses=losses,
    )


def _read_base(about: Mapping[str, Any]) -> Racer:
    return Racer(ModelConfig.from_dict(about["model"]), TrainConfig.from_dict(about["train"]))
