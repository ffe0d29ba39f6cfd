"""The panel of neurons: a passage coloured by one unit of each model, what holding it costs, and both texts."""

from typing import Any

from charlm.analysis.figures import AXIS, FONT, arch_colour, axis_title, frame, plain, short
from charlm.analysis.labels import LABELS
from charlm.analysis.measurement import Measured
from charlm.analysis.neurons import LabelTable, Neurons, score_name, unit_name
from charlm.ui.formatting import listed
from charlm.ui.html import Cell, Column, columns, render, table
from charlm.ui.understand.coloured import coloured_text, groups_of, level
from charlm.ui.understand.outlines import NEURONS
from charlm.ui.understand.panel import Found, Panel

DARKEST = 0.95  # share of a passage's values that are less dark than the darkest colour
METHOD = (
    "A program labels every place of the text: inside double quotes, in brackets and how deep, position in the line, "
    "letters of the word so far, inside a word, at its end, a capital or a line end next, the first 20 characters of a "
    "paragraph, digits. A label needs 20 places with it and 20 without in each half of the text.",
    "32 pieces of the text, evenly spread, are read by the model, after up to 500 tokens before each. For every unit "
    "of every state (h, c) and gate of every layer, the first 16 pieces give its AUROC for a label that holds or not: "
    "the share of pairs of a place with the label and one without in which the unit is higher with it; 0.5 is chance. "
    "For a label that is a number it is Spearman's rank correlation. A falling unit's sign is turned first. The best "
    "unit's score on the other 16 pieces is the one that is shown. Of a Transformer, units are those of the residual "
    "stream behind each block.",
    "The causal test: on the second 16 pieces the unit is held at its mean of the first, at every step, and all that "
    "follows is computed with it. What is shown is mean(loss held − loss free), in nats per token, where the label "
    "holds (of a number: where it is above its median), and at all other places; the first 16 tokens of a piece do "
    "not count. The same is done to 20 other units of the same state and layer, drawn at random, each at its own mean. "
    "A unit that follows a label need not matter for it: other units may know the same.",
    "Both texts are written at temperature 0.8 with the same random numbers, from the same prompt.",
    "Sources: units that follow quotes and lines, A. Karpathy, J. Johnson and L. Fei-Fei, Visualizing and "
    "Understanding Recurrent Networks (2015); AUROC as a rank statistic, H. B. Mann and D. R. Whitney (1947); rank "
    "correlation, C. Spearman (1904).",
)


def html(found: Found) -> str:
    """The passage in a column a model, both texts, and the table of labels.

    Args:
        found: what was measured of each model.
    """
    groups = groups_of(one.result["pieces"] for one in found)
    written = [column for one in found if (column := _written(one.label, one.arch, one.result))]
    left_out = {out["label"]: out["why"] for one in found for out in one.result["left_out"]}
    return render(
        "neurons",
        columns_html=columns([_passage(one, group) for one, group in zip(found, groups, strict=True)]),
        marked=listed(list(dict.fromkeys(map(_marked, found)))),
        texts_html=columns(written) if written else "",
        table_html=_table(found),
        left_out=listed([f"{name} ({why})" for name, why in left_out.items()]),
    )


def _marked(one: Any) -> str:
    """What the underlined places are."""
    name = one.result["label"]
    return f"“{name}” above its median" if one.result["measure"] == "spearman" else f"“{name}” holds"


def _passage(one: Measured[Neurons], group: str) -> Column:
    """A model's passage, coloured by the unit's distance from its mean; those of a group have the same places."""
    label, arch, result = one.label, one.arch, one.result
    unit, causal, mean = result["chosen"], result["causal"], result["mean"]
    distances = sorted(abs(value - mean) for value in result["values"])
    most = distances[int(DARKEST * (len(distances) - 1))] or 1.0
    numbers = [
        ("Label", result["label"], False),
        ("Unit", unit_name(unit), False),
        ("Where it was found", score_name(result["measure"], {**unit, "score": unit["found"]}), False),
        ("Its mean", _signed(mean, 2), False),
    ]
    if causal:
        numbers += [
            ("Held, loss where the label holds", f"{_signed(causal['there'])} nats", False),
            ("Held, loss elsewhere", f"{_signed(causal['elsewhere'])} nats", False),
            ("Random units that cost as much there", f"{causal['as_much']} of {len(causal['random'])}", False),
        ]
    text = coloured_text(
        result["pieces"],
        [level(value - mean, most) for value in result["values"]],
        label=f"{label}: text coloured by {unit_name(unit)}",
        arch=arch,
        kind="value",
        group=group,
        data={"values": result["values"], "holds": [int(holds) for holds in result["holds"]]},
        marks=result["holds"],
    )
    measure, score = score_name(result["measure"], unit).split(" ", 1)
    return Column(
        key=label, arch=arch, title=label, subtitle="", figure=score, unit=measure, text_html=text, numbers=numbers
    )


