"""What programs call, through gradio_client or plain HTTP: the same services as the page."""

import json
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial, wraps
from inspect import isgeneratorfunction
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.components.api_component import Api
from gradio.context import get_blocks_context
from gradio.data_classes import FileData
from gradio.events import api
from gradio.utils import get_function_description

from charlm.analysis.comparison import compare, with_race
from charlm.analysis.votes import QUESTIONS
from charlm.config import CorpusConfig, RaceConfig, SampleConfig, SearchConfig, reject_unknown
from charlm.data.catalog import entries, is_at_hand, load_corpus
from charlm.data.corpus import Corpus, read_corpus
from charlm.errors import CharLMError, ConfigError, CorpusError, LimitError, MeasurementError
from charlm.formats.exports import find_format
from charlm.presets import from_options
from charlm.public.services import Services
from charlm.runs.run import Run
from charlm.serving import Finding, GeneratedText
from charlm.serving.compared import check_number
from charlm.serving.measurements import GYM, MEASUREMENTS
from charlm.training.autosize import autosize
from charlm.ui.runs.listing import bring_run
from charlm.ui.schemas import ACTIONS, COUNT, MOST_LISTED, RunSummary
from charlm.ui.train.search import REFUSED

AT_ONCE = 8  # calls of one endpoint served at the same time
WRITING = 64  # texts
STOPPED = "it was stopped before anything was found; ask again to have it measured"
LOOK_EVERY = 0.25  # seconds until it is looked again how far a measurement is
SUMMARY = tuple(RunSummary.__annotations__)
Options = dict[str, Any] | None  # a JSON object
Upload = dict[str, Any] | None  # a file as clients send it, or of a text a list of such


def corpus_of(services: Services, key: str, file: Any, config: CorpusConfig) -> Corpus:
    """The text a client means: its upload, else the catalog's.

    Args:
        services: they say which files are a client's own, and how many bytes a text may have.
        key: a text of the catalog or the store; read only without `file`.
        file: a file as gradio's clients send it, a list of such that are joined, or nothing.
        config: how the text is read and cleaned.

    Raises:
        CorpusError: neither is given, the key is unknown, or the file holds no text to train on.
    """
    if file:
        files = [(services.files.uploaded(path_in(one)), one) for one in (file if isinstance(file, list) else [file])]
        given = services.upload_of([(path, name_of(one) or path.name) for path, one in files])
        return read_corpus(given.data, given.name, config, given.most_bytes, given.native)
    if not isinstance(key, str) or not key:
        raise CorpusError("no corpus is given: name one of the catalog, or upload a file")
    return load_corpus(key, config)


def name_of(file: Any) -> str:
    """The name that a client's file had there; empty if it is not known."""
    name = file.get("orig_name") if isinstance(file, dict) else None
    return name if isinstance(name, str) else ""


def path_in(file: Any) -> Any:
    """The path in what a client sends as a file."""
    return file.get("path") if isinstance(file, dict) else None


def options_of(options: Any) -> dict[str, Any]:
    """Options as an object; a client may also send them as JSON text."""
    if isinstance(options, str):
        try:
            options = json.loads(options or "{}")
        except (ValueError, RecursionError):
            raise ConfigError(f"options must be a JSON object, not {options[:60]!r}") from None
    if options is not None and not isinstance(options, dict):
        raise ConfigError(f"options must be a JSON object, not {type(options).__name__}")
    return dict(options or {})


def text_of(value: Any, name: str = "prompt") -> str:
    """A text, by the argument's name."""
    if not isinstance(value, str):
        raise ConfigError(f"{name} must be text, not {type(value).__name__}")
    return value


def whole_of(value: Any, name: str = "since_step") -> int:
    """A whole number, by the argument's name; 3.0 is one."""
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value or abs(value) == math.inf:
        raise ConfigError(f"{name} must be a whole number, not {str(value)[:60]!r}")
    return int(value)


def texts_of(values: Any, name: str) -> list[str]:
    """A list of texts, by the argument's name; None is an empty one."""
    if values is None:
        return []
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise ConfigError(f"{name} must be a list of text")
    return values


