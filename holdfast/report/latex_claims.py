"""The tables for a paper that compare with the paper's own: its claims, the sites, and tuners at equal strength."""

from holdfast.report import claims, sections, tex, words
from holdfast.report.tex import Column

JUDGES = {"own": "CLIP", "classified_own": "classifier"}


def tested(frame):
    """claims.csv: what was tested, each claim as the terminal names it, its part in words."""
    rows = []
    for row in frame[frame["verdict"] != claims.UNTESTED].to_dict("records"):
        name, _, which = row["claim"].partition(":")
        told = claims.SHORT.get(row["claim"], claims.SHORT.get(name, name))
        rows.append(row | {"told": told, "part": claims.part(name, which)})
    return rows


def crossed(frame):
    """sites.csv on the edits' own prompts: a row per field and per contrast, `what` in words."""
    rows = []
    for row in frame[frame["measure"].isin(JUDGES)].to_dict("records"):
        places = [row[name].replace("_", " ") for name in ("contrast", "editor_site", "tuner_site")]
        what = places[0] or f"{row['editor']} in the {places[1]}, {places[2]} tuned"
        rows.append(row | {"what": what, "judge": JUDGES[row["measure"]], "threshold": 0.0 if row["contrast"] else 1.0})
    return rows


def matched(frame):
    """doses.csv: the rows over all cells, their prompts in words."""
    rows = frame[frame["n_cells"] > 1].to_dict("records")
    return [row | {"prompts": sections.GRIDS[row["measure"]]} for row in rows]


def claimed(value, low, high, threshold):
    """What is left as per cent; a difference, whose threshold is 0, as points."""
    return tex.share(value, low, high) if threshold else tex.points(value, low, high)


VALUE = Column("left, or difference", ("value", "ci_low", "ci_high", "threshold"), claimed, "r")
HOLM = Column("Holm", ("p_holm",), tex.chance, "r")
CELLS = Column("cells", ("n_cells",), tex.count, "r")


def steps(*values):
    """Two numbers of steps."""
    return ", ".join(tex.escape(words.number(value, 0)) for value in values)
