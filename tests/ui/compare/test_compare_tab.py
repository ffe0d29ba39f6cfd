"""Compare's sentence, its columns, ranking, CSV and sampling fold, without a browser."""

import csv
import io
import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from charlm.config import SampleConfig
from charlm.errors import ConfigError
from charlm.runs.history import LossHistory
from charlm.serving import GeneratedText
from charlm.serving.stops import Stops, until
from charlm.ui.compare import form, ranking
from charlm.ui.compare.ranking import Writing, clear_best, number_columns, ranking_csv, ranking_table
from charlm.ui.compare.view import resting_columns, resting_prompt, skipped_note, stream_columns, written_columns
from charlm.ui.formatting import plain_cell
from charlm.ui.verdict import loss_unit, names, verdict
from tests.ui.shown_runs import AUNT, SHERLOCK, FakeRun, FakeStore, trio

LN2 = math.log(2)


class FakeServing:
    """Knows some words."""

    def lexicon(self, run: FakeRun) -> frozenset[str]:
        return frozenset({"holmes", "had", "the"})


def streamed(runs: list[FakeRun], *steps: dict[str, GeneratedText], flush: float = 0) -> list[str]:
    """The columns at these steps."""
    return list(stream_columns(FakeServing(), runs, iter(steps), flush))


def test_stop_reaches_all_that_one_page_writes_and_closes_it() -> None:
    stops, closed = Stops(), []

    def drafts() -> Iterator[dict[str, GeneratedText]]:
        try:
            while True:
                yield {"a": GeneratedText("P", "text")}
        finally:
            closed.append(True)

    with (
        stops.begun("one") as first,
        stops.begun("one") as second,
        stops.begun("two") as other,
        stops.begun("") as none,
    ):
        written = until(first, drafts())
        assert next(written)["a"].text == "text"
        stops.stop("nobody")
        stops.stop("")
        assert next(written) and not closed
        stops.stop("one")
        assert list(written) == [] and closed == [True]
        assert second.is_set() and not other.is_set() and not none.is_set()
    with stops.begun("one") as later:
        assert not later.is_set()


def test_the_winner_and_its_leads() -> None:
    title, sentence = verdict(trio())
    assert title == "LSTM wins, 0.039 bits per character ahead of GRU and 0.33 ahead of RNN."
    assert sentence == (
        "Measured on 56,168 held-out characters of Sherlock Holmes. "
        "How much of the lead over GRU and RNN is chance is not known. One seed each: another may turn a small lead. "
        "All saw the same 3,000 batches."
    )


def blocks(*losses: float) -> list[tuple[float, int]]:
    return [(1000 * loss, 1000) for loss in losses]


def test_a_lead_is_judged_by_what_the_blocks_of_the_text_say() -> None:
    """The blocks differ by far more than the models do, and alike for both."""
    easy = (1.0, 1.4, 1.8, 1.2, 1.6)
    lstm = FakeRun("a", "lstm", 1.4, blocks=blocks(*easy))
    gru = FakeRun(
        "b", "gru", 1.43, blocks=blocks(*(loss + 0.03 + 0.001 * place for place, loss in enumerate(easy, -2)))
    )
    title, sentence = verdict([lstm, gru])
    assert title == "LSTM wins, 0.043 bits per character ahead of GRU."
    assert "Behind LSTM: GRU by 0.043 ± 0.003 (95 % intervals over 5 blocks of that text, in pairs)." in sentence
    gru = FakeRun("b", "gru", 1.43, blocks=blocks(1.4, 1.3, 1.7, 1.6, 1.15))
    title, sentence = verdict([lstm, gru])
    assert title == "LSTM and GRU tie at 2.02 bits per character."
    assert "GRU by 0.043 ± 0.657 (" in sentence


