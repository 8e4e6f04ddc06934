"""The page's section on tuners at equal strength: as many steps, as large a change, as good a fit."""

from holdfast.report import sections, words

SCALES = {"steps": "after as many steps", "size": "with a change of the same size", "fit": "with as good a fit"}


def section(table):
    """doses.csv for the page: {sentences, rows: of all cells together, with `scale` and `prompts` in words}."""
    rows = [
        row | {"scale": SCALES[row["scale"]], "prompts": sections.GRIDS[row["measure"]], "named": row["scale"]}
        for row in table[table["n_cells"] > 1].to_dict("records")
    ]
    return {"sentences": [*_sentences(rows)], "rows": rows}


def _sentences(rows):
    """For every pair of tuners what their own prompts keep at equal strength, by the first judge who saw them."""
    for a, b in dict.fromkeys((row["a"], row["b"]) for row in rows):
        mine = [row for row in rows if (row["a"], row["b"]) == (a, b) and row["measure"] == "own"]
        told = [
            f"{row['scale']} {words.percent(row['persistence_a'])} or {words.percent(row['persistence_b'])} "
            f"(p = {words.chance(row['p_holm'])})"
            for row in mine
        ]
        if told:
            yield f"Of the edits’ effect {a} or {b} leave {words.listing(told)}."
