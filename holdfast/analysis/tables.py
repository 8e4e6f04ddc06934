"""The study's long tables, put together from the files of all states: scores, quality, and which scorers measured."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow
import pyarrow.parquet

from holdfast import lineage
from holdfast.errors import HoldfastError
from holdfast.scorers import HEADER

COLUMNS = [
    *("family", "lineage", "arm", "task", "edit", "editor", "tuner", "site", "corpus", "relation", "tuning_step"),
    *("train_seed", "probe", "role", "prompt", "seed", "measure", "value"),
]
SCORED = ["task", "edit", "probe", "role", "prompt", "seed", "tuning_step", "measure", "value"]
NUMBERS = {"tuning_step": "int32", "train_seed": "int32", "seed": "int32", "value": "float64"}
NO_SEED = -1  # train_seed of a state that was never tuned: an integer column has no empty value


def collect(files):
    """Join score files into the long table (columns: COLUMNS), every row with the identity of its state.

    files: path of a score file -> dict with family, lineage, arm, editor, tuner, site, corpus, relation, train_seed
    (empty string, and -1 for train_seed, where a state has none). Rows come sorted, so equal scores give equal bytes.
    """
    if not files:
        raise HoldfastError(
            "There is no score file to aggregate: the study has no cell; look at `tunings` in the config."
        )
    parts = [read_scores(path).assign(**state) for path, state in files.items()]
    table = pd.concat(parts, ignore_index=True)[COLUMNS]
    table = table.astype({**dict.fromkeys([c for c in COLUMNS if c not in NUMBERS], "str"), **NUMBERS})
    # Sorted and compared by numbers in the order of the names: strings take ten times as long.
    order = pd.DataFrame({c: pd.factorize(table[c], sort=True)[0] for c in COLUMNS if c != "value"})
    unsorted, table = table, table.iloc[np.lexsort([order[c] for c in reversed(order.columns)])].reset_index(drop=True)
    same = order.duplicated([c for c in order if c not in ("prompt", "role")])
    if same.any():
        first = unsorted[same].iloc[0]
        raise HoldfastError(
            f"Probe {first.probe!r}, seed {first.seed}, of state {first.family}/{first.lineage} was measured twice "
            f"({first.measure}): remove results/scores/{first.family}/{first.lineage} and run the study again."
        )
    return table


def read_scores(path):
    """One score file as a frame with the columns SCORED. Raises HoldfastError if it isn't one or holds a non-number."""
    path = Path(path)
    try:
        frame = pyarrow.parquet.read_table(path).to_pandas()
    except (OSError, pyarrow.ArrowException) as error:
        raise HoldfastError(f"{path} is not a readable score file: delete it and run the study again.") from error
    missing = [column for column in SCORED if column not in frame]
    if missing:
        raise HoldfastError(f"{path} lacks the columns {', '.join(missing)}: delete it and run the study again.")
    if frame["value"].isna().any():
        raise HoldfastError(f"{path} holds scores that are not numbers: delete it and run the study again.")
    return frame[SCORED]


QUALITY = ["variant", "tuning_step", "n", "reference", "black", "nan", "fid", "kid", "clip_score", "features"]
STATE = ["family", "lineage", "arm", "editor", "tuner", "site", "corpus", "relation", "train_seed"]


def collect_quality(files):
    """Join quality files into one table: the state's identity (STATE), then QUALITY.

    files: path of a quality file (`jobs.quality`) -> identity of its state. None gives a table with a header alone.
    """
    columns = [*STATE[:-1], "tuning_step", "train_seed", *(name for name in QUALITY if name != "tuning_step")]
    parts = []
    for path, state in files.items():
        try:
            parts.append(pd.read_csv(path)[QUALITY].assign(**state))
        except (OSError, KeyError, ValueError) as error:
            raise HoldfastError(f"{path} is not a quality file: delete it and run the study again.") from error
    table = pd.concat(parts, ignore_index=True)[columns] if parts else pd.DataFrame(columns=columns)
    return table.sort_values([c for c in columns if c not in ("fid", "kid", "clip_score")], ignore_index=True)


def collect_scorers(files):
    """Which scorers measured each family's pictures: family, scorer, kind, version, settings (as JSON).

    files: path of a score file -> identity of its state. HoldfastError where two states were measured differently.
    """
    rows = {}
    for path, state in files.items():
        stored = pyarrow.parquet.read_schema(path).metadata or {}
        for scorer in json.loads(stored.get(HEADER.encode(), b"[]")):
            row = {"family": state["family"], **scorer, "settings": json.dumps(scorer["settings"], sort_keys=True)}
            if rows.setdefault((row["family"], row["scorer"]), row) != row:
                raise HoldfastError(
                    f"{path} was measured by another version of the scorer {row['scorer']!r} than other states were: "
                    "delete results/scores and run the study again."
                )
    return pd.DataFrame(rows.values(), columns=["family", "scorer", "kind", "version", "settings"])


def to_parquet(table, path):
    """Write a frame as Parquet, names as dictionaries (a 180,000-row table takes about 1 MB)."""
    arrow = pyarrow.Table.from_pandas(table, preserve_index=False)
    pyarrow.parquet.write_table(arrow, path, compression="zstd", use_dictionary=True)


def read_parquet(path):
    """Read what `to_parquet` wrote."""
    return pyarrow.parquet.read_table(path).to_pandas()


def read_csv(path):
    """Read one of the study's CSV tables: empty names stay empty strings, empty numbers are NaN."""
    names = {*STATE, "task", "role", "measure", "edit", "rule", "job", "steps", "variant", "features", "reference"}
    names = (names | {"scorer", "kind", "version", "settings", "layer", "predictor"}) - {"train_seed"}
    names |= {"verdict", "here_verdict", "factor", "scale", "a", "b"}
    names |= {"editors", "contrast", "editor_site", "tuner_site", "claim", "statement", "scope", "judge"}
    head = pd.read_csv(path, nrows=0).columns
    texts = [column for column in head if column in names]
    table = pd.read_csv(path, dtype=dict.fromkeys(texts, "str"), keep_default_na=False, na_values=[""])
    table[texts] = table[texts].fillna("")
    return table


def identify(family, path, relations):
    """Identity of a state from its lineage: the columns that `collect` adds.

    relations: corpus -> its relation to the edits. Of several edit or tune steps the last counts.
    """
    steps = lineage.parse(path)
    state = {"family": family, "lineage": path, "arm": lineage.arm(path), "train_seed": NO_SEED}
    state |= dict.fromkeys(("editor", "tuner", "site", "corpus", "relation"), "")
    for step in steps:
        if isinstance(step, lineage.EditStep):
            state["editor"] = step.editor
        else:
            state |= {"tuner": step.tuner, "site": step.site, "corpus": step.corpus, "train_seed": step.seed}
            state["relation"] = relations[step.corpus]
    return state
