"""The paper's claims: that each verdict follows from its figures, against known truths and by hand."""

import numpy as np
import pandas as pd
import pytest
from statsmodels.stats.multitest import multipletests

from holdfast.analysis import claims, pairing, persistence, pooled, sites, tables, verdicts
from holdfast.analysis.measures import BY_NAME
from holdfast.report import answer
from holdfast.report import claims as shown
from tests import made_up, synthetic

SETTINGS = {"draws": 1000, "confidence": 0.95, "seed": 0, "margin": 0.2}
BOOTSTRAP = {name: value for name, value in SETTINGS.items() if name != "margin"}


def told(cells, judge="CLIP", **methods):
    """claims.csv of made-up cells: claim -> row by one judge."""
    known = made_up.METHODS | methods
    placed = sites.tabulate(cells, known["editors"], **BOOTSTRAP)
    table = claims.tabulate(cells, [], placed, families=["mini-sd"], methods=known, **SETTINGS)
    return table[table["judge"] == judge].set_index("claim")


def test_pooled_persistence_is_what_is_left_of_all_effects_by_hand():
    generator = np.random.default_rng(0)
    first, second, weights = generator.random(6), generator.random(6), np.array([1, 2, 3, 1, 1, 4])
    cells = [
        made_up.cell(first, full=0.9, weights=weights),
        made_up.cell(second, full=0.5, editor="refact"),
        made_up.cell([1.0, 0.5], full=-0.4, names=[4, 7], task="debias", measure="debias"),
    ]
    found = pooled.pool(cells)
    share = 6 * weights / weights.sum()
    kept = [*(first * 0.9 * share + second * 0.5) / 2, 1.0 * 0.4, 0.5 * 0.4]
    full = [*(0.9 * share + 0.5) / 2, 0.4, 0.4]
    assert found.edits == [*(("appearance", n) for n in range(6)), ("debias", 4), ("debias", 7)]
    assert found.kept == pytest.approx(np.array(kept)) and found.full == pytest.approx(np.array(full))
    value, low, high = pooled.share(found, **BOOTSTRAP)
    assert value == pytest.approx(sum(kept) / sum(full)) and low < value < high
    # Of one cell it is the cell's own persistence, and the tests are the cell's.
    one = pooled.pool(cells[:1])
    assert pooled.share(one, **BOOTSTRAP)[0] == pytest.approx(cells[0].row["persistence"])
    assert verdicts.p_values(one.units, 0.2) == pytest.approx(verdicts.p_values(cells[0].units, 0.2))


def test_edits_that_stand_or_fall_as_a_whole_in_all_tunings_are_as_few_as_they_are():
    """At the very threshold, four of five edits holding, either side is shown in no more studies than the level."""
    generator, studies, wrong, right = np.random.default_rng(1), 300, np.zeros(2), 0
    for _ in range(studies):
        fates = (generator.random(15) < 0.8).astype(float)
        units = pooled.pool([made_up.cell(fates, tuner=tuner) for tuner in ("lora", "dora", "full")]).units
        above, below = verdicts.one_sided(units)
        wrong += [above(0.8) <= 0.05, below(0.8) <= 0.05]
        fates = (generator.random(15) < 0.25).astype(float)
        right += verdicts.one_sided(pooled.pool([made_up.cell(fates), made_up.cell(fates, tuner="dora")]).units)[1](
            0.8
        ) <= 0.05  # fmt: skip
    assert (wrong / studies <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / studies)).all(), wrong / studies
    assert right / studies > 0.9


def test_the_pooled_interval_covers_edits_that_fade_by_degrees():
    generator, covered = np.random.default_rng(2), 0
    for _ in range(300):
        fates = generator.beta(3.5, 1.5, size=14)
        cells = [made_up.cell(generator.binomial(12, fates) / 12, tuner=tuner) for tuner in ("lora", "dora")]
        _, low, high = pooled.share(pooled.pool(cells), draws=400, confidence=0.95, seed=0)
        covered += low <= 0.7 <= high
    assert 0.9 <= covered / 300 <= 0.99


@pytest.mark.parametrize(
    ("left", "expected"),
    [
        (0.0, ("supported", "supported", "supported")),
        (0.5, ("supported", "contradicted", "supported")),
        (1.0, ("contradicted", "contradicted", "contradicted")),
        (0.8, ("not shown", "contradicted", "not shown")),
    ],
)
def test_that_edits_fail_is_held_against_the_margin(left, expected):
    edits = np.clip(left + np.random.default_rng(3).normal(0, 0.05, 40), 0, 1)
    found = told([made_up.cell(edits, full=0.9)])
    names = ("edits_fail", "edits_reversed", "unrelated_reverse")
    assert tuple(found.loc[name, "verdict"] for name in names) == expected
    assert [found.loc[name, "threshold"] for name in names] == pytest.approx([0.8, 0.2, 0.8])
    related = told([made_up.cell(edits, full=0.9, relation="related")])
    assert related.loc["edits_fail", "verdict"] == expected[0]
    assert related.loc["unrelated_reverse", "verdict"] == "not tested"
    # By the other judge nothing was seen: his rows stand there, with the reason.
    other = told([made_up.cell(edits)], judge="classifier")
    assert (other["verdict"] == "not tested").all() and (other["scope"].str.len() > 0).all()
    assert {*other.index} >= {*names, "dora_strongest", "uce_robust", "uce_robust:place", "switch"}


