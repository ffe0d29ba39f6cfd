"""The Train form's pure parts: fold titles, controls to configs, estimates."""

import re
from dataclasses import replace
from functools import partial
from typing import Any

import gradio as gr
import pytest

from charlm.config import ModelConfig, suited_rate
from charlm.data.corpus import corpus_from_text
from charlm.errors import CharLMError, ConfigError
from charlm.presets import PRESETS, from_options
from charlm.public.limits import Limits
from charlm.ui.train import form
from charlm.ui.train.form import FOLDS, NAMES, TextSize, config_class, fold_title, preset_values, run_config
from tests.tiny_runs import TEXT


def values(preset: str = "quick", **changes: Any) -> dict[str, Any]:
    return {**preset_values(preset), **changes}


def configured(preset: str = "quick", chosen: Any = None, **changes: Any) -> Any:
    return run_config(preset, values(preset, **changes), chosen)


def test_every_setting_of_a_training_has_its_control() -> None:
    # tokens are the Corpus tab's
    left_out = {"arch", "level", "words", "min_count", "vocab_size", "beta1", "beta2", "counted"}
    fields = {name for one in ("hidden_size", "steps", "seeds") for name in config_class(one).names()}
    assert fields - left_out == set(NAMES) and len(NAMES) == len(set(NAMES))


@pytest.mark.parametrize("preset", PRESETS)
def test_an_untouched_form_is_its_preset(preset: str) -> None:
    config, plain = configured(preset), from_options({}, preset)
    assert (config.model, config.corpus, config.preset) == (plain.model, plain.corpus, preset)
    assert {name: getattr(config.train, name) for name in NAMES if hasattr(config.train, name)} == {
        name: getattr(plain.train, name) for name in NAMES if hasattr(plain.train, name)
    }


def test_recording_the_gradient_is_a_box_that_stands_empty() -> None:
    box = form.control("record_gradient", preset_values("quick")["record_gradient"])
    assert isinstance(box, gr.Checkbox) and box.value is False and box.label == "Record gradient"
    assert configured(record_gradient=True).train.record_gradient is True


def test_changes_count_and_emptied_fields_take_the_preset() -> None:
    config = configured("notebook", hidden_size=64, epochs=None, label="mine")
    assert config.model.hidden_size == 64 and config.train.epochs == 30 and config.train.label == "mine"
    assert configured(steps=0, minutes=2).train.minutes == 2
    assert configured(hidden_size=64.0).model.hidden_size == 64


@pytest.mark.parametrize(
    ("preset", "items", "was_list", "after"),
    [
        ("quick", "line", False, "items"), ("items", "none", True, "quick"), ("balanced", "line", False, "balanced"),
        ("quick", "line", True, "quick"), ("items", "none", False, "items"), ("notebook", "none", True, "notebook"),
        ("quick", "none", False, "quick"), ("items", "blank", True, "items"),
    ],
)  # fmt: skip
def test_the_preset_follows_a_list_and_comes_back(preset: str, items: str, was_list: bool, after: str) -> None:
    assert form.preset_for(preset, {"config": {"items": items}}, was_list) == (after, items != "none")


def test_what_was_changed_by_hand_is_no_longer_as_filled() -> None:
    filled = preset_values("quick")
    assert form.is_as_filled({**filled, "learning_rate": None}, filled)
    assert not form.is_as_filled({**filled, "steps": 7}, filled) and not form.is_as_filled(filled, {})


