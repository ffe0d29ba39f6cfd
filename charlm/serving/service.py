"""Trained models kept warm, and the texts they generate for the page and the endpoints."""

import atexit
import logging
import threading
import time
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from charlm.analysis.measurement import Progress
from charlm.analysis.settings import CrossSettings
from charlm.config import SampleConfig
from charlm.data.corpus import lexicon
from charlm.errors import CharLMError, CorpusError
from charlm.pretrained import Pretrained
from charlm.runs.run import Run
from charlm.runs.store import RunStore
from charlm.serving import compile_ahead, pretrained
from charlm.serving.baselines import NgramBaselines, keep
from charlm.serving.batcher import GeneratedText, GenerationRequest, GenerationWorker, OpenedModel, Starts
from charlm.serving.compared import Writer, check_compared, check_duel
from charlm.serving.measurements import GYM, REST, Finding, Measurements, Question, ask_all
from charlm.serving.texts import held_out_key, held_out_text, own_text, part_of, training_text, whole_text
from charlm.serving.votes import Votes
from charlm.tokenizers import Tokenizer
from charlm.tokenizers.base import without_halves

if TYPE_CHECKING:
    from charlm.analysis.cross import Cross
    from charlm.analysis.new_items import NewItems
    from charlm.analysis.next_tokens import Outlook
    from charlm.models import LanguageModel
    from charlm.serving.crossed import CrossQuestion

log = logging.getLogger(__name__)

Step = TypeVar("Step")

# New text is handed on about this often, in seconds; a text a character would drown a browser.
FLUSH_SECONDS = 0.06
# All readers together are handed so many pieces a second, and so many while a training runs, which each of them costs
# some milliseconds; with many readers the pieces grow, up to so many seconds of generating.
PIECES, PACED_PIECES = 200.0, 25.0
SLOWEST_FLUSH = 2.0
# How long a text waits for the others of its comparison to begin.
BEGIN_SECONDS = 2.0
# Models and lexicons kept in memory.
WARM = 12
READ_BACK = 64_000  # characters of what stands before a text whose next tokens are asked for


