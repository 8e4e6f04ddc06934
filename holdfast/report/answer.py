"""The answer in plain sentences, computed from the tables. Nothing here knows what the numbers will be."""

from collections import Counter

import pandas as pd

from holdfast.analysis.persistence import CELL
from holdfast.report import words
from holdfast.report.plots import last_step, outcome_rates

HEADLINE = "efficacy"
# CLIP chooses between two texts, so that a picture of neither still counts for one; the classifier refuses it.
WITNESS = "classified_efficacy"
# What an interval of the persistence says. The sentences and badges claim no more than the interval supports.
VERDICTS = {
    "strengthened": "grew stronger",
    "held": "held",
    "weakened": "weakened",
    "gone": "are gone",
    "undecided": "are undecided",
    "none": "had no clear effect to lose",
}
REASONS = {
    "strengthened": "{left} of their effect is there, and the interval stays above full strength ({interval})",
    "held": "{left} of their effect is left, and the interval stays above half and reaches full strength ({interval})",
    "weakened": "{left} of their effect is left, and the interval excludes both zero and full strength ({interval})",
    "gone": "{left} of their effect is left, and the interval contains zero and stays below half ({interval})",
    "undecided": "{left} of their effect is left ({interval}), and that supports no verdict",
}
NO_INTERVAL = "{left} of their effect is left, but there are too few edits or draws for an interval"
BADGES = {name: name for name in VERDICTS} | {"none": "not defined"}
RULES = (
    "“Strengthened” means that the interval of efficacy’s persistence lies above 100 %; “held” that it lies above "
    "50 % and reaches 100 %; “weakened” that it lies above 0 % and below 100 %; “gone” that it contains 0 % and lies "
    "below 50 %; “undecided” is everything else, an interval that can’t be had included. Where a classifier judged the "
    "same pictures, its interval must say the same as CLIP’s."
).replace(" %", "\N{NARROW NO-BREAK SPACE}%")


def verdict(value, low, high):
    """Which of VERDICTS a persistence and its interval mean."""
    if pd.isna(value):
        return "none"
    if low > 1:
        return "strengthened"
    if low > 0.5 and high >= 1:
        return "held"
    if low > 0 and high < 1:
        return "weakened"
    if low <= 0 <= high < 0.5:
        return "gone"
    return "undecided"  # limits that are NaN, too


def cells(persistence):
    """One dict per cell at its last tuning step: names, persistence of efficacy and generality, verdict and fates.

    The fates (held, reversal, drift) are the classifier's where it measured, of the generality probes where there are
    any: five times the pictures.
    """
    out = []
    for key, part in last_step(persistence).groupby(CELL, sort=False):
        rows = part.set_index("measure")
        if HEADLINE not in rows.index:
            continue
        head = rows.loc[HEADLINE]
        cell = dict(zip(CELL, key, strict=True)) | {"tuning": words.tuning(head), "rows": rows.to_dict("index")}
        cell |= {"persistence": head["persistence"], "low": head["ci_low"], "high": head["ci_high"]}
        cell["verdict"] = verdict(head["persistence"], head["ci_low"], head["ci_high"])
        cell["witness"] = None
        if WITNESS in rows.index and cell["verdict"] != "none":
            seen = rows.loc[WITNESS]
            cell["witness"] = {"persistence": seen["persistence"], "low": seen["ci_low"], "high": seen["ci_high"]}
            if verdict(*cell["witness"].values()) != cell["verdict"]:
                cell["verdict"] = "undecided"
        cell |= {"n_edits": int(head["n_edits"]), "n_images": int(head["n_images"])}
        wanted = ("classified_generality", "classified_efficacy", "generality", "efficacy")
        known = [rows.loc[m] for m in wanted if m in rows.index]
        # Where there was no effect to lose, what showed the target did so by chance and has no fate.
        fate = next((row for row in known if pd.notna(row["held"]) and pd.notna(row["persistence"])), None)
        cell["fates"] = None if fate is None else {name: fate[name] for name in ("held", "reversal", "drift")}
        out.append(cell)
    return out


def lede(found):
    """The answer in one or two sentences."""
    if not found:
        return "This study has no cell with both an edit and a tuning, so it can't tell."
    if len(found) > 4:
        counts = Counter(cell["verdict"] for cell in found)
        parts = [f"in {counts[name]} the edits {VERDICTS[name]}" for name in VERDICTS if counts[name]]
        return f"Of {len(found)} cells: {words.listing(parts)}."
    sentences = []
    for cell in found:
        interval = words.between(cell["low"], cell["high"])
        reason = NO_INTERVAL if interval == words.MISSING else REASONS.get(cell["verdict"], "")
        reason = "" if cell["verdict"] == "none" else reason
        reason = reason.format(left=words.percent(cell["persistence"]), interval=interval)
        told = f"{VERDICTS[cell['verdict']]}: {reason}" if reason else VERDICTS[cell["verdict"]]
        sentences.append(f"{_name(cell, found)} {told}.{_witness(cell)}")
    return " ".join(sentences)


def _witness(cell):
    """What the classifier says of the same pictures, as a sentence to follow CLIP's; empty without one."""
    seen = cell["witness"]
    if seen is None or pd.isna(seen["persistence"]):
        return ""
    interval = words.between(seen["low"], seen["high"])
    certain = "" if interval == words.MISSING else f" ({interval})"
    left = words.percent(seen["persistence"])
    return f" That is CLIP’s choice between two texts; the classifier still sees {left}{certain}."


