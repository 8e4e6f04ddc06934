"""The abstract of arXiv 2506.18428, claim by claim, as statements that this study can support or contradict.

A claim is about one family, by one judge, on the edits' own prompts at the last step of every tuning. What is claimed
of all edits together is tested as a pooled persistence (`pooled`) against a threshold, by the test for bounded values
that the verdicts use; what is claimed of two editors or tuners as the mean difference of cells that are alike in all
else, by the paired permutation test of `comparisons`. That test's null distribution is symmetric, since swapping every
edit turns the difference's sign, so a side's own p is half of the two-sided one, or what is missing of it from 1.

Either side may come out, the claim or its contrary. Of a pooled persistence one of the two is true, so the smaller
p-value counts as it is; two cells may well not differ, when both sides are wrong, so of a difference the two-sided one
counts. It is adjusted (Holm) over all claims of a family and judge; two claims about the same cells are one test. That
DoRA is the strongest of all follows from its comparisons with each other tuner, which are already adjusted: it has no
test of its own.
"""

import numpy as np
import pandas as pd

from holdfast.analysis import pooled, switches, verdicts
from holdfast.analysis.switches import differences, matched

# judge -> the grid of his measures on the edits' own prompts (`Measure.grid`).
JUDGES = {"CLIP": "own", "classifier": "classified_own"}
UNRELATED = ("unrelated", "tangential", "placebo")
SITES = {"denoiser": "the denoiser is", "text_encoder": "the text encoder is", "both": "both are"}
COLUMNS = [
    *("claim", "statement", "scope", "family", "judge", "n_cells", "n_edits", "value", "ci_low", "ci_high"),
    *("threshold", "p_supports", "p_contradicts", "p_holm", "verdict"),
]


def tabulate(tested, edited, sites, *, families, methods, draws, confidence, seed, margin):
    """One row per claim, family and judge (columns: docs/tables.md).

    tested: rows of the persistence table at the last tuning step (`persistence.measured`). edited: from
    `pairing.edited`. sites: the table of `sites.tabulate`. methods: of `holdfast.methods.described`. A claim that the
    study can't test stands in the table all the same, with the reason as its scope.
    """
    bootstrap = {"draws": draws, "confidence": confidence, "seed": seed}
    rows = []
    for family in families:
        for judge, grid in JUDGES.items():
            cells = [one for one in tested if one.row["family"] == family and one.measure.grid == grid]
            known = [one for one in cells if not np.isnan(one.row["persistence"])]
            balanced = sites[(sites["family"] == family) & (sites["measure"] == grid)]
            made = [*_pooled(known, margin, bootstrap), *_tuners(known, methods, bootstrap)]
            made += _editors(known, methods, balanced, bootstrap)
            made += switches.rows(
                known, [one for one in edited if one[0]["family"] == family], grid, methods, bootstrap
            )
            made = [{**dict.fromkeys(COLUMNS, np.nan), **row, "family": family, "judge": judge} for row in made]
            rows += _judged(made, 1 - confidence)
    order = {claim: n for n, claim in enumerate(dict.fromkeys(row["claim"] for row in rows))}
    table = pd.DataFrame(sorted(rows, key=lambda row: order[row["claim"]]), columns=COLUMNS)
    return table.astype(dict.fromkeys(("n_cells", "n_edits"), "Int64"))


def _pooled(known, margin, bootstrap):
    """That edits fail to persist: at all, wholly, and where the tuning has nothing to do with them."""
    unrelated = [one for one in known if one.row["relation"] in UNRELATED]
    for claim, said, cells, threshold in (
        ("edits_fail", "Edits generally fail to persist through fine-tuning", known, 1 - margin),
        ("edits_reversed", "Read strongly, edits are reversed by fine-tuning", known, margin),
        ("unrelated_reverse", "Edits fail to persist even where the fine-tuning is tangential or unrelated to them",
         unrelated, 1 - margin),
    ):  # fmt: skip
        said = f"{said}: less than {100 * threshold:g} % of their effect is left."
        row = {"claim": claim, "statement": said}
        if not cells:
            yield row | {"scope": "no edit with a clear effect was tuned on such pictures"}
            continue
        found = pooled.pool(cells)
        above, below = verdicts.one_sided(found.units)
        value, low, high = pooled.share(found, **bootstrap)
        row |= {"scope": scope(cells), "n_cells": found.cells, "n_edits": len(found.edits), "threshold": threshold}
        row |= {"value": value, "ci_low": low, "ci_high": high}
        sides = below(threshold), above(threshold)
        row["test"] = ("pooled", threshold, _told_apart(cells))
        yield row | {"p_value": min(sides), "p_supports": sides[0], "p_contradicts": sides[1]}


def _tuners(known, methods, bootstrap):
    """That DoRA leaves less than each other tuner, and so than all."""
    mine = [name for name, method in methods["tuners"].items() if method == "dora"]
    others = [name for name in methods["tuners"] if name not in mine]
    rows, told = [], " and ".join(mine) or "DoRA"
    for other in others if mine else ():
        pairs = [pair for name in mine for pair in matched(known, "tuner", name, other)]
        row = {"claim": f"dora_strongest:{other}", "statement": f"{told} leaves less of the edits than {other}."}
        lacking = f"no tuning by {told} and by {other} is alike in all else"
        rows.append(row | (_difference(pairs, bootstrap, sign=-1) if pairs else {"scope": lacking}))
    joint = {"claim": "dora_strongest", "statement": "DoRA reverses edits more strongly than every other tuner."}
    if not mine or not others:
        return [joint | {"scope": f"the study has no {'other tuner' if mine else 'tuner by DoRA'}"}]
    against = [row["claim"].partition(":")[2] for row in rows if "value" in row]
    joint["scope"] = f"{told} against {', '.join(against)}" if against else "no two tunings are alike in all else"
    return [joint, *rows]


