"""What the figures show, in sentences: cell by cell in a small study, medians and extremes in a large one."""

import numpy as np

from holdfast.analysis.pairing import ARMS, CELL
from holdfast.report import answer, arrange, words

WITHOUT_STEP = [key for key in CELL if key != "tuning_step"]


def sentences(found, persistence, edits, rates):
    """Section -> list of sentences. found: cells as `answer.cells` gives them; the others are the study's tables."""
    if len(found) > answer.FEW:
        return _of_many(found, persistence, rates)
    out = {"persistence": [], "outcomes": [], "specificity": [], "steps": []}
    states = arrange.outcome_rates(rates)
    for cell in found:
        name = answer.name(cell, found)
        out["persistence"] += _spread(cell, edits, name)
        out["steps"] += _course(cell, persistence, name)
        out["outcomes"] += _fates(cell, states, name)
        out["specificity"] += _neighbours(cell, rates)
    return out


def _mine(table, cell, keys=CELL):
    return table[(table[list(keys)] == [cell[key] for key in keys]).all(axis=1)]


def _measure(cell, kind="judges"):
    """The measure by which the cell's first judge judges it."""
    return next((judged["measure"] for judged in cell[kind].values()), None)


def _course(cell, persistence, name):
    mine = _mine(persistence[persistence["measure"] == _measure(cell)], cell, WITHOUT_STEP)
    mine = mine.sort_values("tuning_step").dropna(subset="persistence")
    if len(mine) < 2:
        return []
    course = (f"{words.percent(row['persistence'])} after {row['tuning_step']}" for _, row in mine.iterrows())
    return [f"{name} keep, on their own prompts, {words.listing(course)} steps."]


def _spread(cell, edits, name):
    mine, measure = _mine(edits, cell), _measure(cell, "wider") or _measure(cell)
    mine = mine[mine["measure"] == measure]
    own = mine.groupby("edit")[ARMS].mean()
    own = ((own["edited_tuned"] - own["tuned"]) / (own["edited"] - own["base"]))[own["edited"] != own["base"]]
    if own.empty:
        return []
    found = [
        f"{name}: edit by edit, {words.measure(measure)} ranges from {words.percent(own.min())} ({own.idxmin()}) "
        f"to {words.percent(own.max())} ({own.idxmax()}) of the effect."
    ]
    seeds = mine.groupby("train_seed")[ARMS].mean()
    seeds = (seeds["edited_tuned"] - seeds["tuned"]) / (seeds["edited"] - seeds["base"])
    if len(seeds) > 1:
        each = words.listing(words.percent(value) for value in seeds)
        found.append(f"The {len(seeds)} trainings, which differ in their seed only, left {each}.")
    return found


def _fates(cell, states, name):
    found = []
    if cell["fates"]:
        fate = cell["fates"]
        found.append(
            f"{name}: of the pictures that showed the target before tuning, {words.percent(fate['held'])} still do, "
            f"{words.percent(fate['reversal'])} went back to their source (reversal) and "
            f"{words.percent(fate['drift'])} turned into neither (drift)."
        )
    same = states[(states["family"] == cell["family"]) & (states["task"] == cell["task"])]
    base = same[same["arm"] == "base"]
    tuned = _mine(same[same["arm"] == "tuned"], cell, ["tuner", "site", "corpus", "tuning_step"])
    if len(base) and len(tuned):
        found.append(
            f"Tuning with no edit at all moves these prompts from {words.percent(base['other'].iloc[0])} to "
            f"{words.percent(tuned['other'].iloc[0])} other: that share of the drift is not the edit’s."
        )
    return found


def neighbours(cell, rates):
    """Specificity of a cell in the arms base, edited and edited_tuned; None where one of them wasn't measured."""
    mine = rates[(rates["role"] == "specificity") & (rates["measure"] == "specificity")]
    mine = mine[(mine["family"] == cell["family"]) & (mine["task"] == cell["task"])]
    arms = {
        "base": mine[mine["arm"] == "base"],
        "edited": mine[(mine["arm"] == "edited") & (mine["editor"] == cell["editor"])],
        "edited_tuned": _mine(mine[mine["arm"] == "edited_tuned"], cell),
    }
    if any(part.empty for part in arms.values()):
        return None
    return {arm: float(part["rate"].iloc[0]) for arm, part in arms.items()}


def _neighbours(cell, rates):
    shares = neighbours(cell, rates)
    if shares is None:
        return []
    base, edited, final = map(words.percent, shares.values())
    return [
        f"Neighbours of {cell['task']} edits kept their subject in {base} of the base’s pictures, "
        f"{edited} after the edit, and {final} after edit and tuning ({cell['editor']}, {cell['tuning']})."
    ]


def _of_many(found, persistence, rates):
    out = {"persistence": [], "outcomes": [], "specificity": [], "steps": []}
    clear = [cell for cell in found if not np.isnan(cell["persistence"])]
    if clear:
        most, least = (pick(clear, key=lambda cell: cell["persistence"]) for pick in (max, min))
        ends = (
            f"{answer.name(cell, found)}: {words.percent(cell['persistence'])} "
            f"({words.interval(cell['persistence'], cell['low'], cell['high'])})"
            for cell in (most, least)
        )
        out["persistence"].append("The cell with most left and the one with least are {}, and {}.".format(*ends))
        out["steps"] += _courses(clear, persistence)
    fated = [cell for cell in found if cell["fates"]]
    if fated:
        middle = {name: float(np.median([cell["fates"][name] for cell in fated])) for name in ("reversal", "drift")}
        out["outcomes"].append(
            "Of the pictures that showed the target before tuning, the median cell sends "
            f"{words.percent(middle['reversal'])} back to the source (reversal) and {words.percent(middle['drift'])} "
            "to neither (drift)."
        )
        for name in middle:
            top = max(fated, key=lambda cell: cell["fates"][name])
            share = words.percent(top["fates"][name])
            out["outcomes"].append(f"Most {name}: {answer.name(top, found)}, {share}.")
    shares = [(cell, neighbours(cell, rates)) for cell in found]
    shares = [(cell, share) for cell, share in shares if share]
    if shares:
        cell, worst = min(shares, key=lambda pair: pair[1]["edited_tuned"])
        middle = {arm: words.percent(float(np.median([share[arm] for _, share in shares]))) for arm in worst}
        out["specificity"].append(
            f"In the median cell neighbours kept their subject in {middle['base']} of the base’s pictures, "
            f"{middle['edited']} after the edit and {middle['edited_tuned']} after edit and tuning (CLIP); worst off "
            f"are {answer.name(cell, found)} with {words.percent(worst['edited_tuned'])}."
        )
    return out


def _courses(found, persistence):
    """Medians over the cells that have snapshots besides the last, at the first of them and at the last."""
    first, last = [], []
    for cell in found:
        mine = _mine(persistence[persistence["measure"] == _measure(cell)], cell, WITHOUT_STEP)
        mine = mine.sort_values("tuning_step").dropna(subset="persistence")
        if len(mine) > 1:
            first.append((mine["tuning_step"].iloc[0], mine["persistence"].iloc[0]))
            last.append((mine["tuning_step"].iloc[-1], mine["persistence"].iloc[-1]))
    if not first:
        return []
    told = (
        f"{words.percent(float(np.median([value for _, value in ends])))} at its {name} snapshot "
        f"({words.listing(str(step) for step in sorted({int(step) for step, _ in ends}))} steps)"
        for name, ends in (("first", first), ("last", last))
    )
    return [f"The median cell keeps {' and '.join(told)}."]