def build(services: Services) -> None:
    """Declare the endpoints; call inside the page's Blocks, where no component stands."""
    for endpoint in (*_listing(services), *_training(services), *_exchange(services)):
        _declare(endpoint, AT_ONCE)
    for endpoint in (*_writing(services), *_measuring(services), *_voting(services)):
        _declare(endpoint, WRITING)


def _declare(endpoint: Callable[..., Any], at_once: int) -> None:
    """An endpoint of this name; what is said of its parameters is shown by the page's API view and by clients."""
    api(_in_a_sentence(endpoint), api_name=endpoint.__name__, concurrency_limit=at_once)
    if (page := get_blocks_context()) is not None:
        _, about, _ = get_function_description(endpoint)
        for component, said in zip(page.fns[max(page.fns)].inputs, about.values(), strict=True):
            assert isinstance(component, Api)
            component._api_info["additional_description"] = said


def _in_a_sentence(endpoint: Callable[..., Any]) -> Callable[..., Any]:
    """The endpoint, whose errors reach the client as their one sentence."""

    @contextmanager
    def errors() -> Iterator[None]:
        try:
            yield
        except (CharLMError, OSError) as error:
            said = getattr(error, "strerror", None) or str(error)
            raise gr.Error(said, print_exception=False) from None

    @wraps(endpoint)
    def answer(*given: Any) -> Any:
        with errors():
            return endpoint(*given)

    @wraps(endpoint)
    def stream(*given: Any) -> Iterator[Any]:
        with errors():
            yield from endpoint(*given)

    return stream if isgeneratorfunction(endpoint) else answer


def _listing(services: Services) -> list[Callable[..., Any]]:
    def corpora() -> list[dict[str, Any]]:
        """The catalog of texts to train on.

        Returns:
            Of each text key, title, about, and at_hand: false if it has to be downloaded first.
        """
        return [
            {"key": entry.key, "title": entry.title, "about": entry.about, "at_hand": is_at_hand(entry.key)}
            for entry in entries()
        ]

    def runs() -> list[dict[str, Any]]:
        """All runs, newest first, the included ones last.

        Returns:
            Of each run id, label, architecture, status, losses, size and time.
        """
        return [_summary(run) for run in services.store.list()]

    def evaluate(run_id: str, text: str = "", options: Options = None) -> dict[str, Any]:
        """Score a text by a model: how well it is predicted. Without a text, the run's own corpus is scored.

        Args:
            run_id: id of a run, as /runs lists them.
            text: to be scored; empty: the run's own corpus.
            options: split: the part of the run's own corpus that is scored: val, test or all.

        Returns:
            Nats per token, bits per character, perplexity, tokens and what else belongs to the score.
        """
        run, given = services.store.get(run_id), options_of(options)
        split = given.pop("split", "")
        reject_unknown(given, ("split",))
        return services.serving.evaluate(run, text_of(text, "text") or None, text_of(split, "split"))

    def items(run_id: str, count: int = 20, prompt: str = "", options: Options = None) -> dict[str, Any]:
        """Different items by a model that learned a list, and how many of them are unique and new.

        Args:
            run_id: id of a run, as /runs lists them.
            count: how many.
            prompt: what each item begins with.
            options: settings of sampling, as of /generate without stop, samples, greedy and beams.

        Returns:
            The items, and the shares of unique and new ones.
        """
        run, number = services.store.get(run_id), whole_of(count, "count")
        config = SampleConfig.from_dict(options_of(options))
        return services.serving.items(run, number, text_of(prompt, "prompt"), config).to_dict()

    def limits() -> dict[str, Any]:
        """Whether this is a public Space, its table of limits, and the remaining quota; both empty elsewhere.

        Returns:
            public, limits: rows of name, value, unit and what; left: texts of this minute, and minutes of
            training of today.
        """
        if services.limits is None:
            return {"public": False, "limits": [], "left": {}}
        return {"public": True, "limits": services.limits.rows(), "left": services.jobs.left()}

    return [corpora, runs, evaluate, items, limits]


