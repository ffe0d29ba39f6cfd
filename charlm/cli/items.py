"""items: what a model of a list writes, item by item."""

from typing import Annotated, Any

import typer

from charlm.cli.options import Json, Prompt, RunsDir, RunToken, takes
from charlm.cli.report import note, print_json
from charlm.config import SampleConfig
from charlm.runs.store import RunStore
from charlm.serving import Serving

COUNT = "How many different items to write."
CHECK = "What a valid item matches: a regular expression, or smiles, which asks RDKit."
Count = Annotated[int, typer.Option("--count", metavar="N", help=COUNT)]
Check = Annotated[str, typer.Option("--check", metavar="REGEX", help=CHECK)]


@takes(SampleConfig, skip=("stop", "samples", "greedy", "beams", "duel"))
def items(
    run: RunToken, options: dict[str, Any], count: Count = 20, prompt: Prompt = "", check: Check = "",
    runs_dir: RunsDir = None, json: Json = False,
) -> None:  # fmt: skip
    """Print different items of a model that learned a list, one a line, and how many are new, unique and valid.

    Args:
        options: settings of SampleConfig that were given, by name.

    Raises:
        ConfigError: the count or the check is none.
        MeasurementError: the model learned no list, or no item ends.
    """
    store = RunStore(runs_dir)
    found = Serving(store).items(store.find(run), count, prompt, SampleConfig.from_dict(options), check)
    if json:
        print_json(found.to_dict())
        return
    for item in found.items:
        print(item if "\n" not in item else f"{item}\n")
    note(found.sentence())
