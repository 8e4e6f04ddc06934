"""The page's section on tuners at equal strength: as many steps, as large a change, as good a fit."""

from holdfast.report import sections, words

# Scale -> how the table and a sentence name it.
SCALES = {"steps": "after as many steps", "size": "with a change of the same size", "fit": "with as good a fit"}


def section(table):
    """doses.csv for the page: {sentences, rows: of all cells together, with `prompts` in words}."""
    rows = table[table["n_cells"] > 1].to_dict("records")
    rows = [row | {"prompts": sections.GRIDS[row["measure"]]} for row in rows]
    return {"sentences": [*_sentences(rows)], "rows": rows}


def _sentences(rows):
    """What each pair of tuners keeps of the edits on their own prompts at equal strength, by the first judge."""
    for a, b in dict.fromkeys((row["a"], row["b"]) for row in rows):
        told = [
            f"{words.percent(row['persistence_a'])} and {words.percent(row['persistence_b'])} {SCALES[row['scale']]} "
            f"(p = {words.chance(row['p_holm'])})"
            for row in rows
            if (row["a"], row["b"], row["measure"]) == (a, b, "own")
        ]
        if told:
            yield f"Of the edits’ effect, {a} and {b} leave {words.listing(told)}."