def _training(services: Services) -> list[Callable[..., Any]]:
    jobs = services.jobs

    def begin(corpus: str, file: Any, archs: list[str], options: Any) -> list[dict[str, Any]]:
        config = from_options(options_of(options))
        text = corpus_of(services, corpus, file, config.corpus)
        states = map(jobs.status, jobs.start(text, autosize(config, text, archs, services.limits), archs))
        return [{"run_id": one["run_id"], "status": one["status"], "position": one["position"]} for one in states]

    def train(corpus: str = "", file: Upload = None, arch: str = "lstm", options: Options = None) -> dict[str, Any]:
        """Queue a training, which goes on in the background; /status tells how far it is.

        Args:
            corpus: a key of /corpora, or of a text that was uploaded; not with file.
            file: an upload to train on instead, or a list of uploads that are joined.
            arch: the architecture.
            options: settings of model, training and corpus, such as hidden_size, steps and label; or a preset.

        Returns:
            run_id, status, and position in the queue.
        """
        given = options_of(options)
        if wanted := sorted(set(given) & set(RaceConfig.names())):
            raise ConfigError(f"{wanted[0]} is a setting of a race: call /race, which takes one architecture, too")
        return begin(corpus, file, [arch], given)[0]

    def race(
        corpus: str = "", file: Upload = None, archs: list[str] | None = None, options: Options = None
    ) -> list[dict[str, Any]]:
        """Queue a race: several architectures on the same batches.

        Args:
            corpus: a key of /corpora, or of a text that was uploaded; not with file.
            file: an upload to train on instead, or a list of uploads that are joined.
            archs: the architectures; left out: lstm, gru and rnn.
            options: those of /train, seeds, match and budget; early_stop: end as soon as the best is told apart.

        Returns:
            Of each run what /train returns.
        """
        return begin(corpus, file, texts_of(archs, "archs") or ["lstm", "gru", "rnn"], options)

    def status(run_id: str, since_step: int = -1) -> dict[str, Any]:
        """How far a run is.

        Args:
            run_id: id of a run, as /runs lists them.
            since_step: only the rows of metrics after this step are returned; -1: all.

        Returns:
            Step, losses, speed, time left, a status word, the rows of metrics and a sample.
        """
        return dict(jobs.status(run_id, whole_of(since_step)))

    def pause(run_id: str) -> dict[str, Any]:
        """Pause a run's job after its present step.

        Args:
            run_id: id of a run, as /runs lists them.

        Returns:
            As of /status.
        """
        return dict(jobs.pause(run_id))

    def stop(run_id: str) -> dict[str, Any]:
        """End a run after its present step and keep its trained weights.

        Args:
            run_id: id of a run, as /runs lists them.

        Returns:
            As of /status.
        """
        return dict(jobs.stop(run_id))

    def rate(run_id: str, learning_rate: float, race: bool = False) -> dict[str, Any]:
        """Change the learning rate of a run that trains, before its next step.

        Args:
            run_id: id of a run, as /runs lists them.
            learning_rate: the new one.
            race: change it for all runs that race with it, too.

        Returns:
            As of /status.
        """
        if not isinstance(race, bool):
            raise ConfigError(f"race must be true or false, not {str(race)[:20]!r}")
        return dict(jobs.change_rate(run_id, learning_rate, race))

    def resume(run_id: str, options: Options = None) -> dict[str, Any]:
        """Continue a run.

        Args:
            run_id: id of a run, as /runs lists them.
            options: steps, epochs or minutes to add, and what else may change; nothing for a run that is paused.

        Returns:
            As of /status.
        """
        return dict(jobs.resume(run_id, options_of(options)))

    def fork(run_id: str, options: Options = None, corpus: str = "", file: Upload = None) -> dict[str, Any]:
        """Begin a new run with the trained weights of this one, on its text or another one.

        Args:
            run_id: id of a run, as /runs lists them.
            options: steps, epochs or minutes, learning_rate, label; grow: learn the new text's own characters.
            corpus: a key of /corpora, or of a text that was uploaded, to go on with; not with file.
            file: an upload to go on with, or a list of uploads that are joined.

        Returns:
            As of /status, of the new run.
        """
        cleaning = services.store.get(run_id).corpus_config
        other = corpus_of(services, corpus, file, cleaning) if corpus or file else None
        return dict(jobs.fork(run_id, options_of(options), other))

    def retry(run_id: str) -> dict[str, Any]:
        """Begin a new run with a failed one's settings, the one changed that made it fail.

        Args:
            run_id: id of a run, as /runs lists them.

        Returns:
            As of /status, of the new run.
        """
        return dict(jobs.retry(run_id))

    def queue() -> list[dict[str, Any]]:
        """What is running (position 0) and what waits, in its order.

        Returns:
            Of each job its runs, architectures, title, corpus, status and position.
        """
        return list(map(dict, jobs.queue_list()))

    def move(run_id: str, by: int) -> dict[str, Any]:
        """Move a waiting job in the queue.

        Args:
            run_id: id of a run, as /runs lists them.
            by: so many places; negative: towards the front.

        Returns:
            As of /status.
        """
        return dict(jobs.move(run_id, whole_of(by, "by")))

    def search(
        action: str = "look", corpus: str = "", file: Upload = None, archs: list[str] | None = None,
        options: Options = None,
    ) -> dict[str, Any]:  # fmt: skip
        """Find good settings. A search goes on in the background; look tells how far the newest one is.

        Args:
            action: begin, with a text; look; stop; or resume.
            corpus: a key of /corpora, or of a text that was uploaded; not with file.
            file: an upload to train on instead, or a list of uploads that are joined.
            archs: the architectures; left out: lstm.
            options: minutes of training for each architecture; the others, those of /race, are where it begins.

        Returns:
            What was found so far, running, resting and error; empty if nothing was searched for.
        """
        if services.searches is None:
            raise LimitError(REFUSED)
        if action == "begin":
            given = options_of(options)
            minutes = SearchConfig.pick(given).minutes
            config = from_options({name: value for name, value in given.items() if name != "minutes"})
            text, chosen = corpus_of(services, corpus, file, config.corpus), texts_of(archs, "archs") or ["lstm"]
            services.searches.begin(text, config, chosen, minutes)
        elif action == "resume":
            services.searches.go_on()
        elif action == "stop":
            services.searches.stop()
        elif action != "look":
            raise ConfigError(f"action must be {', '.join(ACTIONS[:-1])} or {ACTIONS[-1]}, not {str(action)[:40]!r}")
        found = services.searches.look()
        if found is None:
            return {}
        return {**found.result, "running": found.running, "resting": found.resting, "error": found.error}

    return [train, race, status, pause, stop, resume, fork, retry, queue, rate, move, search]


