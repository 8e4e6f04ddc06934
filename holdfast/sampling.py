"""Batched sampling and decoding: many prompts through one loaded pipeline."""

from holdfast import families
from holdfast.errors import HoldfastError


def sample(pipe, prompts, noise, steps, guidance_scale, batch_size, progress=None):
    """Latents of prompts from given noise; the same, to rounding, as one pipeline call for each prompt.

    The scheduler, its steps and the guidance are the pipeline's own. What is saved is a text encoder's pass for each
    repeated prompt, and the overhead and idle arithmetic of small batches.

    Args:
        pipe: a pipeline from `families.load`.
        prompts: N texts, in any order, repeated at will.
        noise: [N, C, h, w], standard normal (see `noise.draw`), one for each prompt.
        steps: of the scheduler.
        guidance_scale: of classifier-free guidance; 1 skips the unconditional pass.
        batch_size: pictures at once.
        progress: called after each batch with the number of pictures in it.

    Returns:
        [N, C, h, w] float32 on the CPU, in the order of the prompts.

    Raises:
        HoldfastError: shapes that don't fit, or latents that are not finite.
    """
    import torch

    family = families.kind_of(pipe)
    expected = (len(prompts), *family.latent_shape(pipe))
    if tuple(noise.shape) != expected:
        raise HoldfastError(
            f"Noise of shape {tuple(noise.shape)} doesn't fit {len(prompts)} prompts on this model; give {expected}."
        )
    if guidance_scale < 1 or steps < 1 or batch_size < 1:
        raise HoldfastError(
            f"Sampling needs guidance_scale, steps and batch_size of at least 1; "
            f"they are {guidance_scale}, {steps} and {batch_size}."
        )
    latents = torch.empty(expected, dtype=torch.float32)
    distinct = list(dict.fromkeys(prompts))
    index = {prompt: row for row, prompt in enumerate(distinct)}
    with torch.no_grad():
        cond = _encode(family, pipe, distinct, batch_size)
        empty = family.encode_empty(pipe) if guidance_scale > 1 else None
        for start in range(0, len(prompts), batch_size):
            batch = slice(start, min(start + batch_size, len(prompts)))
            rows = torch.tensor([index[prompt] for prompt in prompts[batch]], device=pipe.device)
            batch_cond = {name: tensor[rows] for name, tensor in cond.items()}
            latents[batch] = family.denoise(pipe, noise[batch], batch_cond, empty, steps, guidance_scale).float().cpu()
            if progress is not None:
                progress(batch.stop - batch.start)
    if not torch.isfinite(latents).all():
        bad = int((~torch.isfinite(latents).flatten(1).all(1)).nonzero()[0])
        raise HoldfastError(
            f"The model gave NaN or infinite latents (first for {prompts[bad]!r}); "
            "its weights diverged: look at the tuning loss or the edit's strength."
        )
    return latents


def decode(pipe, latents, batch_size):
    """Pictures of latents [N, C, h, w]: uint8 array [N, H, W, 3], as the pipeline's own `output_type="pil"` rounds."""
    import numpy as np
    import torch

    scale, shift = pipe.vae.config.scaling_factor, pipe.vae.config.shift_factor or 0.0
    pictures = []
    with torch.no_grad():
        for batch in latents.split(batch_size):
            batch = batch.to(pipe.device, pipe.vae.dtype) / scale + shift
            decoded = pipe.vae.decode(batch, return_dict=False)[0]
            pictures.append((pipe.image_processor.postprocess(decoded, output_type="np") * 255).round().astype("uint8"))
    return np.concatenate(pictures)


def _encode(family, pipe, prompts, batch_size):
    """`encode_prompts` in batches, entries concatenated."""
    import torch

    parts = [family.encode_prompts(pipe, prompts[at : at + batch_size]) for at in range(0, len(prompts), batch_size)]
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
