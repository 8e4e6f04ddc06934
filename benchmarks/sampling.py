"""Pictures per second: the batched sampler against the loops that a user would write with StableDiffusionPipeline."""

import statistics

from benchmarks.timing import interleave, median_and_range

STEPS, GUIDANCE_SCALE, BATCH_SIZE = 6, 2.0, 64


def run(model_dir, edits_path, repeats, pictures):
    """Markdown section with the pictures per second of three ways to draw the same pictures from the same noise."""
    import torch

    from holdfast import families, noise, sampling
    from holdfast.edits import read_edits

    pipe = families.load(model_dir)
    shape = families.kind_of(pipe).latent_shape(pipe)
    probes = [probe for edit in read_edits(edits_path) for probe in edit.probes]
    chosen = [(probes[number % len(probes)], number // len(probes)) for number in range(pictures)]
    prompts = [probe.prompt for probe, _ in chosen]
    noises = torch.stack([noise.draw(probe.id, seed, shape) for probe, seed in chosen])
    settings = {"num_inference_steps": STEPS, "guidance_scale": GUIDANCE_SCALE, "output_type": "latent"}

    def one_prompt_a_call():
        return torch.cat([pipe(p, latents=n[None], **settings).images for p, n in zip(prompts, noises, strict=True)])

    def all_prompts_a_call():
        parts = range(0, pictures, BATCH_SIZE)
        return torch.cat(
            [
                pipe(prompts[at : at + BATCH_SIZE], latents=noises[at : at + BATCH_SIZE], **settings).images
                for at in parts
            ]
        )

    def holdfast():
        return sampling.sample(pipe, prompts, noises, STEPS, GUIDANCE_SCALE, BATCH_SIZE)

    contestants = {
        "`StableDiffusionPipeline`, one prompt a call": one_prompt_a_call,
        f"`StableDiffusionPipeline`, {BATCH_SIZE} prompts a call": all_prompts_a_call,
        f"`holdfast.sampling.sample`, batches of {BATCH_SIZE}": holdfast,
    }
    seconds, latents = interleave(contestants, repeats)
    first = next(iter(contestants))
    rows = [
        f"| {name} | {median_and_range([pictures / s for s in seconds[name]])} "
        f"| {statistics.median(seconds[first]) / statistics.median(seconds[name]):.2f} "
        f"| {float((latents[name] - latents[first]).abs().max()):.1e} |"
        for name in contestants
    ]
    return "\n".join(
        [
            "## Sampling",
            "",
            f"{pictures} pictures of {len(set(prompts))} prompts of the study on `{model_dir}`, {STEPS} steps, "
            f"guidance {GUIDANCE_SCALE:g}, the same noise; text encoding included, decoding not. Pictures per "
            f"second, median of {repeats} interleaved rounds (least-most), and the largest difference of any "
            "latent from the first row.",
            "",
            "| way | pictures/s | times the first | max abs difference |",
            "|---|---|---|---|",
            *rows,
            "",
        ]
    )
