"""Figures of persistence: the study's matrix, every cell with its intervals, and the course over tuning steps.

Each function draws one figure from the study's tables and writes it as SVG and PNG.
"""

import numpy as np

from holdfast.analysis.pairing import ARMS, CELL
from holdfast.report import answer, arrange, style, words

LABELS = 0.3  # share of a figure's width that the rows' labels take
NO_CELL = "This study has no cell with both an edit and a tuning."


def nothing(svg, png, reason=NO_CELL):
    """Draw why there is nothing to draw: a study without tunings has no cell, and still a report."""
    with style.figure(style.WIDTH, 0.8) as drawn:
        drawn.text(0.5, 0.5, reason, ha="center", color=style.MUTED)
        style.save(drawn, svg, png)


def matrix(table, families, svg, png):
    """The whole study as a heat map: a row per family, editor and task, a column per tuning; in each cell the
    persistence on the edits' own prompts at the last tuning step, by CLIP (left) and the classifier (right), with its
    interval in per cent below.

    table: persistence.csv as a frame. families: their order.
    """
    found = answer.cells(arrange.by_family(table, families))
    if not found:
        nothing(svg, png)
        return
    plan = arrange.matrix(found)
    count = sum(len(group["rows"]) for group in plan["groups"])
    wide, high, label = 1.06, 0.42, 1.5
    width = max(style.WIDTH, label + wide * len(plan["columns"]) + 0.1)
    height = 0.68 + high * count + 0.3 * len(plan["groups"]) + 0.48
    from matplotlib.patches import Rectangle

    with style.figure(width, height) as drawn:
        axes = drawn.add_axes((0, 0, 1, 1))
        axes.set(xlim=(0, width), ylim=(height, 0))
        axes.set_axis_off()
        for n, column in enumerate(plan["columns"]):
            x = label + wide * (n + 0.5)
            axes.text(x, 0.15, column["tuner"], ha="center", va="center", weight="bold", fontsize=8.5)
            axes.text(x, 0.31, column["site_label"], ha="center", va="center", fontsize=7, color=style.MUTED)
            axes.text(x, 0.44, f"on {column['corpus']}", ha="center", va="center", fontsize=8)
            axes.text(x, 0.58, column["relation"], ha="center", va="center", fontsize=7, color=style.MUTED)
        y = 0.7
        for group in plan["groups"]:
            axes.text(0.1, y + 0.13, f"{group['family']}: {group['editor']}", weight="bold", va="center", fontsize=9)
            y += 0.3
            for row in group["rows"]:
                axes.text(0.2, y + high / 2, words.task(row["task"]), va="center", fontsize=8.5)
                for n, cell in enumerate(row["cells"]):
                    if cell is None:
                        continue
                    judged = [(judge, cell["judges"][judge]) for judge in answer.JUDGES if judge in cell["judges"]]
                    part = (wide - 0.08) / len(judged)
                    for half, (_, seen) in enumerate(judged):
                        side, strength = arrange.shade(seen["persistence"])
                        x = label + wide * n + 0.04 + half * part
                        colour = style.mixed(style.SIDES.get(side, style.PAPER), strength)
                        box = Rectangle((x, y + 0.02), part - 0.02, high - 0.04, facecolor=colour, linewidth=0)
                        axes.add_patch(box)
                        text = words.percent(seen["persistence"])
                        at = {"x": x + part / 2 - 0.01, "ha": "center", "va": "center", "color": style.ON_COLOUR}
                        known = not np.isnan(seen["persistence"])
                        axes.text(y=y + high * (0.36 if known else 0.5), s=text, fontsize=7.5, **at)
                        span = words.span(seen["persistence"], seen["low"], seen["high"])
                        # Of two far ends, such as −160 to 240, little more than half fits at the usual size.
                        size = min(6.2, 72 * part / (0.66 * len(span)))
                        axes.text(y=y + high * 0.72, s=span if known else "", fontsize=size, **at)
                y += high
        legend = "Left: CLIP’s choice between two texts, right: classifier."
        judges = {judge for cell in found for judge in cell["judges"]}
        legend = legend if len(judges) > 1 else f"Judged by {judges.pop()}."
        told = f"Share of the edit’s effect left after tuning, below it its interval in per cent.\n{legend}"
        axes.text(0.1, height - 0.22, told, va="center", fontsize=7.5, color=style.MUTED)
        style.save(drawn, svg, png)