class Serving:
    """Opens models of runs once, and lets them generate, score and predict.

    Args:
        store: where the runs are.
        is_training: whether a training runs in this process and should get most of the machine.
        baseline_tokens: the most tokens that are counted for n-gram baselines; 0: the usual number.

    Attributes:
        baselines: n-gram baselines of the texts of runs.
        measurements: what is measured of runs.
        pretrained: models that others trained, in memory.
    """

    def __init__(
        self, store: RunStore, is_training: Callable[[], bool] = lambda: False, baseline_tokens: int = 0
    ) -> None:
        self.store, self.baselines = store, NgramBaselines(baseline_tokens)
        self._lock = threading.Lock()
        self._is_training = is_training
        self.measurements = Measurements(is_training)
        self.pretrained = pretrained.PretrainedModels()
        self._readers = 0
        self._worker = GenerationWorker(is_training)
        self._finalizer = weakref.finalize(self, self._worker.close)  # at the interpreter's exit, too
        self._models: OrderedDict[tuple[str, int], OpenedModel] = OrderedDict()
        self._lexicons: OrderedDict[str, frozenset[str]] = OrderedDict()

    @cached_property
    def votes(self) -> Votes:
        """Blind votes on what the models write."""
        return Votes(self.store, self.compare)

    def open(self, run: Run) -> "tuple[LanguageModel, Tokenizer]":
        """The run's best model and its tokenizer; opened again when a running training has improved it.

        Raises:
            CheckpointError: it has no weights yet, or they are damaged.
        """
        opened = self._open(run)
        return opened.model, opened.tokenizer

    def _open(self, run: Writer) -> OpenedModel:
        if isinstance(run, Pretrained):
            return self.pretrained.opened(run)
        key = (str(run.folder), _changed_at(run.folder / "best.safetensors"))
        with self._lock:
            opened = self._models.get(key) or OpenedModel(run.load_model(), run.tokenizer())
            return keep(self._models, key, opened, WARM)

    def generate(self, run: Writer, prompt: str, config: SampleConfig) -> Iterator[GeneratedText]:
        """The text of one run, as it grows; all samples of it.

        Args:
            run: its best weights are used; or a pretrained model.
            prompt: stands before the text.
            config: how it is sampled.

        Raises:
            CheckpointError: the run has no weights.
        """
        for texts in self.compare([run], prompt, config):
            text = texts[run.run_id]
            if all(one.error for one in text.samples):
                raise CorpusError(text.error)
            yield text

    def compare(
        self, runs: Sequence[Writer], prompt: str, config: SampleConfig, starts: Starts | None = None
    ) -> Iterator[dict[str, GeneratedText]]:
        """The texts of several runs side by side, by run id, as they grow; each says its own error only.

        Args:
            runs: up to 6, pretrained models among them.
            prompt: the same for all.
            config: how they are sampled.
            starts: by run id, texts to be continued for another length, instead of new ones after the prompt.

        Raises:
            ConfigError: no run, more than 6, or one twice; or a duel of models with different tokens.
        """
        check_compared(runs)
        if config.duel:
            check_duel(runs)
        new = [GeneratedText(prompt, sample=at) for at in range(config.samples)]
        texts: dict[str, GeneratedText] = {}
        requests: dict[str, list[GenerationRequest]] = {}
        self._count(1)
        try:
            for run in runs:
                texts[run.run_id] = GeneratedText(prompt)
                try:
                    requests[run.run_id] = self._submit(run, (starts or {}).get(run.run_id) or new, config)
                except CharLMError as error:
                    texts[run.run_id] = GeneratedText(prompt, done=True, error=str(error))
            for _ in self._flushes(list(chain.from_iterable(requests.values()))):
                for run_id, many in requests.items():
                    first, *more = (request.result for request in many)
                    texts[run_id] = replace(first, more=tuple(more))
                yield dict(texts)
        finally:
            self._count(-1)
            self._worker.cancel(chain.from_iterable(requests.values()))

    def _submit(self, run: Writer, starts: Iterable[GeneratedText], config: SampleConfig) -> list[GenerationRequest]:
        """Have the samples of one model generated."""
        opened = self._open(run)
        return [self._worker.submit(opened, readable(opened.tokenizer, start), config) for start in starts]

    def _count(self, change: int) -> None:
        with self._lock:
            self._readers += change

    def _flush_seconds(self) -> float:
        """Seconds of generating before a piece is handed on; the more readers, the longer."""
        pieces = PACED_PIECES if self._is_training() else PIECES
        return min(max(FLUSH_SECONDS, self._readers / pieces), SLOWEST_FLUSH)

    def _flushes(self, requests: Sequence[GenerationRequest]) -> Iterator[None]:
        """Each time that new text is to be sent: when all texts have started, then about every `_flush_seconds`."""

        def have_begun() -> bool:
            return all(request.has_begun() for request in requests)

        def are_done() -> bool:
            return all(request.result.done for request in requests)

        self._worker.wait(requests, have_begun, BEGIN_SECONDS)
        while not are_done():
            yield
            self._worker.wait(requests, are_done, self._flush_seconds())
        yield

    def lexicon(self, run: Writer) -> frozenset[str]:
        """The words of the run's corpus; empty if that text is no longer available, or it is a pretrained model."""
        if isinstance(run, Pretrained):
            return frozenset()
        sha256 = str(run.corpus.get("sha256", ""))
        with self._lock:
            if sha256 in self._lexicons:
                return self._lexicons[sha256]
        text = own_text(run)
        if not text:
            return frozenset()  # not kept: the text may come back
        words = lexicon(text)
        with self._lock:
            return keep(self._lexicons, sha256, words, WARM)

    def next_tokens(self, run: Run, prompt: str, text: str, config: SampleConfig, count: int) -> "Outlook":
        """What the run's model expects at each place of the end of a text, and after it.

        Args:
            run: its best weights are used.
            prompt: stands before the text.
            text: its places are looked at, if it is long those at its end.
            config: how it would be drawn.
            count: tokens kept of each place.

        Raises:
            CheckpointError: the run has no weights.
            JobError: the model's numbers grew beyond all bounds.
        """
        from charlm.analysis.next_tokens import next_tokens

        model, tokenizer = self.open(run)
        return next_tokens(model, tokenizer, prompt[-READ_BACK:], text, config, count)

    def with_token(self, run: Run, start: GeneratedText, place: int, token: int) -> tuple[GeneratedText, int]:
        """A text with another token at a place, nothing after it, and how many tokens that took off.

        Args:
            run: whose tokenizer is used.
            start: the text.
            place: of the token in the text, from 0 on.
            token: its new id.

        Raises:
            ConfigError: there is no such place or token.
        """
        from charlm.analysis.next_tokens import with_token

        text, left = with_token(self.open(run)[1], start.prompt, start.text, place, token)
        return replace(start, text=text), left

    def items(
        self, run: Run, count: int, prompt: str = "", config: SampleConfig | None = None, check: str = ""
    ) -> "NewItems":
        """Different items by a model of a list; see `charlm.analysis.new_items.write_items`.

        Args:
            run: its best weights are used.
            count: how many.
            prompt: what each begins with.
            config: how they are sampled.
            check: see `charlm.analysis.new_items.checker`.
        """
        from charlm.analysis.new_items import checker, write_items

        model, tokenizer = self.open(run)
        is_valid, known = checker(check), None
        if tokenizer.border is not None and (text := training_text(run)):
            known = frozenset(text.split(tokenizer.tokens[tokenizer.border]))
        return write_items(model, tokenizer, count, prompt, config, known, is_valid)

    def evaluate(
        self, run: Run, text: str | None = None, split: str = "", held_out: tuple[int, int] | None = None
    ) -> dict[str, Any]:
        """The run's scores over a text; characters it does not know are counted and skipped, words read as unknown.

        Args:
            run: its best weights are used.
            text: any text; None: the run's own corpus.
            split: val, test or all, cut as the run was; "": val of its own corpus, all of another text.
            held_out: characters of the validation and test part that another text came with.

        Raises:
            ConfigError: no such split.
            CorpusError: fewer than 2 known tokens, or the run's own corpus is no longer available.
        """
        from charlm.training.evaluate import evaluate

        split = split or ("val" if text is None else "all")
        held_out = run.held_out if text is None else held_out
        text = part_of(whole_text(run) if text is None else text, split, run.corpus_config, held_out)
        model, tokenizer = self.open(run)
        ids = tokenizer.encode(text, skip_unknown=True)
        skipped = len(text) - len(ids) if tokenizer.level == "char" else 0
        result = evaluate(model, ids, len(text) - skipped, border=tokenizer.border)
        items = int((ids == tokenizer.border).sum()) if tokenizer.border is not None else 0
        per_item = {"items": items, "nats_per_item": result.nats_per_token * result.tokens / items} if items else {}
        return {
            "nats_per_token": result.nats_per_token,
            "bits_per_char": result.bits_per_char,
            "perplexity": result.perplexity,
            "tokens": result.tokens,
            **per_item,
            "skipped": skipped,
            "unknown": int((ids == tokenizer.unk_id).sum()) if tokenizer.unk_id is not None else 0,
            "split": split,
        }

    def inspect(
        self,
        name: str,
        runs: Sequence[Run],
        text: str | None = None,
        options: Mapping[str, Any] | None = None,
        begin: bool = True,
    ) -> list[Finding]:
        """How far a measurement of each run is; ask again until all are done.

        Args:
            name: memory, gradient, surprise, neurons, dynamics, copies or history; or gym, which has neither runs nor
                text.
            runs: up to 6; each says its own error only.
            text: to measure them on; None: what was held out of their own.
            options: settings of the measurement, by name.
            begin: have measured what is not known yet.

        Raises:
            ConfigError: no such measurement, no run or too many, or a setting is out of range.
            LimitError: too many measurements wait.
        """
        if name != GYM:
            check_compared(runs)
        asked = ask_all(name, runs, text, options)
        return [self._found(one, begin) if isinstance(one, Question) else one for one in asked]

    def _found(self, question: Question, begin: bool) -> Finding:
        found = self.measurements.begin(question) if begin else self.measurements.look(question)
        return found or Finding(question.run)

    def stop_inspecting(
        self, name: str, runs: Sequence[Run], text: str | None = None, options: Mapping[str, Any] | None = None
    ) -> None:
        """End a measurement that `inspect` has begun, with the same arguments; what it has found stays."""
        for question in ask_all(name, runs, text, options):
            if isinstance(question, Question):
                self.measurements.stop(question)

    def cross(
        self, runs: Sequence[Run], options: Mapping[str, Any] | None = None, called: Sequence[str] = ()
    ) -> "Iterator[Progress[Cross]]":
        """What the text of each model costs the others, and what held-out text costs each; see `analysis.cross`.

        What has been measured once is read from disk.

        Args:
            runs: up to 6; their best weights are used.
            options: settings of the measurement, by name.
            called: the models' names; empty: their labels.

        Yields:
            The share of the work that is done; the matrix with the last one.

        Raises:
            CheckpointError: a run's weights are damaged.
            ConfigError: no run, more than 6, one twice, or a setting is out of range.
            MeasurementError: a run has no weights, or its model's numbers are not finite.
        """
        question = _cross_question(runs, options, called)
        if (known := question.known()) is not None:
            yield Progress(1.0, known)
            return
        from charlm.analysis.cross import Participant, measure

        models = [
            Participant(run.run_id, name, run.load_model().eval(), run.tokenizer())
            for run, name in zip(runs, question.called, strict=True)
        ]
        for progress in self._resting(measure(models, question.held_out, question.settings)):
            if progress.result is not None:
                question.keep(progress.result)
            yield progress

    def score(
        self, models: Sequence[Writer], characters: int = pretrained.CHARACTERS
    ) -> "Iterator[Progress[pretrained.Scores]]":
        """What held-out text costs pretrained models and runs; see `charlm.serving.pretrained.measure`.

        Args:
            models: up to 6.
            characters: from the beginning of the held-out text of the first run; 0: all.
        """
        check_compared(models)

        def evaluated(run: Run, text: str) -> tuple[float, int]:
            scores = self.evaluate(run, text)
            return scores["bits_per_char"], scores["tokens"]

        yield from self._resting(pretrained.measure(models, characters, evaluated))

    def _resting(self, steps: Iterator[Step]) -> Iterator[Step]:
        """Steps of a measurement, each of which rests, while a training runs, for as long as it took, up to REST."""
        began = time.monotonic()
        for step in steps:
            if self._is_training():
                time.sleep(min(REST, time.monotonic() - began))
            yield step
            began = time.monotonic()

    def known_cross(
        self, runs: Sequence[Run], options: Mapping[str, Any] | None = None, called: Sequence[str] = ()
    ) -> "Cross | None":
        """What `cross` has found with the same arguments; None: it has not been asked yet, or cannot be."""
        try:
            return _cross_question(runs, options, called).known()
        except CharLMError:
            return None

    def warm_up(self) -> None:
        """Load torch and the shipped models, so that the first click answers at once."""
        for run in self._shipped():
            for _ in self.generate(run, "", SampleConfig(length=1)):
                pass
            self.lexicon(run)

    def _shipped(self) -> list[Run]:
        return [run for run in self.store.list() if run.shipped]

    def warm_up_later(self, seconds: float) -> None:
        """Compile what is not compiled yet, and warm up, in a thread `seconds` from now: the first page comes first."""

        def work() -> None:
            compiler = compile_ahead.start()
            if compiler is not None:
                atexit.register(compiler.terminate)
            try:
                for run in self._shipped():  # torch and the weights, for who writes while loops are being compiled
                    self._open(run)
                if compiler is not None:
                    compiler.wait()
                self.warm_up()
            except CharLMError as error:
                log.warning("a shipped model cannot generate: %s", error)

        timer = threading.Timer(seconds, work)
        timer.daemon = True
        timer.start()