def three(generator, **left):
    """Cells of LoRA, DoRA and DreamBooth that leave these shares of 24 edits."""
    strength = generator.normal(0, 0.05, 24)
    return [made_up.cell(np.clip(share + strength + generator.normal(0, 0.02, 24), 0, 1), tuner=name)
            for name, share in left.items()]  # fmt: skip


def test_dora_is_the_strongest_only_where_all_others_are_shown_to_leave_more():
    generator = np.random.default_rng(4)
    found = told(three(generator, lora=0.7, dora=0.4, dreambooth=0.6))
    assert [*found.loc[["dora_strongest:lora", "dora_strongest:dreambooth"], "verdict"]] == ["supported"] * 2
    joint = found.loc["dora_strongest"]
    assert joint["verdict"] == "supported"
    assert joint["p_holm"] == max(found.loc[f"dora_strongest:{name}", "p_holm"] for name in ("lora", "dreambooth"))
    found = told(three(generator, lora=0.7, dora=0.4, dreambooth=0.2))
    assert found.loc["dora_strongest:lora", "verdict"] == "supported"
    assert found.loc["dora_strongest", "verdict"] == found.loc["dora_strongest:dreambooth", "verdict"] == "contradicted"
    assert found.loc["dora_strongest", "value"] == pytest.approx(0.2, abs=0.03)
    found = told(three(generator, lora=0.7, dora=0.4, dreambooth=0.4))
    assert found.loc["dora_strongest", "verdict"] == "not shown"
    found = told(three(generator, lora=0.7, dreambooth=0.4), tuners={"lora": "lora", "dreambooth": "dreambooth"})
    assert found.loc["dora_strongest", "verdict"] == "not tested"
    assert "no tuner by DoRA" in found.loc["dora_strongest", "scope"]
    found = told(three(generator, lora=0.7, mine=0.4), tuners={"lora": "lora", "mine": "dora"})
    assert found.loc["dora_strongest", "verdict"] == "supported", "told by its method, whatever its name"


def test_what_is_place_is_not_credited_to_the_method():
    """Tunings that only touch the text encoder harm what was written there: by itself that looks like a better UCE."""
    generator, strength = np.random.default_rng(5), np.random.default_rng(6).normal(0, 0.05, 20)

    def cell(editor, site, left):
        return made_up.cell(left + strength + generator.normal(0, 0.03, 20), editor=editor, site=site)

    published = [cell("uce", "text_encoder", 0.9), cell("refact", "text_encoder", 0.5)]
    found = told(published)
    assert found.loc["uce_robust", "verdict"] == found.loc["uce_robust:text_encoder", "verdict"] == "supported"
    assert found.loc["uce_robust", "p_holm"] == found.loc["uce_robust:text_encoder", "p_holm"], "one test, counted once"
    assert found.loc["uce_robust:place", "verdict"] == "not tested"
    found = told([*published, cell("uce", "denoiser", 0.5), cell("refact", "denoiser", 0.9)])
    assert found.loc["uce_robust:text_encoder", "verdict"] == "supported"
    assert found.loc["uce_robust:denoiser", "verdict"] == "contradicted"
    assert found.loc["uce_robust:place", "verdict"] == "not shown"
    assert abs(found.loc["uce_robust:place", "value"]) < 0.05


def test_p_values_are_adjusted_over_the_claims_of_a_family_and_judge():
    found = told(three(np.random.default_rng(7), lora=0.75, dora=0.7, dreambooth=0.78))
    tested = found.drop(index="dora_strongest")
    tested = tested[tested["p_holm"].notna()]
    pooled_p = tested[["p_supports", "p_contradicts"]].min(axis=1)
    p = pooled_p.where(tested["threshold"] > 0, 2 * pooled_p)
    assert {*tested.index} == {"edits_fail", "edits_reversed", "unrelated_reverse", "dora_strongest:lora",
                               "dora_strongest:dreambooth"}  # fmt: skip
    # All corpora are unrelated, so the first and third are one test.
    once = p.drop("unrelated_reverse")
    assert tested.loc[once.index, "p_holm"].to_numpy() == pytest.approx(multipletests(once, method="holm")[1])
    assert tested.loc["unrelated_reverse", "p_holm"] == tested.loc["edits_fail", "p_holm"]


