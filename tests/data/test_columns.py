"""Which column of JSON holds the text: lists deep inside, texts in pieces, and never the source of a cell."""

import json
from pathlib import Path
from typing import Any

import pytest

from charlm.config import CorpusConfig
from charlm.data.columns import text_of
from charlm.data.corpus import Corpus, read_corpus, table_columns
from charlm.errors import CorpusError
from charlm.ui.corpus.texts import usual_column

WORDS = ["River letter lamp.", "Cloud boat bread.", "Stone, harbour; window.", "Garden paper silver."] * 10
MESSAGES = [
    {"id": number, "type": "message", "from": "Ana", "text": [{"type": "bold", "text": "hi"}, f" {words}"]}
    if number % 4 == 0
    else {"id": number, "type": "message", "from": "Ana", "text": words}
    for number, words in enumerate(WORDS)
]
POSTS = [{"id": number, "body": words, "tags": ["a", "b"]} for number, words in enumerate(WORDS)]
SAID = "\n\n".join(f"hi {words}" if number % 4 == 0 else words for number, words in enumerate(WORDS))
PLAIN = "\n\n".join(WORDS)


def read(value: Any, column: str = "", name: str = "a.json") -> Corpus:
    data = "\n".join(map(json.dumps, value)) if name.endswith("l") else json.dumps(value)
    return read_corpus(data.encode(), name, CorpusConfig(column=column))


def refusal(value: Any, column: str = "") -> str:
    with pytest.raises(CorpusError) as caught:
        read(value, column)
    return str(caught.value)


@pytest.mark.parametrize("column", ["", "messages", "messages.text", "Messages.Text", "text"])
def test_a_chat_gives_its_messages_put_together(column: str) -> None:
    corpus = read({"name": "Chat", "messages": MESSAGES}, column)
    assert corpus.text == SAID
    assert ("column messages.text read" in corpus.repairs) == (column in ("", "messages"))


@pytest.mark.parametrize("column", ["", "data.posts.body", "posts.body", "body", "data"])
def test_the_only_list_with_a_text_is_found_at_any_depth_to_three(column: str) -> None:
    for value in ({"data": {"posts": POSTS}}, {"data": {"posts": POSTS}, "v": 1, "users": [{"id": 1}, {"id": 2}]}):
        assert read(value, column).text == PLAIN
    assert read({"a": {"b": {"posts": POSTS}}}).text == PLAIN


def test_chats_inside_chats_are_read_one_after_the_other() -> None:
    lists = [{"name": "A", "messages": MESSAGES}, {"name": "B", "messages": MESSAGES}]
    corpus = read({"about": "export", "chats": {"about": "all", "list": lists}})
    assert corpus.text == f"{SAID}\n\n{SAID}" and corpus.repairs == ("column chats.list.messages.text read",)


def test_lines_of_chats_and_rows_of_objects() -> None:
    rows = [{"id": n, "messages": [{"role": "user", "content": one}]} for n, one in enumerate(WORDS)]
    for column in ("", "messages", "content"):
        assert read(rows, column, "a.jsonl").text == PLAIN
    assert read([{"n": 1, "data": {"text": one}} for one in WORDS]).text == PLAIN
    tweets = [{"text": one, "entities": {"urls": [{"text": "u"}]}} for one in WORDS]
    assert read(tweets).text == PLAIN, "what the rows hold themselves comes first"


def test_several_lists_with_texts_are_named() -> None:
    value = {"messages": MESSAGES, "data": {"posts": POSTS}}
    assert refusal(value).endswith("texts in several places; say which column to read: messages.text, data.posts.body")
    assert read(value, "data.posts.body").text == PLAIN
    data = json.dumps(value).encode()
    assert table_columns(data, "a.json") == ["messages.type", "messages.from", "messages.text", "data.posts.body"]
    unusual = {"posts": [{"title": one, "line": one} for one in WORDS]}
    assert refusal(unusual).endswith("say which column to read: posts.title, posts.line")


def test_a_list_of_strings_inside_is_found() -> None:
    assert read({"title": "T", "meta": {"v": [{"n": 1}]}, "deep": {"lines": WORDS}}).text == PLAIN


def test_the_page_names_the_column_that_is_read_by_itself() -> None:
    assert usual_column(["messages.type", "messages.from", "messages.text", "name"]) == "messages.text"
    assert usual_column(["messages.text", "posts.body"]) == "" and usual_column(["a.text", "Text"]) == "Text"


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        ([{"type": "bold", "text": "hi"}, " there"], "hi there"),
        ([{"type": "text", "text": "A b"}, {"type": "image_url", "image_url": {"url": "x"}}], "A b"),
        ([{"insert": "Hello "}, {"insert": "World", "attributes": {"bold": True}}], "Hello World"),
        ([{"type": "p", "children": [{"text": "a"}, {"text": "b"}]}], "ab"),
        ({"type": "plain", "text": "one"}, "one"),
        (["The", "cat"], "The cat"),
        (["The cat sat.", "It ran."], "The cat sat.\nIt ran."),
        (7, "7"), (None, ""), ([], ""),
        ([1, 2], None), ({"a": "b"}, None), ([["a", "b c"], ["d"]], "a\nb c\nd"),
        ([{"id": 1, "type": "message", "text": "x"}], None),
    ],
)  # fmt: skip
def test_the_text_of_a_cell(cell: Any, text: str | None) -> None:
    assert text_of(cell) == text


def test_the_source_of_a_cell_is_never_the_text() -> None:
    rows = [{"id": 1, "map": {"x": [1]}, "note": "a b"}, {"id": 2, "map": [[1], [2]], "note": "c d"}]
    for column in ("map", "map.x"):
        assert "has objects or lists, not text, in column map" in refusal(rows, column)
    mixed = [{"text": one} for one in WORDS] + [{"text": [1, 2]}, {"text": None}]
    corpus = read(mixed)
    assert corpus.text == PLAIN
    assert corpus.repairs == ("1 row without text left out", "1 row with objects or lists in text left out")


def test_next_to_nothing_of_a_file_is_refused_and_little_is_said() -> None:
    said = refusal({"name": "Chat", "messages": MESSAGES}, "name")
    assert "column name only 4 of them; name another column: messages.type, messages.from, messages.text" in said
    assert "rename it to .txt" in refusal({"name": "Chat", "items": [{"a": 1}] * 500})
    little = [{"text": "abc def", "vector": list(range(100, 150))}] * 9
    assert read(little).repairs == ("column text is 3.1 % of the file",)


def test_lists_without_end_are_looked_into_with_bounds(tmp_path: Path) -> None:
    many = {f"k{number}": {"n": [{"text": "a b"}]} for number in range(1_200)}
    assert "and 990 more" in refusal(many)


def test_what_lies_too_deep_is_refused_without_naming_what_cannot_be_read() -> None:
    said = refusal({"a": {"b": {"c": {"posts": POSTS}}}})
    assert said.endswith("has no text up to three names deep; bring its rows further up, or save its text as .txt")