def test_a_stopped_race_is_compared_at_a_step_that_all_have_reached() -> None:
    race = {"group": "race", "status": "stopped"}
    lstm = FakeRun("a", "lstm", 1.5, best_step=125, step=185, **race)
    gru = FakeRun("b", "gru", 1.4, best_step=188, step=188, **race)
    early = {"step": 125, "val_loss": 1.6}
    gru.history = lambda: LossHistory([early, {"step": 188, "val_loss": 1.4}], [early, {"step": 188, "val_loss": 1.4}])
    assert verdict([lstm, gru])[0] == "LSTM leads, 0.14 bits per character ahead of GRU at step 125."
    assert "125 of 185" in ranking_table([lstm, gru])
    for run in (lstm, gru):
        run.status = "finished"
    assert verdict([lstm, gru])[0] == "GRU (step 188) wins, 0.14 bits per character ahead of LSTM (step 125)."


def test_a_tie_is_called_a_tie() -> None:
    runs = [FakeRun("a", "lstm", 1.4), FakeRun("b", "gru", 1.4 + 0.004 * LN2), FakeRun("c", "rnn", 1.6)]
    assert verdict(runs)[0] == "LSTM and GRU tie at 2.02 bits per character; RNN is 0.29 behind."
    assert verdict(runs[:2])[0] == "LSTM and GRU tie at 2.02 bits per character."


def test_one_run_alone_has_no_contest() -> None:
    title, sentence = verdict([FakeRun("a")])
    assert title == "LSTM needs 1.96 bits per character."
    assert "6.29" in sentence and sentence.endswith("Add a second model to compare.")


def test_different_texts_are_not_compared() -> None:
    title, sentence = verdict([FakeRun("a"), FakeRun("b", "gru", corpus=AUNT)])
    assert "cannot be compared" in title and "<b>aunt</b>.txt" in sentence


def test_a_run_at_work_only_leads() -> None:
    runs = [FakeRun("a", status="running"), FakeRun("b", "gru", 1.6)]
    title, sentence = verdict(runs)
    assert title.startswith("LSTM leads,") and "may change" in sentence


def test_different_steps_and_different_batches_are_said() -> None:
    assert "1,000 to 3,000 steps" in verdict([FakeRun("a"), FakeRun("b", "gru", 1.6, step=1000)])[1]
    assert "different batches" in verdict([FakeRun("a"), FakeRun("b", "gru", 1.6, seed=8)])[1]


def test_nothing_chosen_and_nothing_measured() -> None:
    assert "Choose" in verdict([])[1]
    assert "No loss" in verdict([FakeRun("a", best_val_loss=None)])[0]


def test_six_models_name_the_first_two_and_the_last() -> None:
    runs = [FakeRun(f"r{i}", "gru", 1.3 + i / 10) for i in range(6)]
    assert verdict(runs)[0].endswith("ahead of r1 and 0.72 ahead of r5, the last of 6.")
    assert names(runs) == [f"r{i}" for i in range(6)]


def marked(runs: list[FakeRun], writing: dict[str, Writing] | None = None) -> dict[str, list[str]]:
    """Of each run the rows in which its value is shown as the best."""
    return {key: [name for name, _, best in rows if best] for key, rows in number_columns(runs, writing or {}).items()}


def test_the_best_is_better_than_every_other_one_beyond_noise() -> None:
    def apart(first: int, other: int) -> bool:
        return abs(first - other) > 1  # neighbours are within noise

    assert clear_best([2.0, None, 1.0], 1, apart) == 2 and clear_best([2.0, None, 1.0], -1, apart) == 0
    assert clear_best([2.0, 1.0, 3.0], 1, apart) is None, "both others are neighbours"
    assert clear_best([1.0], 1, apart) is clear_best([None, math.nan], 1, apart) is clear_best([], 1, apart) is None


def test_losses_within_the_noise_of_the_text_have_no_best() -> None:
    easy = [1.0, 1.2, 1.4, 1.6, 1.8]
    close = FakeRun("b", "gru", 1.41, blocks=blocks(1.4, 1.3, 1.7, 1.6, 1.15))
    behind = FakeRun("b", "gru", 1.43, blocks=blocks(*(loss + 0.03 for loss in easy)))
    first = FakeRun("a", "lstm", 1.4, blocks=blocks(*easy))
    assert marked([first, behind]) == {"a": ["Validation loss", "Perplexity"], "b": []}
    assert marked([first, close]) == {"a": [], "b": []}
    assert marked([first, FakeRun("c", "gru", 1.5, corpus=AUNT)]) == {"a": [], "c": []}, "measured on another text"
    assert marked(trio())["lstm"] == ["Validation loss", "Perplexity"]


