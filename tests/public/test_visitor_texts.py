"""Uploaded and pasted texts on a public Space: each visitor has some of their own, and knows of no others."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from charlm.data.own_texts import OwnTexts, Upload, open_upload, pasted_text
from charlm.errors import LimitError
from charlm.public import VisitorTexts
from charlm.public.limits import Limits, Visitor

ANNA, BORIS = Visitor("anna"), Visitor("boris")
SHARED = Visitor("an address", "8.8.8.8", known=False)


@dataclass
class Space:
    """A public Space's texts; `visitor` is whoever asks."""

    everything: OwnTexts
    limits: Limits
    visitor: Visitor | None = ANNA

    def __post_init__(self) -> None:
        self.texts = VisitorTexts(self.everything, lambda: self.visitor, self.limits)

    def names(self, visitor: Visitor | None) -> list[str]:
        """What this visitor is shown."""
        self.visitor = visitor
        return sorted(one.name for one in self.texts.list())


@pytest.fixture
def space(tmp_path: Path) -> Space:
    return Space(OwnTexts(tmp_path), Limits(texts=2, together_texts=4))


def test_each_visitor_has_texts_of_their_own(space: Space, tmp_path: Path) -> None:
    hers = space.texts.keep(Upload("same.txt", b"1"))
    space.visitor = BORIS
    his = space.texts.keep(Upload("same.txt", b"1"))
    space.texts.keep(Upload("b.txt", b"2"))
    assert hers != his
    assert space.names(ANNA) == ["same.txt"] and space.names(BORIS) == ["b.txt", "same.txt"]
    space.visitor = BORIS
    space.texts.delete(hers)
    assert open_upload(hers, tmp_path) is not None, "another visitor's was deleted"
    space.texts.delete(his)
    assert space.names(BORIS) == ["b.txt"] and space.names(ANNA) == ["same.txt"]


def test_as_many_as_may_be_kept_are_a_sentence_and_room_helps(space: Space) -> None:
    first = space.texts.keep(Upload("a.txt", b"1"))
    space.texts.keep(Upload("b.txt", b"1"))
    with pytest.raises(LimitError, match="2 of the 2 texts you may keep on this public Space are there; delete some"):
        space.texts.keep(Upload("c.txt", b"1"))
    assert space.texts.keep(Upload("a.txt", b"1")) == first
    space.texts.delete(first)
    space.texts.keep(Upload("c.txt", b"1"))
    assert space.names(ANNA) == ["b.txt", "c.txt"]


def test_who_shares_an_address_is_shown_nothing_and_is_never_stuck(space: Space, tmp_path: Path) -> None:
    space.visitor = SHARED
    keys = [space.texts.keep(pasted_text(f"text {number}")) for number in range(4)]
    assert space.texts.list() == []
    assert open_upload(keys[-1], tmp_path) is not None  # whoever pasted it has its key
    assert len(space.everything.list()) == 2
    space.texts.delete(keys[-1])
    assert open_upload(keys[-1], tmp_path) is None


def test_all_together_are_bounded(space: Space) -> None:
    for visitor in "abcdef":
        space.visitor = Visitor(visitor)
        space.texts.keep(Upload("a.txt", b"1"))
    assert len(space.everything.list()) == 4 and space.names(Visitor("f")) == ["a.txt"]


def test_all_of_a_visitor_can_be_deleted_at_once(space: Space) -> None:
    space.texts.keep(Upload("a.txt", b"1"))
    space.visitor = BORIS
    space.texts.keep(Upload("b.txt", b"1"))
    space.visitor = ANNA
    space.texts.delete_all()
    assert space.names(ANNA) == [] and space.names(BORIS) == ["b.txt"]


def test_the_pages_bound_is_the_tables(space: Space) -> None:
    assert (space.texts.most_files, space.texts.most_bytes) == (2, 2 * space.limits.corpus_bytes)
    assert space.names(None) == []
    with pytest.raises(LimitError, match="it is not known who asks"):
        space.texts.keep(pasted_text("a"))