def persistence(table, edits, svg, png):
    """Persistence of one family's cells at the last tuning step: a panel per task, a column per editor, a row per
    tuning; point and interval per judge, a tick per edit.

    table: persistence.csv, edits: edits.csv as frames, of one family.
    """
    found = answer.cells(table)
    if not found:
        nothing(svg, png)
        return
    edits = last_step_of(edits)
    # A small study has room for the wider probes as rows of their own.
    wider = len(found) <= answer.FEW
    columns = arrange.editors(cell["editor"] for cell in found)
    panels = []
    for task in arrange.tasks(cell["task"] for cell in found):
        mine = [cell for cell in found if cell["task"] == task]
        kinds = ("judges", "wider") if wider and any(cell["wider"] for cell in mine) else ("judges",)
        rows = [(tuning["label"], kind) for tuning in arrange.tunings(mine) for kind in kinds]
        panels.append((task, mine, rows))
    everything = [x for cell in found for kind in ("judges", "wider") for one in cell[kind].values()
                  for x in (one["persistence"], one["low"], one["high"])]  # fmt: skip
    single = len(columns) == 1
    # What reaches further is cut off: beside another column there is less room.
    high = max(1.12, min(2.0 if single else 1.45, np.nanmax([*everything, 1.0]) + 0.06))
    low = min(-0.06, max(-1.0 if single else -0.45, np.nanmin([*everything, 0.0]) - 0.06))
    row_height = 0.42 if single else 0.34
    height = sum(0.36 + row_height * len(rows) for _, _, rows in panels) + (0.88 if single else 1.1)
    right = 0.8 if single else 0.985
    with style.figure(style.WIDTH, height) as drawn:
        top = height - (0.2 if single else 0.42)
        for number, (task, mine, rows) in enumerate(panels):
            top -= 0.36 + row_height * len(rows)
            for column, editor in enumerate(columns):
                step = (right - LABELS) / len(columns)
                where = (LABELS + column * step, top / height, step - (0.0 if single else 0.035))
                axes = drawn.add_axes((*where, row_height * len(rows) / height))
                own = {cell["tuning"]: cell for cell in mine if cell["editor"] == editor}
                for y, (tuning, kind) in enumerate(rows):
                    if tuning in own:
                        _cell(axes, own[tuning], kind, edits, y, (low, high), numbers=single)
                _frame(axes, len(rows), (low, high), bottom=number == len(panels) - 1)
                axes.set_yticks(
                    range(len(rows)), [_row(tuning, kind, task) for tuning, kind in rows] if not column else []
                )
                if number == 0:
                    at = axes.get_xaxis_transform()
                    title = f"{editor}\n" if not single else ""
                    for x, text in ((0, "nothing left"), (1, "held fast")):
                        if single:
                            axes.text(x, 1.0 + 0.3 / (row_height * len(rows)), text, transform=at, ha="center",
                                      color=style.MUTED)  # fmt: skip
                    if title:
                        axes.text((low + high) / 2, 1.0 + 0.32 / (row_height * len(rows)), editor, transform=at,
                                  ha="center", weight="bold")  # fmt: skip
            drawn.text(0.01, (top + row_height * len(rows) + 0.1) / height, words.task(task), weight="bold", fontsize=9)
        drawn.text((LABELS + right) / 2, 0.36 / height, "persistence: share of the edit's effect left after tuning",
                   ha="center", va="center", color=style.MUTED)  # fmt: skip
        handles = [key("o", style.SERIES[0], "CLIP"), key("|", style.MUTED, "one edit")]
        if any("classifier" in cell["judges"] for cell in found):
            handles.insert(1, key("s", style.SERIES[1], "classifier", hollow=True))
        drawn.legend(handles=handles, loc="lower center", ncols=3, bbox_to_anchor=(0.5, 0), borderaxespad=0.1)
        style.save(drawn, svg, png)


def last_step_of(table):
    """As `arrange.last_step`, of a table that may be empty."""
    return arrange.last_step(table) if len(table) else table


def _row(tuning, kind, task):
    named = {"unsafe": "implied"}.get(task, "other wordings")
    return named if kind == "wider" else tuning.replace(" on ", "\non ") if len(tuning) > 18 else tuning


