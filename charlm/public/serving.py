"""The models as one visitor may use them: so many texts a minute, of so many characters."""

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from charlm.config import SampleConfig
from charlm.data.catalog import data_dir
from charlm.data.text_store import recall
from charlm.errors import LimitError
from charlm.public.limits import ELSEWHERE, Visitor, check_sampling, check_text_size, utf8_size
from charlm.public.quotas import Quotas
from charlm.public.runs import Who
from charlm.runs.run import Run
from charlm.serving import Begun, Draft, NgramBaselines, Serving

if TYPE_CHECKING:
    from charlm.analysis.next_tokens import Outlook

EVALUATION_SECONDS = 60.0  # set aside for scoring a text; what it took is what counts
MOST_SCORERS = 4  # visitors whose text is scored, or waits for that; each of them takes a thread
EVALUATION = "evaluation"


class VisitorServing:
    """Stands before a Serving.

    Args:
        serving: writes for all.
        who: asks at every call.
        quotas: what each visitor has used.
    """

    def __init__(self, serving: Serving, who: Who, quotas: Quotas) -> None:
        self._serving, self._who, self._quotas = serving, who, quotas
        self._limits = quotas.limits
        self._lock = threading.Lock()
        self._writing = 0  # texts at work, of all visitors
        self._scoring = threading.Lock()
        self._scorers: set[str] = set()  # keys of visitors

    def generate(self, run: Run, prompt: str, config: SampleConfig) -> Iterator[Draft]:
        """As `Serving.generate`.

        Raises:
            LimitError: too long, too often, or too many write just now.
        """
        check_sampling(self._limits, prompt, config)
        with self._place(1, config.rows):
            yield from self._serving.generate(run, prompt, config)

    def compare(
        self, runs: Sequence[Run], prompt: str, config: SampleConfig, begun: Mapping[str, Sequence[Begun]] | None = None
    ) -> Iterator[dict[str, Draft]]:
        """As `Serving.compare`; it counts as one generation, or as many as there are samples of one model, or beams.

        Raises:
            LimitError: too long, too often, or too many write just now.
        """
        samples = max([config.samples, *map(len, (begun or {}).values())])
        check_sampling(self._limits, prompt, config)
        with self._place(len(runs), samples * config.beams):
            yield from self._serving.compare(runs, prompt, config, begun)

    def next_tokens(self, run: Run, prompt: str, text: str, config: SampleConfig, count: int) -> "Outlook":
        """As `Serving.next_tokens`.

        Raises:
            LimitError: looked at too often.
        """
        self._quotas.take_look(someone(self._who))
        return self._serving.next_tokens(run, prompt, text, config, count)

    def with_token(self, run: Run, begun: Begun, place: int, token: int) -> tuple[Begun, int]:
        """As `Serving.with_token`."""
        return self._serving.with_token(run, begun, place, token)

    def evaluate(self, run: Run, text: str | None = None, split: str = "") -> dict[str, Any]:
        """As `Serving.evaluate`, one at a time; its seconds count as training.

        Raises:
            LimitError: the text is too long, the day's minutes are used up, or somebody else's is being scored.
        """
        visitor = someone(self._who)
        check_text_size(self._limits, utf8_size(own_text(run) if text is None else text))
        with self._turn(visitor):
            self._quotas.reserve(visitor, EVALUATION, EVALUATION_SECONDS)
            began = time.monotonic()
            try:
                return self._serving.evaluate(run, text, split)
            finally:
                self._quotas.settle(visitor, EVALUATION, time.monotonic() - began)

    @property
    def baselines(self) -> NgramBaselines:
        """As `Serving.baselines`."""
        return self._serving.baselines

    def lexicon(self, run: Run) -> frozenset[str]:
        """As `Serving.lexicon`."""
        return self._serving.lexicon(run)

    @contextmanager
    def _turn(self, visitor: Visitor) -> Iterator[None]:
        """The one place where a text is scored; few may wait for it, and nobody twice."""
        refusal = LimitError(f"another text is being scored just now; try again in a minute, or {ELSEWHERE}")
        with self._lock:
            if visitor.key in self._scorers or len(self._scorers) >= MOST_SCORERS:
                raise refusal
            self._scorers.add(visitor.key)
        try:
            if not self._scoring.acquire(timeout=EVALUATION_SECONDS / 4):
                raise refusal
            try:
                yield
            finally:
                self._scoring.release()
        finally:
            with self._lock:
                self._scorers.discard(visitor.key)

    @contextmanager
    def _place(self, models: int, rows: int) -> Iterator[None]:
        """Places among those who write, so many for each model, and as many of the visitor's generations."""
        visitor, texts = someone(self._who), models * rows
        with self._lock:
            if self._writing + texts > self._limits.together_writing:
                raise LimitError(
                    f"{self._writing} texts are being written just now; try again in some seconds, or {ELSEWHERE}"
                )
            self._quotas.take_text(visitor, rows)
            self._writing += texts
        try:
            yield
        finally:
            with self._lock:
                self._writing -= texts


def own_text(run: Run) -> str:
    """The text a run was trained on; empty if it is no longer at hand."""
    corpus = recall(str(run.corpus.get("sha256", "")), data_dir())
    return corpus.text if corpus else ""


def someone(who: Who) -> Visitor:
    """The visitor who asks.

    Raises:
        LimitError: nobody does.
    """
    visitor = who()
    if visitor is None:
        raise LimitError("it is not known who asks; load the page again")
    return visitor
