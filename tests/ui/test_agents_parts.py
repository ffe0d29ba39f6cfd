"""When agents are served, and what answers, notices and schemas are made of; the package mcp is not needed."""

from collections.abc import Callable, Iterator
from inspect import signature
from typing import Any

import gradio as gr
import pytest
from gradio.utils import get_function_description

from charlm.config import RaceConfig
from charlm.errors import ConfigError
from charlm.experiments.searches import Searches
from charlm.jobs.service import Jobs
from charlm.presets import from_options
from charlm.public.services import Services
from charlm.serving import Serving
from charlm.training.autosize import SIZED, autosize
from charlm.ui import agents, api
from charlm.ui.agents import MOST_ROWS, Notices, is_wanted, plain, progress_of, thinned
from charlm.ui.schemas import NOT_OF_ITEMS, options_schemas
from charlm.ui.services import Files
from tests.tiny_runs import small_corpus, store_in, trained
from tests.ui.test_endpoints import NAMES
from tests.ui.waiting import finished

# Options that are read before the others are looked at.
BESIDE = {
    "train": {"preset"}, "race": {"preset"}, "search": {"preset"}, "fork": {"grow"}, "next_tokens": {"count"},
    "import_run": {"corpus"},
}  # fmt: skip


@pytest.fixture(scope="module")
def run_id(tmp_path_factory: pytest.TempPathFactory, services: Services) -> str:
    [run] = trained(services.store, steps=8)
    return run.run_id


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    folder = tmp_path_factory.mktemp("schemas")
    store = store_in(folder)
    jobs = Jobs(store)
    yield Services(store, jobs, Serving(store), Files(), searches=Searches(folder, jobs.is_training))
    jobs.close()


@pytest.fixture(scope="module")
def endpoints(services: Services) -> dict[str, Callable[..., Any]]:
    """The functions by name."""
    found: dict[str, Callable[..., Any]] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(api, "api", lambda function, **_: found.setdefault(function.__name__, function))
        api.build(services)
    return found


@pytest.mark.parametrize(
    ("given", "space", "installed", "wanted"),
    [("", "", True, False), ("1", "", True, True), ("0", "a/b", True, False), ("", "a/b", True, True),
     ("", "a/b", False, False), ("0", "", False, False)],
)  # fmt: skip
def test_agents_are_served_on_request_and_on_a_space(
    given: str, space: str, installed: bool, wanted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHARLM_MCP", given)
    monkeypatch.setenv("SPACE_ID", space)
    monkeypatch.setattr(agents, "find_spec", lambda name: object() if installed else None)
    assert is_wanted() is wanted


@pytest.mark.parametrize(("given", "said"), [("1", "pip install -r requirements-mcp.txt"), ("yes", "must be 0 or 1")])
def test_a_wrong_wish_is_answered_with_the_way_out(given: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHARLM_MCP", given)
    monkeypatch.setattr(agents, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=said):
        is_wanted()


def test_answers_are_strict_json() -> None:
    assert plain({"a": float("nan"), "b": [float("inf")]}) == {"a": None, "b": [None]}
    assert plain([1]) == {"result": [1]} and plain("a") == {"result": "a"}


@pytest.mark.parametrize("number", [0, 1, 50, 51, 100, 101, 1000])
def test_rows_are_thinned_to_the_newest(number: int) -> None:
    rows = [{"step": step, "val_loss": None} for step in range(1, number + 1)]
    answer = thinned({"metrics": rows})
    kept = [row["step"] for row in answer["metrics"]]
    assert answer["rows"] == number and len(kept) <= MOST_ROWS and kept == sorted(kept)
    assert len(kept) >= min(number, MOST_ROWS) / 2 and (not number or kept[-1] == number)


def test_progress_is_a_share_or_a_number_of_characters() -> None:
    assert progress_of([{"share": 0.5}, {"share": 1.0}]) == (0.75, 1.0, "75%")
    assert progress_of({"share": 0.25}) == (0.25, 1.0, "25%")
    assert progress_of({"a": "abc", "b": ["d", "e"]}) == (5.0, None, "5 characters")
    assert (
        progress_of([{"run_id": "a", "memory": 8}])
        == progress_of({"readers": ["a"], "rows": [1]})
        == (1.0, 1.0, "100%")
    )


def test_progress_goes_forward_and_is_not_told_too_often(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[float] = []

    async def send(done: float, total: float | None, said: str) -> None:
        told.append(done)

    async def tell() -> None:
        notices = Notices(send)
        for done in (1.0, 2.0, 1.0, 3.0, 3.0):
            await notices(done, None, "")

    finished(tell())
    assert told == [1.0]
    monkeypatch.setattr(agents, "LOOK_EVERY", 0.0)
    told.clear()
    finished(tell())
    assert told == [1.0, 2.0, 3.0]


def test_what_a_preset_chooses_has_no_default() -> None:
    options = options_schemas()["train"]
    chosen = autosize(from_options({}), small_corpus(), ["lstm"])
    for name, value in (from_options({}).model.to_dict() | from_options({}).train.to_dict()).items():
        if {**chosen.model.to_dict(), **chosen.train.to_dict()}[name] != value:
            assert name in SIZED
    assert all(("default" in schema) is (name not in SIZED) for name, schema in options.items())


@pytest.mark.parametrize("name", NAMES)
def test_an_endpoint_says_what_it_takes_and_answers(name: str, endpoints: dict[str, Callable[..., Any]]) -> None:
    about, parameters, answers = get_function_description(endpoints[name])
    assert about and answers and all(parameters.values()), parameters
    assert all(said.endswith(".") for said in parameters.values()), "gradio reads the first line of an argument alone"


@pytest.mark.parametrize("name", sorted(options_schemas()))
def test_the_options_of_a_schema_are_those_that_the_endpoint_takes(
    name: str, endpoints: dict[str, Callable[..., Any]], run_id: str
) -> None:
    """Which it takes it says itself, when it refuses another one."""
    values = {"run_id": run_id, "run_ids": [run_id], "options": {"qqqqqq": 1}, "action": "begin"}
    given = [values.get(one.name, one.default) for one in signature(endpoints[name]).parameters.values()]
    with pytest.raises(gr.Error, match="unknown setting 'qqqqqq'; known are: ") as caught:
        list(endpoints[name](*given))
    known = set(caught.value.message.partition("known are: ")[2].split(", ")) | BESIDE.get(name, set())
    known -= {"arch"} | {"items": set(NOT_OF_ITEMS), "train": set(RaceConfig.names())}.get(name, set())
    assert set(options_schemas()[name]) == known
