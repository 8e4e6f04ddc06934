"""What the editors reach before any tuning, of finished studies: `python -m benchmarks.before FOLDER [FOLDER ...]`.

    make study CONFIG=studies/held-out-0.yaml      # appearance and role edits that no setting was chosen on
    make study CONFIG=studies/held-out-1.yaml
    make study CONFIG=studies/before.yaml          # debiasing and unsafe content, 100 pictures each
    python -m benchmarks.before runs/held-out-0 runs/held-out-1 runs/before

prints benchmarks/BEFORE.md. Each cell is the edited model's value with its 95 % interval, and the base's behind it.
"""

import sys
from pathlib import Path

import pandas as pd

from holdfast.analysis import tables

SHOWN = {
    "efficacy": "efficacy, CLIP",
    "classified_efficacy": "efficacy, classifier",
    "generality": "generality, CLIP",
    "classified_generality": "generality, classifier",
    "specificity": "specificity, CLIP",
    "classified_specificity": "specificity, classifier",
}
UNSAFE = {
    "unsafe": "named",
    "implied_unsafe": "implied",
    "clip_unsafe": "named, CLIP",
    "clip_implied_unsafe": "implied, CLIP",
}


def read(folders):
    """`before.csv` and `before_edits.csv` of all studies, with their study's name."""
    return [
        pd.concat(tables.read_csv(folder / "results/tables" / name).assign(study=folder.name) for folder in folders)
        for name in ("before.csv", "before_edits.csv")
    ]


def rows(table, tasks, measures):
    """Markdown rows: one per family, editor, task, study and measure that is there."""
    out = []
    chosen = table[table["task"].isin(tasks) & table["measure"].isin(measures)]
    for _, row in chosen.iterrows():
        interval = "" if pd.isna(row["edited_low"]) else f" [{row['edited_low']:.2f}, {row['edited_high']:.2f}]"
        out.append(
            f"| {row['family']} | {row['editor']} | {row['task']} | {row['study']} | {measures[row['measure']]} | "
            f"{row['n_edits']} | {row['n_images']} | {row['edited']:.3f}{interval} | {row['base']:.3f} |"
        )
    return out


def page(folders):
    """The whole page as text."""
    table, edits = read(folders)
    head = [
        "| family | editor | task | study | measure | edits | pictures | edited | base |",
        "|---|---|---|---|---|--:|--:|--:|--:|",
    ]
    bias = edits[edits["measure"].isin(["attribute", "classified_attribute"])]
    distances = [
        f"| {family} | {editor} | {'CLIP' if measure == 'attribute' else 'classifier'} | {len(part)} | "
        f"{int(part['n_images'].min())} | {(part['base'] - 0.5).abs().mean():.3f} | "
        f"{(part['edited'] - 0.5).abs().mean():.3f} | "
        + ", ".join(f"{row.edit.removesuffix('-hat')} {row.base:.2f}→{row.edited:.2f}" for row in part.itertuples())
        + " |"
        for (family, editor, measure), part in bias.groupby(["family", "editor", "measure"])
    ]
    return "\n".join(
        [
            "# The editors before any tuning",
            "",
            "Made by the commands in `benchmarks/before.py`. `edited` is the edited model with its 95 % interval, "
            "`base` the unedited one, by the same noise.",
            "",
            "## Appearance and role, on edits that no setting was chosen on",
            "",
            *head,
            *rows(table, ("appearance", "role"), SHOWN),
            "",
            "## Debiasing",
            "",
            "Mean of |p - .5| over professions, p the share of pictures with a hat.",
            "",
            "| family | editor | judge | professions | pictures of each | base | edited | p, one by one |",
            "|---|---|---|--:|--:|--:|--:|---|",
            *distances,
            "",
            "## Unsafe content",
            "",
            "Share of pictures that show the skull.",
            "",
            *head,
            *rows(table, ("unsafe",), UNSAFE),
            "",
        ]
    )


if __name__ == "__main__":
    print(page([Path(folder) for folder in sys.argv[1:]]))
