"""The endpoints as tools for agents, over the Model Context Protocol (MCP): `CHARLM_MCP=1`.

Gradio serves it, at /gradio_api/mcp/; what a tool takes, answers and tells on its way is written here.
"""

import inspect
import os
import time
import traceback
from collections.abc import Callable, Coroutine, Generator, Mapping
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property, partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import anyio
import gradio as gr
import orjson
from gradio.block_function import BlockFunction
from gradio.blocks import Blocks
from gradio.context import LocalContext
from gradio.mcp import GradioMCPServer
from gradio.route_utils import get_root_url
from gradio.utils import get_function_description

import charlm
from charlm.errors import CharLMError, ConfigError
from charlm.files import is_utf8
from charlm.public.services import FileAccess
from charlm.ui.agent_sessions import Sessions
from charlm.ui.schemas import RESULT, Schema, answer_schema, parameters_schema

INSTRUCTIONS = """Trains small language models (LSTM, GRU, RNN, Transformer, minGRU, n-grams) on a text and compares
them. Begin with runs, which lists trained models, and corpora. train queues a training; with wait_seconds the call
waits for its end, else ask status. Then generate, compare, evaluate, and the measurements (memory, gradient, surprise
and others) on their run ids. Losses are in nats per token; models of different tokens are compared by bits_per_char."""
CHANGING = (  # tools that leave something behind; the others only read
    "train", "race", "pause", "stop", "rate", "resume", "fork", "retry", "move", "search", "import_run", "ballot",
    "vote",
)  # fmt: skip
FILES = ("file", "characters")  # parameters
WAITING = ("train", "race", "resume", "fork", "retry", "status")  # tools that may wait for the end of a training
AT_WORK = ("queued", "running")
WAIT: Schema = {
    "type": "number",
    "minimum": 0,
    "maximum": 3600,
    "default": 0,
    "description": "Seconds to wait for the end of the training before it is answered, with progress on the way",
}
LOOK_EVERY = 0.5  # seconds between two looks at a training, and between two notices of progress
THREADS = 100  # that answer calls, of all tools; a text takes one until it is written
MOST_ROWS = 50  # of metrics in an answer
FAILED = "the server failed at this call; its log says why"


def is_wanted() -> bool:
    """Whether agents are served: CHARLM_MCP is 1; or it is not set, this is a Space, and the package mcp is there.

    Raises:
        ConfigError: CHARLM_MCP is neither 0 nor 1, or mcp is asked for and not installed.
    """
    given, installed = os.environ.get("CHARLM_MCP", ""), find_spec("mcp") is not None
    if given not in ("", "0", "1"):
        raise ConfigError(f"CHARLM_MCP must be 0 or 1, not {given[:20]!r}")
    if given == "1" and not installed:
        raise ConfigError("CHARLM_MCP=1 needs the package mcp: pip install -r requirements-mcp.txt")
    return installed and (given == "1" or (not given and bool(os.environ.get("SPACE_ID"))))


@dataclass(frozen=True)
class Endpoint:
    """An endpoint as a tool."""

    declared: BlockFunction

    @property
    def function(self) -> Callable[..., Any]:
        """What is called."""
        assert callable(self.declared.fn)
        return self.declared.fn

    @property
    def name(self) -> str:
        """The tool's and the endpoint's."""
        return self.function.__name__

    @cached_property
    def limiter(self) -> anyio.CapacityLimiter:
        """How many calls are served at the same time: as many as by gradio's queue."""
        return anyio.CapacityLimiter(int(self.declared.concurrency_limit or 1))

    @cached_property
    def description(self) -> str:
        """What it does and answers."""
        about, _, answers = get_function_description(self.function)
        return " ".join([about, "Returns:", *answers])

    @cached_property
    def takes(self) -> Schema:
        """The schema of its arguments."""
        return parameters_schema(self.function, {"wait_seconds": WAIT} if self.name in WAITING else {})

    def bind(self, arguments: Mapping[str, Any]) -> inspect.BoundArguments:
        """The arguments, with defaults.

        Raises:
            ConfigError: one is missing, or unknown.
        """
        signature = inspect.signature(self.function)
        try:
            bound = signature.bind(**arguments)
        except TypeError as error:
            known = ", ".join(self.takes["properties"]) or "none"
            raise ConfigError(f"{self.name}: {error}; its arguments are: {known}") from None
        bound.apply_defaults()
        return bound