def _written(label: str, arch: str, result: Neurons) -> Column | None:
    """Both texts of a model; None before they are written."""
    texts = result["texts"]
    if not texts:
        return None
    both = (("With the unit", texts["free"]), (f"{unit_name(result['chosen'])} held", texts["clamped"]))
    parts = [render("written", title=title, prompt=texts["prompt"], text=text) for title, text in both]
    return Column(key=label, arch=arch, title=label, text_html="".join(parts))


def _table(found: Found) -> str:
    """For each label the best unit of each model, with its score on the second half."""
    rows: list[list[Cell | str]] = []
    for name in LABELS:
        tables = [next((one for one in each.result["labels"] if one["label"] == name), None) for each in found]
        if any(tables):
            rows.append([name, *(Cell(_best(one)) for one in tables)])
    return table(["Label", *(one.label for one in found)], rows, kind="units")


def _best(one: LabelTable | None) -> str:
    """A label's best unit."""
    return f"{unit_name(one['units'][0])}: {score_name(one['measure'], one['units'][0])}" if one else "—"


def picture(found: Found) -> dict[str, Any] | None:
    """What holding the unit costs at the label's places and elsewhere, and what holding random ones does.

    Args:
        found: what was measured of each model; those without the causal test are left out.
    """
    tested = [one for one in found if one.result["causal"]]
    if not tested:
        return None
    data: list[dict[str, Any]] = []
    names = []
    for number, one in enumerate(tested):
        causal, name = one.result["causal"], plain(short(one.label))
        places = [f"{name}, there{' ' * number}", f"{name}, elsewhere{' ' * number}"]  # no two are the same
        names += places
        data.append({
            "type": "bar", "orientation": "h", "name": name, "y": places, "x": [causal["there"], causal["elsewhere"]],
            "marker": {"color": arch_colour(one.arch)}, "width": 0.5, "showlegend": False,
            "hovertemplate": f"{plain(unit_name(one.result['chosen']))} held: <b>%{{x:+.4f}}</b> nats<extra></extra>",
        })  # fmt: skip
        for place, which in zip(places, ("there", "elsewhere"), strict=True):
            data.append({
                "type": "scatter", "mode": "markers", "name": f"{name}, random units", "showlegend": False,
                "x": [other[which] for other in causal["random"]], "y": [place] * len(causal["random"]),
                "text": [f"unit {other['unit']}" for other in causal["random"]],
                "marker": {"symbol": "line-ns-open", "size": 11, "color": FONT, "line": {"width": 1.2}},
                "hovertemplate": "%{text} held: %{x:+.4f} nats<extra></extra>",
            })  # fmt: skip
    title = axis_title("nats more while held<br>ticks: random units")
    layout = frame(
        108 + 34 * len(names),
        bargap=0.4,
        margin={"l": 150, "r": 16, "t": 24, "b": 64},
        showlegend=False,
        xaxis={**AXIS, "zeroline": True, "zerolinecolor": FONT, "nticks": 6, "title": title},
        yaxis={
            **AXIS, "showgrid": False, "autorange": "reversed", "categoryorder": "array", "categoryarray": names,
        },
    )  # fmt: skip
    return {"data": data, "layout": layout}


def alt(found: Found) -> str:
    """What the picture shows, in words."""
    told = []
    for one in found:
        causal = one.result["causal"]
        if causal:
            most = max((other["there"] for other in causal["random"]), default=None)
            beside = "" if most is None else f"; of {len(causal['random'])} random units the worst adds {_signed(most)}"
            told.append(
                f"in the {one.label}, holding {unit_name(one.result['chosen'])} at its mean adds "
                f"{_signed(causal['there'])} nats where “{one.result['label']}” holds and "
                f"{_signed(causal['elsewhere'])} elsewhere{beside}"
            )
    return f"Bars of the loss while a unit is held: {listed(told)}." if told else "The causal test is not done yet."


def _signed(value: float, digits: int = 3) -> str:
    """A number with its sign."""
    return f"{value:+.{digits}f}".replace("-", "−")


PANEL = Panel(
    NEURONS,
    method=METHOD,
    alt=alt,
    picture=picture,
    html=html,
)
