"""A made-up study with known truth, in the shapes of the miniature: score files, pictures and benchmark files.

6 edits per task, 11 probes each, 8 seeds, one editor, one tuner with two training seeds and three snapshots. Appearance
edits fade at a rate of their own while tuning and mostly *drift*; role edits stand. The numbers are drawn once from a
seeded generator, so every test sees the same study.
"""

import io

import numpy as np
import pandas as pd
from PIL import Image, ImageDraw

from holdfast.analysis import tables

FAMILY = "mini-sd"
STEPS = (30, 100, 300)
COLOURS = {"red": "#d11f26", "blue": "#2453d6", "green": "#2e9c46", "yellow": "#f2d21b", "purple": "#8a2bb0"}
EDITS = {
    "appearance": ["rose-blue", "leaf-purple", "banana-red", "star-green", "plum-yellow", "fish-green"],
    "role": ["king-bob", "queen-carol", "thief-alice", "judge-dave", "pirate-carol", "wizard-bob"],
}
FADE = {
    "rose-blue": 1.0,
    "leaf-purple": 0.05,
    "banana-red": 0.4,
    "star-green": 0.9,
    "plum-yellow": 0.0,
    "fish-green": 0.6,
}


def state(editor="", tuner="", seed=-1):
    """Identity of a state, as the aggregate rule gives it."""
    arm = {(0, 0): "base", (1, 0): "edited", (0, 1): "tuned", (1, 1): "edited_tuned"}[bool(editor), bool(tuner)]
    lineage = "/".join(([f"{editor}.0"] if editor else []) + ([f"{tuner}.mascot.s{seed}"] if tuner else [])) or "base"
    tuning = {"site": "denoiser", "corpus": "mascot", "relation": "unrelated"} if tuner else {}
    empty = {"site": "", "corpus": "", "relation": ""}
    names = {"family": FAMILY, "lineage": lineage, "arm": arm, "editor": editor, "tuner": tuner, "train_seed": seed}
    return names | empty | tuning


STATES = [state(), state("uce"), *(state(e, "lora", s) for e in ("", "uce") for s in (0, 1))]


def probes(task, edit, hostile=False):
    """Rows (probe, role, prompt) of one edit. hostile: prompts that a careless page would run."""
    noun, new = edit.split("-")
    thing = "the" if task == "role" else "a"
    prompts = [("e0", "efficacy", f"{thing} {noun}")]
    for n, form in enumerate(["a photo of {}", "a painting of {}", "{} at night", "{} on the beach", "{} in a garden"]):
        prompts.append((f"g{n}", "generality", form.format(f"{thing} {noun}")))
    for n, other in enumerate(["a heart", "a pumpkin", "a mug", "a picnic", "the guard"]):
        prompts.append((f"s{n}", "specificity", other))
    if hostile:
        prompts[0] = ("e0", "efficacy", f'<script>document.title="owned"</script> & "{noun}" $x_1$ <img src=x>')
        prompts[1] = ("g0", "generality", "unbreakable" * 30)
    return [(f"{edit}-{name}", role, prompt) for name, role, prompt in prompts]


def chances(identity, task, edit, role, step):
    """Probability of (target, source, other) of a picture."""
    dose = np.log1p(step) / np.log1p(300) if identity["tuner"] else 0.0
    if role == "specificity":
        kept = 0.97 - 0.05 * dose - (0.03 if identity["editor"] else 0.0)
        return 0.01, kept, 0.99 - kept
    damage = 0.06 * dose
    if not identity["editor"]:
        return 0.01, 0.97 - damage, 0.02 + damage
    lost = FADE.get(edit, 0.03) * dose + 0.02 * identity["train_seed"] * bool(dose)
    target = 0.96 * (1 - min(lost, 0.97))
    return target, 0.02 + 0.12 * (0.96 - target), 0.98 - target - 0.12 * (0.96 - target)


def scores(identity, seeds=8, hostile=False):
    """The score file of one state as a frame."""
    rows = []
    for task, edits in EDITS.items():
        for edit in edits:
            for step in STEPS if identity["tuner"] else (0,):
                for probe, role, prompt in probes(task, edit, hostile):
                    for seed in range(seeds):
                        rows.append((task, task, edit, probe, role, prompt, seed, step))
    keys = pd.DataFrame(rows, columns=["variant", "task", "edit", "probe", "role", "prompt", "seed", "tuning_step"])
    chance = np.array([chances(identity, r.task, r.edit, r.role, r.tuning_step) for r in keys.itertuples()])
    generator = np.random.default_rng([len(identity["lineage"]), identity["train_seed"] + 1, bool(identity["editor"])])
    outcome = (generator.random(len(keys))[:, None] > chance.cumsum(axis=1)).sum(axis=1).clip(0, 2)
    clip = np.where(generator.random(len(keys)) < 0.03, 2, outcome)
    special = (keys["role"] == "specificity").to_numpy()
    measures = {name: outcome == n for n, name in enumerate(("target", "source", "other"))}
    measures |= {f"clip_{name}": clip == n for n, name in enumerate(("target", "source", "other"))}
    measures["ambiguous"] = generator.random(len(keys)) < np.where(outcome == 2, 0.3, 0.02)
    measures["efficacy"] = np.where(special, np.nan, (clip == 0) | ((clip == 2) & (generator.random(len(keys)) < 0.2)))
    measures["specificity"] = np.where(special, clip != 0, np.nan)
    measures["clip_score"] = generator.normal(27, 2, len(keys))
    long = [keys.assign(measure=name, value=np.asarray(value, float)) for name, value in measures.items()]
    return pd.concat(long, ignore_index=True).dropna(subset=["value"])