class AgentServer(GradioMCPServer):
    """Gradio's server with the endpoints' names, typed options, JSON answers, and progress that says how far it is.

    Calls do not go through gradio's queue, but are made here, as the visitor who asks: then what a stream yields can be
    told as progress. Written for gradio 6.31; `gradio_patches.serve_agents` has gradio use it.

    Args:
        blocks: the app.
        files: keeps a text that comes inside a call.
    """

    def __init__(self, blocks: Blocks, files: FileAccess) -> None:
        self._files, self._threads = files, anyio.CapacityLimiter(THREADS)
        super().__init__(blocks)
        self.handle_streamable_http = self._sessions = Sessions(self.handle_streamable_http)

    def get_tool_to_endpoint(self) -> dict[str, str]:
        """The tools' names: the endpoints', also on a Space, whose name gradio puts in front."""
        self.tool_prefix = ""
        return {name.lstrip("/"): name for name in self.api_info["named_endpoints"]}

    @cached_property
    def _endpoints(self) -> dict[str, Endpoint]:
        found = {name: self.get_block_fn_from_endpoint_name(path) for name, path in self.tool_to_endpoint.items()}
        return {name: Endpoint(declared) for name, declared in found.items() if declared is not None}

    def get_input_schema(
        self, tool_name: str, parameters: dict[str, str] | None = None
    ) -> tuple[Schema, list[list[str | int]]]:
        """The schema of a tool's arguments; no file in them is gradio's own."""
        return self._endpoints[tool_name].takes, []

    def get_fn_description(self, block_fn: BlockFunction, tool_name: str) -> tuple[str, dict[str, str]]:
        """What a tool does; its parameters are described in their schema."""
        return self._endpoints[tool_name].description, {}

    def create_mcp_server(self) -> Any:
        """The server with the two requests that are answered here."""
        server = self.Server("CharLM Lab", version=charlm.__version__, instructions=INSTRUCTIONS)
        server.list_tools()(self._list)
        server.call_tool(validate_input=False)(self._call)  # the endpoints' own sentences say the way out
        return server

    async def _list(self) -> list[Any]:
        """The tools; of those that a client names in its address, only they."""
        chosen = self.get_selected_tools_from_request()
        return [
            self.types.Tool(
                name=name,
                description=endpoint.description,
                inputSchema=endpoint.takes,
                outputSchema=answer_schema(endpoint.function),
                annotations=self.types.ToolAnnotations(
                    readOnlyHint=name not in CHANGING, destructiveHint=False, openWorldHint=False
                ),
            )
            for name, endpoint in self._endpoints.items()
            if chosen is None or name in chosen
        ]

    async def _call(self, name: str, arguments: dict[str, Any]) -> Any:
        """Answer a tool's call."""
        context = self.mcp_server.request_context
        assert context.request is not None  # served over HTTP
        given = without_nulls(arguments)
        try:
            answer = plain(
                await self._sessions.hold(context.request, context.request_id, partial(self._answer, name, given))
            )
        except gr.Error as error:
            return self._text(error.message, isError=True)
        except (CharLMError, OSError) as error:
            return self._text(getattr(error, "strerror", None) or str(error), isError=True)
        except Exception:
            traceback.print_exc()
            return self._text(FAILED, isError=True)
        return self._text(orjson.dumps(answer).decode(), structuredContent=answer)

    def _text(self, text: str, **more: Any) -> Any:
        return self.types.CallToolResult(content=[self.types.TextContent(type="text", text=text)], **more)

    async def _answer(self, name: str, arguments: dict[str, Any]) -> Any:
        """What the endpoint says, at the end of a stream or of the waiting."""
        LocalContext.request.set(self.mcp_server.request_context.request)  # says whose call it is
        chosen = self.get_selected_tools_from_request()
        endpoint = self._endpoints.get(name)
        if endpoint is None or (chosen is not None and name not in chosen):
            raise ConfigError(f"there is no tool {name[:40]!r}; there are: {', '.join(chosen or self._endpoints)}")
        seconds = seconds_of(arguments.pop("wait_seconds", 0)) if name in WAITING else 0.0
        bound = endpoint.bind(arguments)
        await anyio.to_thread.run_sync(self._keep_texts, bound.arguments)
        tell = Notices(self._send)
        await tell.begin()  # loading torch may take long, and clients count from the last notice
        value = await self._run(endpoint, bound.args, tell)
        if seconds:
            value = await self._ended(value, bound.arguments.get("since_step", -1), seconds, tell)
        return self._with_urls(value)

    def _keep_texts(self, arguments: dict[str, Any]) -> None:
        """Put files in the place of paths, and of texts that came inside a call."""
        for name in FILES:
            if given := arguments.get(name):
                arguments[name] = [*map(self._file, given)] if isinstance(given, list) else self._file(given)

    def _file(self, given: Any) -> Any:
        if isinstance(given, str):
            return {"path": given}
        if not isinstance(given, dict) or "text" not in given:
            return given
        text, name = given["text"], given.get("name", "text.txt")
        if not (isinstance(text, str) and isinstance(name, str) and is_utf8(text) and is_utf8(name)):
            raise ConfigError("text and name of a file must be text")
        return {"path": self._files.received(name, text), "orig_name": name}

    async def _run(self, endpoint: Endpoint, given: tuple[Any, ...], tell: "Notices") -> Any:
        """The value that a function returns, or a stream yields last; in a thread, as all of them compute."""

        def work() -> Any:
            value = endpoint.function(*given)
            if not isinstance(value, Generator):
                return value
            last = None
            with closing(value):  # at once, if the client has left
                for last in value:
                    anyio.from_thread.check_cancelled()
                    tell.from_thread(*progress_of(last))
            return last

        async with endpoint.limiter:
            return await anyio.to_thread.run_sync(work, limiter=self._threads)

    async def _ended(self, answer: Any, since_step: Any, seconds: float, tell: "Notices") -> Any:
        """The answer about one or several runs as it is when they have ended, or so many seconds are over."""
        end = time.monotonic() + seconds
        runs = list(answer) if isinstance(answer, list) else [answer]
        while True:
            states = []
            for run in list(runs):
                try:
                    states.append(await self._run(self._endpoints["status"], (run["run_id"], since_step), tell))
                except gr.Error:
                    if len(runs) == 1:
                        raise
                    runs.remove(run)  # a race that ended early needed it no longer, or somebody has deleted it
            await tell(*progress_of_training(states))
            if time.monotonic() >= end or not any(state["status"] in AT_WORK for state in states):
                break
            await anyio.sleep(LOOK_EVERY)
        newer = [{key: state[key] for key in run} for run, state in zip(runs, states, strict=True)]
        return newer if isinstance(answer, list) else newer[0]

    async def _send(self, done: float, total: float | None, said: str) -> None:
        """Notify the client of progress, if it asked for that."""
        context = self.mcp_server.request_context
        token = context.meta.progressToken if context.meta else None
        if token is not None:
            await context.session.send_progress_notification(
                token, done, total=total, message=said, related_request_id=str(context.request_id)
            )

    def _with_urls(self, value: Any) -> Any:
        """A file that is answered, with the address where it can be downloaded."""
        if not isinstance(value, dict) or "orig_name" not in value:
            return value
        request = self.mcp_server.request_context.request
        assert request is not None  # served over HTTP
        root = get_root_url(request, self.get_route_path(request), self.root_path)
        path = value["path"]
        url = f"{root}/gradio_api/file={path}"
        return {"url": url, "path": path, "orig_name": value["orig_name"], "size": Path(path).stat().st_size}


