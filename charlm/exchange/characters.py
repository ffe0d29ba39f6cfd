"""The characters of a foreign model, in the order of its ids: from the checkpoint itself or a file beside it."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from charlm.errors import CheckpointError
from charlm.files import open_plain
from charlm.tokenizer import CharTokenizer

# What such a list or table is called, in small letters and without what joins words; tables that name each id first.
NAMES = (
    "int2char", "idx2char", "id2char", "ix2char", "inttochar", "idxtochar", "idtochar", "ixtochar", "indextochar",
    "index2char", "itos", "itoc", "i2c", "char2int", "char2idx", "char2id", "char2ix", "chartoint", "chartoidx",
    "chartoid", "chartoix", "chartoindex", "char2index", "stoi", "ctoi", "c2i", "tokens", "vocab", "vocabulary",
    "alphabet", "chars", "characters", "charset", "allcharacters", "allchars", "tokenizer",
)  # fmt: skip
MOST_BYTES = 4 << 20
WAY_OUT = (
    "put them into a .json beside it, a list in the order of the ids or an object {character: id}, "
    "or name such a file with --characters"
)


def tokenizer_of(facts: Mapping[str, Any], path: Path, given: Path | None, vocab_size: int) -> CharTokenizer:
    """The tokenizer of a foreign model.

    Args:
        facts: what stands in the checkpoint beside its tensors.
        path: of the checkpoint; a list may lie beside it.
        given: the file that holds the list, if the user named one.
        vocab_size: how many characters the model knows.

    Raises:
        CheckpointError: there is no list, or none of so many distinct characters.
    """
    found: list[tuple[str, list[str]]] = []
    for where, value in _candidates(facts, path, given):
        tokens = listed(value)
        if tokens and len(tokens) == vocab_size:
            return _checked(tokens, where)
        found.append((where, tokens))
    if not found:
        raise CheckpointError(f"{path.name} does not say which characters its {vocab_size} ids are; {WAY_OUT}")
    where, tokens = found[0]
    said = f"has {len(tokens)} entries" if tokens else "is no list of characters with the ids 0, 1, 2 and so on"
    raise CheckpointError(f"{where} {said}; the model in {path.name} knows {vocab_size} characters; {WAY_OUT}")


def _checked(tokens: list[str], where: str) -> CharTokenizer:
    """The tokenizer, once every token is a character that can be written."""
    for token in tokens:
        if len(token) != 1 or "\ud800" <= token <= "\udfff":
            raise CheckpointError(f"{where} holds {token[:20]!r}; only models whose ids are single characters fit here")
    if len(set(tokens)) < len(tokens):
        twice = next(token for token in tokens if tokens.count(token) > 1)
        raise CheckpointError(f"{where} holds {twice!r} twice; every id needs a character of its own")
    return CharTokenizer(tokens)


def _candidates(facts: Mapping[str, Any], path: Path, given: Path | None) -> Iterator[tuple[str, Any]]:
    """What may be the list, and where it was found, the likeliest first."""
    if given is not None:
        yield from _in_file(given)
        return
    yield from _named(facts, path.name)
    beside = (path.with_name(f"{path.name}.json"), path.with_suffix(".json"), path.with_suffix(".txt"))
    for other in dict.fromkeys((*beside, path.with_name("tokenizer.json"))):
        if other != path and other.is_file():
            yield from _in_file(other)


def _in_file(path: Path) -> Iterator[tuple[str, Any]]:
    """What a file holds: a list, a named list in an object, or a text; the line end that an editor adds may go."""
    value = _read(path)
    yield from _named(value, path.name) if isinstance(value, dict) else ()
    yield path.name, value
    if isinstance(value, str) and value.endswith("\n"):
        yield path.name, value[:-1]


def _named(facts: Mapping[str, Any], where: str) -> Iterator[tuple[str, Any]]:
    called = {"".join(filter(str.isalnum, key.lower())): key for key in facts if isinstance(key, str)}
    for name in NAMES:
        value = facts.get(called.get(name, ""))
        if isinstance(value, Mapping):
            yield from _named(value, where)
        if isinstance(value, str | list | tuple | Mapping):
            yield f"{called[name]!r} in {where}", value


def _read(path: Path) -> Any:
    """A JSON value, or a text whose characters are the list."""
    try:
        with open_plain(path) as file:
            data = file.read(MOST_BYTES + 1)
        if len(data) > MOST_BYTES:
            raise CheckpointError(f"{path.name} is too large for a list of characters")
        text = data.decode("utf-8-sig")
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise CheckpointError(f"{path.name} is not in UTF-8: {error}") from None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return value if isinstance(value, list | dict | str) else text


def listed(value: Any) -> list[str]:
    """Tokens in the order of their ids, from a list, a text, {token: id} or {id: token}; empty if it is none."""
    if isinstance(value, Mapping):
        pairs = [(token, number) for token, number in value.items() if isinstance(number, int | str)]
        by_number = _in_order({number: token for token, number in pairs}) if len(pairs) == len(value) else []
        return by_number or _in_order({_id(key): token for key, token in value.items()})
    if isinstance(value, Sequence) and all(isinstance(token, str) for token in value):
        return list(value)
    return []


def _id(key: Any) -> Any:
    """JSON writes the ids that are keys as texts."""
    return int(key) if isinstance(key, str) and key.isascii() and key.isdecimal() and len(key) < 9 else key


def _in_order(table: Mapping[Any, Any]) -> list[str]:
    """The tokens of {id: token}, if its ids are 0, 1, 2 and so on."""
    tokens = [token for place in range(len(table)) if isinstance(token := table.get(place), str)]
    return tokens if len(tokens) == len(table) else []
