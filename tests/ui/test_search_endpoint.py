"""The endpoint /search over a real server: a search begun, looked at, stopped, resumed; refused in public."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from gradio_client import handle_file
from gradio_client.exceptions import AppError

from charlm.experiments.searches import Searches
from charlm.jobs.service import Jobs
from charlm.public.services import Services
from charlm.serving import Serving
from charlm.ui.app import build_demo, launch_options
from charlm.ui.services import AppServices, Files, PublicAppServices
from tests.patience import client as patient_client
from tests.patience import patience
from tests.tiny_runs import TEXT, store_in, wait_for

SOON = {"hidden_size": 8, "num_layers": 1, "seq_len": 10, "batch_size": 4}


@pytest.fixture
def services(tmp_path: Path) -> Iterator[Services]:
    store = store_in(tmp_path)
    jobs, searches = Jobs(store), Searches(store.root)
    yield Services(store, jobs, Serving(store), Files(), searches=searches)
    searches.close(patience(30))
    jobs.close(patience(30))


@pytest.fixture
def client(services: Services, tmp_path: Path) -> Iterator[Any]:
    demo = build_demo(services, tmp_path / "secret")
    options = {**launch_options(), "server_name": "127.0.0.1", "quiet": True}
    _, url, _ = demo.launch(prevent_thread_lock=True, **options)
    yield patient_client(url)
    demo.close()


def test_a_search_is_begun_looked_at_stopped_and_resumed(client: Any, services: Services, tmp_path: Path) -> None:
    pets = tmp_path / "pets.txt"
    pets.write_text(TEXT * 20, encoding="utf-8")

    def search(*given: Any) -> Any:
        return client.predict(*given, api_name="/search")

    assert search() == {}
    for given, said in (
        (("resume",), "there is no search to go on with"),
        (("dig",), "action must be begin, look, stop or resume, not 'dig'"),
        (("begin",), "no corpus is given"),
        (("begin", "sherlock", None, ["gru"], {"minutes": 0}), "minutes 0.0 is outside 0.05"),
        (("begin", "sherlock", None, ["gru"], {"minuts": 1}), "did you mean minutes"),
        (("begin", "sherlock", None, ["ngram"]), "counted, not trained"),
        (("begin", "sherlock", None, "gru"), "archs must be a list of text"),
    ):
        with pytest.raises(AppError, match=said):
            search(*given)
    begun = search("begin", "", handle_file(str(pets)), ["gru", "rnn"], {**SOON, "minutes": 0.3})
    assert (
        begun["running"] and begun["text"] == "pets.txt" and [one["arch"] for one in begun["archs"]] == ["gru", "rnn"]
    )
    with pytest.raises(AppError, match="a search is at work already"):
        search("begin", "", handle_file(str(pets)), ["gru"], SOON)
    wait_for(lambda: any(trial["state"] == "finished" for trial in search()["archs"][0]["trials"]))
    search("stop")
    wait_for(lambda: not search()["running"])
    stopped = search()
    assert not stopped["done"] and stopped["error"] == "" and stopped["archs"][0]["base"]["hidden_size"] == 8
    assert search("resume")["running"]
    wait_for(lambda: len(search()["archs"][0]["trials"]) > len(stopped["archs"][0]["trials"]))


def test_in_public_nobody_may_search_and_at_home_the_owner_may() -> None:
    assert PublicAppServices().services.searches is None
    home = AppServices()
    assert home.services.searches is home.searches is not None and not home.searches.is_running


def test_a_public_page_and_its_endpoint_refuse_in_one_sentence(tmp_path: Path) -> None:
    demo = build_demo(PublicAppServices().services, tmp_path / "secret")
    _, url, _ = demo.launch(prevent_thread_lock=True, **{**launch_options(), "quiet": True, "server_name": "127.0.0.1"})
    try:
        for given in (("look",), ("begin", "sherlock", None, ["gru"], SOON), ("stop",)):
            with pytest.raises(AppError, match="On a shared Space nobody may search"):
                patient_client(url).predict(*given, api_name="/search")
    finally:
        demo.close()
    assert not (tmp_path / "runs" / "searches").exists()
