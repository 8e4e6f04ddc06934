"""The study's figures, drawn from its tables. Each function draws one figure and writes it as SVG and PNG."""

import numpy as np

from holdfast.analysis.persistence import CELL, OUTCOMES, TUNING
from holdfast.report import style, words

ROLES = ("efficacy", "generality")
WHO = {
    "efficacy": "CLIP",
    "generality": "CLIP",
    "classified_efficacy": "classifier",
    "classified_generality": "classifier",
}


def last_step(table):
    """The rows of every cell at its last tuning step."""
    keys = [name for name in CELL if name != "tuning_step"]
    last = table.groupby(keys)["tuning_step"].transform("max")
    return table[table["tuning_step"] == last]


def persistence(table, edits, svg, png):
    """Persistence per cell at the last tuning step: point and interval per measure, a tick per edit.

    table: persistence.csv, edits: edits.csv as frames.
    """
    if table.empty:
        _nothing(svg, png)
        return
    table, edits = last_step(table), last_step(edits)
    cells = [(key, part.set_index("measure")) for key, part in table.groupby(CELL, sort=False)]
    height = sum(0.42 + 0.4 * len(ROLES) for _ in cells) + 0.95
    with style.figure(style.WIDTH, height) as drawn:
        axes = drawn.add_axes((0.275, 0.66 / height, 0.515, 1 - 0.9 / height))
        everything = table.loc[table["measure"].isin(WHO), ["persistence", "ci_low", "ci_high"]].to_numpy(float)
        high = max(1.12, min(2.0, np.nanmax(everything, initial=1.0) + 0.06))
        low = min(-0.06, max(-1.0, np.nanmin(everything, initial=0.0) - 0.06))
        for mark in (0, 1):
            axes.axvline(mark, color=style.MUTED, linewidth=0.9, zorder=1)
        y, ticks, labels = 0.0, [], []
        for key, part in cells:
            row = dict(zip(CELL, key, strict=True))
            title = f"{row['task'].capitalize()} edits" + (
                "" if len(cells) <= 2 else f": {row['editor']}, {words.tuning(row)}"
            )
            axes.text(-0.52, y, title, transform=axes.get_yaxis_transform(), weight="bold", va="center", fontsize=9,
                      bbox={"facecolor": style.PAPER, "edgecolor": "none", "pad": 1.5})  # fmt: skip
            y += 0.85
            for role in ROLES:
                for name, offset in ((role, -0.14), (f"classified_{role}", 0.14)):
                    if name in part.index and np.isfinite(part.loc[name, "persistence"]):
                        _interval(axes, part.loc[name], y + offset, hollow=name != role)
                ticked = edits[(edits[CELL] == list(key)).all(axis=1) & (edits["measure"] == role)]
                own = ticked.groupby("edit")[["base", "edited", "tuned", "edited_tuned"]].mean()
                own = (own["edited_tuned"] - own["tuned"]) / (own["edited"] - own["base"]).replace(0, np.nan)
                axes.plot(
                    own.clip(low, high), np.full(len(own), y - 0.36), "|", color=style.MUTED, markersize=5, alpha=0.8
                )
                if role in part.index:
                    found = part.loc[role]
                    text = words.percent(found["persistence"])
                    axes.text(1.03, y - 0.12, text, transform=axes.get_yaxis_transform(), weight="bold", va="center")
                    text = words.interval(found["persistence"], found["ci_low"], found["ci_high"])
                    at = axes.get_yaxis_transform()
                    axes.text(1.03, y + 0.19, text, transform=at, va="center", fontsize=7.5, color=style.MUTED)
                ticks.append(y)
                labels.append(role)
                y += 0.95
            y += 0.2
        axes.set(ylim=(y - 0.35, -0.45), xlim=(low, high), yticks=ticks, yticklabels=labels)
        share = [x for x in (-1, -0.5, 0, 0.25, 0.5, 0.75, 1, 1.25, 1.5, 2) if low <= x <= high]
        axes.set_xticks(share, [words.percent(x) for x in share])
        axes.set_xlabel("persistence: share of the edit's effect left after tuning")
        top = axes.get_xaxis_transform()
        axes.text(0, 1.01, "nothing left", transform=top, ha="center", va="bottom", color=style.MUTED)
        axes.text(1, 1.01, "held fast", transform=top, ha="center", va="bottom", color=style.MUTED)
        handles = [_key("o", style.SERIES[0], "CLIP"), _key("|", style.MUTED, "one edit (CLIP)")]
        if table["measure"].str.startswith("classified").any():
            handles.insert(1, _key("s", style.SERIES[1], "classifier", hollow=True))
        drawn.legend(handles=handles, loc="lower center", ncols=3, bbox_to_anchor=(0.5, 0), borderaxespad=0.1)
        style.save(drawn, svg, png)