def _writing(services: Services) -> list[Callable[..., Any]]:
    def generate(
        run_id: str, prompt: str = "", length: int = 500, options: Options = None
    ) -> Iterator[str | list[str]]:
        """Text by a model.

        Args:
            run_id: id of a run, as /runs lists them.
            prompt: what the text begins with.
            length: tokens to generate: characters, words or subwords.
            options: settings of sampling, such as temperature, top_k, top_p, stop, samples and seed.

        Returns:
            A stream: the prompt and the text so far, as it grows; a list of them if options ask for several samples.
        """
        run, config = services.store.get(run_id), SampleConfig.from_dict({"length": length, **options_of(options)})
        for draft in services.serving.generate(run, text_of(prompt), config):
            yield _texts(draft, config)

    def compare(
        run_ids: list[str], prompt: str = "", length: int = 500, options: Options = None
    ) -> Iterator[dict[str, Any]]:
        """Texts by several models from one prompt.

        Args:
            run_ids: ids of one to six runs, as /runs lists them.
            prompt: what the text begins with.
            length: tokens to generate: characters, words or subwords.
            options: settings of sampling, such as temperature, top_k, top_p, stop, samples and seed.

        Returns:
            A stream: by run id the prompt and the text so far, as they grow; lists of them for several samples.
        """
        ids = texts_of(run_ids, "run_ids")
        check_number(len(ids))
        found = [services.store.get(run_id) for run_id in ids]
        config = SampleConfig.from_dict({"length": length, **options_of(options)})
        for drafts in services.serving.compare(found, text_of(prompt), config):
            yield {run_id: _texts(draft, config) for run_id, draft in drafts.items()}

    def next_tokens(run_id: str, text: str = "", options: Options = None) -> list[dict[str, Any]]:
        """Next-token probabilities after a text, the most likely first.

        Args:
            run_id: id of a run, as /runs lists them.
            text: what is read before; empty: nothing.
            options: those of /generate, and count: how many tokens, 12 if left out.

        Returns:
            Of each token its probability (as it would be drawn) and raw (the model's own, without temperature and the
            like).
        """
        run, given = services.store.get(run_id), options_of(options)
        count = whole_of(given.pop("count", COUNT), "count")
        if not 1 <= count <= MOST_LISTED:
            raise ConfigError(f"count {count:,} is outside 1 to {MOST_LISTED}")
        config = SampleConfig.from_dict(given)
        place = services.serving.next_tokens(run, text_of(text, "text"), "", config, count).places[-1]
        return [{"token": one.shown, "probability": one.chance, "raw": one.raw} for one in place.likeliest]

    return [generate, compare, next_tokens]