def test_a_learning_rate_that_is_found_by_itself_is_shown_in_grey(estimated: Any) -> None:
    assert preset_values("quick")["learning_rate"] == "" and preset_values("notebook")["learning_rate"] == 0.001
    assert configured().train.learning_rate == 0.0 and configured(learning_rate=0.01).train.learning_rate == 0.01
    assert configured("notebook", learning_rate=None).train.learning_rate == 0.0
    one_pass = TextSize(40_000, (30_000, 5_000, 5_000), 50)

    def shown(*archs: str, **changes: Any) -> str:
        return form.estimate(lambda *_: one_pass, None, "x", "quick", archs, values(**changes))[1]

    def rate(arch: str, size: int, steps: int) -> str:
        return f"{suited_rate(ModelConfig(arch=arch, hidden_size=size), steps):g}"

    assert shown("lstm", steps=2_000) == shown("lstm", "ngram", steps=2_000) == rate("lstm", 128, 2_000)
    assert shown("lstm", steps=2_000, hidden_size=512) == rate("lstm", 512, 2_000) != rate("lstm", 128, 2_000)
    assert shown("lstm", steps=250) == rate("lstm", 128, 250) != rate("lstm", 128, 2_000)
    assert shown("lstm", steps=0, epochs=2.0) == rate("lstm", 128, 58)  # twice 29 steps of 16 x 64
    one_pass = replace(one_pass, item=5)  # a list: a step reads 16 items, a pass has 374
    assert shown("lstm", steps=0, epochs=2.0) == rate("lstm", 128, 748) != rate("lstm", 128, 58)
    ends = rate("transformer", 128, 2_000), rate("lstm", 128, 2_000)
    assert shown("lstm", "gru", "transformer", steps=2_000) == " to ".join(ends)
    assert shown("ngram") == shown() == shown("lstm", hidden_size=0) == shown("lstm", hidden_size="x") == ""