def _nothing(svg, png, reason="This study has no cell with both an edit and a tuning."):
    """Draw why there is nothing to draw: a study without tunings has no cell, and still a report."""
    with style.figure(style.WIDTH, 0.8) as drawn:
        drawn.text(0.5, 0.5, reason, ha="center", color=style.MUTED)
        style.save(drawn, svg, png)


def _interval(axes, row, y, hollow):
    colour = style.SERIES[1] if hollow else style.SERIES[0]
    axes.plot([row["ci_low"], row["ci_high"]], [y, y], color=colour, linewidth=1.6, solid_capstyle="butt", zorder=2)
    face = style.PAPER if hollow else colour
    axes.plot(
        row["persistence"], y, "s" if hollow else "o", color=colour, markerfacecolor=face, markersize=4.5 + (not hollow)
    )


def _key(marker, colour, label, hollow=False, line=""):
    from matplotlib.lines import Line2D

    face = style.PAPER if hollow else colour
    return Line2D(
        [], [], linestyle=line, marker=marker, color=colour, markerfacecolor=face, markersize=5.5, label=label
    )


def steps(table, edits, svg, png):
    """Persistence over tuning steps: a panel per task and editor, the two measures, a thin line per edit.

    table: persistence.csv, edits: edits.csv as frames.
    """
    table = table[table["measure"].isin(ROLES)]
    if table.empty:
        _nothing(svg, png)
        return
    panels = list(table.groupby(["family", "task", "editor"], sort=False))
    tunings = list(dict.fromkeys(words.tuning(row) for _, row in table.iterrows()))
    colours = {name: style.SERIES[n % len(style.SERIES)] for n, name in enumerate(tunings)}
    places = {step: n for n, step in enumerate([0, *sorted(set(table["tuning_step"]))])}
    rows = -(-len(panels) // 2)
    height = 2.2 * rows + 0.72
    with style.figure(style.WIDTH, height) as drawn:
        grid = drawn.subplots(rows, min(2, len(panels)), squeeze=False, sharex=True, sharey=True)
        drawn.subplots_adjust(0.14, 0.72 / height, 0.975, 1 - 0.3 / height, wspace=0.1, hspace=0.3)
        for axes in grid.flat[len(panels) :]:
            axes.set_axis_off()
        for (key, part), axes in zip(panels, grid.flat, strict=False):
            axes.set_title(f"{key[1].capitalize()} edits" + (f" ({key[0]}, {key[2]})" if len(panels) > 2 else ""))
            axes.grid(axis="y")
            mine = edits[
                (edits[["family", "task", "editor"]] == list(key)).all(axis=1) & (edits["measure"] == "generality")
            ]
            for _, one in mine.groupby(["edit", "tuner", "site", "corpus"]):
                line = one.groupby("tuning_step")["persistence"].mean().dropna()
                axes.plot(
                    [0, *(places[s] for s in line.index)],
                    [1, *line.clip(-0.2, 1.4)],
                    color=style.MUTED,
                    linewidth=0.6,
                    alpha=0.45,
                )
            for (name, measure), one in part.groupby([part.apply(words.tuning, axis=1), "measure"], sort=False):
                _curve(
                    axes, one.dropna(subset="persistence").sort_values("tuning_step"), places, colours[name], measure
                )
            axes.set_xticks(list(places.values()), [str(step) for step in places])
        low, high = grid[0, 0].get_ylim()
        low, high = max(min(low, -0.04), -1.0), min(max(high, 1.1), 1.5)
        grid[0, 0].set_ylim(low, high)
        share = np.arange(np.ceil(low * 4) / 4, high, 0.25)
        grid[0, 0].set_yticks(share, [words.percent(x) for x in share])
        for axes in grid[:, 0]:
            axes.set_ylabel("persistence")
        drawn.text(0.55, 0.36 / height, "tuning steps", ha="center", color=style.MUTED)
        single = len(tunings) == 1
        ink = colours[tunings[0]] if single else style.MUTED
        handles = [] if single else [_key("", colours[name], name, line="-") for name in tunings]
        handles += [_key(marker, ink, name, hollow, line) for name, (marker, line, hollow) in _looks().items()]
        drawn.legend(
            handles=[*handles, _key("", style.MUTED, "one edit", line="-")],
            loc="lower center",
            ncols=4,
            borderaxespad=0.1,
        )
        style.save(drawn, svg, png)


def _looks():
    """Marker, line and hollowness of the two measures; generality rests on more pictures and is the full line."""
    return {"generality": ("o", "-", False), "efficacy": ("s", ":", True)}


def _curve(axes, rows, places, colour, measure):
    marker, line, hollow = _looks()[measure]
    face = style.PAPER if hollow else colour
    at = [places[step] for step in rows["tuning_step"]]
    axes.plot(
        [0, *at],
        [1, *rows["persistence"]],
        line,
        marker=marker,
        color=colour,
        markerfacecolor=face,
        markersize=4.5,
        linewidth=1.7,
        zorder=3,
    )
    if measure == "generality":
        axes.fill_between([0, *at], [1, *rows["ci_low"]], [1, *rows["ci_high"]], color=colour, alpha=0.16, linewidth=0)


def outcome_rates(rates, roles=ROLES):
    """Rates of target, source and other per state at its last tuning step, over the pictures of these probe roles.

    The classifier's outcomes where it measured, else CLIP's. Returns a frame with STATE's columns, target, source,
    other, n_images and `by`.
    """
    rates = rates[rates["role"].isin(roles)]
    prefix = "" if (rates["measure"] == "target").any() else "clip_"
    keys = ["family", "task", "arm", "editor", *TUNING]
    part = rates[rates["measure"].isin([prefix + name for name in OUTCOMES])].copy()
    part["measure"] = part["measure"].str.removeprefix("clip_")
    part["hits"] = part["rate"] * part["n_images"]
    wide = part.pivot_table(index=keys, columns="measure", values=["hits", "n_images"], aggfunc="sum")
    out = (wide["hits"] / wide["n_images"])[list(OUTCOMES)].assign(n_images=wide["n_images"]["target"])
    out = out.reset_index().rename_axis(columns=None).assign(by="CLIP" if prefix else "classifier")
    last = out.groupby([k for k in keys if k != "tuning_step"])["tuning_step"].transform("max")
    order = {arm: n for n, arm in enumerate(words.ARMS)}
    out = out[out["tuning_step"] == last].assign(order=out["arm"].map(order).fillna(len(order)))
    return out.sort_values(["family", "task", "order", "editor", *TUNING], kind="stable").drop(columns="order")


def _ordered(table):
    """Yield (family and task, its states in the arms' order)."""
    order = {arm: n for n, arm in enumerate(words.ARMS)}
    table = table.assign(order=table["arm"].map(order).fillna(len(order)))
    for key, part in table.groupby(["family", "task"], sort=False):
        yield key, part.sort_values(["order", "editor", *TUNING], kind="stable")


def _name(row, several):
    """A state's label: its arm, and what made it where the study has more than one of that arm."""
    label = words.arm(row["arm"])
    made = ", ".join(filter(None, [row["editor"], words.tuning(row) if row["tuner"] else ""]))
    return f"{label}\n{made}" if several and made else label


def _panels(table, row_height, extra):
    """(family and task, rows, bottom and height of its axes as shares) for stacked panels, and the figure's height."""
    groups = list(_ordered(table))
    heights = [row_height * len(part) + 0.1 for _, part in groups]
    height = sum(heights) + 0.34 * len(groups) + extra
    top, out = height - 0.05, []
    for (key, part), own in zip(groups, heights, strict=True):
        top -= 0.34 + own
        out.append((key, part, top / height, own / height))
    return out, height


def outcomes(rates, svg, png):
    """Outcome rates per state as stacked bars, over the edits' own probes (efficacy and generality)."""
    table = outcome_rates(rates)
    panels, height = _panels(table, 0.31, 0.42)
    several = table.groupby(["family", "task", "arm"]).size().max() > 1
    with style.figure(style.WIDTH, height) as drawn:
        for key, part, bottom, own in panels:
            axes = drawn.add_axes((0.3, bottom, 0.68, own))
            axes.set_title(f"{key[1].capitalize()} edits", x=-0.425)
            for y, (_, row) in enumerate(part.iterrows()):
                left = 0.0
                for name in OUTCOMES:
                    axes.barh(
                        y,
                        row[name],
                        left=left,
                        height=0.74,
                        color=style.OUTCOMES[name],
                        edgecolor=style.PAPER,
                        linewidth=0.8,
                    )
                    if row[name] >= 0.075:
                        text = words.percent(row[name])
                        axes.text(
                            left + row[name] / 2,
                            y,
                            text,
                            ha="center",
                            va="center_baseline",
                            color=style.ON_OUTCOMES[name],
                            fontsize=8,
                        )
                    left += row[name]
            axes.set(xlim=(0, 1), ylim=(len(part) - 0.5, -0.5), xticks=[])
            axes.set_yticks(range(len(part)), [_name(row, several) for _, row in part.iterrows()])
            axes.spines["bottom"].set_visible(False)
        from matplotlib.patches import Patch

        handles = [Patch(color=style.OUTCOMES[name], label=name) for name in OUTCOMES]
        drawn.legend(handles=handles, loc="lower center", ncols=3, borderaxespad=0.2, bbox_to_anchor=(0.64, 0))
        style.save(drawn, svg, png)


def specificity(rates, svg, png):
    """Share of the neighbours' pictures that still show the neighbour, per state at its last step, with intervals."""
    rates = rates[(rates["role"] == "specificity")]
    shown = {"specificity": ("CLIP", -0.13), "source": ("classifier", 0.13)}
    keys = ["family", "task", "arm", "editor", "tuner", "site", "corpus"]
    rates = rates[rates["tuning_step"] == rates.groupby(keys)["tuning_step"].transform("max")]
    rates = rates[rates["measure"].isin(shown)]
    if rates.empty:
        _nothing(svg, png, "No edit of this study has neighbours to measure.")
        return
    states = rates.drop_duplicates(["family", "task", "arm", "editor", *TUNING])
    panels, height = _panels(states, 0.33, 0.75)
    several = states.groupby(["family", "task", "arm"]).size().max() > 1
    floor = max(0.0, np.floor(min(rates["ci_low"].min(), 0.8) * 10) / 10) if rates["ci_low"].notna().any() else 0.0
    with style.figure(style.WIDTH, height) as drawn:
        for number, (key, part, bottom, own) in enumerate(panels):
            axes = drawn.add_axes((0.3, bottom, 0.56, own))
            axes.set_title(f"Neighbours of {key[1]} edits", x=-0.515)
            for y, (_, row) in enumerate(part.iterrows()):
                same = rates[
                    (
                        rates[["family", "task", "arm", "editor", *TUNING]]
                        == list(row[["family", "task", "arm", "editor", *TUNING]])
                    ).all(axis=1)
                ]
                for measure, (_, offset) in shown.items():
                    for _, found in same[same["measure"] == measure].iterrows():
                        _interval(axes, found.rename({"rate": "persistence"}), y + offset, hollow=measure == "source")
                        if measure == "specificity":
                            axes.text(
                                1.04,
                                y,
                                words.percent(found["rate"]),
                                transform=axes.get_yaxis_transform(),
                                va="center_baseline",
                                weight="bold",
                            )
            axes.set(xlim=(floor - 0.01, 1.015), ylim=(len(part) - 0.5, -0.5))
            axes.set_yticks(range(len(part)), [_name(row, several) for _, row in part.iterrows()])
            share = np.linspace(floor, 1, 5 if floor != 0.7 else 4)
            axes.set_xticks(
                share, [words.percent(x) for x in share] if number == len(panels) - 1 else [""] * len(share)
            )
            axes.grid(axis="x")
        axes.set_xlabel("share of neighbours' pictures that kept their subject")
        handles = [_key("o", style.SERIES[0], "CLIP"), _key("s", style.SERIES[1], "classifier", hollow=True)]
        drawn.legend(handles=handles[: rates["measure"].nunique()], loc="lower center", ncols=2, borderaxespad=0.1)
        style.save(drawn, svg, png)


def grids(pictures, svg, png):
    """Picture grid: a row per edit, a column per arm and seed; same prompt and same noise along each row.

    pictures: the pictures table of one family; its efficacy probes, the first two seeds and the first tuning are drawn.
    """
    import io

    from PIL import Image

    table = pictures[(pictures["role"] == "efficacy") & (pictures["seed"] < 2)]
    tasks = list(dict.fromkeys(table["task"]))
    arms = [arm for arm in words.ARMS if (table["arm"] == arm).any()]
    rows = max(table.loc[table["task"] == task, "edit"].nunique() for task in tasks)
    side, gap, label = 0.42, 0.1, 1.25
    block = label + len(arms) * (2 * side + gap)
    width, height = block * len(tasks) + 0.1, rows * (side + 0.04) + 0.62
    with style.figure(width, height) as drawn:
        for number, task in enumerate(tasks):
            left = 0.1 + number * block
            mine = table[table["task"] == task]
            drawn.text(
                left / width, 1 - 0.15 / height, f"{task.capitalize()} edits", weight="bold", va="center", fontsize=9
            )
            for a, arm in enumerate(arms):
                x = left + label + a * (2 * side + gap)
                drawn.text(
                    (x + side) / width,
                    1 - 0.42 / height,
                    words.arm(arm).replace(", ", ",\n"),
                    ha="center",
                    va="center",
                    fontsize=7.5,
                    color=style.MUTED,
                )
            for r, (_, one) in enumerate(mine.groupby("edit", sort=False)):
                y = height - 0.62 - (r + 1) * (side + 0.04) + 0.04
                name = f"{one['source'].iloc[0]}\n→ {one['target'].iloc[0]}"
                drawn.text(
                    (left + label - 0.1) / width, (y + side / 2) / height, name, ha="right", va="center", fontsize=7.5
                )
                for a, arm in enumerate(arms):
                    few = one[one["arm"] == arm].drop_duplicates("seed")
                    for _, picture in few.iterrows():
                        x = left + label + a * (2 * side + gap) + picture["seed"] * side
                        axes = drawn.add_axes((x / width, y / height, 0.97 * side / width, 0.97 * side / height))
                        axes.imshow(Image.open(io.BytesIO(picture["webp"])), interpolation="nearest")
                        axes.set_axis_off()
        style.save(drawn, svg, png)
