"""The FLUX family draws and learns what FluxPipeline and diffusers' own training script do."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from holdfast import families, noise, sampling, states
from holdfast.errors import HoldfastError
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


@pytest.mark.parametrize("weighting", [None, "none", "mode", "sigma_sqrt", "cosmap"])
def test_training_draws_and_weighs_noise_levels_as_diffusers_script(tiny_flux, tiny_flux_dir, weighting):
    from diffusers import FlowMatchEulerDiscreteScheduler
    from diffusers.training_utils import compute_density_for_timestep_sampling, compute_loss_weighting_for_sd3

    sampling.sample(tiny_flux, ["a fish"], start(1), 3, 2.0, 1)  # sets the scheduler's timesteps to its own three
    timesteps = flux.draw_timesteps(tiny_flux, 50, torch.Generator().manual_seed(1), weighting=weighting)
    # examples/dreambooth/train_dreambooth_lora_flux.py
    scheduler = FlowMatchEulerDiscreteScheduler.from_pretrained(tiny_flux_dir, subfolder="scheduler")
    scheme = weighting or "logit_normal"
    options = {"logit_mean": 0.0, "logit_std": 1.0, "mode_scale": 1.29}
    u = compute_density_for_timestep_sampling(scheme, 50, generator=torch.Generator().manual_seed(1), **options)
    expected = scheduler.timesteps[(u * scheduler.config.num_train_timesteps).long()]
    assert torch.equal(timesteps, expected) and len(timesteps.unique()) > 30
    sigmas = scheduler.sigmas[[(scheduler.timesteps == t).nonzero().item() for t in expected]]
    latents, noises = torch.randn(2, 50, 8, 8, 8, generator=torch.Generator().manual_seed(2)).unbind()
    column = sigmas[:, None, None, None]
    noisy = flux.add_noise(tiny_flux, latents, noises, timesteps)
    assert torch.allclose(noisy, (1.0 - column) * latents + column * noises, atol=1e-6)
    # One Euler step with the true velocity from any noise level leads to the picture.
    assert torch.allclose(
        noisy - column * flux.training_targets(tiny_flux, latents, noises, timesteps), latents, atol=1e-5
    )
    weights = flux.loss_weights(tiny_flux, timesteps, weighting=weighting)
    weights = torch.ones(50) if weights is None else weights
    assert torch.allclose(weights, compute_loss_weighting_for_sd3(scheme, sigmas), rtol=1e-5)


def test_a_prediction_is_the_transformers_on_two_by_two_patches(tiny_flux):
    cond = flux.encode_prompts(tiny_flux, PROMPTS[:2])
    timesteps = torch.tensor([100.0, 725.0])
    predicted = flux.predict(tiny_flux, start(2), timesteps, cond, guidance=2.5)
    with torch.no_grad():
        tokens = tiny_flux.transformer(
            hidden_states=F.unfold(start(2), 2, stride=2).transpose(1, 2),
            timestep=timesteps / 1000,
            guidance=torch.tensor([2.5, 2.5]),
            pooled_projections=tiny_flux.text_encoder(
                tiny_flux.tokenizer(PROMPTS[:2], padding="max_length", return_tensors="pt").input_ids
            ).pooler_output,
            encoder_hidden_states=tiny_flux.text_encoder_2(
                tiny_flux.tokenizer_2(PROMPTS[:2], padding="max_length", return_tensors="pt").input_ids
            )[0],
            txt_ids=torch.zeros(16, 3),
            img_ids=torch.tensor([[0.0, y, x] for y in range(4) for x in range(4)]),
        ).sample
    assert torch.allclose(predicted, F.fold(tokens.transpose(1, 2), (8, 8), 2, stride=2), atol=1e-5)
    assert (predicted - flux.predict(tiny_flux, start(2), timesteps, cond)).abs().max() > 1e-5


def test_modules_and_tokens_are_where_the_interface_says(tiny_flux):
    projections = flux.text_projections(tiny_flux)
    cond = flux.encode_prompts(tiny_flux, PROMPTS[:1])
    assert {layer.in_features == cond[key].shape[-1] for layer, key in projections.values()} == {True}
    paths = [*projections, *(flux.feed_forward(tiny_flux, encoder, 1) for encoder in flux.ENCODERS)]
    assert all(isinstance(states.module_of(tiny_flux, path), torch.nn.Linear) for path in paths)
    assert flux.site_modules(tiny_flux, "both").keys() == {"transformer", "text_encoder"}
    for encoder, shift in (("t5", -1), ("clip", 0)):
        place = {"encoder": encoder} if encoder == "clip" else {}
        found = [flux.last_token(tiny_flux, "a blue rose at night", text, **place) for text in ("", "a", "a blue rose")]
        assert found == [shift, 1 + shift, 3 + shift]
    assert tiny_flux.tokenizer_2("a blue rose").input_ids[2] == tiny_flux.tokenizer_2("rose").input_ids[0]
    for call, sentence in (
        (lambda: flux.last_token(tiny_flux, "a rose", "a ro"), "ends inside a token"),
        (lambda: flux.last_token(tiny_flux, "rose " * 16, ""), "has 16 tokens, the text encoder reads 15"),
        (lambda: flux.feed_forward(tiny_flux, "t5", 2), "layers 0 to 1 and no layer 2"),
        (lambda: flux.feed_forward(tiny_flux, "t6", 0), "no text encoder 't6'; choose one of clip, t5"),
        (lambda: flux.site_modules(tiny_flux, "vae"), "no site 'vae' in a FluxPipeline"),
        (lambda: flux.draw_timesteps(tiny_flux, 1, None, "cosine"), "no timestep weighting 'cosine'"),
        (lambda: flux.loss_weights(tiny_flux, None, snr_gamma=5), "min-SNR weights are for diffusion"),
    ):
        with pytest.raises(HoldfastError, match=sentence):
            call()
