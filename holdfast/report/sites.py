"""Site by site on the page: where the editor wrote against where the tuner wrote."""

from holdfast.analysis.claims import JUDGES
from holdfast.report import arrange, words

# Contrast -> what is said where it is positive, negative, and not shown.
SAID = {
    "same_place": (
        "Tuning the place where the edit was written leaves more of it than tuning the other place",
        "Tuning the place where the edit was written leaves less of it than tuning the other place",
        "That it matters whether a tuning writes where the edit was written isn’t shown",
    ),
    "editor": (
        "With the tuned places averaged, {0} keeps more than {1}",
        "With the tuned places averaged, {0} keeps less than {1}",
        "With the tuned places averaged, no difference between {0} and {1} is shown",
    ),
    "tuner_site": (
        "With the editors averaged, tuning the denoiser leaves more than tuning the text encoder",
        "With the editors averaged, tuning the denoiser leaves less than tuning the text encoder",
        "With the editors averaged, no difference between tuning the denoiser and the text encoder is shown",
    ),
}
ONE_SITE = {
    "editor": (
        "{0} keeps more than {1}, where {2} is tuned",
        "{0} keeps less than {1}, where {2} is tuned",
        "No difference between {0} and {1} is shown where {2} is tuned",
    )
}
ONE_PLACE = (
    "Every matched tuning wrote in one place, so what is due to the editors’ methods and what to their places can’t be "
    "told apart."
)


def section(table, level):
    """sites.csv for the page, a block per family and design: {family, editors, sites, rows, sentences}.

    rows: {editor, place, judge, cells}, a cell {value, low, high, n} or None in the order of `sites`; the edits' own
    prompts alone. A sentence per contrast: it is shown where all judges show it, on one side, at this level.
    """
    table = table[table["measure"].isin(JUDGES.values())]
    blocks = []
    for (family, editors), part in table.groupby(["family", "editors"], sort=False):
        fields = part[part["contrast"] == ""].to_dict("records")
        sites = words.ordered(dict.fromkeys(row["tuner_site"] for row in fields), arrange.SITES)
        rows = [
            {
                "editor": name,
                "place": _named(next(row["editor_site"] for row in fields if row["editor"] == name)),
                "judge": judge,
                "cells": [_cell(fields, name, grid, site) for site in sites],
            }
            for name in editors.split("/")
            for judge, grid in JUDGES.items()
            if any(row["editor"] == name and row["measure"] == grid for row in fields)
        ]
        said = [_sentence(part, name, editors.split("/"), sites, level) for name in SAID]
        said = [sentence for sentence in said if sentence]
        if len(editors.split("/")) == 2 and "same_place" not in set(part["contrast"]):
            said.append(ONE_PLACE)
        named = [_named(site) for site in sites]
        blocks.append({"family": family, "editors": editors, "sites": named, "rows": rows, "sentences": said})
    return blocks


def _cell(fields, editor, grid, site):
    for row in fields:
        if (row["editor"], row["measure"], row["tuner_site"]) == (editor, grid, site):
            return {"value": row["value"], "low": row["ci_low"], "high": row["ci_high"], "n": int(row["n_cells"])}
    return None


def _sentence(part, contrast, editors, sites, level):
    """What the judges say of a contrast; empty where the study lacks it."""
    found = part[part["contrast"] == contrast].set_index("measure")
    if found.empty:
        return ""
    sides = {
        (value > 0) - (value < 0) if p <= level else 0 for value, p in zip(found["value"], found["p_holm"], strict=True)
    }
    side = sides.pop() if len(sides) == 1 else 0
    forms = ONE_SITE.get(contrast, SAID[contrast]) if len(sites) == 1 else SAID[contrast]
    told = [_figures(found.loc[grid], judge) for judge, grid in JUDGES.items() if grid in found.index]
    said = forms[{1: 0, -1: 1, 0: 2}[side]].format(*editors, _named(sites[0]))
    return f"{said}: {words.listing(told)}."


def _figures(row, judge):
    low, high = (words.number(100 * row[name], 0) for name in ("ci_low", "ci_high"))
    by = "the classifier" if judge == "classifier" else judge
    certain = f"{low} to {high}; " if words.MISSING not in (low, high) else ""
    return f"{words.number(100 * row['value'], 0)} points by {by} ({certain}p {words.chance(row['p_holm'])})"


def _named(site):
    return {"": "unknown", "t5": "T5"}.get(site, f"the {site.replace('_', ' ')}" if site != "both" else "both")