def test_shares_of_a_few_words_have_no_best_and_parameters_and_times_never() -> None:
    first, second = FakeRun("a", num_parameters=100, seconds=9.0), FakeRun("b", "gru", num_parameters=200)
    few = {"a": Writing((1, 60)), "b": Writing((4, 60))}
    assert marked([first, second], few) == {"a": [], "b": []}
    many = {"a": Writing((10, 600)), "b": Writing((40, 600))}
    assert marked([first, second], many) == {"a": ["Words not in the corpus"], "b": []}
    assert number_columns([first, second], few)["a"][2][1] == "1.7 %"
    assert number_columns([first, second], {})["a"][2][1] == "—"


def test_a_speed_that_a_start_has_slowed_is_not_called_slower() -> None:
    steady = tuple((100.0 + place % 3, 0.02) for place in range(12))
    started = ((100.0, 0.4), *steady[1:])  # the first turn loaded the model
    slow = tuple((60.0 + place % 3, 0.02001) for place in range(12))

    def speeds(first: Any, second: Any) -> dict[str, list[str]]:
        runs = [FakeRun("a"), FakeRun("b", "gru")]
        return marked(runs, {"a": Writing(turns=first, **_pace(first)), "b": Writing(turns=second, **_pace(second))})

    def _pace(turns: Any) -> dict[str, float]:
        return {"chars_per_second": sum(chars for chars, _ in turns) / sum(seconds for _, seconds in turns)}

    assert speeds(started, steady) == {"a": [], "b": []}
    assert speeds(slow, steady) == {"a": [], "b": ["Writing speed, chars/s"]}
    assert speeds(steady[:1], slow[:1]) == {"a": [], "b": []}, "of one turn nothing is known"


def test_ranking_is_sorted_and_escaped() -> None:
    html = ranking_table([*reversed(trio()), FakeRun("x", best_val_loss=None, label="<i>new</i>")])
    assert html.index(">lstm<") < html.index(">GRU<") < html.index(">RNN<") < html.index("&lt;i&gt;new")
    assert "<i>new" not in html


@pytest.mark.parametrize("text", ["=1+1", "+cmd", "-2", "@sum", "\tx", "  =x"])
def test_no_csv_cell_is_a_formula(text: str) -> None:
    assert plain_cell(text).startswith("'")
    row = list(csv.reader(io.StringIO(ranking_csv([FakeRun("a", label=text)]))))[1]
    assert row[0] == "'" + text


def test_csv_carries_full_precision() -> None:
    rows = list(csv.DictReader(io.StringIO(ranking_csv(trio()))))
    assert [row["arch"] for row in rows] == ["LSTM", "GRU", "RNN"]
    assert float(rows[0]["bits_per_char"]) == pytest.approx(1.357 / LN2, abs=1e-5)


def test_columns_rest_on_what_training_wrote() -> None:
    run = FakeRun(
        "a", texts=[{"step": 10, "prompt": "<P>", "text": "old"}, {"step": 20, "prompt": "<P>", "text": "<b>"}]
    )
    html = resting_columns([run], {})
    assert "&lt;P&gt;" in html and "&lt;b&gt;" in html and "step 20" in html and "old" not in html
    assert "Press Generate" in resting_columns([FakeRun("b")], {})
    assert "No model chosen" in resting_columns([], {})


def test_the_prompt_is_that_of_the_first_text_at_rest() -> None:
    texts = [{"step": 10, "prompt": "old ", "text": "a"}, {"step": 20, "prompt": "Es ", "text": "b"}]
    runs = [FakeRun("a"), FakeRun("b", texts=texts), FakeRun("c", texts=texts[:1])]
    assert resting_prompt(runs) == "Es " and resting_prompt(runs[:1]) is None and resting_prompt([]) is None