def _voting(services: Services) -> list[Callable[..., Any]]:
    def ballot(run_ids: list[str], options: Options = None) -> dict[str, Any]:
        """Texts by several models and one by a human, in random order and without names, to be voted on with /vote.

        All continue `prompt`, which is from held-out text of the models' corpus, with the same number of characters.

        Args:
            run_ids: ids of one to six runs, as /runs lists them.
            options: those of /generate for one sample; a seed decides the passage and the texts, not their order.

        Returns:
            ballot: an id, good for one vote within an hour; questions: what can be asked, by the kind of vote; prompt
            and texts.
        """
        ids, given = texts_of(run_ids, "run_ids"), options_of(options)
        check_number(len(ids))
        config = SampleConfig.from_dict(given)
        found = [services.store.get(run_id) for run_id in ids]
        seed = config.seed if "seed" in given else None
        [made] = [one.result for one in services.serving.votes.ballot(found, config, seed) if one.result]
        return {
            "ballot": made.ballot,
            "questions": dict(QUESTIONS),
            "prompt": made.prompt,
            "texts": list(made.texts),
            "part": made.part,
            "corpus": made.corpus,
        }

    def vote(ballot: str, place: int, kind: str = "best") -> dict[str, Any]:
        """Choose a text of a ballot, and learn who wrote each.

        Args:
            ballot: the id that /ballot answered.
            place: of the text among the ballot's, from 0 on.
            kind: best (which text is best) or human (which one a human wrote).

        Returns:
            authors of the texts in their order, and human, the place of the human's.
        """
        chosen = whole_of(place, "place")
        return dict(services.serving.votes.vote(text_of(ballot, "ballot"), chosen, text_of(kind, "kind")))

    def votes() -> dict[str, Any]:
        """What all votes say, under `together`; on a public Space the visitor's under `own`, too.

        Returns:
            Of each kind: votes, visitors, and for each author how often their texts were chosen of how often they were
            shown, the share with Wilson's interval, the share that chance would have, and the strength of Plackett and
            Luce's model.
        """
        return {whose: dict(kinds) for whose, kinds in services.serving.votes.tallies().items()}

    return [ballot, vote, votes]


def _measuring(services: Services) -> list[Callable[..., Any]]:
    def endpoint(name: str, about: str) -> Callable[..., Any]:
        def measure(run_ids: list[str], text: str = "", options: Options = None) -> Iterator[list[dict[str, Any]]]:
            ids, given = texts_of(run_ids, "run_ids"), options_of(options)
            check_number(len(ids))
            found = [services.store.get(run_id) for run_id in ids]
            yield from _looked_at(services, name, found, text_of(text, "text") or None, given)

        measure.__name__ = name
        measure.__doc__ = f"""{about} Without a text, what was held out of each run's own is taken.

        Args:
            run_ids: ids of one to six runs, as /runs lists them.
            text: to measure the models on; empty: what was held out of each run's own.
            options: those of `python -m charlm inspect {name}`.

        Returns:
            A stream: a list with an entry for each run, as it becomes known; `share` is what is done of the work.
        """
        return measure

    def gym(options: Options = None) -> Iterator[dict[str, Any]]:
        """Have small models of several architectures learn a task over growing delays.

        Args:
            options: task (copy, first, brackets, parity, counting), archs, seeds, and others of `python -m charlm gym`.

        Returns:
            A stream: what is known so far; `share` is what is done of it.
        """
        yield from (found[0] for found in _looked_at(services, GYM, [], None, options_of(options)))

    def cross(run_ids: list[str], options: Options = None) -> Iterator[dict[str, Any]]:
        """What the text of each model costs the others, and what held-out text costs each, in bits per character.

        Args:
            run_ids: ids of one to six runs, as /runs lists them.
            options: samples, length and seed of the texts.

        Returns:
            A stream: `share`, what is done of the work; then the matrix: `readers`, their `names`, and `rows` with
            `writer` (a run id; empty: held-out text), `name`, `texts`, `characters` and `bits`, one for each reader,
            null where the text has characters or words that it does not know.
        """
        ids, given = texts_of(run_ids, "run_ids"), options_of(options)
        check_number(len(ids))
        for progress in services.serving.cross([services.store.get(run_id) for run_id in ids], given):
            yield dict(progress.result) if progress.result else {"share": progress.share}

    def seeds(run_ids: list[str]) -> dict[str, Any]:
        """Whether the difference of architectures is luck, by runs that differ in their seeds; of one, its whole race.

        Args:
            run_ids: ids of runs of a race with several seeds, or one of them.

        Returns:
            Groups with mean and interval, differences of every pair, and sentences that say what may be claimed.
        """
        chosen = [services.store.get(run_id) for run_id in texts_of(run_ids, "run_ids")]
        return compare(with_race(chosen, services.store.list())).to_dict()

    return [*(endpoint(name, about) for name, about in MEASUREMENTS.items()), gym, cross, seeds]


