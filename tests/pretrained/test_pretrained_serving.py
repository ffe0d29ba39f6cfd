"""Pretrained models beside runs: what they write in company, what is scored, and what visitors may."""

import threading
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from charlm.config import SampleConfig
from charlm.errors import CheckpointError, ConfigError, LimitError
from charlm.pretrained import Pretrained, load
from charlm.public.limits import Limits, Visitor
from charlm.public.quotas import Quotas
from charlm.public.services import Services
from charlm.public.visitor import VisitorServing
from charlm.runs.run import Run
from charlm.runs.store import RunStore
from charlm.serving import GeneratedText, Serving
from charlm.serving import pretrained as serving_pretrained
from charlm.serving.pretrained import Scores, held_out_part
from charlm.serving.stops import Stops, until
from charlm.ui.compare.pretrained import scores_html
from charlm.ui.compare.ranking import Models, found_runs, number_columns
from charlm.ui.compare.saving import compare_command
from charlm.ui.compare.view import resting_columns, still, texts_in, written_columns
from charlm.ui.services import Files
from charlm.ui.verdict import names
from tests.patience import wait_for
from tests.pretrained.tiny_pretrained import saved
from tests.tiny_runs import TEXT, trained

for _needed in ("transformers", "gguf", "accelerate"):
    pytest.importorskip(_needed, reason="pip install -r requirements-pretrained.txt brings what pretrained models need")