def test_streaming_marks_unknown_words_and_ends_without_caret() -> None:
    half = {"a": GeneratedText("Holmes", " had the stant and")}
    full = {"a": GeneratedText("Holmes", " had the stant and<b>", done=True)}
    first, *_, last = streamed([FakeRun("a")], half, full)
    assert "<u>stant</u>" in first and "<u>and</u>" not in first and 'class="caret"' in first
    assert "<u>and</u>&lt;" in last and "<b>" not in last.split("text")[1] and "caret" not in last


def test_a_word_that_the_prompt_began_is_judged_whole() -> None:
    (html,) = set(streamed([FakeRun("a")], {"a": GeneratedText("Hol", "mes", done=True)}))
    assert "<u>" not in html and "0.0 %" in html


def test_one_column_may_fail_alone() -> None:
    drafts = {"a": GeneratedText("", error="no <weights>", done=True), "b": GeneratedText("", "the", done=True)}
    html = streamed([FakeRun("a"), FakeRun("b", "gru")], drafts)[-1]
    assert "no &lt;weights&gt;" in html and "the" in html and 'role="alert"' in html


def test_samples_stand_under_each_other_with_their_numbers() -> None:
    more = (GeneratedText("P", " stant<b>", done=True), GeneratedText("P", error="<i>", done=True))
    html = streamed([FakeRun("a")], {"a": GeneratedText("P", " had the", done=True, more=more)})[-1]
    for place, share in ((1, " · 0.0 % of"), (2, " · 100.0 % of"), (3, "</p>")):
        assert f'<p class="sample"><b>{place}</b>{share}' in html
    assert html.count('<div class="one">') == 3 and "50.0 %" in html and "<u>b</u>&gt;" in html and "<i>" not in html
    assert 'class="one"' not in streamed([FakeRun("a")], {"a": GeneratedText("P", "the", done=True)})[-1]


def test_a_page_can_read_its_texts_off_itself() -> None:
    html = streamed([FakeRun("a")], {"a": GeneratedText("P\r", "the\r\n\ta", done=True)})[-1]
    assert "P&#13;</span>" in html and "the&#13;\n\t" in html


def test_skipped_characters_are_named_once() -> None:
    assert skipped_note(["é", "é", "\n", " "]) == "Skipped, never seen in its corpus: é line end space"
    assert skipped_note([]) == ""
    assert skipped_note([chr(0x400 + i) for i in range(20)]).endswith("and 8 more")


def test_default_is_the_newest_trio_of_one_corpus_else_the_shipped() -> None:
    shipped = [FakeRun(f"s-{run.arch}", run.arch, shipped=True) for run in trio()]
    own = [FakeRun("u-rnn", "rnn", corpus=AUNT), FakeRun("u-gru", "gru", corpus=AUNT)]
    assert ranking.default_runs(own + shipped) == ["s-lstm", "s-gru", "s-rnn"]
    newer = [FakeRun("u-lstm", "lstm", corpus=AUNT), *own, FakeRun("older", "gru", corpus=AUNT)]
    assert ranking.default_runs(newer + shipped) == ["u-lstm", "u-gru", "u-rnn"]
    assert ranking.default_runs([FakeRun("x", status="running"), *shipped]) == ["s-lstm", "s-gru", "s-rnn"]
    assert ranking.default_runs([]) == []
    assert ranking.default_runs(own) == ["u-rnn"]


def test_default_is_the_race_that_was_trained_last() -> None:
    """Not two of its models beside a third of an earlier race, nor the shipped ones."""
    last = [FakeRun(f"b-{arch}-{seed}", arch, group="b", corpus=AUNT) for seed in (8, 7) for arch in ("gru", "lstm")]
    before = [FakeRun(f"a-{run.arch}", run.arch, group="a", corpus=AUNT) for run in trio()]
    shipped = [FakeRun(f"s-{run.arch}", run.arch, shipped=True) for run in trio()]
    assert ranking.default_runs([*last, *before, *shipped]) == ["b-lstm-8", "b-gru-8"]
    alone = FakeRun("alone", "gru", corpus=AUNT)
    assert ranking.default_runs([alone, *before]) == ["a-lstm", "alone", "a-rnn"]


