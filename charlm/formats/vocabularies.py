"""Which characters the ids of a foreign model are: lists and tables of characters, as other programs keep them."""

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from charlm.errors import CheckpointError
from charlm.files import one_line, open_plain
from charlm.tokenizers import CharTokenizer

# Names of lists and tables of characters, in lower case and without separators; tables that name each id come first.
NAMES = (
    "int2char", "idx2char", "id2char", "ix2char", "inttochar", "idxtochar", "idtochar", "ixtochar", "indextochar",
    "index2char", "itos", "itoc", "i2c", "char2int", "char2idx", "char2id", "char2ix", "chartoint", "chartoidx",
    "chartoid", "chartoix", "chartoindex", "char2index", "stoi", "ctoi", "c2i", "tokens", "vocab", "vocabulary",
    "alphabet", "chars", "characters", "charset", "allcharacters", "allchars", "tokenizer", "indextoletter",
    "lettertoindex",
)  # fmt: skip
MOST_BYTES = 4 << 20
WAY_OUT = (
    "put them into a .json beside it, a list in the order of the ids or an object {character: id}, "
    "or name such a file with --characters"
)
BESIDE = ("tokenizer", "vocab", "vocabulary", "chars", "characters", "char2idx", "stoi", "itos")  # names of such files
DEPTH = 4  # of lists and objects in a file that are looked into
# What models call tokens that stand for no character, `<PAD>`, `[CLS]`, `</s>`, `PAD`, or nothing at all.
SPECIAL = re.compile(r"<[^<>]*>|\[[^\[\]]*\]|(?i:pad|bos|eos|sos|unk|go|start|end|stop|blank|mask)|")
BEGINS = re.compile(r"(?i)bos|sos|s|go|start|begin|beginning|startoftext|cls")
ENDS = re.compile(r"(?i)eos|/s|end|stop|eot|endoftext|sep")


class Vocabulary(NamedTuple):
    """The characters by id, and a name, as `<PAD>`, for an id that stands for none.

    Attributes:
        tokens: in the order of their ids.
        begin: the id that begins a text.
        end: the id that ends one.
    """

    tokens: list[str]
    begin: int | None = None
    end: int | None = None


def tokenizer_of(
    facts: Mapping[str, Any], path: Path, given: Path | None, vocab_size: int, others: Sequence[Path] = ()
) -> CharTokenizer:
    """The tokenizer of a foreign model.

    Args:
        facts: what is in the checkpoint beside its tensors.
        path: of the checkpoint; a list may be beside it.
        given: the file that holds the list, if the user named one.
        vocab_size: how many ids the model knows.
        others: further files that may hold the list, as those in a zip may, whatever they are called.

    Raises:
        CheckpointError: there is no list, none of so many distinct characters, or two that contradict each other.
    """
    odd: list[tuple[str, Any]] = []
    for candidates in _places(facts, path, given, others):
        known = list(candidates)
        whole = [(where, tokens) for where, value in known if len(tokens := listed(value, vocab_size)) == vocab_size]
        good = [(where, tokens) for where, tokens in whole if not _fault(tokens)]
        if good:
            where, tokens = good[0]
            _check_agreement(where, tokens, known)
            found = vocabulary(tokens)
            return CharTokenizer(*found)
        if whole:
            where, tokens = whole[0]
            raise CheckpointError(f"{where} {_fault(tokens)}")
        odd += [(where, value) for where, value in known if _is_named(where)]
    if not odd:
        raise CheckpointError(f"{path.name} does not say which characters its {vocab_size} ids are; {WAY_OUT}")
    where, value = odd[0]
    count = len(listed(value, vocab_size))
    what = f"has {count} entries" if count else "is no list of characters with the ids 0, 1, 2 and so on"
    if isinstance(value, Counter):
        what = "counts characters and does not number them"
    raise CheckpointError(f"{where} {what}; the model in {path.name} knows {vocab_size} characters; {WAY_OUT}")


def _fault(tokens: list[str]) -> str:
    """What is wrong with tokens, empty if each is a character of its own that can be written, or a special token."""
    for token in tokens:
        if (len(token) != 1 and not SPECIAL.fullmatch(token)) or "\ud800" <= token <= "\udfff":
            return f"holds {token[:20]!r}; only models whose ids are single characters can be imported"
    if len(set(tokens)) < len(tokens):
        return f"holds {Counter(tokens).most_common(1)[0][0]!r} twice; every id needs a character of its own"
    return ""


def _check_agreement(where: str, tokens: list[str], known: Sequence[tuple[str, Any]]) -> None:
    """Refuse what contradicts the tokens that were found: another whole list, or a table with other ids."""
    ids = {token: place for place, token in enumerate(tokens)}
    for other, value in known:
        table = _numbered(value)
        if table is None and len(found := listed(value, len(tokens))) == len(tokens) and not _fault(found):
            table = {token: place for place, token in enumerate(found)}
        for token, number in (table or {}).items():
            if ids.get(token, number) != number:
                raise CheckpointError(
                    f"{other} says that {token!r} has the id {number}, {where} that it has {ids[token]}; say with "
                    "--characters FILE which characters the ids are, in their order"
                )


def _numbered(value: Any) -> dict[str, int] | None:
    """{token: id}, whole or not; None if it is no such table. What is counted has a number more than once."""
    if not isinstance(value, Mapping) or isinstance(value, Counter) or not value:
        return None
    pairs = [(token, number) for token, number in value.items() if isinstance(token, str) and type(number) is int]
    if len(pairs) < len(value) or len({number for _, number in pairs}) < len(pairs):
        return None
    return dict(pairs)