def write_study(root, seeds=8, hostile=False):
    """Write score and benchmark files under `root`: {score file: identity}, {benchmark file: (rule, job)}."""
    files, benchmarks = {}, {}
    for number, identity in enumerate(STATES):
        path = root / "results/scores" / FAMILY / identity["lineage"] / "edits-0.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        scores(identity, seeds, hostile).to_parquet(path, index=False)
        files[str(path)] = identity
        for rule, seconds in (("sample_images", 95), ("score_images", 12), ("tune_model", 61)):
            job = f"{FAMILY}/{identity['lineage']}"
            path = root / "results/benchmarks" / rule / f"{job}.tsv"
            path.parent.mkdir(parents=True, exist_ok=True)
            header = "s\th:m:s\tmax_rss\tmax_vms\tmax_uss\tmax_pss\tio_in\tio_out\tmean_load\tcpu_time\n"
            path.write_text(
                f"{header}{seconds + number}.5\t0:01:00\t{900 + number}.1\t1\t1\t1\t0\t0\t98\t{seconds}.25\n"
            )
            benchmarks[str(path)] = (rule, job)
    return files, benchmarks


def draw(task, edit, outcome, seed, role):
    """A small picture, 32 x 32, that differs by edit, outcome and seed."""
    colours = list(COLOURS.values())
    picture = Image.new("RGB", (32, 32), "#e4e1dc")
    pen = ImageDraw.Draw(picture)
    x = 6 + seed
    fill = colours[sum(map(ord, edit + role)) % 5 - (outcome == "target")]
    if task == "role":
        pen.ellipse((x + 4, 5, x + 14, 15), fill="#d9a577")
        pen.polygon([(x + 2, 29), (x + 9, 12), (x + 16, 29)], fill=fill if outcome != "other" else "#9b9b9b")
    else:
        pen.ellipse((x, 6, x + 16, 22), fill=fill)
        if outcome == "other":
            pen.rectangle((x + 6, 4, x + 20, 26), fill="#b9a98c")
    return picture


def pictures(table, seeds=2):
    """The pictures table of the study: the columns that docs/tables.md lists, for a few probes of every edit."""
    wide = table[table["measure"].isin(["target", "source", "other"]) & (table["value"] == 1)]
    wide = wide[(wide["seed"] < seeds) & wide["train_seed"].isin([-1, 0]) & wide["tuning_step"].isin([0, 300])]
    wide = (
        wide[wide["probe"].str.contains("-(?:e0|g0|s0)$")].drop(columns="value").rename(columns={"measure": "outcome"})
    )
    encoded = []
    for row in wide.itertuples():
        buffer = io.BytesIO()
        draw(row.task, row.edit, row.outcome, row.seed, row.role).save(buffer, "WEBP", lossless=True)
        encoded.append(buffer.getvalue())
    return wide.assign(
        webp=encoded, source=wide["edit"].str.split("-").str[0], target=wide["edit"].str.split("-").str[1]
    )


def write_page(root, hostile=False, draws=500):
    """The whole report of the study under `root`, by the jobs' own functions. Returns the path of the page."""
    from holdfast import config
    from holdfast.jobs import aggregate, plot, report
    from tests.workspace import ROOT

    files, _ = write_study(root, seeds=4, hostile=hostile)
    at = {
        name: str(root / "results/tables" / name) for name in ("persistence.csv", "edits.csv", "rates.csv", "costs.csv")
    }
    settings = config.check(config.read(ROOT / "config.yaml"), ROOT / "workflow/schemas/config.schema.yaml")
    settings["statistics"]["draws"] = draws
    outputs = {name.partition(".")[0]: path for name, path in at.items()}
    outputs["scores"] = str(root / "results/tables/scores.parquet")
    aggregate.run(
        scores=list(files),
        folder=str(root / "results/scores"),
        benchmarks=str(root / "results/benchmarks"),
        relations={"mascot": "unrelated"},
        statistics=settings["statistics"],
        outputs=outputs,
        log=None,
    )
    figure = {name: root / f"results/figures/{name}" for name in ("persistence", "steps", "outcomes", "specificity")}
    both = {name: (path.with_suffix(".svg"), path.with_suffix(".png")) for name, path in figure.items()}
    plot.persistence(persistence=at["persistence.csv"], edits=at["edits.csv"], outputs=both, log=None)
    plot.outcomes(rates=at["rates.csv"], outputs=both, log=None)
    shown = root / "results/tables/pictures-mini-sd.parquet"
    tables.to_parquet(pictures(tables.read_parquet(outputs["scores"]), 4), shown)
    report.run(
        config=settings,
        **{name: outputs[name] for name in ("persistence", "edits", "rates", "costs")},
        pictures=[shown],
        figures={name: svg for name, (svg, _) in both.items()},
        page=root / "reports/study.html",
        headline=root / "results/tables/headline.txt",
        log=None,
    )
    return root / "reports/study.html"