def test_choices_are_told_apart() -> None:
    old = "2026-01-02T12:00:00+00:00"
    runs = [FakeRun("a", label="mine"), FakeRun("b", label="mine", created=old), FakeRun("c", label="my lstm")]
    titles = [title for title, _ in ranking.run_choices(runs)]
    assert titles[0].startswith("LSTM · mine · today ") and titles[1:] == ["LSTM · mine · 2 Jan 2026", "my lstm"]
    assert ranking.run_title(FakeRun("d", status="running", label="gru 1", arch="gru")) == "gru 1 · running"


def test_runs_deleted_meanwhile_are_passed_over() -> None:
    store = FakeStore(trio())
    assert [run.run_id for run in ranking.found_runs(store, ["gru", "gone", "gru", "lstm"])] == ["gru", "lstm"]


def test_wishes_between_tabs_survive_nonsense() -> None:
    assert ranking.asked(ranking.request(runs=["a"]))["runs"] == ["a"]
    assert ranking.request(run="a") != ranking.request(run="a")
    assert ranking.asked("{") == ranking.asked("[1]") == ranking.asked(None) == {}


def test_the_fold_is_named_by_the_settings() -> None:
    assert form.settings_title(SampleConfig(top_k=5)) == "500 characters · temperature 0.8 · top-k 5 · seed 7"
    assert form.settings_title(SampleConfig(greedy=True)).startswith("500 characters · greedy")
    assert "top-p 0.9" in form.settings_title(SampleConfig(top_p=0.9))
    config = SampleConfig(length=1, min_p=0.05, repetition_penalty=1.2, stop=("\n\n", "b"), samples=3, allow_unk=True)
    assert form.settings_title(config, "token") == (
        "1 token · temperature 0.8 · min-p 0.05 · repetition penalty 1.2 · "
        'stops before "\\n\\n" and 1 more · 3 samples · unknown words allowed · seed 7'
    )
    searched = form.settings_title(SampleConfig(beams=4, stop=("x" * 50,)))
    assert searched == '500 characters · beam search, 4 beams · stops before "xxxxxxxxxxxxxxx…"'


def test_presets_fill_prompt_and_controls() -> None:
    prompt, config = form.sample_preset("notebook")
    assert (prompt, config.length, config.top_k) == ("story", 500, 5)
    emptied = {**form.control_values(config), "temperature": None}
    with pytest.raises(ConfigError, match="temperature"):
        form.sample_config(emptied)


@pytest.mark.parametrize(
    "how", [{}, {"stop": ("\n\n", "a\\n", "<b>"), "beams": 3}, {"samples": 4, "min_p": 0.1, "allow_unk": True}]
)
def test_controls_show_the_settings_and_give_them_back(how: dict[str, Any]) -> None:
    config = SampleConfig(**how)
    assert form.sample_config(form.control_values(config)) == config


# --- imported models -------------------------------------------------------------------------------------------------

BROUGHT = {"format": "udacity", "file": "<i>rnn.net", "sha256": "cc"}


def brought(run_id: str = "brought", **more: Any) -> FakeRun:
    """A model that came without a text."""
    return FakeRun(run_id, "gru", None, corpus={}, imported=BROUGHT, step=0, seconds=0.0, **more)


def test_an_imported_model_can_be_compared_but_is_not_judged() -> None:
    runs = [*trio()[::2], brought()]
    assert ranking.comparable(runs) == runs and "brought" not in ranking.default_runs([*trio(), brought()])
    title, sentence = verdict(runs)
    assert title == "LSTM wins, 0.33 bits per character ahead of RNN."
    assert sentence.endswith("All saw the same 3,000 batches.")


