"""The answer in plain sentences, computed from the tables. Nothing here knows what the numbers will be."""

import math
import textwrap
from collections import Counter

import numpy as np
import pandas as pd

from holdfast.analysis.pairing import CELL
from holdfast.report import words
from holdfast.report.arrange import EDITORS, RELATIONS, SITES, TUNERS, last_step, place

# task -> who judges its edits, and by which measure. The first is named first, and the other must share its verdict:
# CLIP chooses between two texts, so that a picture of neither still counts for one, which the classifier refuses.
JUDGES = ("CLIP", "classifier")
OWN = {
    "appearance": {"CLIP": "efficacy", "classifier": "classified_efficacy"},
    "role": {"CLIP": "efficacy", "classifier": "classified_efficacy"},
    "debias": {"CLIP": "debias", "classifier": "classified_debias"},
    "unsafe": {"classifier": "unsafe", "CLIP": "clip_unsafe"},
}
# The same on the wider probes: other wordings and contexts of the edit's own, or prompts that only imply it.
WIDER = {
    "appearance": {"CLIP": "generality", "classifier": "classified_generality"},
    "role": {"CLIP": "generality", "classifier": "classified_generality"},
    "unsafe": {"classifier": "implied_unsafe", "CLIP": "clip_implied_unsafe"},
}
# What the tests say (`analysis.verdicts`): of edits of the kind, or of the study's own edits and prompts only (`here`).
VERDICTS = {
    "strengthened": "grew stronger",
    "held": "held",
    "weakened": "weakened",
    "reversed": "are reversed",
    "strengthened here": "grew stronger here",
    "held here": "held here",
    "weakened here": "weakened here",
    "reversed here": "are reversed here",
    "undecided": "are undecided",
    "none": "had no clear effect to lose",
}
REASON = "{left} of their effect is left ({interval})"
NO_INTERVAL = "{left} of their effect is left, from too few edits for an interval"
WIDELY = " by their wider prompts"
BADGES = {name: name for name in VERDICTS} | {"none": "not defined"}
RULES = (
    "Verdicts are tests at the level {level}, each adjusted for all cells (Holm). “Held”: the persistence lies within "
    "{margin} of 100 %; “reversed”: less than {margin} is left; “weakened” and “strengthened”: it isn’t 100 %, and no "
    "more is shown; “undecided”: none of these is. They are about other edits of the kind, the edit’s own prompts "
    "first, then the wider ones: other wordings, or prompts that only imply it (“wider”). Where that shows nothing, "
    "“here” says what is shown of this study’s edits and prompts alone, under other noise. Where both CLIP and a "
    "classifier judged the same pictures, both must say the same. The tests assume nothing of how edits’ fates are "
    "distributed, so few edits show little: that edits hold takes at least {needed} of them in a study of one cell, "
    "{needed_here} in this one (results/tables/power.csv)."
)
# What is compared over cells that differ in it alone, and in which order its levels stand.
FACTORS = {"editor": "editor", "tuner": "tuner", "site": "site", "relation": "corpus", "family": "family"}
TOLD = ("editor", "tuner", "relation")  # the answer's last sentence names these; the page's tables have all
ORDERS = {"editor": EDITORS, "tuner": TUNERS, "site": SITES, "relation": RELATIONS}
FEW = 3  # cells that are told one by one, in sentences and cards; more are counted
LINES = 12  # cells that the terminal lists one by one
LINE = 100  # characters of a line of sentences there


def badge(cell):
    """A cell's verdict in a word or three."""
    return BADGES[cell["verdict"]] + (", wider" if cell["by_wider"] else "")


def rules(statistics, number):
    """RULES for the configuration's `statistics` and a study of this number of cells."""
    level, margin = 1 - statistics["confidence"], statistics["margin"]
    needed = [math.ceil(math.log(level / cells) / math.log(1 - margin)) for cells in (1, max(number, 1))]
    told = RULES.replace(" %", "\N{NARROW NO-BREAK SPACE}%")
    return told.format(
        level=words.percent(level), margin=words.percent(margin), needed=needed[0], needed_here=needed[1]
    )


def verdict(judged, wider):
    """Which of VERDICTS the tests of a cell support, and whether it was the `wider` probes that showed it.

    judged, wider: what the judges say of the edits' own and of the wider probes, as `cells` gives it.
    """
    if all(pd.isna(one["persistence"]) for one in judged.values()):
        return "none", False
    for scope, suffix in (("verdict", ""), ("here_verdict", " here")):
        for measured in (judged, wider):
            found = {one[scope] for one in measured.values()}
            if len(found) == 1 and not found & {"", "undecided"}:
                return found.pop() + suffix, measured is wider
    return "undecided", False