CONFIG = SampleConfig(length=60, seed=3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(tmp_path_factory.mktemp("models") / "tiny", context=512)


@pytest.fixture
def run(store: RunStore) -> Run:
    return trained(store, "lstm", steps=4)[0]


@pytest.fixture
def serving(store: RunStore) -> Serving:
    return Serving(store)


def scores(serving: Serving, models: list[Run | Pretrained], characters: int = 0) -> Scores:
    *_, last = serving.score(models, characters)
    assert last.share == 1 and last.result is not None
    return last.result


def test_it_writes_beside_a_run_what_it_writes_alone(serving: Serving, run: Run, folder: Path) -> None:
    model = serving.pretrained.load(str(folder))
    config = replace(CONFIG, samples=2)
    drafts = list(serving.compare([run, model], "The cat ", config))
    found = drafts[-1][model.run_id]
    assert [len(one.text) for one in found.samples] == [60, 60] and found.done and not found.error
    for place, one in enumerate(found.samples):
        assert one.text == "".join(model.generate("The cat ", replace(CONFIG, seed=3 + place)))
    assert found.chars_per_second > 0 and found.prompt == "The cat "
    growing = [one[model.run_id].text for one in drafts]
    assert all(later.startswith(earlier) for earlier, later in pairwise(growing))
    [alone] = list(serving.generate(run, "The cat ", CONFIG))[-1:]
    assert drafts[-1][run.run_id].text == alone.text


def test_a_text_goes_on(serving: Serving, folder: Path) -> None:
    model = serving.pretrained.load(str(folder))
    *_, first = serving.generate(model, "The dog", CONFIG)
    start = GeneratedText(first.prompt, first.text)
    *_, more = serving.compare([model], "", replace(CONFIG, length=30), {model.run_id: [start]})
    text = more[model.run_id].text
    assert text.startswith(first.text) and len(text) == 90


def test_stop_ends_it_and_frees_the_worker(serving: Serving, folder: Path) -> None:
    model, stops = serving.pretrained.load(str(folder)), Stops()
    config = replace(CONFIG, length=5000)
    with stops.begun("page") as stopped:
        drafts = until(stopped, serving.compare([model], "The", config))
        next(drafts)
        stops.stop("page")
        text = [one[model.run_id].text for one in drafts][-1:]
    assert not text or len(text[0]) < 5000
    wait_for(lambda: not serving.pretrained.opened(model).requests)


def test_beams_and_duels_are_refused_in_a_sentence(serving: Serving, run: Run, folder: Path) -> None:
    model = serving.pretrained.load(str(folder))
    last = list(serving.compare([run, model], "The", replace(CONFIG, beams=2)))[-1]
    assert last[model.run_id].error == "tiny writes without beam search; set beams to 1"
    assert len(last[run.run_id].text) == 60
    with pytest.raises(ConfigError, match="a duel needs models with the same tokens, and tiny, a pretrained model"):
        next(serving.compare([run, model], "The", replace(CONFIG, duel=True)))


def test_all_are_scored_on_the_same_characters(serving: Serving, store: RunStore, run: Run, folder: Path) -> None:
    model, [other] = serving.pretrained.load(str(folder)), trained(store, "gru", text=TEXT * 2, steps=4)
    text, named = held_out_part(run, 100)
    assert named == f"the first 100 of {len(held_out_part(run)[0]):,} held-out characters of pets.txt"
    found = scores(serving, [run, other, model], 100)
    assert found["text"] == named and found["characters"] == 100
    own, its = found["rows"]
    assert (own["run_id"], own["upper_bound"], own["arch"]) == (run.run_id, False, "lstm")
    assert own["bits_per_char"] == serving.evaluate(run, text)["bits_per_char"]
    *_, direct = load(str(folder)).score(text)
    assert direct.result is not None
    assert its["bits_per_char"] == pytest.approx(direct.result.bits_per_char, rel=1e-6) and its["upper_bound"]
    assert its["parameters"] == model.num_parameters and its["tokens"] == direct.result.tokens
    assert model.bits_per_char() == its["bits_per_char"] and named in model.note and "may have read" in model.note
    for models, said in (([run], "needs a pretrained model"), ([model], "at least one run"), ([], "1 to 6")):
        with pytest.raises(ConfigError, match=said):
            next(serving.score(models, 10))


def test_what_cannot_be_scored_says_why_in_its_row(serving: Serving, run: Run, tmp_path: Path) -> None:
    changing = saved(tmp_path / "lower")
    path = changing / "tokenizer.json"
    path.write_text(path.read_text().replace('"normalizer": null', '"normalizer": {"type": "Lowercase"}'))
    [_, row] = scores(serving, [run, serving.pretrained.load(str(changing))])["rows"]
    assert row["bits_per_char"] is None and "do not decode to exactly this text" in row["error"]


def test_few_are_kept_each_once(serving: Serving, folder: Path, tmp_path: Path) -> None:
    known = serving.pretrained
    first = known.load(str(folder))
    assert known.load(f"{folder} ") is first and known.get(first.run_id) is first
    others = [known.load(str(saved(tmp_path / name))) for name in ("b", "c")]
    assert known.list() == others and known.get(first.run_id) is None
    known.remove(others[0].source)
    assert known.list() == others[1:]
    with pytest.raises(CheckpointError, match="is not loaded"):
        known.remove(others[0].source)
    assert "".join(one.text for one in list(serving.generate(first, "The", CONFIG))[-1:])  # who has it, has it


def test_two_who_load_the_same_wait_for_one(serving: Serving, folder: Path) -> None:
    found: list[Pretrained] = []
    threads = [threading.Thread(target=lambda: found.append(serving.pretrained.load(str(folder)))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 2 and found[0] is found[1]


def test_visitors_get_what_the_space_offers(
    serving: Serving, run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    visitor = Visitor("anna", "1.2.3.4")
    visited = VisitorServing(serving, lambda: visitor, Quotas(Limits(length=100)))
    for offer, said in (("", "offers none"), ("some/model, other/model", "offers some/model and other/model")):
        monkeypatch.setenv("CHARLM_PRETRAINED", offer)
        with pytest.raises(LimitError, match=said):
            visited.pretrained.load(str(folder))
    monkeypatch.setenv("CHARLM_PRETRAINED", f"some/model, {folder}")
    model = visited.pretrained.load(str(folder))
    with pytest.raises(LimitError, match="stay loaded"):
        visited.pretrained.remove(str(folder))
    assert visited.pretrained.list() == [model] and visited.pretrained.get(model.run_id) is model
    *_, last = visited.compare([run, model], "The", replace(CONFIG, length=20))
    assert len(last[model.run_id].text) == 20
    with pytest.raises(LimitError, match="length is 101"):
        next(visited.compare([model], "The", replace(CONFIG, length=101)))
    *_, scored = visited.score([run, model], 50)
    assert scored.result is not None and len(scored.result["rows"]) == 2
    for many, said in ((0, "not all of a text"), (20_001, "not 20,001 characters")):
        with pytest.raises(LimitError, match=said):
            next(visited.score([run, model], many))


def test_an_offer_is_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for given, names_ in (("", []), (" a/b ,, c d,a/b", ["a/b", "c d"])):
        monkeypatch.setenv("CHARLM_PRETRAINED", given)
        assert serving_pretrained.offered() == names_


def test_the_page_shows_it_as_a_column(serving: Serving, store: RunStore, run: Run, folder: Path) -> None:
    services = Services(store, None, serving, Files())  # type: ignore[arg-type]
    model = serving.pretrained.load(str(folder))
    shown = Models(services)
    assert shown.choices()[-1] == ("tiny · pretrained", model.run_id)
    models = found_runs(shown, [run.run_id, model.run_id, "gone"])
    assert [one.run_id for one in models] == [run.run_id, model.run_id]
    assert found_runs(store, [model.run_id]) == []
    assert names(models) == ["LSTM", "tiny"]
    resting = resting_columns(models, {})
    assert "Press Generate, and it writes here." in resting and "2 × 16" in resting and "not scored yet" in resting
    scores(serving, models, 80)
    present = texts_in({model.run_id: [["The ", "<b>cat"]]}, models)
    html = written_columns(models, still(present), {}, writing=False)
    assert "&lt;b&gt;cat" in html and f"{model.bits_per_char():.2f}</b>" in html and "an upper bound" in html
    rows = {name: value for name, value, _ in number_columns(models, {})[model.run_id]}
    assert rows["Parameters"] == f"{model.num_parameters:,}" and rows["Validation loss"] == "—"
    assert str(folder) in compare_command(models, "The", CONFIG)


def test_scores_are_a_table(serving: Serving, run: Run, folder: Path) -> None:
    found = scores(serving, [run, serving.pretrained.load(str(folder))], 80)
    found["rows"][1]["label"] = "<i>tiny"
    table = scores_html(found, 1.0, "It was stopped.")
    assert "&lt;i&gt;tiny" in table and "≤ " in table and "the first 80 of" in table and "It was stopped." in table
    assert "Scoring" not in table and "Scoring" in scores_html(found, 0.5) and "Scoring" in scores_html(None, 0.0)
