"""Cells with known persistences, as `persistence.measured` gives them, without a picture behind them."""

import numpy as np

from holdfast.analysis import estimates
from holdfast.analysis.measures import BY_NAME
from holdfast.analysis.persistence import Tested


def cell(kept, *, full=1.0, weights=1.0, names=None, measure="efficacy", pictures=20, **row):
    """A cell whose edits keep these shares of the effect `full`; without a control's effect, from a base of 0.

    row: what differs from a LoRA on the mascot in mini-sd's denoiser after UCE's appearance edits.
    """
    kept = np.asarray(kept, float)
    full = np.broadcast_to(np.asarray(full, float), kept.shape)
    zero = np.zeros_like(kept)
    values = {"base": zero, "edited": full, "tuned": zero, "edited_tuned": kept * full}
    variances = {
        arm: estimates.mean_variance(one.mean(), pictures, pictures * kept.size) for arm, one in values.items()
    }
    weights = np.broadcast_to(np.asarray(weights, float), kept.shape)
    names = np.arange(kept.size) if names is None else np.asarray(names)
    units = estimates.Units(names, weights, values, variances, (0.0, 1.0))
    known = {"family": "mini-sd", "task": "appearance", "editor": "uce", "tuner": "lora", "site": "denoiser"}
    known |= {"corpus": "mascot", "relation": "unrelated", "tuning_step": 100, "measure": measure} | row
    known |= {arm: float(np.average(one, weights=weights)) for arm, one in values.items()}
    known |= {"persistence": known["edited_tuned"] / known["edited"] if known["edited"] else np.nan}
    return Tested(known, BY_NAME[measure], units, None, 1.0)


# What the names of a made-up study stand for, as `holdfast.methods.described` tells it.
METHODS = {
    "editors": {"uce": {"method": "uce", "site": "denoiser"}, "refact": {"method": "refact", "site": "text_encoder"}},
    "tuners": {"lora": "lora", "dora": "dora", "dreambooth": "dreambooth"},
    "switches": [],
}
