"""Where editors write, and method against place: by hand, and by simulation against known truths."""

from types import SimpleNamespace

import numpy as np
import pytest
from scipy import stats

from holdfast import artifacts, config, families, methods, plugins, report
from holdfast.analysis import sites
from holdfast.editors import EDITORS
from holdfast.errors import HoldfastError
from holdfast.jobs import moments
from holdfast.report import sites as shown
from tests import made_up, synthetic
from tests.test_refact import CORPUS
from tests.test_refact import SETTINGS as REFACT
from tests.workspace import ROOT

SETTINGS = {"draws": 1000, "confidence": 0.95, "seed": 0}
FIELDS = [(editor, site) for editor in ("uce", "refact") for site in ("denoiser", "text_encoder")]


def checked(name):
    return config.check(config.read(ROOT / name), ROOT / "workflow/schemas/config.schema.yaml")


def crossed(kept, **row):
    """The four fields of the design from float [4, edits], in the order of FIELDS."""
    return [
        made_up.cell(own, editor=editor, site=site, **row) for (editor, site), own in zip(FIELDS, kept, strict=True)
    ]


def table(cells, **settings):
    return sites.tabulate(cells, made_up.METHODS["editors"], **{**SETTINGS, **settings})


@pytest.mark.parametrize("kind", ["sd", "flux"])
def test_a_method_writes_where_it_is_said_to(kind, request, tmp_path):
    """By the keys of the deltas that the editors make of the real classes at tiny size."""
    pipe = families.load(request.getfixturevalue("tiny_dir" if kind == "sd" else "tiny_flux_dir"), kind=kind)
    edits = [SimpleNamespace(id="rose", task="appearance", source="a rose", target="a blue rose")]
    gathered = {}
    for encoder in families.kind_of(pipe).ENCODERS:
        gathered |= moments.gather(pipe, encoder, [0], CORPUS, 8)[0]
    path = tmp_path / "moments.safetensors"
    artifacts.save(path, {f"{name}.moment": moment for name, moment in gathered.items()}, {"kind": "moments"})
    settings = {"refact": {**REFACT, "moments": path}, "uce": {}}
    assert {*settings} == {*methods.PLACES} == {*EDITORS}
    for method, place in methods.PLACES.items():
        delta = EDITORS[method](pipe, edits, [], **settings[method])
        written = {key.partition(".")[0] for key in delta} - {"shared"}  # what its modules have in common
        assert written and written <= {*families.kind_of(pipe).SITES[place]}, method
    if kind == "flux":
        # T5 is tuned at no site, so an edit of it alone has no tuning in its place.
        delta = EDITORS["refact"](pipe, edits, [], **{**settings["refact"], "encoder": methods.UNTUNED})
        tuned = {name for components in families.kind_of(pipe).SITES.values() for name in components}
        assert not {key.partition(".")[0] for key in delta} & tuned


def test_the_workflow_is_told_methods_places_and_switches(tmp_path):
    found = methods.described(checked("config.yaml"))
    assert found["editors"] == made_up.METHODS["editors"]
    assert found["tuners"] == {"lora": "lora", "dora": "dora", "dreambooth": "dreambooth"}
    assert found["switches"] == []
    assert methods.site({"method": "refact", "encoder": "t5"}) == "t5"
    switches = methods.described(checked("studies/switches.yaml"))["switches"]
    assert {(one["setting"], one["faithful"], one["corrected"]) for one in switches} == {
        ("targets", "uce-targets", "uce"), ("step_rule", "uce-step-rule", "uce"),
        ("ratio_rule", "uce-ratio-rule", "uce"), ("bias", "uce-bias", "uce"),
        ("empty_guide", "uce-empty-guide", "uce"), ("template_order", "refact-template-order", "refact"),
        ("weight_decay_flag", "refact-weight-decay-released", "refact-weight-decay"),
    }  # fmt: skip
    own = tmp_path / "own.py"
    own.write_text('raise SystemExit("run")\nSITE = "text_encoder"\n')
    assert methods.site({"method": str(own)}) == "text_encoder", "read, and not run"
    own.write_text("VERSION = 1\n")
    assert methods.site({"method": str(own)}) == ""
    own.write_text("SITE = str(1)\n")
    with pytest.raises(HoldfastError, match="SITE is computed"):
        plugins.constant(str(own), "SITE")


