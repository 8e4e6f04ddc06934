"""The FLUX family draws and learns what FluxPipeline and diffusers' own training script do."""

import numpy as np
import pytest
import torch

from holdfast import families, noise, sampling
from holdfast.families import flux
from tests import tiny

PROMPTS = ["a rose", "the king at night", "a rose", "", "a blue rose in a garden"]


def start(count):
    return torch.stack([noise.draw("probe", seed, (8, 8, 8)) for seed in range(count)])


@pytest.mark.parametrize("guidance_embeds", [True, False])
def test_batches_equal_single_pipeline_calls(tmp_path, guidance_embeds):
    pipe = families.load(tiny.build_flux(tmp_path, guidance_embeds=guidance_embeds), kind="flux")
    noises = start(len(PROMPTS))
    assert flux.latent_shape(pipe) == (8, 8, 8)
    batched = sampling.sample(pipe, PROMPTS, noises, 5, 3.5, 2)
    settings = {"height": 32, "width": 32, "num_inference_steps": 5, "guidance_scale": 3.5, "max_sequence_length": 16}
    for row, prompt in enumerate(PROMPTS):
        packed = pipe._pack_latents(noises[row : row + 1], 1, 8, 8, 8)
        single = pipe(prompt, latents=packed, output_type="latent", **settings).images
        unpacked = pipe._unpack_latents(single, 32, 32, pipe.vae_scale_factor)
        assert (batched[row] - unpacked[0]).abs().max() <= 1e-5
    assert (batched - noises).abs().max() > 0.1
    assert (batched[0] - sampling.sample(pipe, ["a fish"], noises[:1], 5, 3.5, 1)[0]).abs().max() > 1e-3
    told = sampling.sample(pipe, PROMPTS[:1], noises[:1], 5, 1.0, 1)
    assert ((batched[0] - told[0]).abs().max() > 1e-4) == guidance_embeds


def test_a_seed_of_the_study_is_a_generator_of_the_pipeline(tiny_flux):
    """FluxPipeline draws its own noise unpacked, so a study's picture can be made again outside it."""
    settings = {"height": 32, "width": 32, "num_inference_steps": 3, "guidance_scale": 2.0, "max_sequence_length": 16}
    generator = torch.Generator("cpu").manual_seed(noise.generator_seed("probe", 1))
    own = tiny_flux("a fish", generator=generator, output_type="np", **settings).images
    latents = sampling.sample(tiny_flux, ["a fish"], noise.draw("probe", 1, (8, 8, 8))[None], 3, 2.0, 1)
    pictures = sampling.decode(tiny_flux, latents, 1)
    assert np.abs(pictures / 255 - own).max() <= 1.5 / 255
