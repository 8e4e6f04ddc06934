"""Causes of persistence: closed forms of the measures, and the whole way on a tiny model."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from holdfast.analysis import cause_tables, causes


@pytest.fixture
def weights():
    """A base of two layers that an edit changes in one input direction each, and one that only a tuner touches."""
    generator = np.random.default_rng(0)
    base = {name: generator.standard_normal(shape) for name, shape in {"k": (6, 5), "v": (4, 5), "o": (3, 3)}.items()}
    key = np.array([1.0, 0, 0, 0, 0])
    edit = {name: np.outer(generator.standard_normal(len(base[name])), key) for name in ("k", "v")}
    return base, edit


def measured(rows):
    return {(layer, measure): value for layer, measure, value in rows}


def state(base, *changes):
    return {name: base[name] + sum(change.get(name, 0) for change in changes) for change in changes for name in change}


def test_a_tuner_that_takes_half_of_the_edit_back_is_seen_in_every_layer(weights):
    base, edit = weights
    back = {name: -0.5 * change for name, change in edit.items()}
    outside = {"o": np.full((3, 3), 0.1)}
    found = measured(
        causes.of_weights(
            base, state(base, edit), tuned=state(base, outside), edited_tuned=state(base, edit, back, outside)
        )
    )
    for layer in ("k", "v", ""):
        assert found[layer, "along"] == pytest.approx(-0.5)
        assert found[layer, "share"] == pytest.approx(1.0)
        assert found[layer, "share_by_chance"] == pytest.approx(1 / 5)
    assert found["", "along_control"] == 0
    assert found["", "remaining"] == pytest.approx(0.5)
    assert found["", "first_angle"] == pytest.approx(0, abs=1e-4)
    taken = sum(np.square(change).sum() for change in back.values())
    assert found["", "touched"] == pytest.approx(taken / (taken + 0.09))
    assert found["", "norm"] == pytest.approx(np.sqrt(taken + 0.09))
    whole = sum(np.square(base[name]).sum() for name in (*edit, "o"))
    assert found["", "dose"] == pytest.approx(np.sqrt((taken + 0.09) / whole))
    assert found["", "along_magnitude"] + found["", "along_direction"] == pytest.approx(-0.5)


def test_what_tuning_does_without_the_edit_is_no_loss(weights):
    """The same change along the edit's direction on the base and on the edited model leaves the edit's effect whole."""
    base, edit = weights
    shift = {name: -0.8 * change for name, change in edit.items()}
    found = measured(
        causes.of_weights(base, state(base, edit), tuned=state(base, shift), edited_tuned=state(base, edit, shift))
    )
    assert found["", "along"] == pytest.approx(-0.8)
    assert found["", "remaining"] == pytest.approx(1.0)


def test_a_tuner_elsewhere_has_no_part_in_the_edit(weights):
    base, edit = weights
    elsewhere = {"o": np.ones((3, 3))}
    found = measured(causes.of_weights(base, state(base, edit), state(base, elsewhere), state(base, edit, elsewhere)))
    assert found["", "along"] == 0
    assert np.isnan(found["", "share"])
    assert found["", "touched"] == 0
    assert found["", "remaining"] == 1


def test_pure_scaling_of_rows_is_all_magnitude(weights):
    base, edit = weights
    grown = {"o": 0.25 * base["o"]}
    found = measured(causes.of_weights(base, state(base, edit), state(base, grown), state(base, edit, grown)))
    assert found["", "magnitude"] == pytest.approx(1.0)
    assert found["", "dose"] == pytest.approx(0.25)


def test_paths_compare_what_the_edit_changes_before_and_after():
    base, edit = np.zeros(4), np.array([1.0, 2.0, 0.0, 0.0])
    drift = np.array([5.0, -1.0, 3.0, 0.0])
    seen = {
        "base": {"e": {"text": base}},
        "edited": {"e": {"text": base + edit}},
        "tuned": {"e": {"text": base + drift}},
        "edited_tuned": {"e": {"text": base + drift + 0.3 * edit}},
    }
    assert dict(causes.of_paths("e", **seen)) == {"text_path": pytest.approx(0.3)}


def edits_table(values, measure="efficacy"):
    """Persistence of edits in one tuned state."""
    key = dict(zip(cause_tables.KEY, ("f", "role", "uce", "lora", "denoiser", "c", "unrelated", 10, 0), strict=True))
    return pd.DataFrame(
        [{**key, "edit": edit, "measure": measure, "persistence": value} for edit, value in values.items()]
    )


def test_prediction_is_spearmans_rank_correlation():
    from scipy.stats import spearmanr

    generator = np.random.default_rng(3)
    truth = {f"e{n}": value for n, value in enumerate(generator.standard_normal(12))}
    guess = {edit: value + generator.standard_normal() for edit, value in truth.items()}
    edits = edits_table(truth)
    traced = edits.drop(columns=["measure", "persistence"]).assign(
        variant="role", layer="", measure="text_path", value=[guess[edit] for edit in edits["edit"]]
    )
    found = cause_tables.foretell(traced, edits, draws=400, confidence=0.95, seed=0).iloc[0]
    assert found["rho"] == pytest.approx(spearmanr([*truth.values()], [*guess.values()]).statistic)
    assert found["ci_low"] < found["rho"] < found["ci_high"] <= 1
    assert (found["n"], found["n_edits"], found["predictor"]) == (12, 12, "text_path")
    constant = cause_tables.foretell(traced.assign(value=1.0), edits, draws=100, confidence=0.95, seed=0).iloc[0]
    assert np.isnan(constant["rho"])


def test_which_tuning_is_strong_foretells_nothing_about_which_edit_is_lost():
    """Two tuned states of which one keeps everything, and within each no order at all: pooled, rho would be high."""
    mild, strong = (
        edits_table({"a": 0.9, "b": 0.8, "c": 0.7, "d": 0.6}),
        edits_table({"a": 0.4, "b": 0.3, "c": 0.2, "d": 0.1}),
    )
    edits = pd.concat([mild, strong.assign(corpus="other")], ignore_index=True)
    guess = [0.98, 0.99, 0.96, 0.97, 0.08, 0.09, 0.06, 0.07]
    traced = edits.drop(columns=["measure", "persistence"]).assign(
        variant="role", layer="", measure="denoiser_path", value=guess
    )
    found = cause_tables.foretell(traced, edits, draws=100, confidence=0.95, seed=0).iloc[0]
    # In each state the ranks are 1 2 3 4 against 2 1 4 3: Spearman's rho is .6 there.
    assert found["rho"] == pytest.approx(0.6)
    assert (found["n"], found["n_edits"]) == (8, 4)


def of_models(edits, models):
    """What is traced of models (name -> (edits, value)): `remaining` of each, and a path of each of their edits."""
    keys = edits.drop(columns=["measure", "persistence", "edit"]).iloc[0].to_dict() | {"layer": ""}
    rows = []
    for variant, (names, value) in models.items():
        rows.append(keys | {"edit": "", "variant": variant, "measure": "remaining", "value": value})
        rows += [keys | {"edit": name, "variant": variant, "measure": "text_path", "value": 1.0} for name in names]
    return pd.DataFrame(rows)


@pytest.mark.parametrize(
    ("models", "n"),
    [
        ({"a": (["a"], 0.2), "b": (["b"], 0.8), "c": (["c"], 0.6)}, 3),
        ({"role-0": (["a", "d"], 0.2), "role-1": (["b", "c"], 0.8)}, 4),
    ],
)
def test_what_is_traced_of_a_model_is_said_of_each_of_its_edits(models, n):
    fates = {"a": 0.1, "b": 0.9, "c": 0.5, "d": 0.1}
    edits = edits_table({name: fates[name] for names, _ in models.values() for name in names})
    found = cause_tables.foretell(of_models(edits, models), edits, draws=100, confidence=0.95, seed=0)
    row = found[found["predictor"] == "remaining"].iloc[0]
    value = {name: value for names, value in models.values() for name in names}
    points = edits[["edit", "persistence"]].drop_duplicates()
    expected = stats.spearmanr(points["persistence"], points["edit"].map(value)).statistic
    assert (row["rho"], row["n"]) == (pytest.approx(expected), n)


def test_each_family_tells_by_itself_how_its_models_hold_edits():
    edits = edits_table({"a": 0.1, "b": 0.9, "c": 0.5})
    both = pd.concat([edits.assign(family=name) for name in ("f", "g")])
    alone = of_models(edits, {"a": (["a"], 0.2), "b": (["b"], 0.2), "c": (["c"], 0.2)}).assign(family="f")
    shared = of_models(edits, {"role": (["a", "b", "c"], 0.2)}).assign(family="g")
    found = cause_tables.foretell(pd.concat([alone, shared]), both, draws=100, confidence=0.95, seed=0)
    found = found[found["predictor"] == "remaining"]
    assert dict(zip(found["family"], found["n"], strict=True)) == {"f": 3, "g": 3}


def test_a_study_without_traced_states_has_empty_tables():
    causes = cause_tables.collect({}, {})
    found = cause_tables.foretell(causes, edits_table({"a": 0.1}), draws=100, confidence=0.95, seed=0)
    assert (list(found), len(found), len(causes)) == (cause_tables.PREDICTION, 0, 0)
