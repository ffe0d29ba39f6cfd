"""README says what is so."""

import re
from pathlib import Path

from charlm.public.limits import Limits


def test_the_table_of_limits_is_the_one_that_is_enforced(repository: Path) -> None:
    text = (repository / "README.md").read_text(encoding="utf-8")
    table = text[text.index("| A visitor |") : text.index("A page keeps its visitor")]
    told = {float(number.replace(",", "")) for number in re.findall(r"\d[\d,]*\b", table)}
    for row in Limits().rows():
        if row["name"] != "question_bytes":  # nobody meets it who uses the page or the endpoints
            scale = {"corpus_bytes": 1e6, "checkpoint_bytes": 1e6, "body_bytes": 1e6, "together_disk_bytes": 1e9}
            assert row["value"] / scale.get(row["name"], 1) in told, row
