"""The tables of causes: what was traced in every tuned state, and how well it foretells persistence."""

import numpy as np
import pandas as pd
import pyarrow
import pyarrow.parquet

from holdfast.analysis import statistics
from holdfast.analysis.measures import MEASURES
from holdfast.analysis.pairing import TUNING
from holdfast.analysis.tables import identify
from holdfast.edits import NEEDED
from holdfast.errors import HoldfastError

KEY = ["family", "task", "editor", *TUNING, "train_seed"]
COLUMNS = [*KEY, "variant", "edit", "layer", "measure", "value"]
# What foretells an edit's persistence: of the edit itself, and of the model that it shares with others.
OF_EDITS = ("text_path", "denoiser_path")
OF_VARIANTS = ("remaining",)
PREDICTION = ["family", "predictor", "measure", "n_edits", "n", "rho", "ci_low", "ci_high"]
# Of the prompts that were traced: those that say whether an edit was made.
MEASURED = frozenset(measure.name for measure in MEASURES if measure.role in sum(NEEDED.values(), ()))


def collect(files, relations):
    """The long table of causes (columns: COLUMNS) from files of `jobs.causes`: path -> family."""
    parts = []
    for path, family in files.items():
        try:
            frame = pyarrow.parquet.read_table(path).to_pandas()
            states = {tuned: identify(family, tuned, relations) for tuned in frame["tuned"].unique()}
        except (OSError, KeyError, pyarrow.ArrowException) as error:
            raise HoldfastError(f"{path} is not a file of causes: delete it and run the study again.") from error
        names = [name for name in KEY if name not in ("task", "tuning_step")]
        parts.append(
            frame.assign(**{name: frame["tuned"].map({t: s[name] for t, s in states.items()}) for name in names})
        )
    table = pd.concat(parts, ignore_index=True)[COLUMNS] if parts else pd.DataFrame(columns=COLUMNS)
    return table.sort_values([name for name in COLUMNS if name != "value"], ignore_index=True)


def foretell(causes, edits, *, draws, confidence, seed):
    """Rank correlation of what was traced with what was measured in pictures of the same prompts (columns: PREDICTION).

    One row for each family, predictor and measure; a point is one edit in one tuned state with one training seed that
    has a persistence. Edits are ranked within their state and never across states, so that it is about which of the
    edits is lost and not about which tuning is strong (of one state alone it is Spearman's rho). The interval resamples
    edits with all their points. rho is blank for a predictor that says the same of all edits of a state, the interval
    too with fewer than three edits. No row where nothing was traced.

    Args:
        causes: from `collect`.
        edits: the table of single edits (`persistence.by_edit`).
    """
    traced = causes[causes["layer"] == ""]
    owners = traced.loc[traced["edit"] != "", [*KEY, "variant", "edit"]].drop_duplicates()
    rows = []
    for (family, predictor), found in traced.groupby(["family", "measure"], sort=True):
        if predictor not in (*OF_EDITS, *OF_VARIANTS):
            continue
        if predictor in OF_VARIANTS:
            # What is said of a model is said of each of its edits.
            found = found.drop(columns="edit").merge(owners, on=[*KEY, "variant"])
        on = [*KEY, "edit"]
        joined = edits.merge(found[[*on, "value"]], on=on)
        joined = joined[joined["measure"].isin(MEASURED)]
        joined = joined[np.isfinite(joined["persistence"]) & np.isfinite(joined["value"])]
        for measure, part in joined.groupby("measure", sort=True):
            rows.append([family, predictor, measure, *_correlated(part, draws, confidence, seed)])
    return pd.DataFrame(rows, columns=PREDICTION).sort_values(["family", "measure", "predictor"], ignore_index=True)


def _correlated(part, draws, confidence, seed):
    """n_edits, n, rho, ci_low, ci_high of the points of one row of PREDICTION."""
    ranks = part.groupby(KEY)[["value", "persistence"]].rank()
    ranks -= ranks.groupby([part[name] for name in KEY]).transform("mean")
    x, y = ranks.to_numpy(float).T
    products = pd.DataFrame({"xy": x * y, "xx": x * x, "yy": y * y}).groupby(part["edit"].to_numpy()).sum().to_numpy()
    rho = float(_ratio(products.sum(axis=0)))
    drawn = _ratio(statistics.totals(products, draws, seed))
    low, high = statistics.interval(rho, drawn, len(products), confidence, within=(-1, 1))
    return len(products), len(part), rho, low, high


def _ratio(sums):
    """Correlation from sums of products [..., (xy, xx, yy)]; NaN where one of the two never varies."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return sums[..., 0] / np.sqrt(sums[..., 1] * sums[..., 2])
