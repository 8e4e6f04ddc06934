"""The batched sampler draws what a StableDiffusionPipeline draws, one prompt at a time."""

import numpy as np
import pytest
import torch

from holdfast import noise, sampling
from holdfast.errors import HoldfastError

PROMPTS = ["a rose", "the king at night", "a rose", "", "a blue rose in a garden", "the king at night", "a fish"]


def start(count):
    return torch.stack([noise.draw("probe", seed, (8, 8, 8)) for seed in range(count)])


@pytest.mark.parametrize("guidance_scale", [1.0, 2.0])
def test_batches_equal_single_pipeline_calls(tiny_pipe, guidance_scale):
    noises = start(len(PROMPTS))
    done = []
    batched = sampling.sample(tiny_pipe, PROMPTS, noises, 5, guidance_scale, 3, progress=done.append)
    assert done == [3, 3, 1]
    settings = {"num_inference_steps": 5, "guidance_scale": guidance_scale, "output_type": "latent"}
    single = torch.cat(
        [
            tiny_pipe(prompt, latents=picture[None], **settings).images
            for prompt, picture in zip(PROMPTS, noises, strict=True)
        ]
    )
    assert batched.dtype == torch.float32
    assert (batched - single).abs().max() <= 1e-4
    assert (batched - noises).abs().max() > 0.1


def test_the_prompt_decides_and_the_batch_does_not(tiny_pipe):
    same = start(1).expand(4, -1, -1, -1)
    latents = sampling.sample(tiny_pipe, ["a rose", "a fish", "a rose", "a plum"], same, 4, 2.0, 4)
    assert (latents[0] - latents[2]).abs().max() <= 1e-5
    assert (latents[0] - latents[1]).abs().max() > 1e-3
    again = sampling.sample(tiny_pipe, ["a plum", "a fish"], same[:2], 4, 2.0, 1)
    assert (again - latents[[3, 1]]).abs().max() <= 1e-4


def test_decoded_pictures_are_the_pipelines_own(tiny_pipe):
    noises = start(3)
    latents = sampling.sample(tiny_pipe, PROMPTS[:3], noises, 4, 2.0, 2)
    pictures = sampling.decode(tiny_pipe, latents, 2)
    assert pictures.shape == (3, 32, 32, 3)
    assert pictures.dtype == np.uint8
    own = tiny_pipe(PROMPTS[:3], latents=noises, num_inference_steps=4, guidance_scale=2.0).images
    assert max(np.abs(np.asarray(a).astype(int) - b).max() for a, b in zip(own, pictures, strict=True)) <= 1


def test_wrong_shapes_and_diverged_weights_are_sentences(tiny_pipe):
    with pytest.raises(HoldfastError, match="doesn't fit 2 prompts"):
        sampling.sample(tiny_pipe, PROMPTS[:2], start(3), 4, 2.0, 2)
    with pytest.raises(HoldfastError, match="at least 1"):
        sampling.sample(tiny_pipe, PROMPTS[:1], start(1), 4, 0.5, 2)
    tiny_pipe.unet.conv_out.weight.fill_(float("nan"))
    with pytest.raises(HoldfastError, match="NaN.*'a rose'"):
        sampling.sample(tiny_pipe, PROMPTS[:1], start(1), 4, 2.0, 2)
