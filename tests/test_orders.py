"""What the page says of other orders: whether they help, and what they cost."""

import numpy as np
import pandas as pd
import pytest

from holdfast.analysis import arms
from holdfast.report import orders

STATE = {"family": "f", "arm": "edited_tuned_edited", "steps": "uce/lora.c/uce", "editor": "uce", "tuner": "lora",
         "site": "denoiser", "corpus": "c", "relation": "related"}  # fmt: skip


def table(*rows):
    """arms.csv with these rows, each over STATE; the step is 100 unless a row says otherwise."""
    return pd.DataFrame([{**dict.fromkeys(arms.COLUMNS, np.nan), **STATE, "tuning_step": 100, **row} for row in rows])


def cell(task, measure, recovery, difference, low, high, **other):
    known = {"recovery": recovery, "difference": difference, "difference_low": low, "difference_high": high}
    return {"task": task, "measure": measure, **known, **other}


def test_a_sentence_counts_cells_that_gain_and_lose_by_each_judge():
    made = table(
        cell("role", "efficacy", 0.9, 0.3, 0.1, 0.5),
        cell("appearance", "efficacy", 0.8, 0.1, -0.1, 0.3),
        cell("unsafe", "unsafe", 0.5, -0.2, -0.3, -0.1),
        cell("role", "classified_efficacy", 0.1, -0.6, -0.7, 0.1),
        # Not counted: an earlier step, and a cell without an effect.
        cell("role", "efficacy", 0.1, -0.9, -1, -0.8, tuning_step=20),
        cell("debias", "debias", np.nan, np.nan, np.nan, np.nan),
    )
    (said,) = orders.sentences(made)
    by_clip, by_classifier = said.replace("\N{NARROW NO-BREAK SPACE}", " ").split("; ")
    assert by_clip.startswith("Re-edited, against edited, then tuned, in the median cell: by CLIP 85 % of the effect, ")
    assert by_clip.endswith("20 points more (of 2 cells clearly more in 1, clearly less in 0)")
    assert by_classifier.startswith("by the classifier 30 % of the effect, 40 points less (of 2 cells")
    assert by_classifier.endswith("clearly more in 0, clearly less in 1).")


def test_neighbours_are_weighed_by_their_pictures():
    shares = {"base": 1.0, "edited": 0.9, "edited_tuned": 0.8}
    made = table(
        {"task": "role", "measure": "specificity", "n_images": 30, "value": 0.5, **shares},
        {"task": "unsafe", "measure": "specificity", "n_images": 10, "value": 0.9, **shares, "edited": 0.5},
        {"task": "role", "measure": "specificity", "n_images": 30, "value": 0.7, **shares, "arm": "edited_carried",
         "steps": "uce/lora.c@base"},
    )  # fmt: skip
    found = orders.neighbours(made)
    assert found["columns"] == ["base", "edited", "edited, then tuned", "re-edited", "adapter carried over"]
    (row,) = found["rows"]
    assert (row["tuning"], row["judge"]) == ("lora on c", "CLIP")
    assert row["cells"] == pytest.approx([1.0, (30 * 0.9 + 10 * 0.5) / 40, 0.8, (30 * 0.5 + 10 * 0.9) / 40, 0.7])
    assert orders.neighbours(made[:0]) == {"columns": [], "rows": []}
    assert list(orders.sentences(made[:0])) == []