@pytest.mark.parametrize(
    ("changes", "said"),
    [({"hidden_size": 0}, "hidden_size 0"), ({"learning_rate": 99}, "learning_rate 99"), ({"dropout": "x"}, "dropout"),
     ({"steps": 0, "epochs": 0, "minutes": 0}, "training would never end"), ({"tie_weights": True}, "embed_dim"),
     ({"schedule": "spiral"}, "spiral"), ({"label": "x" * 81}, "label has 81"), ({"seed": 1.5}, "whole number")],
)  # fmt: skip
def test_values_out_of_range(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        configured(**changes)


def test_what_the_corpus_tab_chose_counts() -> None:
    chosen = {"key": "sherlock", "config": {"lowercase": True, "val_fraction": 0.2, "odd": 1}}
    config = configured(chosen=chosen)
    assert config.corpus.lowercase and config.corpus.val_fraction == 0.2
    assert configured("notebook", chosen=chosen).corpus.drop_newlines
    assert configured(chosen={"config": "forged"}).corpus == from_options({}).corpus
    with pytest.raises(CharLMError):
        configured(chosen={"config": {"val_fraction": 7}})
    with pytest.raises(ConfigError, match="preset"):
        run_config("forged", preset_values("quick"), None)


@pytest.mark.parametrize(
    ("key", "changes", "title"),
    [("model", {"num_layers": 1, "hidden_size": 64, "dropout": 0}, "Model: 1 layer of 64, dropout 0"),
     ("model", {"num_layers": 2, "hidden_size": 512, "dropout": 0.3}, "Model: 2 layers of 512, dropout 0.3"),
     ("training", {"steps": 1500, "batch_size": 8, "seq_len": 9, "schedule": "constant"},
      "Training: 1,500 steps, 8 × 9"),
     ("training", {"steps": 0, "epochs": 1, "minutes": 2.5, "batch_size": 8, "seq_len": 9, "schedule": "plateau"},
      "Training: 1 epoch, 2.5 minutes, 8 × 9"),
     ("training", {"steps": 0, "epochs": 0, "minutes": 0, "batch_size": 8, "seq_len": 9, "schedule": "cosine"},
      "Training: no end, 8 × 9"),
     ("heart", {}, "Against overfitting: dropout alone"),
     ("heart", {"locked_dropout": True, "weight_dropout": 0.5, "output_dropout": 0.0},
      "Against overfitting: locked dropout, output dropout 0, weight dropout 0.5"),
     ("architecture", {}, "Architecture: embedding by itself"),
     ("architecture", {"embed_dim": 64, "tie_weights": True}, "Architecture: embedding of 64, tied weights"),
     ("schedule", {"schedule": "cosine", "grad_clip": 0.25}, "Schedule: cosine, gradients clipped at 0.25"),
     ("schedule", {"schedule": "constant", "grad_clip": 0}, "Schedule: constant, gradients not clipped"),
     ("machine", {"device": "cpu", "snapshots": 1}, "Device and records: cpu, 1 snapshot"),
     ("race", {"match": "parameters", "budget": "flops"}, "Race: equal parameters, equal flops"),
     ("name", {"label": "", "seed": 7}, "Name and seed: 7"), ("name", {"seeds": 5}, "Name and seed: 7, 5 seeds"),
     ("name", {"label": "<b>", "seed": 8}, "Name and seed: <b>, 8")],
)  # fmt: skip
def test_a_folds_title_states_its_values(key: str, changes: dict[str, Any], title: str) -> None:
    assert fold_title(key, values(**changes)) == title


def test_the_basic_settings_are_few_and_the_rest_is_advanced() -> None:
    basic = [name for names in form.BASIC.values() for name in names]
    in_sight = [name for name in basic if form.control(name, preset_values("quick")[name]).visible]
    assert len(in_sight) <= 10 and set(basic) - set(in_sight) == {"order", "early_stop"}  # which come when they matter
    assert {"hidden_size", "num_layers", "dropout", "steps", "learning_rate"} <= set(basic)
    assert FOLDS == form.BASIC | form.ADVANCED and not form.BASIC.keys() & form.ADVANCED.keys()


def test_sliders_reach_over_the_whole_range() -> None:
    sliders = {name: form.control(name, value) for name, value in preset_values("quick").items()}
    sliders = {name: one for name, one in sliders.items() if isinstance(one, gr.Slider)}
    assert sliders.keys() == form.STEPS.keys() >= {"num_layers", "dropout"}
    for name, one in sliders.items():
        meta = config_class(name).field(name).metadata
        assert (one.minimum, one.maximum) == (meta["low"], meta["high"])
    for preset in PRESETS:  # none is moved to the slider's next step
        for name, one in sliders.items():
            steps = (preset_values(preset)[name] - one.minimum) / one.step
            assert steps == pytest.approx(round(steps))


def test_words_from_the_corpus_tab_need_a_vector_each() -> None:
    chosen = {"key": "sherlock", "tokens": {"level": "word", "min_count": 3, "odd": 1}}
    model = configured(chosen=chosen).model
    assert (model.level, model.min_count, model.embed_dim, model.tie_weights) == ("word", 3, 128, True)
    assert configured("balanced", chosen=chosen).model.embed_dim == 256
    own = configured(chosen=chosen, embed_dim=32).model
    assert (own.embed_dim, own.tie_weights) == (32, False)
    assert fold_title("model", values(level="word")) == "Model: 2 layers of 128, dropout 0.1, reads words"
    assert form.level_of("quick", {"level": ["x"]}) == "['x']"
    assert fold_title("model", values(level="['x']")) == "Model: 2 layers of 128, dropout 0.1"
    with pytest.raises(ConfigError, match="level"):
        configured(chosen={"tokens": {"level": "letters"}})


def test_titles_of_emptied_fields() -> None:
    assert all(fold_title(key, dict.fromkeys(NAMES, 0)) for key in FOLDS)


@pytest.fixture
def estimated(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The estimate of a text, without a catalog and without measuring this machine."""
    from charlm.training.machine import Machine, Measurement

    measured = Measurement(Machine(1e-9, 1e-6), "2026-05-03T12:00:00+00:00", quiet=True)
    monkeypatch.setattr("charlm.training.machine.speed", lambda: measured)

    def estimate(
        text: str = TEXT, archs: Any = ("lstm",), preset: str = "quick", chosen: Any = None, **changes: Any
    ) -> str:
        monkeypatch.setattr(form, "open_corpus", lambda _, config: corpus_from_text(text, "<i>", config))
        public = changes.pop("limits", None), changes.pop("left", None)
        return form.estimate(form.text_size, chosen, "any", preset, archs, values(preset, **changes), *public)[0]

    return estimate


LEFT = {"texts": 10, "minutes": 12.5, "set_aside": 0.0, "runs": 3}


@pytest.mark.parametrize(
    ("left", "seconds", "archs", "said"),
    [({}, 70.0, 2, "Uses about 1.2 of the 12.5 minutes of training that you have left today, and 2 of the 3 runs that "
                   "you may still keep.</p>"),
     ({}, 2.0, 1, "Uses about 0.1 of the 12.5 minutes"), ({}, 300.0, 1, "Of each run at most 5 minutes.</p>"),
     ({"minutes": 2}, 130.0, 1, "about 2.2 of the 2 minutes of training that you have left today, and 1 of the 3 runs "
                                "that you may still keep. It ends when they are used up.</p>"),
     ({"minutes": 2.0}, 130.0, 3, "It ends when they are used up, each model with an equal share.</p>"),
     ({"runs": 1}, 60.0, 3, "and 3 of the 1 run that you may still keep. That is more runs than you may keep: delete "
                            "some, or choose fewer architectures.</p>"),
     ({"runs": 0}, 60.0, 1, "1 of the 0 runs")],
)  # fmt: skip
def test_a_public_space_says_beforehand_what_a_training_uses(
    left: dict[str, Any], seconds: float, archs: int, said: str
) -> None:
    assert said in form.uses_html(seconds, archs, Limits(), LEFT | left)


def test_a_race_says_what_is_made_equal(estimated: Any) -> None:
    long = TEXT * 400
    assert "units, " not in estimated(long, ["lstm", "rnn"], "balanced", seeds=3)
    html = estimated(long, ["ngram", "lstm", "rnn"], match="parameters", steps=1200, hidden_size=128)
    said = re.search(r"LSTM 128 units, 1,200 steps; RNN (\d+) units \(([+-]\d\.\d) % parameters\), 1,200 steps\.", html)
    assert said and int(said[1]) > 200
    html = estimated(long, ["gru", "rnn"], budget="flops", steps=300, hidden_size=128)
    assert re.search(r"GRU 128 units, 300 steps; RNN 128 units \([+-]\d+\.\d % parameters\), \d{3} steps\.", html)
    assert "0 steps" not in estimated(long, ["gru", "rnn"], match="parameters", minutes=2, steps=0)


def test_seeds_take_as_many_times_as_long(estimated: Any) -> None:
    once, thrice = (estimated(TEXT * 40, ["gru"], seeds=seeds, steps=100_000, limits=None) for seeds in (1, 3))
    once_s, thrice_s = (re.search(r"(\d+(?:\.\d)?) (min|s|h)", html) for html in (once, thrice))
    assert once_s and thrice_s and once_s[0] != thrice_s[0]
    said = estimated(archs=["gru", "rnn"], seeds=2, limits=Limits(), left=LEFT | {"runs": 12})
    assert "4 of the 12 runs" in said
    assert "seeds is 4, more than the 3" in estimated(archs=["gru"], seeds=4, limits=Limits(), left=LEFT)


def test_early_stopping_is_asked_for_where_there_are_enough_seeds(estimated: Any) -> None:
    box = form.control("early_stop", False)
    assert isinstance(box, gr.Checkbox) and box.label == "Stop early" and box.visible is False and "4 seeds" in box.info
    assert [form.can_stop_early(seeds) for seeds in (None, "", 1, 3, 4, 10)] == [False] * 4 + [True] * 2
    assert configured(seeds=4, early_stop=True).race.early_stop is True
    assert configured(seeds=3, early_stop=True).race.early_stop is False, "it is not in sight"
    assert form.fold_title("name", values(seeds=5, early_stop=True)) == "Name and seed: 7, 5 seeds at most"
    assert form.fold_title("name", values(seeds=3, early_stop=True)) == "Name and seed: 7, 3 seeds"
    alone = estimated(archs=["gru"], seeds=4, early_stop=True)
    assert "early stopping needs two architectures to compare, not gru alone" in alone
    assert "expected" in estimated(archs=["gru", "rnn"], seeds=4, early_stop=True)
    public = estimated(archs=["gru", "rnn"], seeds=4, early_stop=True, limits=Limits(), left=LEFT)
    assert "this public Space has no early stopping" in public
    line = form.command(configured(seeds=4, early_stop=True), "pets", ["gru", "rnn"])
    assert line.endswith("--seeds 4 --early-stop")


def test_what_a_training_uses_is_said_on_a_public_space_only(estimated: Any) -> None:
    assert "Uses about" not in estimated()
    html = estimated(archs=["lstm", "gru"], limits=Limits(), left=LEFT)
    assert "of the 12.5 minutes" in html and "2 of the 3 runs" in html
    endless = estimated(limits=Limits(), left=LEFT, steps=0, minutes=0, epochs=50)
    assert "Uses about" in endless


def test_the_estimate_says_how_fast_the_machine_was_when(estimated: Any) -> None:
    html = estimated(archs=["lstm", "rnn"])
    assert re.search(r"At [\d,]+ characters/s, LSTM, measured 3 May 2026\.", html)
    assert 'data-act="measure"' in html and "beside other work" not in html
    assert "characters/s" not in estimated(archs=["ngram"])


def test_estimates(estimated: Any) -> None:
    html = estimated(archs=["lstm", "gru"])
    assert "parameters, LSTM" in html and "all together" in html and "memory at most" in html
    assert "all together" not in estimated() and "per character, LSTM" in estimated()
    words = estimated(chosen={"tokens": {"level": "word"}})
    assert "per token, LSTM" in words
    assert "<b>266,127</b>" in words  # 15 tokens with a vector of 128 each, tied, 2 layers of 128


@pytest.mark.parametrize(
    ("how", "said"),
    [({"archs": []}, "No architecture chosen"), ({"archs": ["<script>"]}, "&lt;script&gt;"),
     ({"text": "ab"}, "at least 3 characters"), ({"hidden_size": 0}, "hidden_size 0 is outside"),
     ({"hidden_size": 4096, "num_layers": 8, "batch_size": 4096, "seq_len": 4096, "text": TEXT * 3000}, "GB of memory"),
     ({"preset": "quick", "label": "<script>" * 20}, "label has 160")],
)  # fmt: skip
def test_what_cannot_be_trained_is_said_before_train_is_pressed(how: dict[str, Any], said: str, estimated: Any) -> None:
    html = estimated(**how)
    assert said in html and "<script>" not in html and 'class="notice' in html


def test_an_ngram_is_told_by_its_order_and_its_tokens() -> None:
    filled = values("quick", order=5)
    assert fold_title("model", filled, ["ngram"]) == "Model: 5-gram"
    assert fold_title("model", filled, ["lstm", "ngram"]) == "Model: 2 layers of 128, dropout 0.1, 5-gram"
    assert fold_title("model", filled, ["lstm"]) == "Model: 2 layers of 128, dropout 0.1"

    def size_of(*_: Any) -> TextSize:
        return TextSize(10_000, (9_000, 1_000, 0), 40)

    alone, _ = form.estimate(size_of, None, "x", "quick", ["ngram"], filled)
    assert "9,000</b><span>tokens to count, n-gram" in alone
    raced, _ = form.estimate(size_of, None, "x", "quick", ["ngram", "rnn"], filled)
    assert "parameters, RNN" in raced


def test_a_public_space_counts_no_words_of_a_long_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(form, "open_corpus", lambda _, config: corpus_from_text(TEXT, "a", config))
    monkeypatch.setattr(form, "tokenizer_for", lambda *_: pytest.fail("counted"))
    size_of = partial(form.text_size, limits=Limits(corpus_bytes=100))
    html, _ = form.estimate(size_of, {"tokens": {"level": "bpe"}}, "any", "quick", ["gru"], values())
    assert "the text has" in html and "bytes" in html
