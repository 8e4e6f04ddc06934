"""Draw the pictures of a state's probes, as latents."""

from itertools import groupby
from pathlib import Path


def run(job, *, model, deltas, output, log, threads):
    """Draw every (variant, tuning step, probe, seed) of `job` (`Study.sample_job`) and write the latents to `output`.

    Rows are in that order; the header lists them. The noise of a picture depends on its probe and seed alone.
    """
    from holdfast import devices
    from holdfast import log as logs
    from holdfast.jobs.check import check_deltas
    from holdfast.lineage import prefixes

    logs.job(log)
    check_deltas(deltas, job["family"], prefixes(job["lineage"]))
    device = devices.prepare(threads)

    import torch

    from holdfast import artifacts, families, noise, sampling, states

    model_dir = Path(model).parent
    state = states.State(model_dir, kind=job["kind"], device=device)
    shape = families.FAMILIES[job["kind"]].latent_shape(state.pipe)
    settings = {name: job[name] for name in ("steps", "guidance_scale", "batch_size")}
    seeds, steps = range(job["seeds"]), job["tuning_steps"]
    bar = logs.progress(total=len(job["probes"]) * len(seeds) * len(steps), description=job["lineage"], unit="pictures")
    rows, latents, digests = [], [], {}
    for variant, group in groupby(job["probes"], key=lambda probe: probe[0]):
        pictures = [(probe, prompt, seed) for _, probe, prompt in group for seed in seeds]
        start = torch.stack([noise.draw(probe, seed, shape) for probe, _, seed in pictures])
        digests[variant] = noise.digest(start)
        for step in steps:
            pipe = state.apply(deltas, variant if deltas else None, step)
            prompts = [prompt for _, prompt, _ in pictures]
            latents.append(sampling.sample(pipe, prompts, start, progress=bar.update, **settings))
            rows += [[variant, step, probe, seed] for probe, _, seed in pictures]
    bar.close()
    header = {
        "kind": "samples",
        "family": job["family"],
        "lineage": job["lineage"],
        "rows": rows,
        "noise": digests,
        "sampling": settings,
        "parents": states.parents_of(model_dir, deltas),
        "versions": states.versions(),
        "device": str(device),
        "dtype": "float32",
    }
    artifacts.save(output, {"latents": torch.cat(latents).to(torch.float16)}, header)
