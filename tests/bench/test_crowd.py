"""A small crowd on the public app in a process of its own: everybody gets their own text, and the training goes on."""

import pytest

from bench.crowd import measure, rows
from bench.writers import Told, Wish


@pytest.mark.slow
def test_a_small_crowd_is_served_beside_a_training() -> None:
    found = {row.what: row.ours for row in measure(quick=True)}
    assert found["another's text, or not the one that comes alone"] == [0]
    assert found["refused without a way out"] == [0] and found["refused, and told to wait"] == [0]
    [first] = [waits for what, waits in found.items() if what.startswith("until the first text")]
    assert len(first) == 12 and all(wait > 0 for wait in first)
    assert found["training meanwhile (usual: alone)"][0] > 0


def test_the_table_counts_what_went_wrong() -> None:
    told = [Told(0, 0, 0.5, 1.0, "text"), Told(1, 0, 3.0, 4.0, "text"), Told(2, 0, 0.1, 0.1, refusal="no"),
            Told(3, 0, 0.1, 0.1, refusal="10 a minute; wait 5 s")]  # fmt: skip
    found = {row.what: row.ours[0] for row in rows(told, 100.0, 50.0, told[:1], 4)}
    assert found["the longest of these waits"] == 3.0 and found["waits longer than that"] == 1
    assert found["refused, and told to wait"] == found["refused without a way out"] == 1
    assert found["another's text, or not the one that comes alone"] == 1


def test_no_two_wishes_begin_alike() -> None:
    prompts = [Wish(client, number).prompt for client in range(50) for number in range(10)]
    assert len(set(prompts)) == 500
