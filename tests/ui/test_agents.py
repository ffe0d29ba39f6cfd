"""The endpoints for agents, asked by the official client of the Model Context Protocol over a real server."""

import json
import shutil
import subprocess
import urllib.request
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from gradio.mcp import GradioMCPServer

from charlm.config import RaceConfig
from charlm.jobs.service import Jobs
from charlm.public.identity import HEADER
from charlm.public.services import Services
from charlm.serving import Serving
from charlm.ui import agents
from charlm.ui.agent_sessions import SESSION
from charlm.ui.agents import MOST_ROWS, AgentServer
from charlm.ui.app import build_demo
from tests.patience import patience
from tests.tiny_runs import TEXT, trained, wait_for
from tests.ui.servers import private_services, public_space, served
from tests.ui.strangers import SHIPPED
from tests.ui.test_endpoints import NAMES, SOON
from tests.ui.waiting import finished

mcp = pytest.importorskip("mcp")

Notice = tuple[float, float | None, str | None]
PETS = {"text": TEXT, "name": "pets.txt"}


class Agent:
    """A client of the protocol, with a session for each request.

    Args:
        address: of the server.
        secret: of a visitor of a public Space.
        query: what stands behind the address of the tools.
    """

    def __init__(self, address: str, secret: str = "", query: str = "") -> None:
        self.url, self.headers = f"{address}/gradio_api/mcp/{query}", {HEADER: secret} if secret else {}
        self.notices: list[Notice] = []  # of the last call

    def tools(self) -> dict[str, Any]:
        """The tools by name."""
        return {tool.name: tool for tool in self._with(lambda session: session.list_tools()).tools}

    def call(self, name: str, **arguments: Any) -> Any:
        """The answer of a tool, checked: the text is strict JSON, and what is structured is the same."""
        answer = self._call(name, arguments)
        assert not answer.isError, answer.content
        [content] = answer.content
        value = json.loads(content.text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
        assert value == answer.structuredContent
        return value

    def refused(self, name: str, **arguments: Any) -> str:
        """The one sentence with which a call is refused."""
        answer = self._call(name, arguments)
        assert answer.isError and answer.structuredContent is None
        [content] = answer.content
        assert "Traceback" not in content.text and "\n" not in content.text
        return str(content.text)

    def _call(self, name: str, arguments: dict[str, Any]) -> Any:
        self.notices = []

        async def note(done: float, total: float | None, said: str | None) -> None:
            self.notices.append((done, total, said))

        async def call(session: Any) -> Any:
            await session.list_tools()  # with their schemas the client checks the answer
            return await session.call_tool(name, arguments, timedelta(seconds=patience(120)), note)

        return self._with(call)

    def _with(self, what: Callable[[Any], Any]) -> Any:
        async def work() -> Any:
            from mcp.client.streamable_http import streamable_http_client

            async with (
                httpx.AsyncClient(headers=self.headers, timeout=patience(60)) as client,
                streamable_http_client(self.url, http_client=client) as (read, write, _),
                mcp.ClientSession(read, write) as session,
            ):
                await session.initialize()
                return await what(session)

        return finished(work())


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    with private_services(tmp_path_factory.mktemp("agents")) as made:
        yield made


@pytest.fixture(scope="module")
def address(services: Services, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    demo = build_demo(services, tmp_path_factory.mktemp("secret"))
    with served(demo, services, agents=True) as url:
        yield url


@pytest.fixture(scope="module")
def agent(address: str) -> Agent:
    return Agent(address)


@pytest.fixture(scope="module")
def run_id(services: Services) -> str:
    [run] = trained(services.store, steps=8)
    return run.run_id


# --- what is offered -------------------------------------------------------------------------------------------------


def test_the_tools_are_the_endpoints_and_each_is_described(agent: Agent) -> None:
    tools = agent.tools()
    assert set(tools) == set(NAMES)
    for name, tool in tools.items():
        assert "Returns: " in tool.description, name
        for parameter, schema in tool.inputSchema["properties"].items():
            assert schema.get("description"), (name, parameter)
        for option, schema in tool.inputSchema["properties"].get("options", {}).get("properties", {}).items():
            assert "type" in schema, (name, option)
        assert tool.outputSchema["type"] == "object"
    assert tools["runs"].annotations.readOnlyHint and not tools["train"].annotations.readOnlyHint


def test_a_client_may_choose_tools(address: str) -> None:
    chosen = Agent(address, query="?tools=runs,queue")
    assert set(chosen.tools()) == {"runs", "queue"}
    assert chosen.call("queue") == {"result": []}
    assert "there is no tool 'limits'; there are: runs, queue" in chosen.refused("limits")


def test_options_have_the_types_of_the_settings(agent: Agent) -> None:
    tools = agent.tools()
    sampling = tools["generate"].inputSchema["properties"]["options"]["properties"]
    assert sampling["temperature"] | {"description": ""} == {
        "type": "number", "minimum": 0.0, "maximum": 10.0, "default": 0.8, "description": "",
    }  # fmt: skip
    assert sampling["stop"]["type"] == "array" and sampling["stop"]["maxItems"] == 8
    training = tools["train"].inputSchema["properties"]["options"]["properties"]
    assert training["level"]["enum"] == ["char", "word", "bpe"] and training["level"]["default"] == "char"
    assert "quick" in training["preset"]["enum"] and not set(training) & set(RaceConfig.names())
    assert set(RaceConfig.names()) < set(tools["race"].inputSchema["properties"]["options"]["properties"])
    assert tools["status"].inputSchema["required"] == ["run_id"]


# --- a session -------------------------------------------------------------------------------------------------------


def test_train_and_wait_compare_generate_measure(agent: Agent) -> None:
    begun = agent.call(
        "train", file=PETS, arch="gru", options={**SOON, "label": "pets", "steps": 300}, wait_seconds=patience(60)
    )
    assert set(begun) == {"run_id", "status", "position"} and begun["status"] == "finished"
    done, total, said = agent.notices[-1]
    assert total == 300 and 0 <= done <= 300 and said is not None and " of 300" in said
    assert [notice[0] for notice in agent.notices] == sorted({notice[0] for notice in agent.notices})
    gru = begun["run_id"]
    state = agent.call("status", run_id=gru)
    assert state["step"] == 300 and state["rows"] == 300 and 10 < len(state["metrics"]) <= MOST_ROWS
    assert all(row["val_loss"] is not None for row in state["metrics"]) and state["metrics"][-1]["step"] == 300
    assert agent.call("status", run_id=gru, since_step=298)["rows"] == 2
    [run] = [one for one in agent.call("runs")["result"] if one["run_id"] == gru]
    assert (run["label"], run["corpus"], run["arch"]) == ("pets", "pets.txt", "gru")
    lstm = agent.call("train", file=[PETS, PETS], options=json.dumps(SOON), wait_seconds=patience(60))["run_id"]
    texts = agent.call("compare", run_ids=[gru, lstm], prompt="The ", length=30, options={"seed": 5})
    assert set(texts) == {gru, lstm} and all(len(text) == 34 for text in texts.values())
    one = agent.call("generate", run_id=gru, prompt="The ", length=30, options={"seed": 5})
    assert one == {"result": texts[gru]}
    several = agent.call("generate", run_id=gru, length=5, options={"samples": 2})
    assert [len(text) for text in several["result"]] == [5, 5]
    rows = agent.call("next_tokens", run_id=gru, text="The c")["result"]
    assert abs(sum(row["raw"] for row in rows)) <= 1.001 and set(rows[0]) == {"token", "probability", "raw"}
    [measured] = agent.call("surprise", run_ids=[gru], text="The cat sat on the mat.", options={})["result"]
    assert measured["run_id"] == gru and "error" not in measured


def test_poll_and_stop(agent: Agent) -> None:
    begun = agent.call("train", file=PETS, options={**SOON, "steps": 1_000_000, "eval_every": 1000})
    run_id = begun["run_id"]
    wait_for(lambda: agent.call("status", run_id=run_id, since_step=10**9)["step"] > 10, pause=0.1)
    waited = agent.call("status", run_id=run_id, wait_seconds=1.5)
    assert waited["status"] == "running"
    assert agent.notices[0] == (0, None, "begun")
    assert len(agent.notices) >= 3 and all(notice[1] == 1_000_000 for notice in agent.notices[1:])
    assert "running, step " in str(agent.notices[-1][2]) and "train loss " in str(agent.notices[-1][2])
    agent.call("stop", run_id=run_id)
    wait_for(lambda: agent.call("status", run_id=run_id)["status"] == "stopped", pause=0.1)


def test_a_text_tells_its_characters_on_the_way(agent: Agent, run_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agents, "LOOK_EVERY", 0.0)
    [text] = agent.call("generate", run_id=run_id, length=100_000).values()
    assert len(text) == 100_000 and len(agent.notices) >= 2
    assert agent.notices[-1][1:] == (None, f"{agent.notices[-1][0]:,.0f} characters")


def test_a_race(agent: Agent) -> None:
    runs = agent.call("race", file=PETS, archs=["rnn", "lstm"], options=SOON, wait_seconds=patience(60))["result"]
    assert [run["status"] for run in runs] == ["finished", "finished"]
    assert agent.notices[-1][1] == 16 and str(agent.notices[-1][2]).count("; ") == 1


@pytest.mark.slow
def test_a_race_that_ends_early_answers_with_what_was_trained(agent: Agent) -> None:
    options = {**SOON, "seeds": 4, "early_stop": True, "eval_every": 4, "snapshots": 0}
    book = {"name": "pets.txt", "text": TEXT * 40}
    runs = agent.call("race", file=book, archs=["lstm", "ngram"], options=options, wait_seconds=patience(60))["result"]
    assert [run["status"] for run in runs] == ["finished"] * 4  # without the LSTM of the fourth seed
    found = agent.call("seeds", run_ids=[runs[0]["run_id"]])
    assert found["ended_early"] is True and found["looks"] == [3, 4]


def test_an_export_is_downloaded_and_comes_back(agent: Agent, run_id: str, tmp_path: Path) -> None:
    file = agent.call("export", run_id=run_id)
    with urllib.request.urlopen(file["url"], timeout=patience(60)) as answer:
        content = answer.read()
    assert len(content) == file["size"] and content[:2] == b"PK" and file["orig_name"].endswith(".zip")
    again = agent.call("import_run", file=file["path"], options={"label": "again"})
    assert again["label"] == "again" and again["run_id"] != run_id


def test_an_upload_is_named_by_its_path(agent: Agent, address: str, tmp_path: Path) -> None:
    [path] = httpx.post(f"{address}/gradio_api/upload", files={"files": ("pets.txt", TEXT)}, timeout=60).json()
    run = agent.call("train", file=path, options=SOON, wait_seconds=patience(60))
    assert run["status"] == "finished"
    assert "not an upload" in agent.refused("train", file="/etc/passwd", options=SOON)


@pytest.mark.parametrize(
    ("name", "arguments", "said"),
    [
        ("status", {"run_id": "nope"}, "there is no run 'nope'"),
        ("status", {}, "missing a required argument: 'run_id'; its arguments are: run_id, since_step, wait_seconds"),
        ("runs", {"x": 1}, "runs: got an unexpected keyword argument 'x'; its arguments are: none"),
        ("train", {"file": PETS, "options": {"temprature": 1}}, "unknown setting 'temprature'"),
        ("train", {"file": PETS, "options": {"hidden_sise": 1}}, "did you mean hidden_size?"),
        ("train", {"file": PETS, "arch": "gpt"}, "gpt"),
        ("train", {"file": {"text": 5}}, "text and name of a file must be text"),
        ("train", {"corpus": "sherlock", "wait_seconds": -1}, "wait_seconds must be a number from 0 to 3,600, not"),
        ("train", {}, "no corpus is given"),
        ("generate", {"run_id": "nope", "wait_seconds": 1}, "unexpected keyword argument 'wait_seconds'"),
        ("_poll", {}, "there is no tool '_poll'"),
    ],
)  # fmt: skip
def test_wrong_calls_are_answered_with_a_sentence(name: str, arguments: Any, said: str, agent: Agent) -> None:
    assert said in agent.refused(name, **arguments)


def test_what_is_wrong_in_the_program_is_not_told(agent: Agent, services: Services, capfd: Any) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Jobs, "queue_list", lambda self: 1 / 0)
        assert agent.refused("queue") == "the server failed at this call; its log says why"
    assert "ZeroDivisionError" in capfd.readouterr().err


def test_a_browser_is_shown_how_to_connect(address: str) -> None:
    with urllib.request.urlopen(f"{address}/gradio_api/mcp/", timeout=patience(60)) as page:
        assert b"mcpServers" in page.read()
    with urllib.request.urlopen(f"{address}/gradio_api/mcp/schema", timeout=patience(60)) as answer:
        assert {tool["name"] for tool in json.load(answer)} == set(NAMES)


def test_a_text_is_no_longer_written_when_its_agent_has_left(address: str, services: Services, run_id: str) -> None:
    assert ending(leave(address, run_id, nothing)) == "left"


def test_a_cancelled_call_ends(address: str, services: Services, run_id: str) -> None:
    assert ending(leave(address, run_id, cancel, stays=True)) == "left"


def test_a_session_that_is_ended_takes_its_calls_along(address: str, services: Services, run_id: str) -> None:
    assert ending(leave(address, run_id, end, stays=True)) == "left"


def test_a_call_is_not_cancelled_by_another_session_nor_for_another_call(
    address: str, services: Services, run_id: str
) -> None:
    async def others(client: httpx.AsyncClient, session: str) -> None:
        for other in ("", "0" * 32):
            await cancel(client, other)
            await end(client, other)
        for unlike in ({"requestId": 8}, {"requestId": [7]}, {}):  # nor by what names another call, or none
            await client.post(
                "", json=message("notifications/cancelled", **unlike), headers={**HEADERS, SESSION: session}
            )

    assert ending(leave(address, run_id, others, stays=True, length=20_000)) == "whole"


def ending(work: Any) -> str:
    """How the text ends that is written meanwhile."""
    ended: list[str] = []
    written = Serving.generate

    def generate(self: Serving, *given: Any) -> Iterator[Any]:
        try:
            yield from written(self, *given)
            ended.append("whole")
        except GeneratorExit:
            ended.append("left")
            raise

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Serving, "generate", generate)
        finished(work)
        wait_for(lambda: ended, "for the end of the text")
    [how] = ended
    return how


