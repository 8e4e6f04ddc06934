"""Tuners at equal strength: read where both have come equally far, and nowhere else."""

import numpy as np
import pandas as pd
import pytest

from holdfast.analysis import doses
from holdfast.analysis.pairing import CELL

CHOSEN = {"draws": 400, "confidence": 0.95, "seed": 0}
# How fast each of eight edits is lost as the weights change.
RATES = dict(zip("abcdefgh", [0.2, 0.4, 0.6, 0.8, 1.0, 1.2, 1.4, 0.5], strict=True))
STEPS = (10, 100)


def tables(size, fit=lambda dose: dose, steps=STEPS, tasks=("role",)):
    """(causes, persistence, edits) of a study whose edits are lost with the logarithm of the dose alone.

    size: tuner -> what its dose is after a number of steps. fit: of a dose.
    """
    causes, persistence, edits = [], [], []
    for task in tasks:
        for tuner, dose_of in size.items():
            for step in steps if isinstance(steps, tuple) else steps[tuner]:
                cell = dict(zip(CELL, ["f", task, "uce", tuner, "denoiser", "c", "related", step], strict=True))
                dose = dose_of(step)
                for variant, off in (("v0", 0.9), ("v1", 1.1)):  # their mean is the cell's dose
                    for measure, value in (("norm", dose * off), ("fit", fit(dose) * off)):
                        causes.append(cell | {"train_seed": 0, "variant": variant, "edit": "", "layer": "",
                                              "measure": measure, "value": value})  # fmt: skip
                for name, rate in RATES.items():
                    arms = {"base": 0.0, "edited": 1.0, "tuned": 0.0, "edited_tuned": left(dose, rate)}
                    known = {"measure": "efficacy", "edit": name, "train_seed": 0, "n_images": 4, "persistence": 1.0}
                    edits.append(cell | known | arms)
                persistence.append(cell | {"measure": "efficacy", "persistence": 0.5})
    return tuple(map(pd.DataFrame, (causes, persistence, edits)))


def left(dose, rate):
    return 1 - rate * np.log1p(dose * 9) / np.log(10) / 2


def row(table, scale):
    (found,) = table[(table["scale"] == scale) & (table["n_cells"] == 1)].to_dict("records")
    return found


def test_tuners_of_one_kind_are_equal_at_equal_size_and_not_after_equal_steps():
    """DoRA here goes a tenth as far in a step: at 100 steps it stands where LoRA stood at 10."""
    made = tables({"dora": lambda step: step / 1000, "lora": lambda step: step / 100})
    table = doses.tabulate(*made, **CHOSEN)
    steps, size = row(table, "steps"), row(table, "size")
    assert (steps["a"], steps["b"]) == ("dora", "lora")
    assert (steps["at"], steps["step_a"], steps["step_b"]) == pytest.approx((100, 100, 100))
    rate = np.mean([*RATES.values()])
    assert steps["persistence_a"] == pytest.approx(left(0.1, rate))
    assert steps["persistence_b"] == pytest.approx(left(1, rate))
    assert steps["p_permutation"] == pytest.approx(2 / 2**8) and steps["ci_low"] > 0
    assert (size["at"], size["step_a"], size["step_b"]) == pytest.approx((0.1, 100, 10))
    assert size["difference"] == pytest.approx(0) and size["p_permutation"] == 1


def test_between_snapshots_a_course_is_straight_over_the_logarithm():
    made = tables({"dora": lambda step: step / 300, "lora": lambda step: step / 100})
    size = row(doses.tabulate(*made, **CHOSEN), "size")
    assert size["at"] == pytest.approx(1 / 3) and size["step_b"] == pytest.approx(100 / 3)
    share = np.log(1 / 3 / 0.1) / np.log(1 / 0.1)
    rate = np.mean([*RATES.values()])
    expected = (1 - share) * left(0.1, rate) + share * left(1, rate)
    assert size["persistence_b"] == pytest.approx(expected)


def test_nothing_is_read_beyond_a_course_or_where_it_turns_back():
    apart = tables({"dora": lambda step: step / 1e5, "lora": lambda step: step / 100})
    assert set(doses.tabulate(*apart, **CHOSEN)["scale"]) == {"steps"}
    turned = tables({"dora": lambda step: step / 300, "lora": lambda step: step / 100}, fit=lambda dose: 1 - dose)
    assert set(doses.tabulate(*turned, **CHOSEN)["scale"]) == {"steps", "size"}
    late = tables(
        {"dora": lambda step: step / 100, "lora": lambda step: step / 100}, steps={"dora": (200,), "lora": (10, 100)}
    )
    assert doses.tabulate(*late, **CHOSEN).empty


def test_a_cell_without_an_effect_has_no_course_and_all_cells_are_compared_together():
    sizes = {"dora": lambda step: step / 300, "lora": lambda step: step / 100}
    causes, persistence, edits = tables(sizes, tasks=("role", "appearance"))
    both = doses.tabulate(causes, persistence, edits, **CHOSEN)
    (whole,) = both[(both["scale"] == "size") & (both["n_cells"] == 2)].to_dict("records")
    assert (whole["measure"], whole["n_edits"], whole["family"]) == ("own", 16, "")
    persistence.loc[persistence["task"] == "role", "persistence"] = np.nan
    assert set(doses.tabulate(causes, persistence, edits, **CHOSEN)["task"]) == {"appearance"}