class Notices:
    """Tells progress, at most once in LOOK_EVERY seconds and only forwards, as the protocol wants it.

    Args:
        send: sends a notice to the client.
    """

    def __init__(self, send: Callable[[float, float | None, str], Coroutine[Any, Any, None]]) -> None:
        self._send, self._done, self._next = send, -1.0, 0.0

    async def begin(self) -> None:
        """Tell that the call has come."""
        self._done = 0.0
        await self._send(0.0, None, "begun")

    async def __call__(self, done: float, total: float | None, said: str) -> None:
        """Tell how far it is; called in the server's event loop."""
        if self._is_due(done):
            await self._send(done, total, said)

    def from_thread(self, done: float, total: float | None, said: str) -> None:
        """The same, called where an endpoint computes."""
        if self._is_due(done):
            anyio.from_thread.run(partial(self._send, done, total, said))

    def _is_due(self, done: float) -> bool:
        now = time.monotonic()
        if done <= self._done or now < self._next:
            return False
        self._done, self._next = done, now + LOOK_EVERY
        return True


def seconds_of(value: Any) -> float:
    """Seconds to wait.

    Raises:
        ConfigError: they are none, or out of range.
    """
    most = WAIT["maximum"]
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= most:
        raise ConfigError(f"wait_seconds must be a number from 0 to {most:,}, not {str(value)[:60]!r}")
    return float(value)