HEADERS = {"accept": "application/json, text/event-stream"}


def message(method: str, number: int | None = None, **params: Any) -> dict[str, Any]:
    """A request, or without a number a notification."""
    return {"jsonrpc": "2.0", "method": method, "params": params} | ({} if number is None else {"id": number})


async def nothing(client: httpx.AsyncClient, session: str) -> None:
    """No word before it leaves."""


async def cancel(client: httpx.AsyncClient, session: str) -> None:
    said = message("notifications/cancelled", requestId=7)
    assert (await client.post("", json=said, headers={**HEADERS, SESSION: session})).status_code == 202


async def end(client: httpx.AsyncClient, session: str) -> None:
    assert (await client.delete("", headers={SESSION: session})).status_code == 204


async def leave(
    address: str,
    run_id: str,
    then: Callable[[httpx.AsyncClient, str], Any],
    stays: bool = False,
    length: int = 100_000,
) -> None:
    """Ask for a long text, and when it has begun do something; then hear the answer to its end, or do not stay."""
    about = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}
    call = message(
        "tools/call", 7, name="generate", arguments={"run_id": run_id, "length": length}, _meta={"progressToken": 1}
    )
    async with httpx.AsyncClient(base_url=f"{address}/gradio_api/mcp/", timeout=patience(60)) as client:
        opened = await client.post("", json=message("initialize", 1, **about), headers=HEADERS)
        session = opened.headers[SESSION]
        async with client.stream("POST", "", json=call, headers={**HEADERS, SESSION: session}) as answer:
            done = False
            async for line in answer.aiter_lines():
                if "characters" in line and not done:
                    done = True
                    await then(client, session)
                    if not stays:
                        return
            assert done


