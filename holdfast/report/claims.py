"""The paper's claims on the page and in the terminal: what this study says of each."""

UNTESTED = "not tested"
# In the terminal, where a claim has a line.
SHORT = {
    "edits_fail": "edits fail to persist",
    "edits_reversed": "edits are reversed",
    "unrelated_reverse": "they fail by unrelated tuning too",
    "dora_strongest": "DoRA reverses edits most",
    "uce_robust": "UCE keeps more than ReFACT",
    "uce_robust:place": "the same, place averaged out",
}
# Judges must agree; where they don't, nothing is shown.
UNSHOWN = dict.fromkeys(("differs", "no difference shown"), "no difference shown")
# How a claim's parts are named beside the claim itself.
PARTS = {
    "uce_robust": {
        "": "all tunings",
        "denoiser": "the denoiser tuned",
        "text_encoder": "the text encoder tuned",
        "both": "both tuned",
        "place": "place averaged out",
    },
    "dora_strongest": {"": "every other tuner"},
}
SWITCHED = {"effect": "effect before tuning", "left": "left after tuning"}
SWITCH = "Defects of the editors’ released code change something."


def agreed(verdicts):
    """The verdict of a family: that of all judges who tested it; else what is said where nothing is shown."""
    found = [verdict for verdict in verdicts if verdict != UNTESTED]
    if not found:
        return UNTESTED
    return found[0] if len({*found}) == 1 else UNSHOWN.get(found[0], "not shown")


def section(table):
    """claims.csv for the page, a block per claim: {statement, shares, rows, tested, untested}.

    rows: {family, part, verdict, judges: {judge: row of the table}}, none where nothing of the claim was tested.
    shares: whether the figures are persistences, and not differences. tested, untested: on what, and why not.
    """
    blocks = {}
    for (claim, family), mine in table.groupby(["claim", "family"], sort=False):
        name, _, which = claim.partition(":")
        own = mine.set_index("judge").to_dict("index")
        tested = {judge: row for judge, row in own.items() if row["verdict"] != UNTESTED}
        row = {"family": family, "part": part(name, which), "judges": tested, "verdict": agreed(mine["verdict"])}
        block = blocks.setdefault(
            name, {"statement": mine["statement"].iloc[0], "rows": [], "tested": {}, "untested": {}}
        )
        block["rows"].append(row)
        named = ", ".join(filter(None, (family, row["part"])))
        scopes = list(dict.fromkeys(one["scope"] for one in (tested or own).values()))
        if not tested:
            block["untested"].setdefault("; ".join(scopes), []).append(named)
        elif not which or name == "switch":
            told = [f"{judge}: {one['scope']}" for judge, one in tested.items()] if len(scopes) > 1 else scopes
            block["tested"].setdefault("; ".join(told), []).append(named)
    return [_block(name, block) for name, block in blocks.items()]


def part(name, which):
    """How a part of a claim is named beside it, in words; empty for the whole."""
    if name == "switch":
        editor, _, measured = which.partition(":")
        return f"{editor}, {SWITCHED[measured]}" if editor else ""
    known = PARTS.get(name, {"": ""})
    return known.get(which, f"against {which}")


def _block(name, block):
    seen = [one for row in block["rows"] for one in row["judges"].values()]
    block |= {"shares": any(one["threshold"] > 0 for one in seen)}
    block |= {kind: [f"{'; '.join(of)}: {why}" for why, of in block[kind].items()] for kind in ("tested", "untested")}
    block |= {"statement": SWITCH} if name == "switch" else {}
    return block if seen else {**block, "rows": []}


def lines(table):
    """A line per claim for the terminal: the claim, and the verdict in each family."""
    width = max(map(len, SHORT.values()))
    told = []
    for claim, short in SHORT.items():
        mine = table[table["claim"] == claim]
        said = [f"{family} {agreed(own['verdict'])}" for family, own in mine.groupby("family", sort=False)]
        told += [f"  {short.ljust(width)}  {', '.join(said)}"] if said else []
    return ["What arXiv 2506.18428 claims, on this study, where its judges agree:", *told] if told else []