def _editors(known, methods, balanced, bootstrap):
    """That UCE keeps more than ReFACT: at all, by the place that is tuned, and with the place averaged out."""
    used = {one.row["editor"] for one in known}
    first = {}
    for name, editor in methods["editors"].items():
        if name in used:
            first.setdefault(editor["method"], name)
    said = "UCE keeps more of its effect through fine-tuning than ReFACT"
    claims = {"uce_robust": f"{said}."}
    claims |= {f"uce_robust:{site}": f"{said} where {name} tuned." for site, name in SITES.items()}
    claims["uce_robust:place"] = f"{said}, the tuned place averaged out."
    if not {"uce", "refact"} <= {*first}:
        missing = " and ".join(name for name in ("UCE", "ReFACT") if name.lower() not in first)
        lacking = f"no edit by {missing} had a clear effect and was tuned"
        return [{"claim": claim, "statement": text, "scope": lacking} for claim, text in claims.items()]
    rows, names = [], (first["uce"], first["refact"])
    for claim, text in claims.items():
        site = claim.partition(":")[2]
        row = {"claim": claim, "statement": text}
        if site == "place":
            rows.append(row | _placed(balanced, names))
            continue
        cells = [one for one in known if site in ("", one.row["site"])]
        pairs = matched(cells, "editor", *names)
        where = f" in {SITES[site].rpartition(' ')[0]}" if site else ""
        lacking = f"no tuning{where} is alike in all else for {names[0]} and {names[1]}"
        rows.append(row | (_difference(pairs, bootstrap) if pairs else {"scope": lacking}))
    return rows


def _placed(balanced, names):
    """The contrast of two editors in the design that crosses them with the tuners' sites."""
    mine = balanced[balanced["editors"] == "/".join(names)]
    fields = mine[(mine["contrast"] == "") & mine["tuner_site"].isin(["denoiser", "text_encoder"])]
    if fields["tuner_site"].nunique() < 2:
        return {"scope": "no tuning was done in the denoiser and in the text encoder, on these editors' edits alike"}
    (row,) = mine[mine["contrast"] == "editor"].to_dict("records")
    told = {name: row[name] for name in ("n_cells", "n_edits", "value", "ci_low", "ci_high")} | {"threshold": 0.0}
    return told | _sides(row["value"], row["p_permutation"]) | {
        "scope": f"{names[0]} and {names[1]} on {row['n_cells']} tunings, each in the denoiser and in the text encoder"
    }  # fmt: skip


def _difference(pairs, bootstrap, sign=1):
    """The mean difference of matched cells (cell, cell, Pair), claimed to be positive, or with sign -1 negative."""
    found = differences(pairs, bootstrap)
    cells = [one for pair in pairs for one in pair[:2]]
    told = {name: found[name] for name in ("n_cells", "n_edits", "ci_low", "ci_high")}
    told |= {"scope": scope(cells), "value": found["difference"], "threshold": 0.0}
    told["test"] = (sign, _told_apart(cells))
    return told | _sides(sign * found["difference"], found["p_permutation"])


def _told_apart(cells):
    """By which cells a test is told."""
    return frozenset(map(id, cells))


def _sides(difference, p_value):
    """A symmetric test's two-sided p-value and its two sides; a positive difference supports."""
    sides = p_value / 2, 1 - p_value / 2
    for_it, against = sides if difference > 0 else sides[::-1]
    return {"p_value": p_value, "p_supports": for_it, "p_contradicts": against}


def scope(cells):
    """In words what some cells are: tasks, editors, tuners with their sites, corpora."""

    def told(name):
        return ", ".join(dict.fromkeys(one.row[name].replace("_", " ") for one in cells))

    return f"{told('task')}; {told('editor')}; {told('tuner')} in the {told('site')}; {told('corpus')}"


def _judged(rows, level):
    """The rows of a family and judge with their adjusted p-values and verdicts."""
    tests = {row.get("test", row["claim"]): row.get("p_value", np.nan) for row in rows}
    adjusted = dict(zip(tests, verdicts.holm([*tests.values()], [0] * len(tests)), strict=True))
    for row in rows:
        row["p_holm"] = adjusted[row.get("test", row["claim"])]
        row["verdict"] = _verdict(row, level)
    for row in rows:
        if row["claim"] == "dora_strongest":
            row |= _joint([other for other in rows if other["claim"].startswith("dora_strongest:")])
    return rows


def _verdict(row, level):
    if np.isnan(row["p_holm"]):
        return "not tested"
    if np.isnan(row["p_contradicts"]):  # a switch changes something, or that isn't shown
        return "differs" if row["p_holm"] <= level else "no difference shown"
    if row["p_holm"] > level:
        return "not shown"
    return "supported" if row["p_supports"] < row["p_contradicts"] else "contradicted"


def _joint(rows):
    """What the comparisons with each other tuner say together; the p-values are the deciding row's."""
    tested = [row for row in rows if row["verdict"] != "not tested"]
    if not tested:
        return {"verdict": "not tested"}
    found = {row["verdict"] for row in tested}
    verdict = "contradicted" if "contradicted" in found else "supported" if found == {"supported"} else "not shown"
    against = [row for row in tested if row["verdict"] == "contradicted"] or tested
    pick = min if verdict == "contradicted" else max
    deciding = pick(against, key=lambda row: row["p_holm"])
    told = ("value", "ci_low", "ci_high", "threshold", "p_supports", "p_contradicts", "p_holm")
    counts = {"n_cells": sum(row["n_cells"] for row in tested), "n_edits": max(row["n_edits"] for row in tested)}
    return {"verdict": verdict, **counts, **{name: deciding[name] for name in told}}
