"""The paper's claims on the page and in the terminal: what this study says of each."""

UNTESTED = "not tested"
# In the terminal, where a claim has a line.
SHORT = {
    "edits_fail": "edits fail to persist",
    "edits_reversed": "edits are reversed",
    "unrelated_reverse": "so they do by unrelated tuning",
    "dora_strongest": "DoRA reverses edits most",
    "uce_robust": "UCE keeps more than ReFACT",
    "uce_robust:place": "so it does, place averaged out",
}
# Judges must agree; where they don't, nothing is shown.
UNSHOWN = {"differs": "no difference shown", "no difference shown": "no difference shown"}


def agreed(verdicts):
    """The verdict of a family: that of all judges who tested it; else what is said where nothing is shown."""
    found = [verdict for verdict in verdicts if verdict != UNTESTED]
    if not found:
        return UNTESTED
    return found[0] if len({*found}) == 1 else UNSHOWN.get(found[0], "not shown")


def section(table):
    """claims.csv for the page, a block per claim: {statement, shares, rows, reasons}.

    rows: {statement, family, verdict, judges: {judge: row of the table}, scope}, a claim's parts after it. shares:
    whether the figures are persistences, and not differences. reasons: why nothing of a claim was tested, where so.
    """
    blocks = {}
    for (claim, family), part in table.groupby(["claim", "family"], sort=False):
        name = "switch" if claim.startswith("switch") else claim.partition(":")[0]
        own = part.set_index("judge").to_dict("index")
        tested = {judge: row for judge, row in own.items() if row["verdict"] != UNTESTED}
        row = {"claim": claim, "statement": part["statement"].iloc[0], "family": family, "judges": tested}
        scopes = dict.fromkeys(row["scope"] for row in (tested or own).values())
        row |= {"verdict": agreed(part["verdict"]), "scope": "; ".join(scopes)}
        blocks.setdefault(name, []).append(row)
    return [_block(name, rows) for name, rows in blocks.items()]


def _block(name, rows):
    tested = [row for row in rows if row["judges"]]
    shares = any(seen["threshold"] > 0 for row in tested for seen in row["judges"].values())
    statement = "Defects of the editors’ released code change something." if name == "switch" else rows[0]["statement"]
    reasons = list(dict.fromkeys(row["scope"] for row in rows)) if not tested else []
    return {"name": name, "statement": statement, "rows": rows, "shares": shares, "reasons": reasons}


def lines(table):
    """A line per claim for the terminal: the claim, and the verdict in each family."""
    width = max(map(len, SHORT.values()))
    told = ["What arXiv 2506.18428 claims, on this study (its judges agreeing):"]
    for claim, short in SHORT.items():
        mine = table[table["claim"] == claim]
        said = [f"{family} {agreed(part['verdict'])}" for family, part in mine.groupby("family", sort=False)]
        told += [f"  {short.ljust(width)}  {', '.join(said)}"] if said else []
    return told if len(told) > 1 else []