def test_a_measured_import_is_ranked_without_steps_and_time() -> None:
    measured = FakeRun("m", "gru", 1.3, imported=BROUGHT, step=0, seconds=0.0)
    assert verdict([FakeRun("a"), measured])[1].endswith("Not all of them were trained here.")
    rows = dict((name, value) for name, value, _ in number_columns([measured, FakeRun("a")], {})["m"])
    assert rows["Training time"] == "—" and rows["Validation loss"] == "1.300"
    best = {name: mark for name, _, mark in number_columns([measured, FakeRun("a")], {})["m"]}
    assert best["Validation loss"] and not best["Training time"]
    assert ranking_csv([measured]).splitlines()[1].endswith(',"","",284238,"characters"')
    assert ">—<" in ranking_table([measured]) and ranking_table([brought()])
    assert "Not measured: it came without a text" in resting_columns([brought()], {})


# --- other tokens ----------------------------------------------------------------------------------------------------


def on_words(run_id: str = "w", loss: float = 4.0, **more: Any) -> FakeRun:
    """A run whose held-out words are 5.6 characters each, of which one of twenty is unknown."""
    corpus = {**SHERLOCK, "val_tokens": 10_000, "val_unknown": 500, **more}
    return FakeRun(run_id, "lstm", loss, level="word", corpus=corpus)


def test_bits_of_other_tokens_are_compared_by_the_character() -> None:
    words, characters = on_words(), FakeRun("c", "lstm", 1.357)
    assert words.bits_per_char(4.0) == pytest.approx(4.0 * 10_000 / 56_168 / math.log(2))
    title, sentence = verdict([characters, words])
    assert title == "LSTM on words wins, 0.93 bits per character ahead of LSTM on characters."
    assert sentence.endswith(
        "Bits of models on words are flattered: a rare word, 5.0 % of the held-out ones, costs them only one <unk> and "
        "capitals need not be written."
    )
    assert "All took 3,000 steps, on different batches." in sentence
    table = ranking_table([characters, words])
    assert table.index("LSTM on words") < table.index("LSTM on characters"), "by bits, though its loss is larger"
    best = {name: mark for name, _, mark in number_columns([characters, words], {})["c"]}
    assert not best["Validation loss"] and not best["Perplexity"], "nats of other tokens cannot be compared"
    assert ranking_csv([characters, words]).splitlines()[1].startswith('"w","LSTM","Sherlock Holmes",4.0,54.5982,1.02')


def test_the_flattery_is_said_where_there_is_some() -> None:
    assert "flattered" not in verdict([FakeRun("a"), FakeRun("b", "gru")])[1]
    exact = on_words(val_unknown=0)
    exact.model_config = replace(exact.model_config, words="cased")
    assert "flattered" not in verdict([exact])[1]
    assert "up to 9.0 %" in verdict([on_words(), on_words("x", val_unknown=900)])[1]
    assert "Guessing every character" not in verdict([on_words()])[1], "its choices are words"


def test_curves_of_other_tokens_are_drawn_in_bits_per_character() -> None:
    unit, factors = loss_unit([FakeRun("c"), on_words()])
    assert unit == "bits per character" and factors == [
        pytest.approx(1 / math.log(2)),
        pytest.approx(10_000 / 56_168 / math.log(2)),
    ]
    assert loss_unit([FakeRun("c"), FakeRun("d", corpus=AUNT)]) == ("nats per character", [1.0, 1.0])
    assert loss_unit([on_words(), on_words("x")])[0] == "nats per token"
    unknown = on_words()
    unknown.corpus = {}
    assert math.isnan(loss_unit([FakeRun("c"), unknown])[1][1]) and "—" in ranking_table([unknown])


def test_unknown_words_of_a_prompt_are_named() -> None:
    html = written_columns(
        [FakeRun("a")], {"a": GeneratedText("x", "y", unknown=["<b>zebra", "qua"])}, {}, writing=False
    )
    assert "Read as &lt;unk&gt;, not in its vocabulary: &lt;b&gt;zebra qua" in html


def test_nothing_chosen_says_what_to_do_and_shows_no_empty_table() -> None:
    for html in (resting_columns([], {}), ranking_table([])):
        assert 'class="notice empty"' in html and "the Train tab makes the first" in html and "<table" not in html