def cells(persistence):
    """One dict per cell at its last tuning step: names, what each judge says, `verdict` and `by_wider`, and fates.

    `judges` and `wider` are {judge: persistence, low, high, verdict, here_verdict, measure}; persistence, low and high
    repeat the first judge's. The fates (held, reversal, drift) are the classifier's where it measured, of the wider
    probes where there are any: five times the pictures.
    """
    out = []
    for key, part in last_step(persistence).groupby(CELL, sort=False):
        rows = part.set_index("measure")
        cell = dict(zip(CELL, key, strict=True))
        own, wider = _judged(OWN, cell["task"], rows), _judged(WIDER, cell["task"], rows)
        own = own or wider
        if not own:
            continue
        cell |= {"tuning": words.tuning(cell), "rows": rows.to_dict("index"), "judges": own, "wider": wider}
        head, *others = own.values()
        cell |= {name: head[name] for name in ("persistence", "low", "high")}
        cell["verdict"], cell["by_wider"] = verdict(own, wider)
        cell |= {name: int(rows.loc[head["measure"], name]) for name in ("n_edits", "n_images")}
        cell["fates"] = _fates(cell, rows)
        out.append(cell)
    return out


def _judged(measures, task, rows):
    found = {}
    for judge, measure in measures.get(task, {}).items():
        if measure in rows.index:
            row = rows.loc[measure]
            found[judge] = {"persistence": row["persistence"], "low": row["ci_low"], "high": row["ci_high"]}
            found[judge] |= {"measure": measure, "verdict": row["verdict"], "here_verdict": row["here_verdict"]}
    return found


def _fates(cell, rows):
    wanted = [judged[judge]["measure"] for judge in reversed(JUDGES) for judged in (cell["wider"], cell["judges"])
              if judge in judged]  # fmt: skip
    # Where there was no effect to lose, what showed the target did so by chance and has no fate.
    for row in (rows.loc[name] for name in wanted):
        if pd.notna(row["held"]) and pd.notna(row["persistence"]):
            return {name: row[name] for name in ("held", "reversal", "drift")}
    return None


def lede(found):
    """The answer in up to three sentences."""
    if not found:
        return "This study has no cell with both an edit and a tuning, so it can’t tell."
    return " ".join(_each(found) if len(found) <= FEW else _counted(found))


def _each(found):
    for cell in found:
        told = VERDICTS[cell["verdict"]] + (WIDELY if cell["by_wider"] else "")
        if np.isnan(cell["persistence"]) and cell["verdict"] != "none":
            yield f"{name(cell, found)} {told}: {_alone(cell)}."
            continue
        interval = words.between(cell["low"], cell["high"])
        reason = NO_INTERVAL if interval == words.MISSING else REASON
        reason = reason.format(left=words.percent(cell["persistence"]), interval=interval)
        told += f": {reason}" if cell["verdict"] != "none" else ""
        yield f"{name(cell, found)} {told}{_witness(cell)}."


def _counted(found):
    counts = Counter(cell["verdict"] for cell in found)
    parts = [f"{counts[verdict]} {VERDICTS[verdict]}" for verdict in VERDICTS if counts[verdict]]
    yield f"Of {len(found)} cells, each one family, editor, task and tuning, {words.listing(parts)}."
    middle = {judge: median(found, judge) for judge in JUDGES}
    known = [f"{words.percent(value)} ({judge})" for judge, value in middle.items() if not np.isnan(value)]
    if known:
        yield f"The median cell keeps {' or '.join(known)} of its effect."
    told = [_extremes(found, factor) for factor in TOLD]
    if any(told):
        yield f"In the median of cells that differ in nothing else, {'; '.join(filter(None, told))}."


def _extremes(found, factor):
    """'editor uce (64 %) keeps most and refact (61 %) least', by CLIP if it can say; empty with nothing to compare."""
    for judge in JUDGES:
        levels = matched(found, factor, judge)[0]
        if levels:
            most, least = max(levels, key=levels.get), min(levels, key=levels.get)
            said = f"{most} ({words.percent(levels[most])})", f"{least} ({words.percent(levels[least])})"
            if words.percent(levels[most]) == words.percent(levels[least]):
                return f"every {FACTORS[factor]} keeps {words.percent(levels[most])}"
            return f"{FACTORS[factor]} {said[0]} keeps most and {said[1]} least"
    return ""


def median(found, judge):
    """Median persistence over cells by one judge; NaN where he judged none."""
    values = [cell["judges"][judge]["persistence"] for cell in found if judge in cell["judges"]]
    values = [value for value in values if not np.isnan(value)]
    return float(np.median(values)) if values else float("nan")


def matched(found, factor, judge):
    """Median persistence per level of a factor over cells that differ in it alone: ({level: median}, cells a level).

    A group of cells counts where every level has a persistence in it, so that no level has the easier tasks. Empty
    where there is one level only, or no such group.
    """
    keys = ["family", "task", "editor", "tuner", "site", "corpus", "relation"]
    others = [key for key in keys if key not in ((factor, "corpus") if factor == "relation" else (factor,))]
    rows = [
        {**{key: cell[key] for key in keys}, "value": cell["judges"][judge]["persistence"]}
        for cell in found
        if judge in cell["judges"]
    ]
    if not rows or len({row[factor] for row in rows}) < 2:
        return {}, 0
    wide = pd.DataFrame(rows).pivot_table(index=others, columns=factor, values="value", aggfunc="mean", sort=False)
    known = dict.fromkeys(row[factor] for row in rows)
    levels = sorted(known, key=lambda level: place(level, ORDERS.get(factor, [*known])))
    if any(level not in wide for level in levels):
        return {}, 0
    wide = wide[levels].dropna()
    return ({level: float(wide[level].median()) for level in levels}, len(wide)) if len(wide) else ({}, 0)


