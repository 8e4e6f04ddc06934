"""A made-up study with known truth, in the shapes of the miniature: score, quality and benchmark files, and pictures.

The small study: 6 edits per task, 11 probes each, 8 seeds, one editor, one tuner with two training seeds and three
snapshots. Appearance edits fade at a rate of their own while tuning and mostly *drift*; role edits stand. The matrix:
two families, two editors (the second weaker, and none of debiasing), three tuners, two corpora, four tasks, and the
arms that edit again, edit afterwards and carry an adapter over. The numbers are drawn once from seeded generators, so
every test sees the same study.
"""

import io
import zlib

import numpy as np
import pandas as pd
from PIL import Image, ImageDraw

from holdfast.analysis import tables
from tests import made_up, synthetic_causes

FAMILY = "mini-sd"
FAMILIES = (FAMILY, "mini-flux")
STEPS = (30, 100, 300)
COLOURS = {"red": "#d11f26", "blue": "#2453d6", "green": "#2e9c46", "yellow": "#f2d21b", "purple": "#8a2bb0"}
EDITS = {
    "appearance": ["rose-blue", "leaf-purple", "banana-red", "star-green", "plum-yellow", "fish-green"],
    "role": ["king-bob", "queen-carol", "thief-alice", "judge-dave", "pirate-carol", "wizard-bob"],
}
MATRIX_EDITS = EDITS | {
    "debias": ["doctor-hat", "pilot-hat", "farmer-hat", "chef-hat", "guard-hat", "teacher-hat"],
    "unsafe": ["skull-nothing"],
}
FADE = {
    "rose-blue": 1.0,
    "leaf-purple": 0.05,
    "banana-red": 0.4,
    "star-green": 0.9,
    "plum-yellow": 0.0,
    "fish-green": 0.6,
    "skull-nothing": 0.5,
    **dict.fromkeys(MATRIX_EDITS["debias"], 0.3),
}
HATS = {"doctor": 0.92, "pilot": 0.85, "farmer": 0.7, "chef": 0.6, "guard": 0.35, "teacher": 0.1}
RELATIONS = {"mascot": "unrelated", "reverting": "reverting"}
# How much of its effect an editor reaches, and how much faster than LoRA on the mascot an edit fades.
REACH = {"uce": 1.0, "refact": 0.8}
DOSE = {"lora": 1.0, "dora": 1.3, "dreambooth": 0.5, "mascot": 1.0, "reverting": 1.8, "edited_carried": 0.8}
TUNINGS = (
    "lora.mascot.s0", "lora.reverting.s0", "dora.mascot.s0", "dora.reverting.s0", "dreambooth.mascot.s0",
    "dreambooth.reverting.s0", "lora-text_encoder.mascot.s0",
)  # fmt: skip
EXTRA = ("{tuning}/{editor}.0", "{editor}.0/{tuning}/{editor}.0", "{editor}.0/{tuning}@base")


def state(editor="", tuner="", seed=-1):
    """Identity of a state of the small study, as the aggregate rule gives it."""
    steps = ([f"{editor}.0"] if editor else []) + ([f"{tuner}.mascot.s{seed}"] if tuner else [])
    return tables.identify(FAMILY, "/".join(steps) or "base", RELATIONS)


def matrix():
    """Identities of all states of the matrix."""
    lineages = ["base"]
    for edit in ("", "uce.0", "refact.0"):
        lineages += [edit] if edit else []
        lineages += [f"{edit}/{tuning}".strip("/") for tuning in TUNINGS]
    lineages += [form.format(tuning=TUNINGS[0], editor=editor) for editor in REACH for form in EXTRA]
    return [tables.identify(family, lineage, RELATIONS) for family in FAMILIES for lineage in lineages]


STATES = [state(), state("uce"), *(state(e, "lora", s) for e in ("", "uce") for s in (0, 1))]


def tasks(identity, edits):
    """The part of the edits table that a state holds."""
    return {task: ids for task, ids in edits.items() if not (identity["editor"] == "refact" and task == "debias")}


def steps(identity):
    """Snapshots. Only LoRA on the mascot keeps all; an edit made on a tuned model was made on the last one."""
    if not identity["tuner"]:
        return (0,)
    whole = identity["tuner"] == "lora" and identity["corpus"] == "mascot" and identity["site"] == "denoiser"
    return STEPS if whole and not identity["arm"].endswith("tuned_edited") else STEPS[-1:]


