"""Files of causes for the synthetic study: edits that keep their weights and lose their effect downstream."""

import pandas as pd

from holdfast.analysis import tables
from holdfast.jobs import cause_tables
from holdfast.lineage import TuneStep

TABLES = ("causes", "prediction", "doses")
SIZE = {"lora": 1.0, "dora": 0.8, "dreambooth": 0.5}
WHOLE = {"touched": 0.3, "along": -0.01, "share": 0.4, "share_by_chance": 0.5, "remaining": 0.99}


def write(root, relations, outputs):
    """Write the files under `root` and tabulate them by the job's own function; `outputs` has the tables' paths."""
    edits = tables.read_csv(outputs["edits"])
    rows = {}
    keys = ["family", "task", "editor", "tuner", "site", "corpus", "tuning_step", "train_seed", "edit"]
    for key, part in edits.groupby(keys, sort=True):
        family, task, editor, tuner, site, corpus, step, seed, edit = key
        tuned = f"{editor}.0/{TuneStep(tuner, site, corpus, seed)}"
        left = float(part["persistence"].mean())
        paths = {"text_path": 1.0, "denoiser_path": 0.0 if left != left else 0.2 + 0.7 * left}
        whole = WHOLE | {"dose": 0.2, "norm": 0.02 * SIZE[tuner] * step**0.5, "fit": 0.05 * step**0.3}
        for owner, measures in ((edit, paths), ("", whole)):
            rows.setdefault(family, {}).update(
                {(task, task, owner, tuned, step, "", name): value for name, value in measures.items()}
            )
    files = []
    for family, found in rows.items():
        frame = pd.DataFrame([(*key, value) for key, value in found.items()], columns=COLUMNS)
        files.append(root / f"results/causes/{family}/any.0.parquet")
        files[-1].parent.mkdir(parents=True, exist_ok=True)
        frame.to_parquet(files[-1])
    cause_tables.run(
        causes=[str(file) for file in files],
        persistence=outputs["persistence"],
        edits=outputs["edits"],
        folder=str(root / "results"),
        relations=relations,
        statistics={"draws": 200, "confidence": 0.95, "seed": 0},
        outputs={name: outputs[name] for name in TABLES},
        log=None,
    )


COLUMNS = ["variant", "task", "edit", "tuned", "tuning_step", "layer", "measure", "value"]
