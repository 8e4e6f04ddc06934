"""The tables by an independent few lines of pandas: those of docs/reading-results.md as printed, and more.

Nothing here computes with `holdfast.analysis`; the made-up matrix and its CSV files are the job's own.
"""

import math
import re

import matplotlib
import pandas as pd
import pytest

from tests import synthetic
from tests.workspace import ROOT

STATISTICS = {"draws": 100, "confidence": 0.95, "seed": 0, "margin": 0.2}
CELL = {"family": "mini-sd", "editor": "uce", "tuner": "lora", "site": "denoiser", "corpus": "mascot"}
BLOCKS = re.findall(
    r"^```python\n(.*?)^```$", (ROOT / "docs/reading-results.md").read_text("utf-8"), re.DOTALL | re.MULTILINE
)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """The whole made-up study's tables, below a folder."""
    folder = tmp_path_factory.mktemp("matrix")
    synthetic.aggregate(folder, STATISTICS, whole=True, seeds=8)
    return folder


def read(root, name):
    return pd.read_csv(root / f"results/tables/{name}.csv", keep_default_na=False)


def run(block, root, monkeypatch):
    """Run a block of the page in the study's folder: its variables."""
    assert "holdfast" not in block
    matplotlib.use("Agg")
    monkeypatch.chdir(root)
    names = {}
    exec(compile(block, "docs/reading-results.md", "exec"), names)  # noqa: S102 (the page's own lines)
    return names


def row(table, **names):
    """The one row with these values."""
    found = table[(table[list(names)] == pd.Series(names)).all(axis=1)]
    assert len(found) == 1, names
    return found.iloc[0]


def test_the_pages_persistence_is_the_tables(root, monkeypatch, capsys):
    run(BLOCKS[0], root, monkeypatch)
    printed = float(capsys.readouterr().out)
    own = row(read(root, "persistence"), **CELL, task="role", tuning_step=100, measure="efficacy")
    assert printed == pytest.approx(float(own["persistence"]), rel=1e-5)
    assert 0.8 < printed < 1.1, "role edits stand in the made-up study"


def test_the_pages_figure_has_the_tables_rates(root, monkeypatch):
    rates = run(BLOCKS[1], root, monkeypatch)["rates"]
    assert (root / "outcomes.png").stat().st_size > 5000
    table = read(root, "rates")
    table = table[(table["family"] == "mini-sd") & (table["task"] == "appearance") & (table["role"] == "efficacy")]
    own = table[table["arm"].isin(["edited", "edited_tuned"]) & table["measure"].isin(rates.columns)]
    names = own[["editor", "tuner", "site", "corpus", "tuning_step"]].astype(str).agg(" ".join, axis=1)
    assert len(own) == rates.size == 3 * len(set(names))
    for name, measure, rate in zip(names, own["measure"], own["rate"], strict=True):
        assert rates.loc[name, measure] == pytest.approx(float(rate), rel=1e-5, abs=1e-9)


def arm_values(root, arm, task, score, role, step, **cell):
    """The pictures of one arm of a cell, as the scores have them."""
    scores = pd.read_parquet(root / "results/tables/scores.parquet")
    mine = scores[(scores["measure"] == score) & (scores["role"] == role) & (scores["arm"] == arm)]
    wanted = {"task": task, "family": cell["family"]}
    wanted |= {"editor": cell["editor"]} if "edited" in arm else {}
    if "tuned" in arm or "carried" in arm:
        wanted |= {name: cell[name] for name in ("tuner", "site", "corpus")} | {"tuning_step": step}
    return mine[(mine[list(wanted)] == pd.Series(wanted)).all(axis=1)]


def unfairness(values):
    """The debias score of one profession: |p - 0.5| / 0.5, less what fair coins score on as many pictures."""
    n, p = len(values), values.mean()
    floor = sum(math.comb(n, k) * abs(2 * k / n - 1) for k in range(n + 1)) / 2**n
    return abs(p - 0.5) / 0.5 - floor


def by_hand(root, final, **what):
    """(values of the arms base, edited, tuned and `final`, what the last has of the effect)."""
    means = {}
    for arm in ("base", "edited", "tuned", final):
        rows = arm_values(root, arm, **what)
        biased = what["task"] == "debias"
        means[arm] = (rows.groupby(["edit", "train_seed"])["value"].agg(unfairness) if biased else rows["value"]).mean()
    return means, (means[final] - means["tuned"]) / (means["edited"] - means["base"])


@pytest.mark.parametrize(
    ("task", "measure", "score", "role", "changes"),
    [
        ("appearance", "efficacy", "efficacy", "efficacy", {"tuning_step": 30}),
        ("role", "classified_generality", "target", "generality", {"family": "mini-flux", "editor": "refact"}),
        ("debias", "debias", "attribute", "debias", {"tuner": "dreambooth"}),
        ("debias", "classified_debias", "classified_attribute", "debias", {"corpus": "reverting"}),
        ("unsafe", "unsafe", "unsafe", "unsafe", {"tuner": "dora"}),
        ("unsafe", "clip_implied_unsafe", "clip_unsafe", "implied", {"site": "text_encoder"}),
    ],
)
def test_persistence_equals_a_computation_by_hand(root, task, measure, score, role, changes):
    cell = CELL | {"tuning_step": 300} | changes
    what = {"step" if name == "tuning_step" else name: value for name, value in cell.items()}
    means, left = by_hand(root, "edited_tuned", task=task, score=score, role=role, **what)
    found = row(read(root, "persistence"), **cell, task=task, measure=measure)
    assert {arm: float(found[arm]) for arm in means} == pytest.approx(means, rel=1e-5, abs=1e-6)
    assert float(found["persistence"]) == pytest.approx(left, rel=1e-4)


@pytest.mark.parametrize("arm", ["tuned_edited", "edited_tuned_edited", "edited_carried"])
def test_recovery_equals_a_computation_by_hand(root, arm):
    means, recovered = by_hand(root, arm, task="appearance", score="efficacy", role="generality", step=300, **CELL)
    found = row(read(root, "arms"), **CELL, arm=arm, task="appearance", measure="generality", tuning_step=300)
    assert float(found["value"]) == pytest.approx(means[arm], rel=1e-5)
    assert float(found["recovery"]) == pytest.approx(recovered, rel=1e-4)
