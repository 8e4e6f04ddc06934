"""The tables of FINDINGS.md, from finished studies: `python -m benchmarks.findings FOLDER [FOLDER ...]`.

    make study                                      # the default study, in this folder
    make study CONFIG=studies/full-miniature.yaml   # in runs/full-miniature
    python -m benchmarks.findings . runs/full-miniature

prints one section per study: verdicts, claims, sites, tuners at equal strength, corpora, other orders, causes.
"""

import sys
from pathlib import Path

import pandas as pd

from holdfast.analysis import tables
from holdfast.analysis.measures import OUTCOMES
from holdfast.report import answer, arrange, orders, why, words

FIRST = {task: next(iter(measures.values())) for task, measures in answer.OWN.items()}


def markdown(head, rows):
    """Lines of a Markdown table; nothing without rows."""
    if not rows:
        return []
    return ["| " + " | ".join(head) + " |", "|" + "---|" * len(head), *("| " + " | ".join(row) + " |" for row in rows)]


def share(row, value, low="ci_low", high="ci_high"):
    return f"{words.percent(row[value])} [{words.between(row[low], row[high])}]"


def verdicts(read):
    """Median persistence by either judge and verdicts, a row per family, editor and task."""
    found = answer.cells(read("persistence"))
    return [line.rstrip() for line in answer.table(found, 0.95).splitlines()], len(found)


def claims(read):
    rows = []
    for row in read("claims").to_dict("records"):
        if row["verdict"] != "not tested":
            kept = "" if row["threshold"] else " (difference)"
            rows.append(
                [row["claim"], row["family"], row["judge"], f"{share(row, 'value')}{kept}", str(int(row["n_cells"])),
                 str(int(row["n_edits"])), words.chance(row["p_holm"]), f"**{row['verdict']}**"]
            )  # fmt: skip
    return markdown(["claim", "family", "judge", "left", "cells", "edits", "p", "verdict"], rows)


def sites(read):
    table = read("sites")
    table = table[table["measure"].isin(["own", "classified_own"])]
    rows = []
    for row in table.to_dict("records"):
        what = row["contrast"] or f"{row['editor']} (writes in {row['editor_site']}), tuned {row['tuner_site']}"
        chance = words.chance(row["p_holm"]) if row["contrast"] else ""
        judge = "classifier" if row["measure"].startswith("classified") else "CLIP"
        rows.append(
            [row["family"], judge, what.replace("_", " "), share(row, "value"), str(int(row["n_cells"])), chance]
        )
    return markdown(["family", "judge", "field or contrast", "left, or difference", "cells", "p"], rows)


def compared(read, name, factor, level):
    """The rows over all cells of comparisons.csv (one factor) or doses.csv (every scale), on the edits' own prompts."""
    table = read(name)
    table = table[(table["n_cells"] > 1) & table["measure"].isin(["own", "classified_own"])]
    table = table[table["factor"] == factor] if factor else table
    rows = []
    for row in table.to_dict("records"):
        judge = "classifier" if row["measure"].startswith("classified") else "CLIP"
        lead = [row["scale"]] if level else []
        rows.append(
            [*lead, f"{row['a']} or {row['b']}", judge, str(int(row["n_cells"])), words.percent(row["persistence_a"]),
             words.percent(row["persistence_b"]), share(row, "difference"), words.chance(row["p_holm"])]
        )  # fmt: skip
    head = ["cells", "first", "second", "difference", "p"]
    return markdown([*(["equal in"] if level else []), "compared", "judge", *head], rows)


def corpora(read):
    """Mean persistence and fates per family, editor and tuning, over tasks: by each task's first judge, fates by the
    classifier where it judged."""
    table = arrange.last_step(read("persistence"))
    own = table[table["measure"] == table["task"].map(FIRST)].dropna(subset="persistence")
    fates = table[table["measure"].isin(["classified_efficacy", "unsafe"])].dropna(subset="persistence")
    keys = ["family", "editor", "tuner", "site", "relation", "corpus"]
    rows = []
    for key, part in own.groupby(keys, sort=False):
        row = dict(zip(keys, key, strict=True))
        mine = fates[(fates[keys] == list(key)).all(axis=1)]
        seen = [words.percent(mine[name].mean()) for name in ("held", "reversal", "drift")]
        rows.append([row["family"], row["editor"], words.tuning(row), row["relation"],
                     words.percent(part["persistence"].mean()), *seen])  # fmt: skip
    return markdown(["family", "editor", "tuning", "relation", "left", "held", "reversal", "drift"], rows)


def causes(read):
    found = why.cells(read("causes"), read("persistence"))
    rows = []
    for row in why.rows(found):
        rows.append([row["group"], row["tuning"], *(words.percent(value) for value in row["stations"].values())])
    names = list(found[0]["stations"]) if found else []
    return markdown(["family, editor", "tuning", *names], rows)


def section(folder):
    """One study's section as lines."""

    def read(name):
        return tables.read_csv(folder / f"results/tables/{name}.csv")

    told, cells = verdicts(read)
    pictures = pd.read_parquet(folder / "results/tables/scores.parquet", columns=["measure"])
    measured = int((pictures["measure"] == OUTCOMES[0]).sum())
    hours = float(read("costs")["seconds"].sum()) / 3600
    yield f"{cells} cells, {measured:,} pictures, {hours:.1f} hours of jobs."
    for title, lines in (
        ("Verdicts", ["```", *told, "```"]),
        ("The paper's claims", claims(read)),
        ("Site by site", sites(read)),
        ("Tuners at equal strength", compared(read, "doses", None, level=True)),
        ("Corpora at the last step", compared(read, "comparisons", "corpus", level=False)),
        ("What became of the edits", corpora(read)),
        ("Other orders", [f"* {line}" for line in orders.sentences(read("arms"))]),
        ("Where edits are lost", causes(read)),
    ):
        if lines:
            yield from ("", f"### {title}", "", *lines)


def main(folders):
    for folder in map(Path, folders):
        print(f"## {folder.resolve().name if folder.name else 'the default study'}\n")
        print("\n".join(section(folder)), end="\n\n")


if __name__ == "__main__":
    main(sys.argv[1:])