def _looked_at(
    services: Services, name: str, runs: list[Run], text: str | None, options: dict[str, Any]
) -> Iterator[list[dict[str, Any]]]:
    """What is known of a measurement, again and again until it is done; see `Serving.inspect`."""
    look = partial(services.serving.inspect, name, runs, text, options)
    findings = look()
    while any(one.begun and not one.done for one in findings):  # one whose run was trained on meanwhile is neither
        yield [_finding(one, share=one.share) for one in findings]
        time.sleep(LOOK_EVERY)
        findings = look(begin=False)
    if all(one.result is None for one in findings):
        raise MeasurementError(next((one.error for one in findings if one.error), STOPPED))
    yield [_finding(one) for one in findings]


def _finding(one: Finding, **more: Any) -> dict[str, Any]:
    """What a client learns of one run: its result, or why there is none."""
    named = {"run_id": one.run.run_id} if one.run else {}
    return {**named, **(one.result or {}), **({"error": one.error} if one.error else {}), **more}


def _texts(draft: GeneratedText, config: SampleConfig) -> str | list[str]:
    """Prompt and text of a draft, or why there is none; of several samples all."""
    texts = [one.error or one.prompt + one.text for one in draft.samples]
    return texts if config.samples > 1 else texts[0]


def _exchange(services: Services) -> list[Callable[..., Any]]:
    def export(run_id: str, format: str = "zip") -> dict[str, Any]:
        """A run as a file.

        Args:
            run_id: id of a run, as /runs lists them.
            format: zip, html or html8 (writes offline), torch, udacity, onnx, onnx8, onnx-mobile or tensorboard.

        Returns:
            The file, to be downloaded from its url.
        """
        run, kind = services.store.get(run_id), find_format(text_of(format, "format"))
        path = services.files.run(run, kind)
        return FileData(path=path, orig_name=Path(path).name).model_dump()

    def import_run(file: dict[str, Any], options: Options = None, characters: Upload = None) -> dict[str, Any]:
        """A new run made of a run's zip, or of a checkpoint of this or another program.

        Args:
            file: the upload.
            options: label, nonlinearity (of a plain RNN), corpus (a catalog key: the text to measure it on).
            characters: an upload that lists the model's characters, if the file does not itself.

        Returns:
            The new run, as /runs lists it.
        """
        given = options_of(options)
        reject_unknown(given, ("label", "nonlinearity", "corpus"))
        if key := text_of(given.pop("corpus", ""), "corpus"):
            given["corpus"] = load_corpus(key, CorpusConfig())
        for name in ("label", "nonlinearity"):
            text_of(given.get(name, ""), name)
        listed = services.files.uploaded(path_in(characters)) if characters else None
        return _summary(bring_run(services, services.files.uploaded(path_in(file)), listed, **given))

    return [export, import_run]


def _summary(run: Run) -> dict[str, Any]:
    derived = {"corpus": run.corpus.get("name", ""), "bits_per_char": run.bits_per_char(run.best_val_loss)}
    return {name: derived[name] if name in derived else getattr(run, name) for name in SUMMARY}