def _frame(axes, rows, limits, bottom):
    for mark in (0, 1):
        axes.axvline(mark, color=style.MUTED, linewidth=0.9, zorder=1)
    axes.set(ylim=(rows - 0.4, -0.6), xlim=limits)
    share = [x for x in (-1, -0.5, 0, 0.5, 1, 1.5, 2) if limits[0] <= x <= limits[1]]
    axes.set_xticks(share, [words.percent(x) for x in share] if bottom else [""] * len(share))
    if not bottom:
        axes.spines["bottom"].set_visible(False)


def _cell(axes, cell, kind, edits, y, limits, numbers):
    """One cell: each judge's point and interval, and the edits' own ticks above them."""
    judged = cell[kind]
    for judge, offset in (("CLIP", -0.1), ("classifier", 0.2)):
        if judge in judged and np.isfinite(judged[judge]["persistence"]):
            interval(axes, judged[judge], y + offset, hollow=judge == "classifier", limits=limits)
    if not judged:
        return
    head = next(iter(judged.values()))
    if np.isnan(head["persistence"]):
        axes.text(0.5, y, "no clear effect", ha="center", va="center", fontsize=7.5, color=style.MUTED,
                  bbox={"facecolor": style.PAPER, "edgecolor": "none", "pad": 1})  # fmt: skip
        return
    mine = edits[(edits[CELL] == [cell[name] for name in CELL]).all(axis=1) & (edits["measure"] == head["measure"])]
    own = mine.groupby("edit")[ARMS].mean()
    own = (own["edited_tuned"] - own["tuned"]) / (own["edited"] - own["base"]).replace(0, np.nan)
    axes.plot(own.clip(*limits), np.full(len(own), y - 0.34), "|", color=style.MUTED, markersize=4, alpha=0.8)
    if numbers:
        at = axes.get_yaxis_transform()
        axes.text(1.03, y - 0.14, words.percent(head["persistence"]), transform=at, weight="bold", va="center")
        text = words.interval(head["persistence"], head["low"], head["high"])
        axes.text(1.03, y + 0.22, text, transform=at, va="center", fontsize=7.5, color=style.MUTED)


def interval(axes, row, y, hollow, limits=(-np.inf, np.inf)):
    """A point (`persistence`) with its interval (`low`, `high`); beyond the limits it ends, and a point is an arrow."""
    colour = style.SERIES[1] if hollow else style.SERIES[0]
    ends = np.clip([row["low"], row["high"]], *limits)
    axes.plot(ends, [y, y], color=colour, linewidth=1.6, solid_capstyle="butt", zorder=2)
    face = style.PAPER if hollow else colour
    size = 4.5 + (not hollow)
    value = row["persistence"]
    marker = ">" if value > limits[1] else "<" if value < limits[0] else "s" if hollow else "o"
    axes.plot(np.clip(value, *limits), y, marker, color=colour, markerfacecolor=face, markersize=size, clip_on=False)


def key(marker, colour, label, hollow=False, line=""):
    """A legend's entry."""
    from matplotlib.lines import Line2D

    face = style.PAPER if hollow else colour
    return Line2D(
        [], [], linestyle=line, marker=marker, color=colour, markerfacecolor=face, markersize=5.5, label=label
    )