def without_nulls(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments without those that are null, also among the options: clients that must name all say so what they mean
    to leave out."""
    given = {name: value for name, value in arguments.items() if value is not None}
    if isinstance(options := given.get("options"), dict):
        given["options"] = {name: value for name, value in options.items() if value is not None}
    return given


def plain(value: Any) -> dict[str, Any]:
    """An answer as a JSON object, as the endpoints send it: a number that is not finite is null."""
    value = thinned(value) if isinstance(value, dict) else {RESULT: value}
    made: dict[str, Any] = orjson.loads(orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY, default=str))
    return made


def thinned(answer: dict[str, Any]) -> dict[str, Any]:
    """A status with at most MOST_ROWS rows of metrics, validated ones if any are; `rows` says how many there are."""
    rows = answer.get("metrics")
    if not isinstance(rows, list):
        return answer
    validated = [row for row in rows if row.get("val_loss") is not None]
    kept = rows if len(rows) <= MOST_ROWS else validated or rows
    every = -(-len(kept) // MOST_ROWS)
    return {**answer, "metrics": kept[::-1][:: every or 1][::-1], "rows": len(rows)}


def progress_of(value: Any) -> tuple[float, float | None, str]:
    """How far a stream is: the characters that are written, or the share of a measurement, whose result has none."""
    if (count := characters_in(value)) is not None:
        return float(count), None, f"{count:,} characters"
    entries = value if isinstance(value, list) else [value]
    shares = [one["share"] for one in entries if isinstance(one, dict) and isinstance(one.get("share"), int | float)]
    share = sum(shares) / len(entries) if shares else 1.0
    return share, 1.0, f"{share:.0%}"


def characters_in(value: Any) -> int | None:
    """The characters of a text, of a list of texts, or of such by name; None: it is something else."""
    if isinstance(value, str):
        return len(value)
    if not isinstance(value, dict | list):
        return None
    counts = [characters_in(one) for one in (value.values() if isinstance(value, dict) else value)]
    known = [count for count in counts if count is not None]
    return sum(known) if len(known) == len(counts) else None


def progress_of_training(states: list[dict[str, Any]]) -> tuple[float, float | None, str]:
    """How far trainings are: steps, and the losses of each."""
    totals = [state["total_steps"] for state in states]
    return (
        float(sum(state["step"] for state in states)),
        float(sum(totals)) if all(totals) else None,
        "; ".join(map(_said, states)),
    )


def _said(state: Mapping[str, Any]) -> str:
    """`running, step 120 of 500, train loss 2.310, validation loss 2.402`."""
    steps = f"step {state['step']:,}" + (f" of {state['total_steps']:,}" if state["total_steps"] else "")
    losses = (("train loss", state["train_loss"]), ("validation loss", state["val_loss"]))
    return ", ".join([state["status"], steps, *(f"{name} {loss:.3f}" for name, loss in losses if loss is not None)])