@pytest.mark.slow
def test_an_agent_in_javascript(address: str) -> None:
    """With the protocol's TypeScript SDK, whose client and Ajv are stricter than Python's."""
    node, asked = shutil.which("node") or "", "require('@modelcontextprotocol/sdk/client/index.js')"
    if not node or subprocess.run([node, "-e", asked], capture_output=True).returncode:
        pytest.skip("npm install @modelcontextprotocol/sdk, and name its node_modules in NODE_PATH")
    words = [node, str(Path(__file__).with_name("strange_agent.cjs")), f"{address}/gradio_api/mcp/", TEXT]
    ended = subprocess.run(words, capture_output=True, text=True, timeout=patience(300))
    assert ended.returncode == 0, ended.stderr
    found = json.loads(ended.stdout)
    assert set(found["tools"]) == set(NAMES) and found["complaints"] == []
    assert found["status"] == "finished" and found["notices"][0] == {"progress": 0, "message": "begun"}
    assert found["lengths"] == [40] * 4 and found["compared"] == 10 and found["bytes"] == found["size"] > 0
    assert "enough" in found["cancelled"] and found["refused"] == "there is no run 'nope'" and found["session"]


def test_no_stream_is_open_for_nothing(address: str) -> None:
    answer = httpx.get(f"{address}/gradio_api/mcp/", headers={"accept": "text/event-stream"}, timeout=patience(60))
    assert answer.status_code == 405 and answer.headers["allow"] == "POST, DELETE"


