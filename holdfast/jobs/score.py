"""Decode a samples file and measure every picture."""

from collections import defaultdict
from pathlib import Path


def run(job, *, model, scorers, deltas, samples, output, log, threads):
    """Measure the pictures of `samples` as `job` (`Study.score_job`) says; one row per picture and measure to `output`.

    `scorers` are the manifests of the job's scorers, in its order, whose folders are verified; `deltas` are the files
    of the state that drew the pictures.
    """
    from holdfast import devices
    from holdfast import log as logs
    from holdfast.jobs.check import check_deltas
    from holdfast.lineage import prefixes

    logs.job(log)
    check_deltas(deltas, job["family"], prefixes(job["lineage"]))
    device = devices.prepare(threads)

    import pandas as pd

    from holdfast import artifacts, families, hub, sampling, states
    from holdfast.edits import Probe
    from holdfast.errors import ArtifactError
    from holdfast.scorers import SCORERS

    model_dir = Path(model).parent
    tensors, header = artifacts.load(samples, kind="samples")
    probes = {probe["id"]: Probe(**probe) for probe in job["probes"]}
    if header["parents"]["base"] != states.base_identity(model_dir) or header["lineage"] != job["lineage"]:
        raise ArtifactError(
            f"{samples} is foreign: another model or state drew it; delete it and run the workflow again."
        )
    if header["parents"] != states.parents_of(model_dir, deltas):
        raise ArtifactError(
            f"{samples} is stale: {deltas[-1] if deltas else 'its state'} is not what drew it any more; "
            "delete it and run the workflow again."
        )
    if {row[2] for row in header["rows"]} != probes.keys():
        raise ArtifactError(f"{samples} is stale: it shows other probes; delete it and run the workflow again.")

    for manifest in scorers:
        hub.verify(Path(manifest).parent)

    # Pictures that compete with the same texts are measured together; a group's pictures are in memory, no more.
    groups = defaultdict(list)
    for number, (variant, step, probe, _) in enumerate(header["rows"]):
        groups[variant, step, tuple(job["rivals"][probe])].append(number)
    measurers = [
        SCORERS[kind](Path(manifest).parent, device)
        for kind, manifest in zip(job["scorers"].values(), scorers, strict=True)
    ]
    pipe = families.load(model_dir, kind=job["kind"], device=device)
    bar = logs.progress(total=len(header["rows"]), description=job["lineage"], unit="pictures")
    table = []
    for (_, _, rivals), numbers in groups.items():
        images = sampling.decode(pipe, tensors["latents"][numbers].float(), job["batch_size"])
        shown = [probes[header["rows"][number][2]] for number in numbers]
        for measurer in measurers:
            for index, measure, value in measurer.score(images, shown, list(rivals)):
                variant, step, _, seed = header["rows"][numbers[index]]
                probe = shown[index]
                table.append(
                    (
                        variant,
                        probe.task,
                        probe.edit,
                        probe.id,
                        probe.role,
                        probe.prompt,
                        seed,
                        step,
                        measure,
                        float(value),
                    )
                )
        bar.update(len(numbers))
    bar.close()
    frame = pd.DataFrame(table, columns=COLUMNS).sort_values(COLUMNS[:-1], ignore_index=True)
    with artifacts.atomic(output) as temporary:
        frame.to_parquet(temporary, index=False)


COLUMNS = ["variant", "task", "edit", "probe", "role", "prompt", "seed", "tuning_step", "measure", "value"]