def steps(table, edits, svg, png):
    """One family's persistence over tuning steps: a panel per task and editor, a line per tuning.

    table: persistence.csv, edits: edits.csv as frames, of one family. With one tuning each judge has a line, and there
    is one per edit and the band of the interval; with several only the task's first judge is drawn.
    """
    measures = {task: answer.OWN[task] for task in answer.OWN}
    own = [list(measures.get(task, {}).values()) for task in table["task"]]
    table = table[np.array([m in names for m, names in zip(table["measure"], own, strict=True)], dtype=bool)]
    if table.empty:
        nothing(svg, png)
        return
    rows, columns = arrange.tasks(table["task"]), arrange.editors(table["editor"])
    tunings = [tuning["label"] for tuning in arrange.tunings(table.to_dict("records"))]
    looks = {
        name: (style.SERIES[n % len(style.SERIES)], "o^Dv"[n // len(style.SERIES) % 4])
        for n, name in enumerate(tunings)
    }
    places = {step: n for n, step in enumerate([0, *sorted(set(table["tuning_step"]))])}
    legend = 0.2 * -(-(len(tunings) if len(tunings) > 1 else 0) // 2) + 0.25
    height = 1.75 * len(rows) + 0.75 + legend
    with style.figure(style.WIDTH, height) as drawn:
        grid = drawn.subplots(len(rows), len(columns), squeeze=False, sharex=True, sharey=True)
        drawn.subplots_adjust(0.14, (0.45 + legend) / height, 0.975, 1 - 0.3 / height, wspace=0.08, hspace=0.24)
        for r, task in enumerate(rows):
            for c, editor in enumerate(columns):
                axes, panel = grid[r, c], table[(table["task"] == task) & (table["editor"] == editor)]
                axes.set_title(words.task(task) + (f", {editor}" if len(columns) > 1 else ""))
                axes.grid(axis="y")
                if panel.empty:
                    axes.text(0.5, 0.5, "not studied", transform=axes.transAxes, ha="center", color=style.MUTED)
                for judge in list(measures[task])[: None if len(tunings) == 1 else 1]:
                    mine = panel[panel["measure"] == measures[task].get(judge)]
                    for label in tunings:
                        line = arrange.of_tuning(mine, label)
                        line = line.dropna(subset="persistence").sort_values("tuning_step")
                        _curve(axes, line, places, looks[label], judge, band=len(tunings) == 1)
                if len(panel) and panel["persistence"].isna().all():
                    axes.text(0.5, 0.5, "no clear effect", transform=axes.transAxes, ha="center", color=style.MUTED)
                if len(tunings) == 1 and len(panel):
                    _edit_lines(axes, panel, edits, places, next(iter(measures[task].values())))
                axes.set_xticks(list(places.values()), [str(step) for step in places])
        low, high = grid[0, 0].get_ylim()
        low, high = max(min(low, -0.04), -1.0), min(max(high, 1.1), 1.6)
        grid[0, 0].set_ylim(low, high)
        share = np.arange(np.ceil(low * 2) / 2, high, 0.5)
        grid[0, 0].set_yticks(share, [words.percent(x) for x in share])
        for axes in grid[:, 0]:
            axes.set_ylabel("persistence")
        drawn.text(0.55, (0.09 + legend) / height, "tuning steps", ha="center", color=style.MUTED)
        ink = looks[tunings[0]][0] if len(tunings) == 1 else style.MUTED
        handles = [] if len(tunings) == 1 else [key(looks[name][1], looks[name][0], name, line="-") for name in tunings]
        if len(tunings) == 1:
            handles += [key("", ink, "CLIP", line="-"), key("", ink, "classifier", line=":")]
        handles += [key("", style.MUTED, "one edit", line="-")] if len(tunings) == 1 else []
        drawn.legend(handles=handles, loc="lower center", ncols=3 if len(tunings) < 3 else 2, borderaxespad=0.1)
        style.save(drawn, svg, png)


def _curve(axes, rows, places, look, judge, band):
    if rows.empty:
        return
    colour, marker = look
    at = [0, *(places[step] for step in rows["tuning_step"])]
    face = colour if judge == "CLIP" else style.PAPER
    axes.plot(at, [1, *rows["persistence"]], "-" if judge == "CLIP" else ":", marker=marker, color=colour,
              markerfacecolor=face, markersize=4, linewidth=1.5, zorder=3)  # fmt: skip
    if band and judge == "CLIP":
        axes.fill_between(at, [1, *rows["ci_low"]], [1, *rows["ci_high"]], color=colour, alpha=0.16, linewidth=0)


def _edit_lines(axes, panel, edits, places, measure):
    """A thin line per edit, of a panel with one tuning."""
    names = ["family", "task", "editor"]
    mine = edits[(edits[names] == panel.iloc[0][names].tolist()).all(axis=1) & (edits["measure"] == measure)]
    for _, one in mine.groupby("edit"):
        line = one.groupby("tuning_step")["persistence"].mean().dropna()
        at = [0, *(places[step] for step in line.index if step in places)]
        drawn = [1, *line[[step in places for step in line.index]].clip(-0.2, 1.4)]
        axes.plot(at, drawn, color=style.MUTED, linewidth=0.6, alpha=0.45)
