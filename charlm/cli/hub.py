"""push and pull: runs go to the Hugging Face Hub, and come from there."""

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Annotated

import typer

from charlm.cli.exchange import imported_facts
from charlm.cli.options import Json, RunsDir, readable
from charlm.cli.report import note, print_answer, print_json
from charlm.errors import ConfigError
from charlm.formats.hub.card import check_words
from charlm.formats.hub.connection import connect, own_token
from charlm.runs.store import RunStore

RUN = "A run's id or its beginning, its label, or a folder; with --page also a saved page (.html)."
Pushed = Annotated[str, typer.Argument(metavar="RUN", help=RUN)]
REPO = "NAME, which is then yours, or USER/NAME."
Repo = Annotated[str, typer.Argument(metavar="REPO", help=REPO)]
Public = Annotated[bool, typer.Option("--public", help="Everybody may see it. (default: private)")]
SPACE = "A Space: this program, with the run beside those that are included."
Space = Annotated[bool, typer.Option("--space", help=SPACE)]
PAGE = "A static Space: the run's page, or a page of a run or a comparison, which needs no server."
Page = Annotated[bool, typer.Option("--page", help=PAGE)]
LICENSE = "Of what is pushed, as the Hub names it: mit, cc-by-4.0. (default: unknown)"
License = Annotated[str, typer.Option("--license", metavar="ID", help=LICENSE)]
LANGUAGE = "Of the text, an ISO 639 code such as en. (default: the catalog's, else none)"
Language = Annotated[str, typer.Option("--language", metavar="CODE", help=LANGUAGE)]
Force = Annotated[bool, typer.Option("--force", help="Also into a repository that did not come from here.")]
Source = Annotated[str, typer.Argument(metavar="REPO", help="USER/NAME.")]
Revision = Annotated[str, typer.Option("--revision", help="A branch, tag or commit. (default: the newest)")]
Label = Annotated[str, typer.Option("--label", help="The run's name. (default: the one it had)")]


def push(
    run: Pushed, repo: Repo, public: Public = False, space: Space = False, page: Page = False, license: License = "",
    language: Language = "", force: Force = False, runs_dir: RunsDir = None, json: Json = False,
) -> None:  # fmt: skip
    """Put a run on the Hub and print the address; nothing is committed where nothing has changed."""
    from charlm.formats.hub.push import Contents, facts, full_name, model_contents, summary
    from charlm.formats.hub.push import push as push_contents
    from charlm.formats.hub.spaces import page_contents, run_page, space_contents

    if space and page:
        raise ConfigError("--space and --page ask for two kinds of Space; take one")
    check_words(license or "unknown", language)
    is_file = page and run.lower().endswith(".html")
    found = None if is_file else RunStore(runs_dir).find(run)
    api = connect(own_token())
    repo = full_name(api, repo)
    making: AbstractContextManager[Contents]
    if found is None:
        making = nullcontext(page_contents(Path(run), license))
    elif space:
        making = nullcontext(space_contents(found, license))
    else:
        making = run_page(found, license) if page else model_contents(found, repo, license, language)
    with making as contents:
        pushed = push_contents(api, repo, contents, public, force)
    for sentence in pushed.left_out:
        note(sentence)
    note(summary(pushed))
    print_answer(facts(pushed), pushed.url, json)


def pull(
    repo: Source, revision: Revision = "", label: Label = "", runs_dir: RunsDir = None, json: Json = False
) -> None:
    """Make a run of a repository and print its id; the same commit again is the run that is there."""
    from charlm.formats.hub.pull import pull as pull_run

    run, is_new = pull_run(connect(own_token(), needed=False), RunStore(runs_dir), repo, revision, readable(label))
    if json:
        print_json(imported_facts(run))
        return
    print(run.run_id)
    note(f"{run.label}: {run.arch}, {run.num_parameters:,} parameters" + ("" if is_new else ", here already"))