def compared(found):
    """Medians side by side for the page: one dict per factor with more than one level: {factor, rows}.

    rows: {level, values: {judge: median}, n: cells that the medians are over}, as `matched` gives them.
    """
    out = []
    for factor, name in FACTORS.items():
        judged = {judge: matched(found, factor, judge) for judge in JUDGES}
        judged = {judge: found for judge, found in judged.items() if found[0]}
        levels = list(dict.fromkeys(level for table, _ in judged.values() for level in table))
        rows = [
            {
                "level": level,
                "values": {judge: table[level] for judge, (table, _) in judged.items()},
                "n": max(n for _, n in judged.values()),
            }
            for level in levels
        ]
        out += [{"factor": name, "rows": rows}] if rows else []
    return out


def _alone(cell):
    """What the second judge sees of an edit that by the first had no clear effect to lose."""
    first, second = cell["judges"]
    seen = cell["judges"][second]
    left = words.percent(seen["persistence"])
    certain = words.interval(seen["persistence"], seen["low"], seen["high"])
    known = {"CLIP": "CLIP’s choice between two texts", "classifier": "the classifier"}
    return f"by {known[first]} there was no clear effect to lose; by {known[second]} {left} of it is left ({certain})"


def _witness(cell):
    """What the second judge says of the same pictures, to follow what the first says; empty without one."""
    names = list(cell["judges"])
    if len(names) < 2 or pd.isna(cell["judges"][names[1]]["persistence"]):
        return ""
    seen = cell["judges"][names[1]]
    interval = words.between(seen["low"], seen["high"])
    certain = "" if interval == words.MISSING else f" ({interval})"
    left = words.percent(seen["persistence"])
    if names[1] == "CLIP":
        return f"; that is what the classifier sees, by CLIP’s choice between two texts it is {left}{certain}"
    return f"; that is CLIP’s choice between two texts, the classifier still sees {left}{certain}"


def name(cell, found):
    """A cell in words, as short as the study allows: 'Appearance edits (mini-sd, uce, lora on mascot)'."""
    parts = [cell[key] for key in ("family", "editor", "tuning") if len({other[key] for other in found}) > 1]
    return words.task(cell["task"]) + (f" ({', '.join(parts)})" if parts else "")


def headline(found, confidence, claimed=()):
    """The answer as plain text for the terminal: the sentences, a table, and lines on what was claimed."""
    told = "\n".join(["", *claimed, ""]) if claimed else ""
    said = f"{textwrap.fill(lede(found), LINE)}\n\n{table(found, confidence)}" if found else f"{lede(found)}\n"
    return said + told


def table(found, confidence):
    """The cells as plain text: each in a line, or where they are many a line per family, editor and task."""
    lines = _lines(found, confidence) if len(found) <= LINES else _summary(found)
    widths = [max(len(line[n]) for line in lines) for n in range(len(lines[0]))]
    rows = ["  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    return "\n".join([rows[0], "-" * max(map(len, rows)), *rows[1:]]) + "\n"


def _lines(found, confidence):
    sure = words.percent(confidence) + " interval"
    lines = [("family", "task", "edit, then tuning", "left by CLIP", sure, "by the classifier", sure, "verdict")]
    for cell in found:
        told = []
        for judge in JUDGES:
            seen = cell["judges"].get(judge)
            told += [words.MISSING] * 2 if seen is None else [
                words.percent(seen["persistence"]), words.between(seen["low"], seen["high"])
            ]  # fmt: skip
        made = f"{cell['editor']}, then {cell['tuning_step']} steps of {cell['tuning']}"
        lines.append((cell["family"], cell["task"], made, *told, badge(cell)))
    return lines


def _summary(found):
    out = [("family", "editor", "task", "cells", "left by CLIP: median (range)", "by the classifier", "verdicts")]
    for key in dict.fromkeys((cell["family"], cell["editor"], cell["task"]) for cell in found):
        own = [cell for cell in found if (cell["family"], cell["editor"], cell["task"]) == key]
        counts = Counter(cell["verdict"] for cell in own)
        verdicts = ", ".join(f"{counts[verdict]} {BADGES[verdict]}" for verdict in VERDICTS if counts[verdict])
        out.append((*key, str(len(own)), *(_range(own, judge) for judge in JUDGES), verdicts))
    return out


def _range(found, judge):
    values = [cell["judges"][judge]["persistence"] for cell in found if judge in cell["judges"]]
    values = [value for value in values if not np.isnan(value)]
    if not values:
        return words.MISSING
    return f"{words.percent(median(found, judge))} ({words.between(min(values), max(values))})"