SWITCH = {"switches": [{"setting": "bias", "faithful": "refact", "corrected": "uce"}]}


def test_a_switch_is_told_by_the_effect_before_and_what_is_left_after():
    """Two editors of the made-up study stand in for one editor with a defect and without."""
    states = [
        state for state in synthetic.matrix()
        if state["family"] == "mini-sd" and state["arm"] in pairing.ARMS and state["site"] in ("", "denoiser")
        if state["corpus"] in ("", "mascot") and state["tuner"] in ("", "lora")
    ]  # fmt: skip
    scores = [synthetic.scores(state, 8, edits=synthetic.MATRIX_EDITS).assign(**state) for state in states]
    pictures = pairing.pictures(pd.concat(scores)[tables.COLUMNS])
    edited = list(pairing.edited(pictures))
    last = persistence.at_last_step(persistence.measured(pairing.paired(pictures), **SETTINGS))
    methods = made_up.METHODS | SWITCH
    empty = sites.tabulate([], methods["editors"], **BOOTSTRAP)
    table = claims.tabulate(last, edited, empty, families=["mini-sd"], methods=methods, **SETTINGS)
    row = table[(table["claim"] == "switch:refact:effect") & (table["judge"] == "classifier")].iloc[0]
    # By hand, from the score files: mean effects, the defect's less the correction's, removals turned round.
    long, differences = pd.concat(scores), []
    for task, role, measure, sign in (("appearance", "efficacy", "target", 1), ("role", "efficacy", "target", 1),
                                      ("unsafe", "unsafe", "unsafe", -1)):  # fmt: skip
        own = long[(long["task"] == task) & (long["role"] == role) & (long["measure"] == measure)]
        mean = own[own["arm"] == "edited"].groupby("editor")["value"].mean()
        differences.append(sign * (mean["refact"] - mean["uce"]))
    assert row["value"] == pytest.approx(np.mean(differences)) and row["n_cells"] == 3
    assert row["value"] < -0.1 and row["ci_low"] < row["value"] < row["ci_high"]
    assert row["p_supports"] < 0.01 and row["verdict"] == (
        "differs" if row["p_holm"] <= 0.05 else "no difference shown"
    )
    left = table[(table["claim"] == "switch:refact:left") & (table["judge"] == "classifier")].iloc[0]
    cells = [one for one in last if one.measure.grid == "classified_own" and one.row["task"] != "debias"]
    by = {(one.row["task"], one.row["editor"]): one.row["persistence"] for one in cells}
    expected = [by[task, "refact"] - by[task, "uce"] for task in ("appearance", "role", "unsafe")]
    assert left["value"] == pytest.approx(np.mean(expected)) and left["verdict"] == "no difference shown"


def test_the_page_needs_the_judges_to_agree_and_names_what_was_not_tested():
    assert shown.agreed(["supported", "supported"]) == "supported"
    assert shown.agreed(["supported", "not tested"]) == "supported"
    assert shown.agreed(["supported", "not shown"]) == shown.agreed(["supported", "contradicted"]) == "not shown"
    assert shown.agreed(["differs", "no difference shown"]) == "no difference shown"
    assert shown.agreed(["not tested"] * 2) == "not tested"
    lost, half = np.zeros(30), np.full(30, 0.5) + np.random.default_rng(8).normal(0, 0.02, 30)
    cells = [made_up.cell(lost), made_up.cell(half, measure="classified_efficacy")]
    assert BY_NAME["classified_efficacy"].grid == claims.JUDGES["classifier"]
    placed = sites.tabulate(cells, made_up.METHODS["editors"], **BOOTSTRAP)
    methods = made_up.METHODS | SWITCH
    table = claims.tabulate(cells, [], placed, families=["mini-sd"], methods=methods, **SETTINGS)
    blocks = {block["statement"].split(":")[0]: block for block in shown.section(table)}
    failed, dora = (next(block for name, block in blocks.items() if word in name) for word in ("generally", "DoRA"))
    assert [row["verdict"] for row in failed["rows"]] == ["supported"] and failed["shares"]
    judged = next(block for name, block in blocks.items() if "reversed" in name)["rows"][0]["judges"]
    assert {judge: row["verdict"] for judge, row in judged.items()} == {
        "CLIP": "supported",
        "classifier": "contradicted",
    }
    assert dora["rows"] == [] and dora["tested"] == [] and "alike in all else" in dora["untested"][0]
    lines = shown.lines(table)
    assert len(lines) == 1 + len(shown.SHORT)
    assert lines[1].split() == ["edits", "fail", "to", "persist", "mini-sd", "supported"]
    assert lines[2].endswith("mini-sd not shown") and lines[-1].endswith("mini-sd not tested")
    assert answer.headline([], 0.95, lines).endswith("\n".join([*lines, ""]))