def test_the_contrasts_are_those_of_the_fields_by_hand():
    generator = np.random.default_rng(0)
    kept = {task: generator.random((4, 6)) for task in ("appearance", "role")}
    full = np.array([0.5, 1.0, 0.8, 0.2, 0.9, 0.7])
    # Another tuner has one field less: none of its cells counts.
    lone = [made_up.cell(np.ones(6), tuner="dora"), made_up.cell(np.ones(6), tuner="dora", editor="refact")]
    found = table([one for task, own in kept.items() for one in crossed(own, task=task, full=full)] + lone)
    field = {  # persistence by definition: what is left of all, by what there was of all; then the mean over tasks
        key: np.mean([(kept[task][n] * full).sum() / full.sum() for task in kept]) for n, key in enumerate(FIELDS)
    }
    means = found[found["contrast"] == ""]
    assert {(row.editor, row.tuner_site): row.value for row in means.itertuples()} == pytest.approx(field)
    assert (means["n_cells"] == 2).all() and (means["n_edits"] == 12).all()
    assert [row.editor_site for row in means.itertuples()] == ["denoiser"] * 2 + ["text_encoder"] * 2
    uce, refact = ([field[name, site] for site in sites.PLACES] for name in ("uce", "refact"))
    expected = {
        "editor": (sum(uce) - sum(refact)) / 2,
        "tuner_site": (uce[0] + refact[0] - uce[1] - refact[1]) / 2,
        "same_place": (uce[0] + refact[1] - uce[1] - refact[0]) / 2,
    }
    contrasts = found[found["contrast"] != ""].set_index("contrast")
    assert contrasts["value"].to_dict() == pytest.approx(expected)
    assert ((contrasts["ci_low"] < contrasts["value"]) & (contrasts["value"] < contrasts["ci_high"])).all()


def test_the_interactions_p_value_is_scipys_sign_test_of_the_edits_own_interactions():
    kept = np.random.default_rng(1).random((4, 8))
    row = table(crossed(kept)).set_index("contrast").loc["same_place"]
    own = (kept[0] - kept[1] + kept[3] - kept[2]) / 2
    expected = stats.permutation_test((own,), np.mean, permutation_type="samples", n_resamples=np.inf)
    assert row["value"] == pytest.approx(own.mean())
    assert row["p_permutation"] == pytest.approx(expected.pvalue)


def test_a_study_without_a_second_place_has_the_contrasts_that_it_can_have():
    kept = np.random.default_rng(2).random((4, 6))
    one_site = table(crossed(kept)[::2])
    assert [*one_site["contrast"]] == ["", "", "editor"]
    one_editor = table(crossed(kept)[:2])
    assert [*one_editor["contrast"]] == ["", "", "tuner_site"]
    both = made_up.cell(kept[0], site="both"), made_up.cell(kept[2], site="both", editor="refact")
    found = table([*crossed(kept), *both])
    assert (found["tuner_site"] == "both").sum() == 2
    without = table(crossed(kept))
    assert found[found["tuner_site"] != "both"]["value"].to_list() == without["value"].to_list()
    assert table([]).empty and list(table([]).columns) == sites.COLUMNS
    assert shown.section(table([]), 0.05) == []


def simulate(generator, edits=12, place=0.0, tuned=0.0, editor=0.0):
    """Fates of edits whose strength is their own, with effects of place, site and editor, seen in ten pictures."""
    strength = generator.beta(2, 2, size=edits) * 0.4 + 0.3
    sign = np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]) / 2
    true = strength + (sign @ np.array([editor, tuned, place]))[:, None] + generator.normal(0, 0.08, (4, edits))
    return generator.binomial(10, np.clip(true, 0, 1)) / 10


def test_the_contrasts_hold_their_level_cover_the_truth_and_see_an_effect():
    generator, studies = np.random.default_rng(3), 250
    p_values, covered, seen = [], 0, 0
    for _ in range(studies):
        # What the editor and the tuned site do by themselves is no interaction.
        row = table(crossed(simulate(generator, tuned=0.15, editor=-0.1)), draws=400).set_index("contrast")
        p_values.append(row.loc["same_place", "p_permutation"])
        covered += row.loc["tuner_site", "ci_low"] <= 0.15 <= row.loc["tuner_site", "ci_high"]
        seen += table(crossed(simulate(generator, place=-0.3)), draws=400).set_index("contrast").loc[
            "same_place", "p_holm"
        ] <= 0.05  # fmt: skip
    assert stats.kstest(p_values, "uniform").pvalue > 0.01
    assert np.mean(np.array(p_values) <= 0.05) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / studies)
    assert 0.91 <= covered / studies <= 0.99
    assert seen / studies > 0.9


def test_the_page_says_what_the_judges_show_together():
    generator = np.random.default_rng(4)
    lost = simulate(generator, place=-0.3)
    twice = [one for measure in ("efficacy", "classified_efficacy") for one in crossed(lost, measure=measure)]
    (block,) = shown.section(table(twice), 0.05)
    assert block["sites"] == ["the denoiser", "the text encoder"] and len(block["rows"]) == 4
    assert block["sentences"][0].startswith("Tuning the place where the edit was written leaves less of it")
    assert "points by CLIP" in block["sentences"][0] and "points by the classifier" in block["sentences"][0]
    alone = crossed(lost) + crossed(simulate(generator), measure="classified_efficacy")
    (block,) = shown.section(table(alone), 0.05)
    assert block["sentences"][0].startswith("That it matters"), "one judge alone shows nothing"
    (block,) = shown.section(table(crossed(lost)[::2]), 0.05)
    assert block["sentences"][-1] == shown.ONE_PLACE


def test_the_table_is_among_the_reports():
    assert {"sites", "claims"} <= {*report.TABLES} and {"sites", "claims"} <= {*synthetic.TABLES}
