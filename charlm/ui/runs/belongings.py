"""All that is a visitor's on a public Space: what it is, in words, and its end."""

import time
from collections.abc import Sequence
from typing import Any

from charlm.errors import JobError, LimitError
from charlm.public import VisitorJobs, VisitorRuns, VisitorServing, VisitorTexts
from charlm.public.identity import someone
from charlm.public.services import Services
from charlm.ui.formatting import count
from charlm.ui.html import render
from charlm.ui.services import VisitorFiles

WAIT, LOOK_EVERY = 20.0, 0.1  # seconds that what is at work may take to end, and between two looks
UNKNOWN = (
    "this browser brings no secret of its own, so what is yours cannot be told from what others at your address have; "
    "allow cookies, or wait: the oldest runs and texts are removed by themselves"
)


def belongings(services: Services) -> str:
    """`3 runs, 2 texts`: what a visitor has, as far as it is listed."""
    return amount([*services.store.list(), *services.store.trashed()], len(services.texts.list()))


def amount(runs: Sequence[Any], texts: int) -> str:
    """The visitor's among these runs, and so many texts, in words."""
    return f"{count(sum(not run.shipped for run in runs), 'run')}, {count(texts, 'text')}"


def belongings_html(services: Services, asking: bool = False) -> str:
    """What can be deleted at once, and the button; `asking` puts the question."""
    return render("belongings", asking=asking, amount=belongings(services))


def delete_all(services: Services, wait: float = WAIT) -> str:
    """Stop the visitor's trainings and measurements and remove runs, texts, measurements, votes and files for good.

    Args:
        services: of a public Space, with a visitor who asks.
        wait: seconds that what is at work may take to end.

    Returns:
        What is gone, in words.

    Raises:
        LimitError: nothing proves that it is theirs.
        JobError: something is still at work; nothing was removed.
        CharLMError: something cannot be removed.
    """
    runs, jobs, serving, texts, files = (
        services.store, services.jobs, services.serving, services.texts, services.files,
    )  # fmt: skip
    assert isinstance(runs, VisitorRuns) and isinstance(jobs, VisitorJobs) and isinstance(serving, VisitorServing)
    assert isinstance(texts, VisitorTexts) and isinstance(files, VisitorFiles)
    visitor = someone(services.who)
    if not visitor.known:
        raise LimitError(UNKNOWN)
    until = time.monotonic() + wait
    while not (jobs.stop_all() & serving.stop_all()):
        if time.monotonic() > until:
            raise JobError("what you had at work is stopped and still saves its weights; try again in some seconds")
        time.sleep(LOOK_EVERY)
    said = belongings(services)
    jobs.left()  # what the trainings did not take of the day's minutes comes back before they are gone
    serving.forget_all()
    serving.votes.reset()
    runs.delete_all()
    texts.delete_all()
    files.delete_all(visitor)
    return said
