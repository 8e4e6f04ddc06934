"""The figure of doses: persistence over the size of what a tuning changed, so that tunings are read at equal size."""

import numpy as np

from holdfast.analysis import doses
from holdfast.analysis.pairing import CELL
from holdfast.report import answer, arrange, style, words
from holdfast.report.plots import key, nothing


def by_size(causes, persistence, svg, png):
    """A panel per task and editor, a line per tuning through its snapshots; by the task's first judge.

    causes, persistence: the tables of these names, of one family.
    """
    first = {task: next(iter(measures.values())) for task, measures in answer.OWN.items()}
    own = persistence[persistence["measure"] == persistence["task"].map(first)]
    table = own.merge(doses.reached(causes), on=CELL).dropna(subset="norm")
    if table.empty:
        nothing(svg, png, "No tuning of this study was traced.")
        return
    rows, columns = arrange.tasks(table["task"]), arrange.editors(table["editor"])
    tunings = [tuning["label"] for tuning in arrange.tunings(table.to_dict("records"))]
    ticks = _ticks(table["norm"].min(), table["norm"].max())
    legend = 0.2 * -(-len(tunings) // 2) + 0.25
    height = 1.6 * len(rows) + 0.75 + legend
    with style.figure(style.WIDTH, height) as drawn:
        grid = drawn.subplots(len(rows), len(columns), squeeze=False, sharex=True, sharey=True)
        drawn.subplots_adjust(0.14, (0.45 + legend) / height, 0.975, 1 - 0.3 / height, wspace=0.14, hspace=0.26)
        handles = {}
        for r, task in enumerate(rows):
            for c, editor in enumerate(columns):
                axes, panel = grid[r, c], table[(table["task"] == task) & (table["editor"] == editor)]
                axes.set_title(words.task(task) + (f", {editor}" if len(columns) > 1 else ""))
                axes.grid(axis="y")
                for number, label in enumerate(tunings):
                    colour, marker = style.SERIES[number % len(style.SERIES)], "o^Dv"[number // len(style.SERIES) % 4]
                    handles[label] = key(marker, colour, label, line="-")
                    line = arrange.of_tuning(panel, label).dropna(subset="persistence").sort_values("norm")
                    axes.plot(
                        line["norm"], line["persistence"], color=colour, marker=marker, markersize=4, linewidth=1.4
                    )
                if panel["persistence"].isna().all():
                    told = "no clear effect" if len(panel) else "not studied"
                    axes.text(0.5, 0.5, told, transform=axes.transAxes, ha="center", color=style.MUTED)
        axes = grid[0, 0]
        axes.set_xscale("log")
        axes.set_xlim(ticks[0] / 1.25, ticks[-1] * 1.25)
        axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.minorticks_off()
        known = table["persistence"].dropna()
        axes.set_ylim(max(-1.0, min(-0.04, known.min() - 0.05)), min(1.6, max(1.1, known.max() + 0.05)))
        share = [value for value in (-1, -0.5, 0, 0.5, 1, 1.5) if axes.get_ylim()[0] <= value <= axes.get_ylim()[1]]
        axes.set_yticks(share, [words.percent(value) for value in share])
        for axes in grid[:, 0]:
            axes.set_ylabel("persistence")
        drawn.text(0.55, (0.09 + legend) / height, "size of the tuning's change (norm over all weights)",
                   ha="center", color=style.MUTED)  # fmt: skip
        drawn.legend(handles=[handles[label] for label in tunings], loc="lower center", ncols=2, borderaxespad=0.1)
        style.save(drawn, svg, png)


def _ticks(low, high):
    """The 1, 2 and 5 of every power of ten from the last one below `low` to the first above `high`."""
    every = np.array([digit * 10.0**power for power in range(-6, 4) for digit in (1, 2, 5)])
    return every[max(0, np.searchsorted(every, low, "right") - 1) : np.searchsorted(every, high) + 1]
