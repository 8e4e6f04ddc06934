"""Fine-tuning of all weights: against plain PyTorch, for diffusion and for rectified flow."""

import pytest
import torch

from holdfast import families, states
from holdfast.tuners import TUNERS, full, loop
from holdfast.tuners.cache import Cache
from holdfast.tuners.objective import corpus_data
from tests import tuning

tune = TUNERS["full"]
RATE, STEPS = 1e-4, 2
OPTIONS = {"seed": 3, "steps": STEPS, "batch_size": 2, "accumulate": 1, "learning_rate": RATE}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return tuning.write_corpus(tmp_path_factory.mktemp("full") / "corpus")


def _flux_loss(pipe, weights, latents, noise, generator, cond):
    """Esser et al. 2024, eq. 13 and 19, with the packing into tokens and its inverse written out."""
    u = torch.sigmoid(torch.randn(len(latents), generator=generator))
    torch.rand(len(latents), generator=generator)
    grid = pipe.scheduler.__class__.from_config(pipe.scheduler.config).timesteps
    sigmas = grid[(u * 1000).long()] / 1000
    shaped = sigmas[:, None, None, None]
    noisy = (1 - shaped) * latents + shaped * noise
    n, channels, height, width = noisy.shape

    def pack(x):
        return x.unfold(2, 2, 2).unfold(3, 2, 2).permute(0, 2, 3, 1, 4, 5).reshape(n, -1, 4 * channels)

    rows, columns = torch.meshgrid(torch.arange(height // 2), torch.arange(width // 2), indexing="ij")
    places = torch.stack([torch.zeros_like(rows), rows, columns], dim=-1).reshape(-1, 3).float()
    arguments = {
        "hidden_states": pack(noisy),
        "timestep": sigmas,
        "guidance": torch.ones(n),
        "pooled_projections": cond["pooled_prompt_embeds"],
        "encoder_hidden_states": cond["prompt_embeds"],
        "txt_ids": torch.zeros(cond["prompt_embeds"].shape[1], 3),
        "img_ids": places,
    }
    prediction = torch.func.functional_call(pipe.transformer, weights, (), arguments).sample
    return (prediction - pack(noise - latents)).square().mean()


def _sd_loss(pipe, weights, latents, noise, generator, cond):
    """Ho et al. 2020, eq. 14, noise prediction."""
    timesteps = torch.randint(1000, (len(latents),), generator=generator)
    signal = pipe.scheduler.alphas_cumprod[timesteps][:, None, None, None]
    noisy = signal.sqrt() * latents + (1 - signal).sqrt() * noise
    prediction = torch.func.functional_call(pipe.unet, weights, (noisy, timesteps, cond["prompt_embeds"])).sample
    return (prediction - noise).square().mean()


@pytest.mark.parametrize(("kind", "loss_of"), [("sd", _sd_loss), ("flux", _flux_loss)])
def test_steps_equal_plain_pytorch_and_the_delta_applies(request, corpus, tmp_path, kind, loss_of):
    model_dir = request.getfixturevalue("tiny_dir" if kind == "sd" else "tiny_flux_dir")
    pipe = families.load(model_dir, kind=kind)
    tuned = tune(pipe, corpus, snapshots=[1, STEPS], **OPTIONS)
    component = families.kind_of(pipe).SITES["denoiser"][0]
    module = getattr(pipe, component)
    assert {name.removeprefix(f"{component}.") for name in tuned[1]} == dict(module.named_parameters()).keys()
    data = corpus_data(pipe, corpus, Cache(), live_text=False)
    weights = {name: weight.clone().requires_grad_() for name, weight in module.named_parameters()}
    optimizer = torch.optim.AdamW(weights.values(), lr=RATE, weight_decay=1e-2)
    for step in range(1, STEPS + 1):
        rows, generator = loop.batch_of(step, 3, 2, OPTIONS["seed"]), loop.generator(OPTIONS["seed"], "step", step)
        latents = data.mean[rows] + data.std[rows] * torch.randn(2, 8, 8, 8, generator=generator)
        noise = torch.randn(2, 8, 8, 8, generator=generator)
        cond = families.kind_of(pipe).encode_prompts(pipe, [tuning.CAPTIONS[row] for row in rows])
        optimizer.zero_grad()
        loss_of(pipe, weights, latents, noise, generator, cond).backward()
        torch.nn.utils.clip_grad_norm_(weights.values(), loop.MAX_GRAD_NORM)
        optimizer.step()
    # Adam's first steps are the gradients' signs: where a gradient is near zero, rounding decides them.
    off = [
        ((module.get_parameter(name) + tuned[STEPS][f"{component}.{name}"] - weight).abs() > 0.05 * RATE).sum()
        for name, weight in weights.items()
    ]
    assert sum(off) < 0.005 * sum(weight.numel() for weight in weights.values())
    moved = torch.cat([tensor.flatten() for tensor in tuned[STEPS].values()])
    assert moved.abs().median() > RATE / 2
    path = tmp_path / "delta.safetensors"
    states.save(
        path, {"base": tuned}, step="tune", method="full", method_version=full.VERSION, family="tiny",
        lineage="full.test.s0", model_dir=model_dir,
    )  # fmt: skip
    state = getattr(states.load(model_dir, [path], kind=kind), component)
    for name, parameter in state.named_parameters():
        torch.testing.assert_close(parameter, module.get_parameter(name) + tuned[STEPS][f"{component}.{name}"])
