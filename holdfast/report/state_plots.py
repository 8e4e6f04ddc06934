"""Figures of what the states' pictures show: outcome rates, and what became of the neighbours.

Both are grids: a panel per task, in it a column per editor ("no edit" first) and a row per tuning ("before tuning"
first). Each function draws one figure of one family and writes it as SVG and PNG.
"""

import numpy as np

from holdfast.analysis.measures import OUTCOMES
from holdfast.report import arrange, style, words
from holdfast.report.plots import interval, key, nothing

LABELS = 0.3  # share of the width that the rows' labels take
HEAD = 0.5  # inches above a panel: its title and its columns' names


def _panels(rows, row_height):
    """One grid per task, and the height of all in inches."""
    panels = []
    for task in arrange.tasks(row["task"] for row in rows):
        mine = [row for row in rows if row["task"] == task]
        panels.append((task, *arrange.grid(mine)))
    return panels, sum(HEAD + row_height * len(labels) for _, labels, _, _ in panels)


def _axes(drawn, panel, top, row_height, right=0.985):
    """Yield (axes, {row number: state}) for each column of a panel whose upper edge is `top` inches high."""
    task, labels, columns, states = panel
    height = drawn.get_figheight()
    bottom = (top - HEAD - row_height * len(labels)) / height
    step = (right - LABELS) / len(columns)
    drawn.text(0.01, (top - 0.2) / height, words.task(task), weight="bold", fontsize=9)
    for n, column in enumerate(columns):
        axes = drawn.add_axes((LABELS + n * step, bottom, step - 0.015, row_height * len(labels) / height))
        axes.set_ylim(len(labels) - 0.5, -0.5)
        drawn.text(LABELS + (n + 0.5) * step - 0.0075, (top - 0.4) / height, column, ha="center", color=style.MUTED)
        axes.set_yticks(range(len(labels)), [_short(label) for label in labels] if n == 0 else [])
        yield axes, {labels.index(label): state for (label, name), state in states.items() if name == column}


def _short(label):
    return (
        label if len(label) <= 18 else label.replace(", ", ",\n") if ", " in label else label.replace(" on ", "\non ")
    )


def outcomes(rates, svg, png):
    """Outcome rates per state at its last tuning step, as stacked bars.

    rates: rates.csv as a frame, of one family.
    """
    table = arrange.outcome_rates(rates)
    if table.empty:
        nothing(svg, png, "No scorer of this study tells what a picture shows.")
        return
    row_height = 0.31
    panels, height = _panels(table.to_dict("records"), row_height)
    height += 0.4
    with style.figure(style.WIDTH, height) as drawn:
        top = height
        for panel in panels:
            narrow = len(panel[2]) > 2
            for axes, states in _axes(drawn, panel, top, row_height):
                for y, state in states.items():
                    _bar(axes, y, state, narrow)
                axes.set(xlim=(0, 1), xticks=[])
                axes.spines["bottom"].set_visible(False)
            other = words.OUTCOMES.get(panel[0])
            if other:
                note = f"({other['target']}: as target, {other['source']}: as source)"
                drawn.text(LABELS + 0.06, (top - 0.2) / height, note, fontsize=7.5, color=style.MUTED)
            top -= HEAD + row_height * len(panel[1])
        from matplotlib.patches import Patch

        handles = [Patch(color=style.OUTCOMES[name], label=name) for name in OUTCOMES]
        drawn.legend(handles=handles, loc="lower center", ncols=3, borderaxespad=0.2, bbox_to_anchor=(0.64, 0))
        style.save(drawn, svg, png)


def _bar(axes, y, state, narrow):
    left = 0.0
    for name in OUTCOMES:
        share, colour = state[name], style.OUTCOMES[name]
        axes.barh(y, share, left=left, height=0.74, color=colour, edgecolor=style.PAPER, linewidth=0.8)
        if share >= (0.27 if narrow else 0.15):
            axes.text(left + share / 2, y, words.percent(share), ha="center", va="center_baseline",
                      color=style.ON_OUTCOMES[name], fontsize=8)  # fmt: skip
        left += share


def specificity(rates, svg, png):
    """Share of the neighbours' pictures that still show the neighbour, per state at its last step, with intervals.

    rates: rates.csv as a frame, of one family.
    """
    shown = {"specificity": ("CLIP", -0.13), "source": ("classifier", 0.13)}
    rates = rates[(rates["role"] == "specificity") & rates["measure"].isin(shown)]
    if rates.empty:
        nothing(svg, png, "No edit of this study has neighbours to measure.")
        return
    rates = arrange.last_state_step(rates)
    names = list(arrange.STATE)
    states = {}
    for row in rates.to_dict("records"):
        state = states.setdefault(tuple(row[name] for name in names), {name: row[name] for name in names})
        state[row["measure"]] = {"persistence": row["rate"], "low": row["ci_low"], "high": row["ci_high"]}
    row_height = 0.33
    panels, height = _panels(list(states.values()), row_height)
    height += 0.72
    known = rates[["rate", "ci_low"]].min(axis=None)
    floor = max(0.0, np.floor(min(known, 0.8) * 10) / 10)
    with style.figure(style.WIDTH, height) as drawn:
        top = height
        for panel in panels:
            for axes, found in _axes(drawn, panel, top, row_height):
                for y, state in found.items():
                    for measure, (_, offset) in shown.items():
                        if measure in state:
                            interval(axes, state[measure], y + offset, hollow=measure == "source")
                share = np.unique([floor, 1] if len(panel[2]) > 2 else [floor, np.round((1 + floor) / 2, 2), 1])
                last = panel is panels[-1]
                axes.set_xlim(floor - 0.02, 1.03)
                axes.set_xticks(share, [words.percent(x) for x in share] if last else [""] * len(share))
                for label, side in zip(axes.get_xticklabels()[:: len(share) - 1], ("left", "right"), strict=False):
                    label.set_horizontalalignment(side)
                axes.grid(axis="x")
            top -= HEAD + row_height * len(panel[1])
        drawn.text((1 + LABELS) / 2, 0.36 / height, "share of neighbours' pictures that kept their subject",
                   ha="center", va="center", color=style.MUTED)  # fmt: skip
        handles = [key("o", style.SERIES[0], "CLIP"), key("s", style.SERIES[1], "classifier", hollow=True)]
        handles = [one for one, measure in zip(handles, shown, strict=True) if (rates["measure"] == measure).any()]
        drawn.legend(handles=handles, loc="lower center", ncols=2, borderaxespad=0.1)
        style.save(drawn, svg, png)
