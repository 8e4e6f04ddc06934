"""The mean of every score in every state, with interval."""

import numpy as np
import pandas as pd

from holdfast.analysis import statistics
from holdfast.analysis.estimates import divide
from holdfast.analysis.pairing import KEYS, STATE, sums

COLUMNS = [*STATE, "role", "measure", "n_edits", "n_images", "rate", "ci_low", "ci_high"]


def tabulate(frame, *, draws, confidence, seed):
    """The mean of every score per state and probe role (columns: COLUMNS).

    frame: from `pairing.pictures`. Outcomes and yes/no scores are rates in [0, 1]; clip_score is a mean score.
    """
    measures = [column for column in frame.columns if column not in KEYS]
    rows = []
    for key, part in frame.groupby([*STATE, "role"], sort=False):
        mine = [measure for measure in measures if part[measure].notna().any()]
        values = part[mine].to_numpy(float)
        known = ~np.isnan(values)
        table = sums(part, np.column_stack([np.where(known, values, 0.0), known]))
        total = np.nansum(table, axis=(0, 1))
        drawn = statistics.totals(table, draws, seed)
        for column, measure in enumerate(mine):
            count = total[len(mine) + column]
            units = int((np.nansum(table[:, :, len(mine) + column], axis=1) > 0).sum())
            spread = divide(drawn[:, column], drawn[:, len(mine) + column])
            low, high = statistics.interval(spread, units, confidence)
            edits = part.loc[part[measure].notna(), "edit"].nunique()
            rows.append([*key, measure, edits, int(count), total[column] / count, low, high])
    return pd.DataFrame(rows, columns=COLUMNS)
