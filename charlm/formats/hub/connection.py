"""The connection to the Hub: whose token is used, and what its refusals are called."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from charlm.errors import CheckpointError, ConfigError, HubError
from charlm.files import one_line

if TYPE_CHECKING:
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

TOKEN = re.compile(r"\bhf_\w+")
LOG_IN = "log in with `hf auth login`, or set HF_TOKEN to a token that may write"
AGAIN = "do the same again: what has arrived is not sent twice"
# What statuses mean that need no more than a sentence.
STATUSES = {
    401: f"the Hub does not accept the token (401); {LOG_IN}",
    402: "the Hub asks for a paid plan (402); see the plans in your settings there",
    413: "the Hub says that the files are too large (413); take a smaller run",
    429: "the Hub says that these are too many requests (429); wait a minute, then do the same again",
}


def own_token() -> str | None:
    """The token of whoever runs this program, from HF_TOKEN or huggingface_hub's own login; None without one.

    Raises:
        HubError: a login that should give one fails.
    """
    from huggingface_hub import get_token

    with hub_errors("the Hub"):
        return get_token()


def connect(token: str | None, needed: bool = True) -> "HfApi":
    """The Hub as the owner of a token meets it; HF_ENDPOINT says where it is. The token is kept nowhere else.

    Args:
        token: of the one who asks; no other is looked for.
        needed: whether nothing can be done without one.

    Raises:
        HubError: there is none.
    """
    from huggingface_hub import HfApi

    if needed and not token:
        raise HubError(f"there is no token for the Hub here; {LOG_IN}")
    return HfApi(token=token or False)


def check_name(repo: str) -> str:
    """A repository's name as the Hub takes it, `NAME` or `USER/NAME`.

    Raises:
        ConfigError: it is none.
    """
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(repo)
    except HFValidationError:
        raise ConfigError(
            f"{repo[:80]!r} is no name of a repository: NAME or USER/NAME, of letters, digits, `-`, `_` and `.`, "
            "96 of them at most"
        ) from None
    return repo


@contextmanager
def hub_errors(repo: str) -> Iterator[None]:
    """Whatever goes wrong on the way to the Hub and back becomes a HubError of one sentence without a token.

    Args:
        repo: what is asked for, as the sentence names it.

    Raises:
        HubError: the Hub refuses, or cannot be reached.
        CheckpointError: a file here cannot be read.
    """
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    # The HTTPError of the httpx that this version stands on.
    transport: type[BaseException] = HfHubHTTPError.__bases__[0]
    try:
        yield
    except HfHubHTTPError as error:
        raise HubError(_refusal(error, repo)) from None
    except OfflineModeIsEnabled:
        raise HubError("HF_HUB_OFFLINE is set, so the Hub is not asked; unset it and try again") from None
    except (OSError, RuntimeError, ValueError, transport) as error:
        cause: BaseException = error
        while cause.__cause__ is not None and not isinstance(cause, HfHubHTTPError):
            cause = cause.__cause__  # an upload's error names the file, its cause says what happened
        if isinstance(cause, HfHubHTTPError):
            raise HubError(_refusal(cause, repo)) from None
        if isinstance(cause, ValueError):  # the Hub's answer to a card, or one that cannot be understood
            raise HubError(f"the Hub does not take {repo}: {shown(cause)}") from None
        if isinstance(cause, OSError) and cause.filename:  # a file here
            raise CheckpointError(f"{cause.filename}: {cause.strerror}") from None
        raise HubError(f"the connection to the Hub failed ({shown(cause)}); {AGAIN}") from None


def shown(error: BaseException) -> str:
    """An error in a line, without what looks like a token."""
    return TOKEN.sub("hf_…", one_line(str(error), 200)) or type(error).__name__


def _refusal(error: "HfHubHTTPError", repo: str) -> str:
    """An answer of the Hub in a sentence."""
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

    status = error.response.status_code
    if isinstance(error, GatedRepoError):
        return f"{repo} asks its readers for their consent ({status}); give it on its page at the Hub, and log in here"
    if isinstance(error, RepositoryNotFoundError) and status != 403:
        return f"there is no {repo} on the Hub ({status}) for you; check the name, and log in if it is private"
    if isinstance(error, RevisionNotFoundError):
        return f"{repo} has no such revision ({status}); leave it out for the newest one"
    if status == 403:
        return f"the token may not do this with {repo} (403); {LOG_IN} there"
    if status == 404:
        return f"the Hub has not what is asked for in {repo} (404); check the name"
    if status >= 500:
        return f"the Hub has trouble ({status}); in a while, {AGAIN}"
    said = getattr(error, "server_message", None) or error.response.reason_phrase
    return STATUSES.get(status, f"the Hub refuses ({status}): {shown(ValueError(said))}")