def probes(task, edit, hostile=False, contexts=5):
    """Rows (probe, role, prompt) of one edit. hostile: prompts that a careless page would run."""
    noun, _ = edit.split("-")
    thing = "the" if task == "role" else "a"
    forms = ["a photo of {}", "a painting of {}", "{} at night", "{} on the beach", "{} in a garden"][:contexts]
    in_contexts = [form.format(f"{thing} {noun}") for form in forms]
    if task == "debias":
        prompts = [(f"d{n}", "debias", prompt) for n, prompt in enumerate(in_contexts)]
    elif task == "unsafe":
        prompts = [(f"u{n}", "unsafe", prompt) for n, prompt in enumerate(in_contexts)]
        prompts += [(f"i{n}", "implied", form.format("a battle")) for n, form in enumerate(forms)]
    else:
        prompts = [("e0", "efficacy", f"{thing} {noun}")]
        prompts += [(f"g{n}", "generality", prompt) for n, prompt in enumerate(in_contexts)]
    for n, other in enumerate(["a heart", "a pumpkin", "a mug", "a picnic", "the guard"][:contexts]):
        prompts.append((f"s{n}", "specificity", other))
    if hostile:
        first, second = prompts[0], prompts[1]
        prompts[0] = (*first[:2], f'<script>document.title="owned"</script> & "{noun}" $x_1$ <img src=x>')
        prompts[1] = (*second[:2], "unbreakable" * 30)
    return [(f"{edit}-{name}", role, prompt) for name, role, prompt in prompts]


def dose(identity, step):
    """How far a tuning has come, 1 for LoRA's last snapshot on the mascot."""
    if not identity["tuner"]:
        return 0.0
    return np.log1p(step) / np.log1p(300) * DOSE[identity["tuner"]] * DOSE[identity["corpus"]]


def strength(identity, edit, step):
    """How much of the edit's effect a state shows: 0 none, 1 all."""
    if not identity["editor"]:
        return 0.0
    full = REACH[identity["editor"]]
    if identity["arm"].endswith("tuned_edited"):
        return full * 0.97
    lost = FADE.get(edit, 0.03) * dose(identity, step) * DOSE.get(identity["arm"], 1.0)
    lost += 0.02 * identity["train_seed"] if identity["tuner"] else 0.0
    return full * (1 - min(lost, 0.97))


def chances(identity, edit, role, step):
    """Probability of (target, source, other) of a picture."""
    far = dose(identity, step)
    if role == "specificity":
        kept = 0.97 - 0.05 * far - (0.03 if identity["editor"] else 0.0)
        return 0.01, kept, 0.99 - kept
    damage, left = 0.06 * far, strength(identity, edit, step)
    if role == "debias":
        biased = HATS[edit.split("-")[0]]
        hat = (1 - damage) * (biased + left * (0.5 - biased))
        return hat, 1 - damage - hat, damage
    if role in ("unsafe", "implied"):
        shown = {"unsafe": 0.95, "implied": 0.65}[role] * (1 - 0.97 * left)
        return 1 - shown, shown, 0.0
    if not identity["editor"]:
        return 0.01, 0.97 - damage, 0.02 + damage
    target = 0.96 * left
    return target, 0.02 + 0.12 * (0.96 - target), 0.98 - target - 0.12 * (0.96 - target)


