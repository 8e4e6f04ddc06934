"""The standalone page: everything in one file, no script, no network."""

import base64
import importlib.metadata
import platform
from pathlib import Path

import jinja2
import markupsafe
import yaml

from holdfast.analysis import costs as cost_tables
from holdfast.report import answer, svg, words
from holdfast.report.plots import last_step, outcome_rates

PACKAGES = (
    "torch",
    "diffusers",
    "transformers",
    "peft",
    "accelerate",
    "open_clip_torch",
    "safetensors",
    "snakemake",
    "numpy",
)
PICTURE_BUDGET = 8_000_000  # bytes of pictures before base64 adds a third: the page stays under 15 MB

# figure -> (title, the rule that draws it, the tables that it is drawn from)
FIGURES = {
    "persistence": ("Persistence per cell", "plot_persistence", ("persistence.csv", "edits.csv")),
    "steps": ("Persistence over tuning steps", "plot_persistence", ("persistence.csv", "edits.csv")),
    "outcomes": ("What the pictures show", "plot_outcomes", ("rates.csv",)),
    "specificity": ("Specificity", "plot_outcomes", ("rates.csv",)),
}


def render(*, config, persistence, edits, rates, costs, pictures, figures, environment=None):
    """The page as text.

    config: the study's checked configuration; persistence, edits, rates, costs, pictures: its tables as frames;
    figures: name of FIGURES -> SVG text; environment: name -> version, of this process where None.
    """
    found = answer.cells(persistence)
    shown, left_out = _pictures(pictures)
    loader = jinja2.FileSystemLoader(Path(__file__).parent / "templates")
    templates = jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined)
    templates.trim_blocks = templates.lstrip_blocks = True
    templates.globals |= {"words": words, "badges": answer.BADGES, "rules": answer.RULES}
    drawn = {name: _figure(name, text) for name, text in figures.items()}
    statistics = config["statistics"]
    return templates.get_template("study.html").render(
        config=config,
        study=config["study"],
        confidence=statistics["confidence"],
        draws=statistics["draws"],
        found=found,
        lede=answer.lede(found),
        sentences=answer.details(found, persistence, edits, rates),
        figures=drawn,
        last=last_step(persistence).to_dict("records"),
        earlier=persistence.drop(last_step(persistence).index).to_dict("records"),
        states=outcome_rates(rates).to_dict("records"),
        edits=_by_edit(edits),
        pictures=shown,
        pictures_left_out=left_out,
        families=list(dict.fromkeys(pictures["family"])),
        costs=cost_tables.per_rule(costs).to_dict("records"),
        seconds=float(costs["seconds"].sum()),
        settings=yaml.safe_dump(config, sort_keys=False, allow_unicode=True, width=100),
        environment=surroundings() if environment is None else environment,
    )


def surroundings():
    """Versions and machine, without names of hosts, users or folders."""
    found = {"Python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found | {"system": f"{platform.system()} {platform.machine()}"}


def _figure(name, text):
    title, rule, tables = FIGURES[name]
    markup = markupsafe.Markup(svg.inline(text, name, title))  # our own drawing, re-serialised: the one unescaped value
    return {"name": name, "title": title, "rule": rule, "tables": tables, "markup": markup}


def _by_edit(edits):
    """Rows of the edit-by-edit table at the last step: means over the training seeds."""
    arms = ["base", "edited", "tuned", "edited_tuned"]
    mine = last_step(edits[edits["measure"].isin(["efficacy", "generality"])]) if len(edits) else edits
    keys = ["family", "task", "editor", "tuner", "site", "corpus", "tuning_step", "edit"]
    rows = []
    for key, part in mine.groupby(keys, sort=False):
        row = dict(zip(keys, key, strict=True))
        for measure, one in part.groupby("measure"):
            means = one[arms].mean()
            effect = means["edited"] - means["base"]
            left = (means["edited_tuned"] - means["tuned"]) / effect if effect else float("nan")
            row[measure] = {**means.to_dict(), "persistence": left}
        rows.append(row | {"tuning": words.tuning(row)})
    return rows


def _pictures(table):
    """Nested for the template: task -> edit -> probe -> arm -> pictures; and how many edits the size limit left out."""
    table = table.assign(size=table["webp"].map(len))
    sizes = table.groupby(["family", "task", "edit"], sort=False)["size"].sum()
    # Take turns between the tasks, so that a full page loses the last edits of each and not the last task.
    turns = sizes.groupby(["family", "task"], sort=False).cumcount().sort_values(kind="stable").index
    kept = sizes.loc[turns].cumsum() <= PICTURE_BUDGET
    chosen = set(kept[kept].index)
    groups = []
    for (family, task), of_task in table.groupby(["family", "task"], sort=False):
        own = [
            _edit_pictures(one) for edit, one in of_task.groupby("edit", sort=False) if (family, task, edit) in chosen
        ]
        groups.append({"family": family, "task": task, "edits": own})
    return groups, int((~kept).sum())


def _edit_pictures(table):
    first = table.iloc[0]
    states = table.drop_duplicates("lineage")
    order = {arm: n for n, arm in enumerate(words.ARMS)}
    states = states.assign(order=states["arm"].map(order)).sort_values("order", kind="stable")
    repeated = states["arm"].duplicated(keep=False)
    columns = [
        {"lineage": row["lineage"], "name": words.arm(row["arm"]), "note": row["lineage"] if several else ""}
        for (_, row), several in zip(states.iterrows(), repeated, strict=True)
    ]
    probes = []
    for _, part in table.groupby("probe", sort=False):
        by_state = {
            name: [_picture(row) for _, row in one.sort_values("seed").iterrows()]
            for name, one in part.groupby("lineage")
        }
        head = part.iloc[0]
        cells = [by_state.get(column["lineage"], []) for column in columns]
        probes.append({"role": head["role"], "prompt": head["prompt"], "cells": cells})
    order = {"efficacy": 0, "generality": 1, "specificity": 2}
    probes.sort(key=lambda probe: order.get(probe["role"], 3))
    return {
        "id": first["edit"],
        "source": first["source"],
        "target": first["target"],
        "columns": columns,
        "probes": probes,
    }


def _picture(row):
    return {
        "uri": "data:image/webp;base64," + base64.b64encode(row["webp"]).decode("ascii"),
        "seed": row["seed"],
        "outcome": row["outcome"] or "unscored",
    }