def _name(cell, found):
    """A cell in words, as short as the study allows: 'Appearance edits (mini-sd, uce, lora on mascot)'."""
    parts = [cell[key] for key in ("family", "editor", "tuning") if len({other[key] for other in found}) > 1]
    return f"{cell['task'].capitalize()} edits" + (f" ({', '.join(parts)})" if parts else "")


def details(found, persistence, edits, rates):
    """What the figures show, cell by cell: section -> list of sentences."""
    out = {"persistence": [], "outcomes": [], "specificity": [], "steps": []}
    states = outcome_rates(rates)
    for cell in found:
        name = _name(cell, found)
        out["persistence"] += _spread(cell, edits, name)
        out["steps"] += _course(cell, persistence, name)
        out["outcomes"] += _fates(cell, states, name)
        out["specificity"] += _neighbours(cell, rates)
    return out


def _course(cell, persistence, name):
    keys = [key for key in CELL if key != "tuning_step"]
    mine = _mine(persistence[persistence["measure"] == HEADLINE], cell, keys).sort_values("tuning_step")
    mine = mine.dropna(subset="persistence")
    if len(mine) < 2:
        return []
    course = (f"{words.percent(row['persistence'])} after {row['tuning_step']}" for _, row in mine.iterrows())
    return [f"{name} keep, on their own prompts, {words.listing(course)} steps."]


def _mine(table, cell, keys=CELL):
    return table[(table[list(keys)] == [cell[key] for key in keys]).all(axis=1)]


def _spread(cell, edits, name):
    mine = _mine(edits, cell)
    role = "generality" if (mine["measure"] == "generality").any() else "efficacy"
    mine = mine[mine["measure"] == role]
    arms = ["base", "edited", "tuned", "edited_tuned"]
    own = mine.groupby("edit")[arms].mean()
    own = ((own["edited_tuned"] - own["tuned"]) / (own["edited"] - own["base"]))[own["edited"] != own["base"]]
    if own.empty:
        return []
    sentences = [
        f"{name}: edit by edit, {role} ranges from {words.percent(own.min())} ({own.idxmin()}) "
        f"to {words.percent(own.max())} ({own.idxmax()}) of the effect."
    ]
    seeds = mine.groupby("train_seed")[arms].mean()
    seeds = (seeds["edited_tuned"] - seeds["tuned"]) / (seeds["edited"] - seeds["base"])
    if len(seeds) > 1:
        each = words.listing(words.percent(value) for value in seeds)
        sentences.append(f"The {len(seeds)} trainings, which differ in their seed only, left {each}.")
    return sentences


def _fates(cell, states, name):
    sentences = []
    if cell["fates"]:
        fate = cell["fates"]
        sentences.append(
            f"{name}: of the pictures that showed the target before tuning, {words.percent(fate['held'])} still do, "
            f"{words.percent(fate['reversal'])} went back to their source (reversal) and "
            f"{words.percent(fate['drift'])} turned into neither (drift)."
        )
    same = states[(states["family"] == cell["family"]) & (states["task"] == cell["task"])]
    base = same[same["arm"] == "base"]
    tuned = _mine(same[same["arm"] == "tuned"], cell, ["tuner", "site", "corpus", "tuning_step"])
    if len(base) and len(tuned):
        sentences.append(
            f"Tuning with no edit at all moves these prompts from {words.percent(base['other'].iloc[0])} to "
            f"{words.percent(tuned['other'].iloc[0])} other: that share of the drift is not the edit's."
        )
    return sentences


def _neighbours(cell, rates):
    mine = rates[(rates["role"] == "specificity") & (rates["measure"] == "specificity")]
    mine = mine[(mine["family"] == cell["family"]) & (mine["task"] == cell["task"])]
    arms = {
        "base": mine[mine["arm"] == "base"],
        "edited": mine[(mine["arm"] == "edited") & (mine["editor"] == cell["editor"])],
        "edited_tuned": _mine(mine[mine["arm"] == "edited_tuned"], cell),
    }
    if any(part.empty for part in arms.values()):
        return []
    base, edited, final = (words.percent(part["rate"].iloc[0]) for part in arms.values())
    return [
        f"Neighbours of {cell['task']} edits kept their subject in {base} of the base's pictures, "
        f"{edited} after the edit, and {final} after edit and tuning ({cell['editor']}, {cell['tuning']})."
    ]


def table(found, confidence):
    """The headline as a plain text table for the terminal: one line per cell."""
    head = (
        "family",
        "task",
        "edit, then tuning",
        "efficacy left",
        words.percent(confidence) + " interval",
        "generality left",
        "",
    )
    lines = [head]
    for cell in found:
        general = cell["rows"].get("generality", {}).get("persistence", float("nan"))
        lines.append(
            (
                cell["family"],
                cell["task"],
                f"{cell['editor']}, then {cell['tuning_step']} steps of {cell['tuning']}",
                words.percent(cell["persistence"]),
                words.between(cell["low"], cell["high"]),
                words.percent(general),
                BADGES[cell["verdict"]],
            )
        )
    widths = [max(len(line[n]) for line in lines) for n in range(len(head))]
    rows = ["  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    return "\n".join([rows[0], "-" * len(rows[0]), *rows[1:]]) + "\n"