def scores(identity, seeds=8, hostile=False, edits=EDITS):
    """The score file of one state as a frame."""
    rows = [
        (task, task, edit, probe, role, prompt, step)
        for task, ids in tasks(identity, edits).items()
        for edit in ids
        for step in steps(identity)
        for probe, role, prompt in probes(task, edit, hostile, 5 if edits is EDITS else 3)
    ]
    keys = pd.DataFrame(rows, columns=["variant", "task", "edit", "probe", "role", "prompt", "tuning_step"])
    chance = np.array([chances(identity, edit, role, step) for _, _, edit, _, role, _, step in rows])
    chance = np.repeat(chance, seeds, axis=0)
    keys = keys.loc[keys.index.repeat(seeds)].reset_index(drop=True)
    keys.insert(6, "seed", np.tile(np.arange(seeds), len(rows)))
    generator = np.random.default_rng(zlib.crc32(f"{identity['family']}/{identity['lineage']}".encode()))
    outcome = (generator.random(len(keys))[:, None] > chance.cumsum(axis=1)).sum(axis=1).clip(0, 2)
    clip = np.where(generator.random(len(keys)) < 0.03, 2, outcome)
    lucky = generator.random(len(keys)) < 0.2
    role = keys["role"].to_numpy()
    edited, debias, unsafe = np.isin(role, ["efficacy", "generality"]), role == "debias", np.isin(role, UNSAFE)
    measures = {name: outcome == n for n, name in enumerate(("target", "source", "other"))}
    measures |= {f"clip_{name}": clip == n for n, name in enumerate(("target", "source", "other"))}
    measures["ambiguous"] = generator.random(len(keys)) < np.where(outcome == 2, 0.3, 0.02)
    measures["efficacy"] = np.where(edited, (clip == 0) | ((clip == 2) & lucky), np.nan)
    measures["specificity"] = np.where(role == "specificity", clip != 0, np.nan)
    measures["attribute"] = np.where(debias, (clip == 0) | ((clip == 2) & lucky), np.nan)
    measures["classified_attribute"] = np.where(debias & (outcome < 2), outcome == 0, np.nan)
    measures["unsafe"] = np.where(unsafe, outcome == 1, np.nan)
    measures["clip_unsafe"] = np.where(unsafe, clip == 1, np.nan)
    measures["black"] = generator.random(len(keys)) < 0.002
    measures["clip_score"] = generator.normal(27, 2, len(keys))
    long = [keys.assign(measure=name, value=np.asarray(value, float)) for name, value in measures.items()]
    return pd.concat(long, ignore_index=True).dropna(subset=["value"])


UNSAFE = ("unsafe", "implied")


def quality(identity):
    """The quality file of one state as a frame."""
    rows = []
    for variant in tasks(identity, MATRIX_EDITS) if identity["editor"] else ("base",):
        for step in steps(identity):
            key = f"{identity['family']}/{identity['lineage']}/{variant}/{step}"
            generator = np.random.default_rng(zlib.crc32(key.encode()))
            harm = dose(identity, step) + (0.3 if identity["editor"] else 0.0)
            fid, kid = 11 + 6 * harm + generator.normal(0, 0.3), 0.4 + 0.5 * harm + generator.normal(0, 0.05)
            text = 27.5 - 0.8 * harm + generator.normal(0, 0.1)
            features = "own: open_clip image embedding, 128 (version 1)"
            rows.append((variant, step, 64, "heldout", 0, 0, fid, kid, text, features))
    columns = ["variant", "tuning_step", "n", "reference", "black", "nan", "fid", "kid", "clip_score", "features"]
    return pd.DataFrame(rows, columns=columns)


def write_study(root, seeds=8, hostile=False, whole=False):
    """Write the score, quality and benchmark files under `root`, of the matrix if `whole`.

    Returns {score file: identity}, {benchmark file: (rule, job)}. The small study has no quality files.
    """
    files, benchmarks = {}, {}
    for number, identity in enumerate(matrix() if whole else STATES):
        job = f"{identity['family']}/{identity['lineage']}"
        path = root / "results/scores" / job / "edits-0.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        scores(identity, seeds, hostile, MATRIX_EDITS if whole else EDITS).to_parquet(path, index=False)
        files[str(path)] = identity
        if whole:
            path = root / "results/quality" / f"{job}.csv"
            path.parent.mkdir(parents=True, exist_ok=True)
            quality(identity).to_csv(path, index=False)
        for rule, seconds in (("sample_images", 95), ("score_images", 12), ("tune_model", 61)):
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
    if task in ("role", "debias"):
        pen.ellipse((x + 4, 5, x + 14, 15), fill="#d9a577")
        pen.polygon([(x + 2, 29), (x + 9, 12), (x + 16, 29)], fill=fill if outcome != "other" else "#9b9b9b")
        if task == "debias" and outcome == "target":
            pen.rectangle((x + 3, 2, x + 15, 7), fill="#30302c")
    else:
        pen.ellipse((x, 6, x + 16, 22), fill=fill)
        if task == "unsafe" and outcome == "source":
            pen.ellipse((x + 3, 10, x + 7, 14), fill="#111111")
            pen.ellipse((x + 9, 10, x + 13, 14), fill="#111111")
        if outcome == "other":
            pen.rectangle((x + 6, 4, x + 20, 26), fill="#b9a98c")
    return picture


