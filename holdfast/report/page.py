"""The standalone page: everything in one file, one script of its own, no network."""

import base64
import hashlib
import importlib.metadata
import platform
from pathlib import Path

import jinja2
import markupsafe
import yaml

from holdfast.analysis import costs as cost_tables
from holdfast.analysis.pairing import ARMS
from holdfast.report import answer, arrange, claims, details, orders, places, sections, sites, strength, svg, why, words
from holdfast.report.gallery import arrange_pictures

PACKAGES = (
    *("torch", "diffusers", "transformers", "peft", "accelerate", "open_clip_torch", "torchmetrics", "safetensors"),
    *("snakemake", "numpy"),
)
TEMPLATES = Path(__file__).parent / "templates"
PICTURE_BUDGET = 8_000_000  # bytes of pictures before base64 adds a third: the page stays under 15 MB

# beginning of a figure's name -> (title, the rule that draws it, the tables that it is drawn from)
FIGURES = {
    "persistence": ("Persistence per cell", "plot_persistence", ("persistence.csv", "edits.csv")),
    "steps": ("Persistence over tuning steps", "plot_persistence", ("persistence.csv", "edits.csv")),
    "outcomes": ("What the pictures show", "plot_outcomes", ("rates.csv",)),
    "specificity": ("Specificity", "plot_outcomes", ("rates.csv",)),
    "causes": ("Where edits are lost", "plot_causes", ("causes.csv", "persistence.csv")),
    "doses": ("Persistence by the size of the change", "plot_causes", ("causes.csv", "persistence.csv")),
}


def render(*, config, tables, pictures, figures, environment=None):
    """The page as text.

    config: the study's checked configuration. tables: name -> frame, for `holdfast.report.TABLES`. pictures: the
    pictures tables of all families as one frame. figures: {beginning of FIGURES}-{family} -> SVG text. environment:
    name -> version, of this process where None.
    """
    found = answer.cells(tables["persistence"])
    shown, left_out = arrange_pictures(pictures, PICTURE_BUDGET)
    loader = jinja2.FileSystemLoader(TEMPLATES)
    templates = jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined)
    templates.trim_blocks = templates.lstrip_blocks = True
    templates.globals |= {"words": words, "arrange": arrange, "places": places, "badge": answer.badge}
    last, earlier = _steps(tables["persistence"])
    return templates.get_template("study.html").render(
        script=script(),
        config=config,
        study=config["study"],
        confidence=config["statistics"]["confidence"],
        rules=answer.rules(config["statistics"], len(found)),
        draws=config["statistics"]["draws"],
        found=found,
        few=len(found) <= answer.FEW,
        judges=[judge for judge in answer.JUDGES if any(judge in cell["judges"] for cell in found)],
        matrix=arrange.matrix(found),
        lede=answer.lede(found),
        compared=[] if len(found) <= answer.FEW else answer.compared(found),
        sentences=details.sentences(found, tables["persistence"], tables["edits"], tables["rates"]),
        figures={name: _figure(name, text) for name, text in figures.items()},
        cells=places.cells(found, shown),
        last=last,
        earlier=earlier,
        states=arrange.outcome_rates(tables["rates"]).to_dict("records"),
        edits=_by_edit(tables["edits"]),
        comparisons=sections.comparisons(tables["comparisons"]),
        before=sections.before(tables["before"]),
        arms=sections.arms(tables["arms"], tables["persistence"]),
        orders={
            "sentences": [*orders.sentences(tables["arms"])],
            "neighbours": orders.neighbours(tables["arms"]),
        },
        quality=sections.quality(tables["quality"]),
        why=why.section(tables["causes"], tables["persistence"], tables["prediction"]),
        strength=strength.section(tables["doses"]),
        broken=sections.broken(tables["broken"]),
        sites=sites.section(tables["sites"], 1 - config["statistics"]["confidence"]),
        claims=claims.section(tables["claims"]),
        scorers=tables["scorers"].to_dict("records"),
        pictures=shown,
        pictures_left_out=left_out,
        families=list(config["families"]),
        costs=cost_tables.per_rule(tables["costs"]).to_dict("records"),
        seconds=float(tables["costs"]["seconds"].sum()),
        settings=yaml.safe_dump(config, sort_keys=False, allow_unicode=True, width=100),
        environment=surroundings() if environment is None else environment,
    )


def script():
    """The page's script: {text, hash}; by its hash the page's policy allows this one and no other."""
    text = (TEMPLATES / "study.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")
    return {"text": markupsafe.Markup(text), "hash": f"sha256-{digest}"}


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
    title, rule, tables = FIGURES[name.partition("-")[0]]
    # Our own drawing, re-serialised: with the script, this is all that isn't escaped.
    markup = markupsafe.Markup(svg.inline(text, name, title))
    return {"name": name, "title": title, "rule": rule, "tables": tables, "markup": markup}


def _steps(table):
    """The rows of persistence.csv: (family -> rows at the last tuning step, family -> rows at the steps before)."""
    last = arrange.last_step(table)
    parts = (last.groupby("family", sort=False), table.drop(last.index).groupby("family", sort=False))
    return tuple({family: own.to_dict("records") for family, own in part} for part in parts)


def _by_edit(edits):
    """Rows of the edit-by-edit table at the last step, by family: means over the training seeds."""
    wanted = {measure for own in (answer.OWN, answer.WIDER) for task in own.values() for measure in task.values()}
    mine = edits[edits["measure"].isin(wanted)]
    mine = arrange.last_step(mine) if len(mine) else mine
    keys = ["family", "task", "editor", "tuner", "site", "corpus", "relation", "tuning_step", "edit", "measure"]
    means = mine.groupby(keys, sort=False)[ARMS].mean().reset_index()
    effect = means["edited"] - means["base"]
    left = (means["edited_tuned"] - means["tuned"]) / effect.where(effect != 0)
    rows = means.assign(persistence=left).to_dict("records")
    out = {}
    for row in rows:
        out.setdefault(row["family"], []).append(row | {"tuning": words.tuning(row)})
    return out
