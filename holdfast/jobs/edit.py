"""Edit every variant of a shard and write the deltas."""

import importlib
from pathlib import Path
from types import SimpleNamespace


def run(job, *, model, parents, output, log, threads):
    """Make the edits of `job` (`Study.edit_job`) on the state `model` + `parents`; the delta file goes to `output`."""
    from holdfast import devices
    from holdfast import log as logs
    from holdfast.jobs.check import check_deltas
    from holdfast.lineage import prefixes

    logs.job(log)
    check_deltas(parents, job["family"], prefixes(job["lineage"])[:-1])
    device = devices.prepare(threads)

    from holdfast import states
    from holdfast.editors import EDITORS

    model_dir, edit = Path(model).parent, EDITORS[job["method"]]
    state = states.State(model_dir, kind=job["kind"], device=device)
    deltas = {}
    for variant in logs.progress(job["variants"], description=job["lineage"], unit="variants"):
        edits = [SimpleNamespace(**request) for request in variant["edits"]]
        deltas[variant["id"]] = edit(
            state.apply(parents, variant["id"] if parents else None), edits, variant["preserve"], **job["settings"]
        )
    states.save(
        output,
        deltas,
        step="edit",
        method=job["method"],
        method_version=importlib.import_module(edit.__module__).VERSION,
        hyperparameters=job["settings"],
        family=job["family"],
        lineage=job["lineage"],
        model_dir=model_dir,
        parents=parents,
        device=device,
    )
