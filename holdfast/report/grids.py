"""The picture grid of a family: a row per edit, the same prompt and the same noise in every column."""

import io

from holdfast.report import arrange, style, words

SEEDS = 2
SIDE, GAP, LABEL, HEAD = 0.42, 0.1, 1.3, 0.62  # inches
PLAIN = ("base", "edited", "tuned", "edited_tuned")


def grids(pictures, svg, png):
    """Draw the first own prompt of every edit, before and after the first tuning, for each editor.

    pictures: the pictures table of one family. Two tasks stand beside each other.
    """
    from PIL import Image

    table = pictures[(pictures["role"] != "specificity") & (pictures["seed"] < SEEDS) & pictures["arm"].isin(PLAIN)]
    tunings = arrange.tunings(row for row in table.to_dict("records") if row["tuner"])
    first = tunings[0]["label"] if tunings else ""
    table = table[(table["tuner"] == "") | table.index.isin(arrange.of_tuning(table, first).index)]
    table = table[table["probe"] == table.groupby(["task", "edit"])["probe"].transform("first")]
    columns = sorted(
        {(PLAIN.index(row["arm"]), row["editor"]) for row in table[["arm", "editor"]].to_dict("records")},
        key=lambda column: (column[0], arrange.place(column[1], arrange.EDITORS)),
    )
    several = len({editor for _, editor in columns if editor}) > 1
    tasks = arrange.tasks(table["task"])
    block = LABEL + len(columns) * (SEEDS * SIDE + GAP)
    heights = [HEAD + (SIDE + 0.04) * table.loc[table["task"] == task, "edit"].nunique() for task in tasks]
    pairs = [max(heights[n : n + 2]) for n in range(0, len(tasks), 2)]
    width, height = block * min(2, len(tasks)) + 0.1, sum(pairs) + 0.05
    with style.figure(width, height) as drawn:
        for number, task in enumerate(tasks):
            left, top = 0.1 + number % 2 * block, height - sum(pairs[: number // 2])
            mine = table[table["task"] == task]
            drawn.text(left / width, (top - 0.15) / height, words.task(task), weight="bold", va="center", fontsize=9)
            for c, (arm, editor) in enumerate(columns):
                x = left + LABEL + c * (SEEDS * SIDE + GAP)
                name = words.arm(PLAIN[arm]).replace(", ", ",\n") + (f"\n({editor})" if several and editor else "")
                drawn.text((x + SIDE) / width, (top - 0.4) / height, name, ha="center", va="center", fontsize=7,
                           color=style.MUTED, linespacing=1.0)  # fmt: skip
            for r, (_, one) in enumerate(mine.groupby("edit", sort=False)):
                y = top - HEAD - (r + 1) * (SIDE + 0.04) + 0.04
                at = ((left + LABEL - 0.1) / width, (y + SIDE / 2) / height)
                drawn.text(*at, _name(one.iloc[0]), ha="right", va="center", fontsize=7.5)
                for c, (arm, editor) in enumerate(columns):
                    few = one[(one["arm"] == PLAIN[arm]) & (one["editor"] == editor)].drop_duplicates("seed")
                    for _, picture in few.iterrows():
                        x = left + LABEL + c * (SEEDS * SIDE + GAP) + picture["seed"] * SIDE
                        axes = drawn.add_axes((x / width, y / height, 0.97 * SIDE / width, 0.97 * SIDE / height))
                        axes.imshow(Image.open(io.BytesIO(picture["webp"])), interpolation="nearest")
                        axes.set_axis_off()
        style.save(drawn, svg, png)


def _name(row):
    """'a rose / → a blue rose', short enough for its place; a debiasing edit names its source alone."""
    if row["task"] == "debias":
        return row["source"]
    return f"{row['source']}\n→ {row['target'] or 'nothing'}"
