"""The panel of surprise: the same passage in a column for each model, coloured by bits, and where the bits go."""

from collections import Counter
from typing import Any

from charlm.analysis.figures import AXIS, arch_colour, axis_title, frame, plain, short
from charlm.analysis.surprise import KINDS
from charlm.ui.formatting import bits, listed
from charlm.ui.html import Column, columns, render
from charlm.ui.understand.coloured import coloured_text, groups_of, level, shown_names
from charlm.ui.understand.outlines import SURPRISE
from charlm.ui.understand.panel import Found, Panel

MOST = 8.0  # bits of the darkest token; of a difference, half of it
PATTERNS = ("", "/", ".", "x", "-", "+")  # several models of one architecture share its colour
METHOD = (
    "Each token costs −log₂ p bits, p the probability that the model gave it after all that stands before it in the "
    "passage. The model reads the passage once, from the zero state; the first token, before which there is nothing, "
    "is not predicted. This is the model's own distribution, at temperature 1 and without top-k or penalties.",
    "Bits per character are the sum over the passage, divided by the characters that the predicted tokens stand for: "
    "models of characters, words and subwords can be compared by them. The mean bits of a kind of place are per token, "
    "and can be compared between models with the same tokens only.",
    "The kind of a place is that of its token's first character that is no space: the first letter of a word, its "
    "second or third one, one after the third, a quotation mark, a digit and so on. A capital is counted with its "
    "place in the word, too; an apostrophe between letters belongs to its word.",
    "Source: surprisal as the information of an event, C. E. Shannon, A Mathematical Theory of Communication (1948); "
    "the first estimate for printed English, letter by letter, with more bits at the start of words: C. E. Shannon, "
    "Prediction and Entropy of Printed English (1951).",
)


def html(found: Found) -> str:
    """The columns, a choice of what is coloured, and the legend.

    Args:
        found: what was measured of each model.
    """
    groups = groups_of(one.result["pieces"] for one in found)
    many = []
    for one, group in zip(found, groups, strict=True):
        result = one.result
        label = f"{one.label}: text coloured by bits"
        data = {
            "bits": [None if cost is None else round(100 * cost) for cost in result["bits"]],
            "names": shown_names(result["names"]),
            "likeliest": result["likeliest"],
            "chances": [[round(1000 * chance) for chance in chances] for chances in result["chances"]],
        }
        levels = [level(cost or 0.0, MOST) for cost in result["bits"]]
        numbers = [
            (total["kind"].capitalize(), bits(total["bits"]), False)
            for total in result["kinds"]
            if total["bits"] is not None
        ]
        text = coloured_text(result["pieces"], levels, label=label, arch=one.arch, kind="bits", group=group, data=data)
        many.append(
            Column(
                key=one.label,
                arch=one.arch,
                title=one.label,
                figure=bits(result["bits_per_character"]),
                unit="bits/char",
                text_html=text,
                note=_note(result["unknown"]),
                numbers=numbers,
            )
        )
    bases = [one.label for one in found] if max(Counter(groups).values(), default=0) > 1 else []
    return render("surprise", bases=bases, columns_html=columns(many), most=round(MOST), half=round(MOST / 2))


def picture(found: Found) -> dict[str, Any] | None:
    """Mean bits by kind of place as horizontal bars; None where nothing was predicted.

    Args:
        found: what was measured of each model.
    """
    kinds = [kind for kind in KINDS if any(_mean(one.result, kind) is not None for one in found)]
    if not kinds:
        return None
    seen = Counter[str]()
    data = []
    for one in found:
        name, pattern = short(one.label), PATTERNS[seen[one.arch] % len(PATTERNS)]
        seen[one.arch] += 1
        counts = {total["kind"]: total["tokens"] for total in one.result["kinds"]}
        data.append({
            "type": "bar", "orientation": "h", "name": plain(name), "y": [kind.capitalize() for kind in kinds],
            "x": [_mean(one.result, kind) for kind in kinds], "customdata": [counts[kind] for kind in kinds],
            "marker": {"color": arch_colour(one.arch), "pattern": {"shape": pattern, "fillmode": "replace"}},
            "hovertemplate": "<b>%{x:.2f}</b> bits a token, %{customdata:,} places<extra>%{fullData.name}</extra>",
        })  # fmt: skip
    layout = frame(
        90 + len(kinds) * (14 + 9 * len(found)),
        barmode="group",
        bargap=0.3,
        margin={"l": 140, "r": 16, "t": 34, "b": 44},
        showlegend=len(found) > 1,
        legend={"orientation": "h", "x": 0, "xanchor": "left", "y": 1, "yanchor": "bottom"},
        xaxis={**AXIS, "rangemode": "tozero", "title": axis_title("mean bits per token")},
        yaxis={**AXIS, "autorange": "reversed", "showgrid": False},
    )
    return {"data": data, "layout": layout}


def alt(found: Found) -> str:
    """What the picture shows, in words."""
    told = []
    for one in found:
        known = [total for total in one.result["kinds"] if total["bits"] is not None]
        known.sort(key=lambda total: total["bits"])
        if known:
            dearest, cheapest = known[-1], known[0]
            told.append(
                f"{one.label} pays most at {_places(dearest['kind'])} ({bits(dearest['bits'])} bits a token) and least "
                f"at {_places(cheapest['kind'])} ({bits(cheapest['bits'])})"
            )
    return f"Bars of the mean bits by kind of place: {listed(told)}." if told else "Nothing was predicted."


def _places(kind: str) -> str:
    """A kind of place in the plural or as a mass noun."""
    plain = {"inside a word": "letters inside a word", "after the third letter": "letters after the third of a word"}
    plain["start of a word"] = "starts of words"
    return plain.get(kind, f"{kind}s")


def _mean(result: Any, kind: str) -> float | None:
    """The mean bits of a kind; None without any."""
    return next((total["bits"] for total in result["kinds"] if total["kind"] == kind), None)


def _note(unknown: int) -> str:
    """What was left out of the passage."""
    if not unknown:
        return ""
    return f"{unknown:,} character{' is' if unknown == 1 else 's are'} left out: the model does not know them."


PANEL = Panel(
    SURPRISE,
    method=METHOD,
    alt=alt,
    picture=picture,
    html=html,
)