def pictures(table, seeds=2, family=FAMILY):
    """The pictures table of a family: the columns that docs/tables.md lists, for a few probes of every edit."""
    wide = table[table["measure"].isin(["target", "source", "other"]) & (table["value"] == 1)]
    wide = wide[(wide["seed"] < seeds) & wide["train_seed"].isin([-1, 0]) & wide["tuning_step"].isin([0, 300])]
    wide = wide[wide["probe"].str.contains("-(?:e0|g0|s0|d0|u0|i0)$") & (wide["family"] == family)]
    wide = wide.drop(columns="value").rename(columns={"measure": "outcome"})
    encoded = []
    for row in wide.itertuples():
        buffer = io.BytesIO()
        draw(row.task, row.edit, row.outcome, row.seed, row.role).save(buffer, "WEBP", lossless=True)
        encoded.append(buffer.getvalue())
    return wide.assign(
        webp=encoded, source=wide["edit"].str.split("-").str[0], target=wide["edit"].str.split("-").str[1]
    )


TABLES = (
    *("persistence", "edits", "comparisons", "power", "before", "before_edits", "arms", "rates", "quality", "broken"),
    *("scorers", "costs", "curves", "sites", "claims"),
)
TRACED = synthetic_causes.TABLES


def aggregate(root, statistics, hostile=False, whole=False, seeds=4):
    """Write the study's files and all its tables under `root`, by the job's own function: table's name -> path."""
    from holdfast.jobs import aggregate

    files, _ = write_study(root, seeds=seeds, hostile=hostile, whole=whole)
    outputs = {name: str(root / f"results/tables/{name}.csv") for name in (*TABLES, *TRACED)}
    outputs["scores"] = str(root / "results/tables/scores.parquet")
    aggregate.run(
        scores=list(files),
        quality=[str(path) for path in sorted((root / "results/quality").rglob("*.csv"))],
        folder=str(root / "results"),
        relations=RELATIONS,
        methods=made_up.METHODS,
        statistics=statistics,
        outputs={name: path for name, path in outputs.items() if name not in TRACED},
        log=None,
    )
    synthetic_causes.write(root, RELATIONS, outputs)
    return outputs


def write_page(root, hostile=False, draws=500, whole=False, seeds=4):
    """The report of the study under `root`, of the matrix if `whole`, by the jobs' own functions: the page's path."""
    from holdfast import config
    from holdfast.jobs import plot, report
    from holdfast.report import TABLES as TABLES_SHOWN
    from holdfast.report import page
    from tests.workspace import ROOT

    settings = config.check(config.read(ROOT / "config.yaml"), ROOT / "workflow/schemas/config.schema.yaml")
    settings["statistics"]["draws"] = draws
    own = FAMILIES if whole else (FAMILY,)
    settings["families"] = dict.fromkeys(own, settings["families"][FAMILY])
    at = aggregate(root, settings["statistics"], hostile=hostile, whole=whole, seeds=seeds)
    files, figures = {}, root / "results/figures"

    def both(name):
        files[name] = figures / f"{name}.svg"
        return files[name], figures / f"{name}.png"

    drawn = (figures / "matrix.svg", figures / "matrix.png")
    plot.matrix(families=own, persistence=at["persistence"], outputs=drawn, log=None)
    shown = []
    for family in own:
        outputs = {name: both(f"{name}-{family}") for name in page.FIGURES}
        plot.persistence(family=family, persistence=at["persistence"], edits=at["edits"], outputs=outputs, log=None)
        plot.outcomes(family=family, rates=at["rates"], outputs=outputs, log=None)
        at_once = {"persistence": at["persistence"], "outputs": outputs}
        plot.causes(family=family, causes=at["causes"], **at_once, log=None)
        shown.append(root / f"results/tables/pictures-{family}.parquet")
        scores = tables.read_parquet(at["scores"])
        tables.to_parquet(pictures(scores, 2 if whole else 4, family), shown[-1])
    report.run(
        config=settings,
        tables={name: at[name] for name in TABLES_SHOWN},
        pictures=shown,
        figures=files,
        page=root / "reports/study.html",
        headline=root / "results/tables/headline.txt",
        log=None,
    )
    return root / "reports/study.html"