def vocabulary(tokens: Sequence[str]) -> Vocabulary:
    """The tokens as our tokenizer names them, with what begins and ends a text; all must be characters or special."""
    names, begin, end = list[str](), None, None
    for place, token in enumerate(tokens):
        if len(token) == 1:
            names.append(token)
            continue
        inner = token.strip("<>[]|").strip() or "PAD"
        begin = place if begin is None and BEGINS.fullmatch(inner.strip("_-")) else begin
        end = place if end is None and ENDS.fullmatch(inner.strip("_-")) else end
        name = f"<{'_'.join(one_line(inner, 24).replace('<', '').replace('>', '').split()) or place}>"
        names.append(name if name not in names else f"<{place}>")
    return Vocabulary(names, begin, end)


def _places(
    facts: Mapping[str, Any], path: Path, given: Path | None, others: Sequence[Path]
) -> Iterator[Iterator[tuple[str, Any]]]:
    """What may be the list and where it was found, place by place, the most likely first."""
    if given is not None:
        yield _in_file(given)
        return
    yield _in_value(facts, path.name)
    for other in beside(path):
        yield _in_file(other)
    for other in others:
        with suppress(CheckpointError):  # it is a text, perhaps, and no list
            yield iter([(f"'{other.name}' beside {path.name}", value) for _, value in _in_file(other)])


def beside(path: Path) -> list[Path]:
    """Files beside a checkpoint that may list its characters."""
    own = [path.with_name(f"{path.name}.json"), path.with_suffix(".json"), path.with_suffix(".txt")]
    usual = [path.with_name(f"{name}{suffix}") for name in BESIDE for suffix in (".json", ".txt")]
    return [other for other in dict.fromkeys((*own, *usual)) if other != path and other.is_file()]


def _in_file(path: Path) -> Iterator[tuple[str, Any]]:
    """What a file holds: lists and tables, or a text, also without the line end that editors add."""
    value = _read(path)
    if isinstance(value, dict | list):
        yield from _in_value(value, path.name)
    yield f"{path.name}", value
    if isinstance(value, str) and value.endswith("\n"):
        yield path.name, value[:-1]
        yield path.name, value.splitlines()


def _in_value(value: Mapping[Any, Any] | Sequence[Any], where: str) -> Iterator[tuple[str, Any]]:
    """The lists and tables in a value: those that are named as such first, then any other."""
    found = list(_tables(value, "", DEPTH))
    places = {name: place for place, name in enumerate(NAMES)}
    named = [(name, table) for name, table in found if _plain(name) in places]
    for name, table in sorted(named, key=lambda pair: places[_plain(pair[0])]):
        yield f"{name!r} in {where}", table
    for name, table in found:
        if _plain(name) not in places and not isinstance(table, str):
            yield f"{name!r} in {where}", table


def _is_named(where: str) -> bool:
    """Whether a place was named as a list of characters, by itself or as a file."""
    name = where.partition("' in ")[0]
    return not where.startswith("'") or _plain(name) in NAMES


def _plain(name: str) -> str:
    return "".join(filter(str.isalnum, name.lower()))


def _tables(value: Any, name: str, depth: int) -> Iterator[tuple[str, Any]]:
    """The containers in a value with their names; what lies in a list is named by its place."""
    parts = value.items() if isinstance(value, Mapping) else enumerate(value)
    for key, part in parts:
        own = key if isinstance(key, str) else f"{name}[{key}]"
        if isinstance(part, str) and isinstance(key, str):
            yield own, part
            with_json = _of_text(part)
            if with_json is not None:
                yield own, with_json
                yield from _tables(with_json, own, depth - 1) if depth > 1 else ()
        elif isinstance(part, Mapping | list | tuple):
            yield own, part
            if depth > 1:
                yield from _tables(part, own, depth - 1)


def _of_text(text: str) -> Any:
    """The list or object in a JSON text, as files keep it whose metadata are texts only; None if it is none."""
    if text[:1] not in ("[", "{") or len(text) > MOST_BYTES:
        return None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, list | dict) else None


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


def listed(value: Any, vocab_size: int = 0) -> list[str]:
    """Tokens in the order of their ids; empty if it is no list of tokens.

    Args:
        value: a list, a text, {token: id}, {id: token}, or a list of such pairs.
        vocab_size: of the model; a table of one entry less whose ids begin at 1 has padding as its 0.
    """
    if isinstance(value, Counter):
        return []
    if (
        isinstance(value, list | tuple)
        and value
        and all(isinstance(one, list | tuple) and len(one) == 2 for one in value)
    ):
        if not all(isinstance(part, str | int) for one in value for part in one):
            return []
        value = dict(value)
    if isinstance(value, Mapping):
        pairs = [(token, number) for token, number in value.items() if isinstance(number, int | str)]
        by_number = (
            _in_order({number: token for token, number in pairs}, vocab_size) if len(pairs) == len(value) else []
        )
        return by_number or _in_order({_id(key): token for key, token in value.items()}, vocab_size)
    return list(value) if isinstance(value, Sequence) and all(isinstance(token, str) for token in value) else []


def _id(key: Any) -> Any:
    """The id in a key: JSON writes them as texts."""
    return int(key) if isinstance(key, str) and key.isascii() and key.isdecimal() and len(key) < 9 else key


def _in_order(table: Mapping[Any, Any], vocab_size: int) -> list[str]:
    """The tokens of {id: token}, if its ids are 0, 1, 2 and so on, or all but the 0 of so large a vocabulary."""
    if len(table) == vocab_size - 1 and 0 not in table:
        table = {0: "<PAD>", **table}
    tokens = [token for place in range(len(table)) if isinstance(token := table.get(place), str)]
    return tokens if len(tokens) == len(table) else []
