"""Memory gym: accuracy against delay of architectures that learned a synthetic task."""

from collections.abc import Sequence
from typing import Any

from charlm.analysis.gym import SOLVED, Gym
from charlm.analysis.gym_tasks import TASKS, example
from charlm.analysis.measurement import Measured
from charlm.architectures import ARCH_NAMES
from charlm.ui.html import render
from charlm.ui.understand.lines import Line, plot
from charlm.ui.understand.outlines import GYM
from charlm.ui.understand.panel import Panel

Found = Sequence[Measured[Gym]]


def picture(found: Found) -> dict[str, Any] | None:
    """Accuracy against delay: the mean of the seeds, and a band from the lowest to the highest; of the last task."""
    if not found or not found[-1].result["learners"]:
        return None
    result = found[-1].result
    lines = [
        Line(
            ARCH_NAMES[one["arch"]], one["arch"], [row["delay"] for row in one["rows"]],
            [100 * row["mean"] for row in one["rows"]], [100 * row["low"] for row in one["rows"]],
            [100 * row["high"] for row in one["rows"]],
        )
        for one in result["learners"]
    ]  # fmt: skip
    what = "whole sequences right, %" if TASKS[result["task"]].whole else "answers right, %"
    return plot(lines, result["delay"], what, log=True, level="chance", at=100 * result["chance"])


def markup(found: Found) -> str:
    """An example of the task, and the accuracies as a table; those that count as solved are bold."""
    if not found or not found[-1].result["learners"]:
        return ""
    result, task = found[-1].result, TASKS[found[-1].result["task"]]
    learners = result["learners"]
    question, answer = example(result["task"])
    table = [
        {
            "delay": f"{rows[0]['delay']:,}",
            "cells": [
                {
                    "mean": f"{100 * row['mean']:.1f} %",
                    "range": f"{100 * row['low']:.1f} to {100 * row['high']:.1f} %",
                    "solved": row["mean"] >= SOLVED,
                }
                for row in rows
            ],
        }
        for rows in zip(*(one["rows"] for one in learners), strict=True)
    ]
    facts = [
        {"name": "parameters", "shown": [f"{one['parameters']:,}" for one in learners]},
        {"name": "steps", "shown": [", ".join(f"{steps:,}" for steps in one["steps"]) for one in learners]},
    ]
    return render(
        "gym", about=f"{task.title}: {task.about}.", question=question, answer=answer, delay=result["delay"],
        learners=[{"arch": one["arch"], "name": ARCH_NAMES[one["arch"]]} for one in learners], rows=table, facts=facts,
    )  # fmt: skip


def alternative(found: Found) -> str:
    """The plot in words: how far each architecture reaches."""
    if not found or not found[-1].result["learners"]:
        return "Nothing has been learned yet."
    result = found[-1].result
    parts = [
        f"{ARCH_NAMES[one['arch']]} from {100 * one['rows'][0]['mean']:.0f} % at {one['rows'][0]['delay']:,} "
        f"to {100 * one['rows'][-1]['mean']:.0f} % at {one['rows'][-1]['delay']:,}"
        for one in result["learners"]
    ]
    chance = f"chance is {100 * result['chance']:.1f} %"
    return f"{result['title']}: accuracy against the number of {result['delay']}. {'; '.join(parts)}; {chance}."


PANEL = Panel(
    GYM,
    method=(
        "Each architecture learns the task from fresh random sequences, with about 10,000 parameters (one layer; a "
        "Transformer has two), 32 sequences a step, and Adam with the same learning rate for all. Only the answers "
        "count in the loss: all else is random.",
        "The delay grows as a curriculum (Bengio et al. 2009): half of the batches have the longest delay reached so "
        "far, the others a shorter one, drawn evenly on a logarithmic scale. Once 4 batches of the longest delay in a "
        "row were 90 % right, it doubles. A training ends when 32 batches in a row were 90 % right at the grid's end, "
        "or after `steps`.",
        "Shown is the accuracy on 256 fresh sequences of each delay, also of delays that a model never came to: the "
        "mean of the seeds, and a band from the worst to the best of them. Counting scores whole sequences, the other "
        "tasks every answer. Chance is the best guess of one who knows the delay and remembers nothing.",
        "With `first_delay` equal to `longest` there is no curriculum: that is the classical experiment (Bengio et "
        "al. 1994; Hochreiter and Schmidhuber 1997). `init` torch takes the first weights that torch's layers have; "
        "tuned ones have orthogonal recurrent matrices, which carry gradients further (Saxe et al. 2014).",
    ),
    alt=alternative,
    picture=picture,
    html=markup,
)