def test_what_is_null_is_left_out(agent: Agent, run_id: str) -> None:
    assert agent.call("next_tokens", run_id=run_id, text=None, options={"count": 3, "temperature": None})
    schema = agent.tools()["train"].inputSchema["properties"]["options"]["properties"]
    every = {name: one.get("default") for name, one in schema.items()}  # as clients send it that must name all
    run = agent.call("train", corpus=None, file=PETS, options={**every, **SOON}, wait_seconds=patience(60))
    assert run["status"] == "finished"


def test_on_a_space_the_names_are_the_same(services: Services, tmp_path: Path) -> None:
    demo = build_demo(services, tmp_path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SYSTEM", "spaces")
        patch.setenv("SPACE_ID", "own/lab")
        assert set(GradioMCPServer(demo).tool_to_endpoint) == {f"lab_{name}" for name in NAMES}
        assert set(AgentServer(demo, services.files).tool_to_endpoint) == set(NAMES)


def test_gradio_by_itself_answers_with_pythons_repr() -> None:
    server = GradioMCPServer.__new__(GradioMCPServer)
    [content] = server.postprocess_output_data([{"ok": True, "none": None}], "http://127.0.0.1")
    assert content.text == "{'ok': True, 'none': None}", "gradio sends JSON by itself: is serve_agents still needed?"


# --- a public Space --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a public Space that serves agents."""
    folder = tmp_path_factory.mktemp("public")
    with public_space(folder) as made, served(build_demo(made.services, folder), made.services, agents=True) as url:
        yield url


def test_a_visitor_is_known_by_the_header(space: str) -> None:
    one, other = Agent(space, "a" * 30), Agent(space, "b" * 30)
    run_id = one.call("train", file=PETS, options=SOON, wait_seconds=patience(60))["run_id"]
    assert {run["run_id"] for run in one.call("runs")["result"]} == {run_id, *SHIPPED}
    assert {run["run_id"] for run in other.call("runs")["result"]} == SHIPPED
    assert other.refused("status", run_id=run_id) == one.refused("status", run_id="nope").replace("nope", run_id)
    file = one.call("export", run_id=run_id)
    for secret, status in (("a", 200), ("b", 404)):
        assert httpx.get(file["url"], headers={HEADER: secret * 30}, timeout=patience(60)).status_code == status
    assert "no upload of yours" in other.refused("import_run", file=file["path"])


def test_only_the_one_transport_is_open_to_strangers(space: str) -> None:
    for path, status in (("", 200), ("schema", 200), ("sse", 404), ("messages/", 404)):
        assert httpx.get(f"{space}/gradio_api/mcp/{path}", timeout=patience(60)).status_code == status


def test_the_limits_hold(space: str) -> None:
    agent = Agent(space, "c" * 30)
    assert agent.call("limits")["public"] is True
    assert "hidden_size is 1,281, more than" in agent.refused("train", file=PETS, options={"hidden_size": 1281})
    assert "more than the 1,000" in agent.refused("generate", run_id="sherlock-rnn", length=1001)
    assert "more than" in agent.refused("train", file={"text": "ab" * 1_000_001}, options=SOON)
    for _ in range(10):
        agent.call("generate", run_id="sherlock-small-rnn", length=1)
    assert "wait" in agent.refused("generate", run_id="sherlock-small-rnn", length=1)
    assert agent.call("limits")["left"]["texts"] == 0


def test_texts_inside_calls_are_counted_as_uploads(space: str) -> None:
    agent = Agent(space, "d" * 30)
    said = [agent.refused("train", file=[{"text": "x"}] * 10, options={"steps": 0.5}) for _ in range(4)]
    assert "uploads an hour" in said[-1] and not any("uploads an hour" in one for one in said[:3])