def _changed_at(path: Path) -> int:
    """When a file was last replaced, in ns; 0 if there is none."""
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


def _cross_question(runs: Sequence[Run], options: Mapping[str, Any] | None, called: Sequence[str]) -> "CrossQuestion":
    """See `Serving.cross`."""
    check_compared(runs)
    settings = CrossSettings.from_dict(options or {})
    from charlm.serving.crossed import CrossQuestion  # torch takes seconds: not before it is needed

    return CrossQuestion(runs, called or [run.label for run in runs], held_out_texts(runs), settings)


def held_out_texts(runs: Sequence[Run]) -> dict[str, str]:
    """The held-out texts of these runs that are at hand, each once, by what to call them."""
    found: dict[tuple[Any, ...], tuple[str, str]] = {}
    for run in runs:
        key = held_out_key(run)
        if key not in found:
            with suppress(CorpusError):
                found[key] = str(run.corpus.get("name") or run.label), held_out_text(run)
    if len(found) == 1:
        [(_, text)] = found.values()
        return {"Held-out text": text}
    texts: dict[str, str] = {}
    for name, text in found.values():
        called = f"Held-out text of {name}"
        texts[f"{called} ({len(texts) + 1})" if called in texts else called] = text
    return texts


def readable(tokenizer: Tokenizer, start: GeneratedText) -> GeneratedText:
    """A text that is about to be generated; what the tokenizer does not know of its prompt is respelled or left out."""
    spelled, replaced = tokenizer.spell(start.prompt)
    start = replace(start, prompt=spelled, replaced=replaced)
    unknown = tokenizer.unknown(start.prompt)
    if tokenizer.level != "char":
        return replace(start, prompt=without_halves(start.prompt), unknown=unknown)
    left_out = set(unknown)
    prompt = "".join(character for character in start.prompt if character not in left_out)
    return replace(start, prompt=prompt, skipped=unknown)
